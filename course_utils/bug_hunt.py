"""The bug hunt of chapter 14: runs a learner's function and says in one sentence whether its bug is gone.

The broken functions and their repairs stand in the chapter, and nowhere else; the tests take them from there and hold
that each check refuses the one and accepts the other. Inputs are fresh in every run, and small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from course_utils import bugs_in_tensors, bugs_in_training

CHECKS: dict[str, Callable[[Callable], str | None]] = {  # in the chapter's order
    "split": bugs_in_training.split,
    "peaks": bugs_in_tensors.peaks,
    "as_vectors": bugs_in_tensors.as_vectors,
    "loss": bugs_in_tensors.loss,
    "fit": bugs_in_training.fit,
    "accuracy": bugs_in_training.accuracy,
    "as_pictures": bugs_in_tensors.as_pictures,
    "seed_worker": bugs_in_training.seed_worker,
    "report": bugs_in_training.report,
    "mean_loss": bugs_in_training.mean_loss,
    "test_accuracy": bugs_in_training.test_accuracy,
    "weights": bugs_in_tensors.weights,
    "own_range": bugs_in_tensors.own_range,
    "step": bugs_in_training.step,
}


class Answer(NamedTuple):
    """What a check says.

    Attributes:
        solved: whether the bug is gone.
        sentence: what is still wrong, or that nothing is.
    """

    solved: bool
    sentence: str


class _StopError(Exception):
    """The learner's function raised an error: not a check that got no sense out of an answer."""


def check(name: str, function: Callable) -> Answer:
    """Run a function on fresh inputs; the random numbers of PyTorch and NumPy go on as they were.

    Args:
        name: of an exercise, one of `CHECKS`.
        function: the learner's.

    Raises:
        ValueError: no such exercise; the message lists them.
    """
    if name not in CHECKS:
        raise ValueError(f"unknown exercise {name!r}: choose one of {', '.join(CHECKS)}")

    def watched(*given):
        try:
            return function(*given)
        except Exception as error:  # whatever a learner's function may raise
            raise _StopError(f"It stops with {type(error).__name__}: {error}") from error

    numpy_state = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            complaint = CHECKS[name](watched)
    except _StopError as stop:
        complaint = str(stop)
    except Exception as error:  # whatever an answer of another kind may lead to
        complaint = f"It runs, but what it returns is not what was asked for ({type(error).__name__}: {error})."
    finally:
        np.random.set_state(numpy_state)
    return Answer(complaint is None, complaint or "Solved.")
