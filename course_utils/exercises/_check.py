"""The check of an answer, including answers that raise an error or have an unexpected type."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from course_utils.exercises._feedback import UnfinishedError, WrongError, require

TO_DO = (
    "Nothing to check yet: replace each ... with your answer (a function has to return it), "
    "then run both cells."
)
CHANGED = (
    "Your function changes a tensor that it was given, and other code may still need it: "
    "compute a new tensor instead."
)


class Answer(NamedTuple):
    """The result of a check; a notebook shows its sentence.

    Attributes:
        solved: Whether the answer is right.
        sentence: The mistake that was found, or a confirmation.
    """

    solved: bool
    sentence: str

    def __repr__(self) -> str:
        return textwrap.fill(self.sentence, width=80, break_on_hyphens=False)


class _StopError(Exception):
    """An error inside the learner's function, as opposed to one in the check."""


def check(exercise: Callable[..., str], answer: object, *context, **named_context) -> Answer:
    """Check an answer to an exercise, and restore the random states of PyTorch and NumPy.

    Args:
        exercise: A function of this package, such as ``exercises.score_functions.own_score``.
        answer: The learner's function or value, or several of them in a tuple, list or dictionary.
            The exercise counts as unfinished while the answer contains an untouched ``...``, or a
            function that returns nothing.
        context: Objects from the chapter, as the exercise takes them.
        named_context: Further objects, passed by name.

    Raises:
        TypeError: If the exercise is not a function.
    """
    if not callable(exercise):
        raise TypeError(
            f"expected an exercise such as exercises.score_functions.own_score, got {exercise!r}"
        )
    if _unfinished(answer):
        return Answer(False, TO_DO)
    numpy_state = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            return Answer(True, exercise(_wrapped(answer), *context, **named_context))
    except UnfinishedError:
        return Answer(False, TO_DO)
    except (WrongError, _StopError) as error:
        return Answer(False, str(error))
    except Exception as error:  # an answer of an unexpected type can fail anywhere in the exercise
        reason = f"{type(error).__name__}: {error}"
        return Answer(
            False, f"Your code runs, but the result is not what the exercise asks for ({reason})."
        )
    finally:
        np.random.set_state(numpy_state)


def confirm(exercise: Callable[..., str], answer: object, *context, **named_context) -> Answer:
    """Check an answer that has to be right, such as the chapter's own solution.

    The arguments are those of `check`.

    Raises:
        AssertionError: If the answer is wrong. The message is the sentence of the check.
    """
    result = check(exercise, answer, *context, **named_context)
    if not result.solved:
        raise AssertionError(result.sentence)
    return result


def _unfinished(answer: object) -> bool:
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list | tuple):
        return any(_unfinished(part) for part in answer)
    return answer is ...


def _wrapped(answer: object) -> object:
    """Return the answer with each function in it wrapped in a `_LearnersFunction`."""
    if isinstance(answer, dict):
        return {name: _wrapped(part) for name, part in answer.items()}
    if isinstance(answer, list | tuple):
        # A named tuple becomes a plain one, because its constructor takes the parts one by one.
        return (list if isinstance(answer, list) else tuple)(map(_wrapped, answer))
    if callable(answer) and not isinstance(answer, type | torch.nn.Module):
        return _LearnersFunction(answer)
    return answer


class _LearnersFunction:
    """A learner's function whose errors can be distinguished from errors in the check."""

    def __init__(self, function: Callable):
        self.function = function

    def __call__(self, *args, **kwargs) -> object:
        """Call the function for its result, which must not be missing."""
        result = self.run(*args, **kwargs)
        if result is None or _unfinished(result):
            raise UnfinishedError
        return result

    def run(self, *args, **kwargs) -> object:
        """Call the function for its effect; it may return nothing.

        The function gets copies of the tensors, so a function that changes them does no harm and
        is reported.
        """
        copies = [arg.clone() if torch.is_tensor(arg) else arg for arg in args]
        try:
            result = self.function(*copies, **kwargs)
        except Exception as error:  # the learner's code may raise anything
            raise _StopError(f"Your code stops with {type(error).__name__}: {error}") from error
        pairs = zip(args, copies, strict=True)
        require(all(torch.equal(arg, copy) for arg, copy in pairs if torch.is_tensor(arg)), CHANGED)
        return result
