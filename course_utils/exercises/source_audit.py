"""Exercises of the chapter Source audit, apart from its bug hunt."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from course_utils.exercises._feedback import as_bool, as_number, refuse, require
from course_utils.studies.source_audit import best_of


def possible_sizes(answer) -> str:
    """List the numbers of images for which some count rounds to a percentage.

    Args:
        answer: A function of the percentage and of the largest number of images, and whether
            97.27 % could be the share of 128 images.
    """
    function, one_batch = answer
    half = _sizes(function, 50.0, 6)
    refuse(
        6 not in half and half == [2, 4],
        "A limit of 6 images includes 6 itself: 3 of 6 is 50 %.",
    )
    require(
        half == [2, 4, 6],
        f"50.0 % is possible with 2, 4 or 6 of at most 6 images, but your list is {half}.",
    )
    for count, percentage in enumerate((33.33, 66.67), start=1):
        sizes = _sizes(function, percentage, 9)
        require(
            sizes == [3, 6, 9],
            f"{count} of 3 rounds to {percentage} %, so up to 9 the sizes 3, "
            f"6 and 9 are possible, but your list is {sizes}.",
        )
    # With fewer than 32 images no share lies halfway between two percentages, so rounding is
    # unambiguous.
    n = int(torch.randint(11, 32, ()))
    count = int(torch.randint(1, n, ()))
    _check_all_sizes(function, round(100 * count / n, 2), 31)
    sizes = _check_all_sizes(function, 97.27, 128)
    refuse(
        as_bool(one_batch, "could_be_one_batch"),
        "By your function, 128 is not among the possible sizes for 97.27 %.",
    )
    return f"Right. Up to 128 images, the possible sizes are {', '.join(map(str, sizes))}."


def _check_all_sizes(function, percentage: float, limit: int) -> list[int]:
    sizes = _sizes(function, percentage, limit)
    for size in range(1, limit + 1):
        possible = percentage in {round(100 * count / size, 2) for count in range(size + 1)}
        fact = f"With N = {size}, {'a' if possible else 'no'} count rounds to {percentage} %"
        require(
            possible == (size in sizes),
            f"{fact}, but your list {'lacks' if possible else 'contains'} that size.",
        )
    return sizes


def _sizes(function, percentage: float, limit: int) -> list[int]:
    sizes = function(percentage, limit)
    return sorted(int(as_number(size, "A number of images")) for size in sizes)


def validation_images(answer, candidates: Sequence[int]) -> str:
    """Find the smallest number of images with which 20 epochs gain at most half a point.

    The gain is that of the best epoch over the true accuracy.

    Args:
        answer: One of the candidates.
        candidates: Numbers of images.
    """
    n = as_number(answer, "The number of images")
    # Keyed by floats, because the answer may be one.
    luck: dict[float, float] = {
        candidate: 100 * (best_of(0.94, candidate, 20) - 0.94) for candidate in candidates
    }
    require(
        n in luck,
        f"Choose one of the candidates, from {min(luck)} to {max(luck)}; {n:g} isn't one of them.",
    )
    require(
        luck[n] < 0.5,
        f"With {n:g} images the best epoch is {luck[n]:.2f} points too good, "
        "so you need more images.",
    )
    least = min(candidate for candidate in luck if luck[candidate] < 0.5)
    require(
        n == least,
        f"With {n:g} images the best epoch is {luck[n]:.2f} points too good, "
        "but fewer images would be enough.",
    )
    return f"Right: with {n:g} images the best epoch is {luck[n]:.2f} points too good."
