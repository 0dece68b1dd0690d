"""Data sets behind one call: cluttered digits (no network needed), torchvision's sets, any folder of images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.data import Dataset, Subset
from torchvision import datasets, tv_tensors
from torchvision.transforms import v2

from course_utils.digits import ClutteredDigits
from course_utils.folders import PhotoFolder, Unreadable, duplicates, in_two_classes

DOWNLOADED = ("aircraft", "cifar10", "cifar100", "oxford_pets", "svhn")
NAMES = ("cluttered_digits", "folder", *DOWNLOADED)
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
            or ``aircraft``, ``cifar10``, ``cifar100``, ``oxford_pets`` (cats and dogs, with masks), ``svhn``, which
            torchvision downloads into ``root`` once.
        root: folder of the data, unused by cluttered digits.
        size: side of the square images in pixels; photographs are resized and cropped to the centre.
        fragments: clutter of the cluttered digits.
        zoom: enlargement of the cluttered digits: they come out ``size * zoom`` pixels wide.
        curriculum: canvas and fragments of the cluttered digits in the first epochs of training.
        counts: images in ``train``, ``val`` and ``test``; those not named have the default (cluttered digits: 8,000,
            1,000 and 4,000; else all, with a tenth of the training images for validation).
        unreadable: ``refuse`` a folder with files that are no images, or ``skip`` them; see `PhotoFolder`.
        seed: of the composition, or of the validation split.

    Warns:
        UserWarning: files of a folder that were skipped, that are in ``train/`` and ``test/`` alike, or in two classes.

    Raises:
        ValueError: unknown data set or split (the message lists the valid ones); a folder that `PhotoFolder` refuses.
        FileNotFoundError: a folder without ``train/`` and ``test/``.
        RuntimeError: a download that failed.
    """
    counts = counts or {}
    if unknown := set(counts) - set(DEFAULT_COUNTS):
        raise ValueError(f"unknown split {min(unknown)!r} in counts: choose from {', '.join(DEFAULT_COUNTS)}")
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
    if name == "folder":
        train, val, test = _folder(Path(root), size, unreadable)
    elif name in DOWNLOADED:
        train, val, test = _torchvision(name, Path(root), size)
    else:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(NAMES)}")
    classes = ("cat", "dog") if name == "oxford_pets" else tuple(map(str, getattr(train, "classes", range(10))))
    if val is None:
        train, val = _hold_out(train, counts.get("val"), seed)
    parts = zip((train, val, test), DEFAULT_COUNTS)
    return Splits(*(_at_most(part, counts.get(split), seed) for part, split in parts), classes)


def _hold_out(train: Dataset, n: int | None, seed: int) -> tuple[Subset, Subset]:
    """Split n images, or a tenth, off the training images; at least one stays on either side."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).tolist()
    n = min(max(1, round(VAL_SHARE * len(train)) if n is None else n), len(train) - 1)
    return Subset(train, order[n:]), Subset(train, order[:n])


def _at_most(part: Dataset, n: int | None, seed: int) -> Dataset:
    """A seeded random sample of n items; all of them, in order, if no number is asked for."""
    if n is None or n >= len(part):
        return part
    return Subset(part, torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))[:n].tolist())


def _image_transform(size: int) -> v2.Compose:
    return v2.Compose(
        [v2.ToImage(), v2.RGB(), v2.Resize(size), v2.CenterCrop(size), v2.ToDtype(torch.float32, scale=True)]
    )


def _folder(root: Path, size: int, unreadable: Unreadable) -> tuple[Dataset, None, Dataset]:
    missing = [part for part in ("train", "test") if not (root / part).is_dir()]
    if missing:
        raise FileNotFoundError(f"{root} has no {missing[0]}/: expected train/ and test/, each one sub-folder a class")
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


def _torchvision(name: str, root: Path, size: int) -> tuple[Dataset, Dataset | None, Dataset]:
    """Train, validation where the set has one, and test."""
    options = {"root": str(root), "download": True, "transform": _image_transform(size)}
    try:
        match name:
            case "cifar10" | "cifar100":
                kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
                return kind(train=True, **options), None, kind(train=False, **options)
            case "svhn":
                return datasets.SVHN(split="train", **options), None, datasets.SVHN(split="test", **options)
            case "aircraft":
                return tuple(datasets.FGVCAircraft(split=split, **options) for split in ("train", "val", "test"))
            case "oxford_pets":
                return CatsAndDogs(root, "trainval", size), None, CatsAndDogs(root, "test", size)
    except (OSError, RuntimeError) as error:
        raise RuntimeError(
            f"could not download {name!r} into {root} ({error}); 'cluttered_digits' needs no network"
        ) from error


class CatsAndDogs(Dataset):
    """Oxford-IIIT Pet as cats (0) and dogs (1), with the animal's trimap (outline included) as the region."""

    def __init__(self, root: str | Path, split: str, size: int):
        """Take the split ``trainval`` or ``test``, downloading it once."""
        kinds = ["binary-category", "segmentation"]
        self.pets = datasets.OxfordIIITPet(str(root), split=split, target_types=kinds, download=True)
        self.transform = _image_transform(size)

    def __len__(self) -> int:
        return len(self.pets)

    def __getitem__(self, i: int):
        image, (label, trimap) = self.pets[i]
        image, trimap = self.transform(image, tv_tensors.Mask(v2.functional.pil_to_tensor(trimap)))
        return image, label, trimap.as_subclass(torch.Tensor) != 2  # 1 the animal, 2 the background, 3 its outline
