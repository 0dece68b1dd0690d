"""What a chapter's exercises are tried with: the answers that are right, and those that are typically wrong."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Case(NamedTuple):
    """One exercise.

    Attributes:
        wrong: answers, each with a regular expression that the sentence about it has to match: three at least.
        right: answers that are right, beside the chapter's own solution.
        given: makes what the chapter hands to the check beside the answer, small and random.
    """

    wrong: list[tuple[object, str]]
    right: Sequence[object] = ()
    given: Callable[[], dict] = dict
