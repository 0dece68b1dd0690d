"""Answers for testing an exercise: right ones, and typical wrong ones."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Case(NamedTuple):
    """One exercise.

    Attributes:
        wrong: At least three wrong answers, each with a regular expression for its sentence.
        right: Right answers, in addition to the chapter's own solution.
        given: Makes the objects that the chapter passes beside the answer; small and random.
    """

    wrong: list[tuple[object, str]]
    right: Sequence[object] = ()
    given: Callable[[], dict] = dict
