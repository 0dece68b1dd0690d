"""How an exercise is checked: which function does it, and what becomes of everything that may go wrong in it."""

from __future__ import annotations

import importlib
import pkgutil
import textwrap
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

import course_utils.exercises
from course_utils.exercises._feedback import UnfinishedError, WrongError, require

TO_DO = "Nothing to check yet: put your answer in the place of each ... (a function returns it), and run both cells."
CHANGED = (
    "It changes a tensor that it was given, which others may need as it was: let it make a new one."
)


class Answer(NamedTuple):
    """What a check says; a notebook shows the sentence.

    Attributes:
        solved: whether the answer is right.
        sentence: what is still wrong, or that nothing is.
    """

    solved: bool
    sentence: str

    def __repr__(self) -> str:
        return textwrap.fill(self.sentence, width=80, break_on_hyphens=False)


class _StopError(Exception):
    """The learner's function raised an error: not a check that got no sense out of an answer."""


def check(name: str, answer: object, *given, **named) -> Answer:
    """Check an answer; the random numbers of PyTorch and NumPy go on as they were.

    Args:
        name: of an exercise: chapter and exercise, with a dot between them.
        answer: the learner's function, value, or several of them in a tuple, list or dictionary. An untouched ``...``
            anywhere in it, or a function that returns nothing, is said to be unfinished.
        given: what of the chapter the exercise is about, as the exercise's function takes it.
        named: the same, by name.

    Raises:
        ValueError: no such exercise; the message lists those of the chapter, or the chapters.
    """
    exercise = _find(name)
    if _unfinished(answer):
        return Answer(False, TO_DO)
    numpy_state = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            return Answer(True, exercise(_watched(answer), *given, **named))
    except UnfinishedError:
        return Answer(False, TO_DO)
    except (WrongError, _StopError) as error:
        return Answer(False, str(error))
    except Exception as error:  # whatever an answer of another kind may lead to
        what = f"{type(error).__name__}: {error}"
        return Answer(False, f"It runs, but what it gives is not what was asked for ({what}).")
    finally:
        np.random.set_state(numpy_state)


def confirm(name: str, answer: object, *given, **named) -> Answer:
    """`check` for a solution that has to be right.

    Raises:
        AssertionError: it is not; the message is the check's sentence.
    """
    said = check(name, answer, *given, **named)
    if not said.solved:
        raise AssertionError(said.sentence)
    return said


def _find(name: str) -> Callable[..., str]:
    chapter, _, exercise = name.partition(".")
    chapters = [module.name for module in pkgutil.iter_modules(course_utils.exercises.__path__)]
    chapters = [stem for stem in chapters if not stem.startswith("_")]
    if chapter not in chapters:
        raise ValueError(f"unknown chapter {chapter!r}: choose one of {', '.join(chapters)}")
    module = importlib.import_module(f"course_utils.exercises.{chapter}")
    own = {
        name: value
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__
    }
    exercises = {name: value for name, value in own.items() if not name.startswith("_")}
    if exercise not in exercises:
        raise ValueError(
            f"unknown exercise {exercise!r} of {chapter}: choose one of {', '.join(exercises)}"
        )
    return exercises[exercise]


def _unfinished(answer: object) -> bool:
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list | tuple):
        return any(_unfinished(part) for part in answer)
    return answer is ...


def _watched(answer: object) -> object:
    """The answer, with each function in it watched."""
    if isinstance(answer, dict):
        return {name: _watched(part) for name, part in answer.items()}
    if isinstance(answer, list | tuple):
        return (list if isinstance(answer, list) else tuple)(
            map(_watched, answer)
        )  # a tuple with names, too
    return (
        _Watched(answer)
        if callable(answer) and not isinstance(answer, type | torch.nn.Module)
        else answer
    )


class _Watched:
    """A learner's function, its errors told from the check's."""

    def __init__(self, function: Callable):
        self.function = function

    def __call__(self, *given, **named) -> object:
        """Call it for what it returns."""
        returned = self.run(*given, **named)
        if returned is None or _unfinished(returned):
            raise UnfinishedError
        return returned

    def run(self, *given, **named) -> object:
        """Call it for what it does; it may return nothing. It gets copies of tensors, and should leave them alone."""
        copies = [part.clone() if torch.is_tensor(part) else part for part in given]
        try:
            returned = self.function(*copies, **named)
        except Exception as error:  # whatever a learner's function may raise
            raise _StopError(f"It stops with {type(error).__name__}: {error}") from error
        alone = (
            torch.equal(part, copy) for part, copy in zip(given, copies) if torch.is_tensor(part)
        )
        require(all(alone), CHANGED)
        return returned
