"""Data sets behind one call: cluttered digits (no network needed), torchvision's sets, any folder of images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from course_utils.core.checks import check_size
from course_utils.data import elpv
from course_utils.data.cluttered_digits import ClutteredDigits
from course_utils.data.image_folder import PhotoFolder, Unreadable, duplicates, in_two_classes
from course_utils.data.torchvision_sets import DOWNLOADED, in_memory, open_sets

NAMES = ("cluttered_digits", "folder", "elpv", *DOWNLOADED)
DEFAULT_COUNTS = {"train": 8000, "val": 1000, "test": 4000}  # of composed images
VAL_SHARE = 0.1  # of the training images, where a set has no validation split of its own


class Splits(NamedTuple):
    """A data set in three disjoint parts.

    Items are ``(image, label)`` or, where the right place to look is known, ``(image, label, region)``: the image
    (C, S, S) in [0, 1], the region (1, S, S) boolean.
    """

    train: Dataset
    val: Dataset
    test: Dataset
    classes: tuple[str, ...]


def load(
    name: str = "cluttered_digits",
    *,
    root: str | Path = "data",
    size: int = 64,
    fragments: int = 8,
    zoom: float = 1.0,
    curriculum: Sequence[tuple[int, int]] = (),
    counts: dict[str, int] | None = None,
    unreadable: Unreadable = "refuse",
    seed: int = 0,
) -> Splits:
    """Load a data set, split for training, validation and test.

    Args:
        name: ``cluttered_digits``; ``folder`` (``root`` holds ``train/`` and ``test/``, each one sub-folder a class);
            ``elpv`` (solar cells, out of a package: see `elpv`); or ``aircraft``, ``cifar10``, ``cifar100``,
            ``oxford_pets`` (cats and dogs, with masks), ``svhn``, which are downloaded into ``root`` once.
        root: folder of the data, unused by cluttered digits.
        size: side of the square images in pixels; photographs are resized and cropped to the centre, and kept in memory
            at this size: 50,000 of 32 pixels take 0.15 GB, of 224 pixels 7.5 GB.
        fragments: clutter of the cluttered digits.
        zoom: enlargement of the cluttered digits: they come out ``size * zoom`` pixels wide.
        curriculum: canvas and fragments of the cluttered digits in the first epochs of training.
        counts: images in ``train``, ``val`` and ``test``; those not named have the default (cluttered digits: 8,000,
            1,000 and 4,000; else all, with a tenth of the training images for validation). Of the sets that are
            downloaded no others are decoded.
        unreadable: ``refuse`` a folder with files that are no images, or ``skip`` them; see `PhotoFolder`.
        seed: of the composition, or of the validation split.

    Warns:
        UserWarning: files of a folder that were skipped, that are in ``train/`` and ``test/`` alike, or in two classes;
            images of a downloaded set that take more than 4 GiB.

    Raises:
        ValueError: unknown data set or split (the message lists the valid ones); a folder that `PhotoFolder` refuses; a
            size below 1.
        FileNotFoundError: a folder without ``train/`` and ``test/``.
        RuntimeError: a download that failed; a downloaded set that can't be read; no package ``elpv-dataset``.
    """
    counts = counts or {}
    if unknown := set(counts) - set(DEFAULT_COUNTS):
        raise ValueError(
            f"unknown split {min(unknown)!r} in counts: choose from {', '.join(DEFAULT_COUNTS)}"
        )
    if few := [f"{split}: {n}" for split, n in counts.items() if n < 0]:
        raise ValueError(f"expected counts of at least 0, got {few[0]}")
    if name == "cluttered_digits":
        composed = (
            ClutteredDigits(
                split,
                n,
                canvas=size,
                fragments=fragments,
                zoom=zoom,
                curriculum=curriculum,
                seed=seed + 1_000_003 * part,
            )
            for part, (split, n) in enumerate({**DEFAULT_COUNTS, **counts}.items())
        )
        return Splits(*composed, ClutteredDigits.classes)
    if name == "elpv":
        name, root = "folder", elpv.write_folder(Path(root) / "elpv")
    if name == "folder":
        train, val, test = _folder(Path(root), size, unreadable)
        return Splits(*_parts(train, val, test, counts, seed), train.classes)
    if name not in DOWNLOADED:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(NAMES)}")
    check_size(size)
    root = Path(root).expanduser()
    try:
        train, val, test = open_sets(name, root)
        classes = (
            ("cat", "dog")
            if name == "oxford_pets"
            else tuple(map(str, getattr(train, "classes", range(10))))
        )
        return Splits(
            *(in_memory(part, size) for part in _parts(train, val, test, counts, seed)), classes
        )
    except OSError as error:
        raise RuntimeError(
            f"could not read {name!r} in {root} ({error}): delete it there and load it again; 'cluttered_digits' needs "
            f"no files"
        ) from error


def on(dataset: Dataset, device: torch.device | str) -> Dataset:
    """The same data with its tensors on a device, and so its items; what keeps no tensors is left as it is.

    What ``fresh`` composes of it for an epoch is on the CPU again.
    """
    if isinstance(dataset, Subset):
        return Subset(on(dataset.dataset, device), dataset.indices)
    tensors = {name: value for name, value in vars(dataset).items() if isinstance(value, Tensor)}
    if not tensors:
        return dataset
    moved = copy(dataset)
    vars(moved).update({name: tensor.to(device) for name, tensor in tensors.items()})
    return moved


def _parts(
    train: Dataset, val: Dataset | None, test: Dataset, counts: dict[str, int], seed: int
) -> list[Dataset]:
    """The three parts in the numbers asked for."""
    if val is None:
        train, val = _hold_out(train, counts.get("val"), seed)
    return [
        _at_most(part, counts.get(split), seed)
        for part, split in zip((train, val, test), DEFAULT_COUNTS)
    ]


def _hold_out(train: Dataset, n: int | None, seed: int) -> tuple[Subset, Subset]:
    """Split n images, or a tenth, off the training images; at least one stays on either side."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).tolist()
    n = min(max(1, round(VAL_SHARE * len(train)) if n is None else n), len(train) - 1)
    return Subset(train, order[n:]), Subset(train, order[:n])


def _at_most(part: Dataset, n: int | None, seed: int) -> Dataset:
    """A seeded random sample of n items; all of them, in order, if no number is asked for."""
    if n is None or n >= len(part):
        return part
    return Subset(
        part, torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))[:n].tolist()
    )


def _folder(root: Path, size: int, unreadable: Unreadable) -> tuple[Dataset, None, Dataset]:
    missing = [part for part in ("train", "test") if not (root / part).is_dir()]
    if missing:
        raise FileNotFoundError(
            f"{root} has no {missing[0]}/: expected train/ and test/, each one sub-folder a class"
        )
    train, test = (PhotoFolder(root / part, size, unreadable) for part in ("train", "test"))
    if train.classes != test.classes:
        both = [", ".join(part.classes) for part in (train, test)]
        raise ValueError(f"{root}: train/ has the classes {both[0]}; test/ has {both[1]}")
    for pairs, what in (
        (duplicates(train, test), "test are in train/ as well"),
        (in_two_classes(train), "train have two classes"),
    ):
        if pairs:
            named = " = ".join(str(path.relative_to(root)) for path in pairs[0])
            warnings.warn(f"{len(pairs)} files of {root}/{what}, such as {named}", stacklevel=3)
    return train, None, test
