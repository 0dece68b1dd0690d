"""The exercises of chapter 14; the functions of its bug hunt are in `bugs_in_tensors` and `bugs_in_training`."""

from __future__ import annotations

import torch

from course_utils.exercises._feedback import number, require, truth
from course_utils.studies.source_audit import best_of


def possible_sizes(answer) -> str:
    """All numbers of images of which a share can round to a percentage, and whether 128 is one for 97.27 %."""
    function, one_batch = answer
    half = _sizes(function, 50.0, 6)
    require(6 in half or half != [2, 4], "A limit of 6 images includes 6 itself: 3 of 6 are 50 %.")
    require(
        half == [2, 4, 6],
        f"50.0 % is possible with 2, 4 or 6 of at most 6 images, and yours are {half}.",
    )
    for count, percentage in enumerate((33.33, 66.67), start=1):
        found = _sizes(function, percentage, 9)
        said = f"{count} of 3 rounds to {percentage} %, so 3, 6 and 9 are possible up to 9, and yours are {found}."
        require(found == [3, 6, 9], said)
    n = torch.randint(
        11, 32, ()
    ).item()  # below 32 images no share lies half-way between two percentages
    _require_all(function, round(100 * torch.randint(1, n, ()).item() / n, 2), 31)
    sizes = _require_all(function, 97.27, 128)
    require(
        not truth(one_batch, "could_be_one_batch"),
        "By your function 128 is not among the sizes for 97.27 %.",
    )
    return f"Right. Up to 128 images: {', '.join(map(str, sizes))}."


def _require_all(function, percentage: float, limit: int) -> list[int]:
    found = _sizes(function, percentage, limit)
    for size in range(1, limit + 1):
        possible = percentage in {round(100 * count / size, 2) for count in range(size + 1)}
        fact = f"With N = {size} {'one' if possible else 'no'} count rounds to {percentage} %"
        require(
            possible == (size in found),
            f"{fact}, and {'your list lacks' if possible else 'you have'} that size.",
        )
    return found


def _sizes(function, percentage: float, limit: int) -> list[int]:
    sizes = function(percentage, limit)
    return sorted(int(number(size, "A number of images")) for size in sizes)


def validation_images(answer, candidates) -> str:
    """The least of some numbers of images on which the best of 20 epochs owes less than half a point to luck."""
    n = number(answer, "The number of images")
    luck = {candidate: 100 * (best_of(0.94, candidate, 20) - 0.94) for candidate in candidates}
    require(
        n in luck,
        f"One of the candidates was asked for, from {min(luck)} to {max(luck)}, and {n:g} is none.",
    )
    require(
        luck[n] < 0.5,
        f"With {n:g} images {luck[n]:.2f} points are luck: too many, so more images are needed.",
    )
    least = min(candidate for candidate in luck if luck[candidate] < 0.5)
    require(
        n == least,
        f"With {n:g} images {luck[n]:.2f} points are luck, and fewer images would do as well.",
    )
    return f"Right: {n:g} images, {luck[n]:.2f} points."
