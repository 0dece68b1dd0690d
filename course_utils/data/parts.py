"""The three parts of a data set: images for training, validation and test."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Integral
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch.utils.data import Subset

SPLITS = ("train", "val", "test")
VAL_SHARE = 0.1  # of the training images, for data sets without a validation split

Counts = Mapping[str, int] | None  # number of images per split


@runtime_checkable
class SizedDataset(Protocol):
    """A data set of PyTorch with a known number of items.

    PyTorch's own type, ``Dataset``, has no length, because some data sets are endless.
    """

    def __len__(self) -> int:
        """Return the number of items."""

    def __getitem__(self, index: int, /) -> Any:
        """Return one item."""


class Splits(NamedTuple):
    """A data set in three disjoint parts.

    An item is ``(image, label)``, or ``(image, label, region)`` if the position of the object is
    known. The image is of shape (C, S, S) with values in [0, 1], and the region is a boolean mask
    of shape (1, S, S).
    """

    train: SizedDataset
    val: SizedDataset
    test: SizedDataset
    classes: tuple[str, ...]


def check_counts(counts: Counts) -> dict[str, int]:
    """Return the number of images per split as a new dictionary; None gives an empty one.

    Raises:
        ValueError: If it is no dictionary, a split is unknown, or a number is negative or not an
            integer.
    """
    if not isinstance(counts, Mapping | None):
        raise ValueError(f'expected counts such as {{"train": 100}}, got {counts!r}')
    counts = dict(counts or {})
    for split, n in counts.items():
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r} in counts: choose from {', '.join(SPLITS)}")
        if isinstance(n, bool) or not isinstance(n, Integral) or n < 0:
            raise ValueError(f"expected integer counts of at least 0, got {split}: {n!r}")
    return {split: int(n) for split, n in counts.items()}


def warn_of_fewer(split: str, wanted: int | None, n: int) -> None:
    """Warn if a split has fewer images than ``counts`` asks for."""
    if wanted is not None and n < wanted:
        warnings.warn(
            f"counts asks for {wanted} images in the split {split}, which has only {n}",
            stacklevel=2,
        )


def take_counts(
    train: SizedDataset, val: SizedDataset | None, test: SizedDataset, counts: Counts, seed: int
) -> tuple[SizedDataset, SizedDataset, SizedDataset]:
    """Return the three parts with the requested numbers of images, without regard to classes.

    Each class of the public data sets has dozens of images or more, and the course's results depend
    on this choice. Folders, whose classes may be small, are split by `hold_out`.

    Args:
        train: All images for training.
        val: All images for validation. If None, they are held out of the training images.
        test: All images for testing.
        counts: Images per split. A split that is not named keeps all its images; a validation split
            that has to be held out gets a tenth of the training images.
        seed: Seed of the random choice.

    Warns:
        UserWarning: If a split has fewer images than requested.
    """
    counts = check_counts(counts)
    if val is None:
        train, val = _hold_out(train, counts.get("val"), seed)
    for split, part in zip(SPLITS, (train, val, test)):
        warn_of_fewer(split, counts.get(split), len(part))
    return (
        _sample(train, counts.get("train"), seed),
        _sample(val, counts.get("val"), seed),
        _sample(test, counts.get("test"), seed),
    )


def _hold_out(train: Any, n: int | None, seed: int) -> tuple[Subset, Subset]:
    """Split n images, or a tenth if n is None, off the training images."""
    if n is None:
        n = max(1, round(VAL_SHARE * len(train)))
    n = min(n, len(train) - 1)  # at least one image is left to train on
    order = shuffled(len(train), seed)
    return Subset(train, order[n:]), Subset(train, order[:n])


def _sample(part: Any, n: int | None, seed: int) -> SizedDataset:
    """Return a random sample of n images, or all images in their order if n is not smaller."""
    if n is None or n >= len(part):
        return part
    return Subset(part, shuffled(len(part), seed)[:n])


def shuffled(n: int, seed: int) -> list[int]:
    """Return the numbers from 0 to n - 1 in a random order."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
