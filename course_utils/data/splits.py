"""One call for every data set: cluttered digits, folders of images, ELPV, torchvision's sets."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor
from torch.utils.data import Subset

from course_utils.data.cluttered_digits import digit_splits
from course_utils.data.elpv import elpv_splits
from course_utils.data.folder_parts import folder_splits
from course_utils.data.image_folder import Unreadable
from course_utils.data.parts import Counts, Splits
from course_utils.data.torchvision_sets import DOWNLOADED, torchvision_splits

NAMES = ("cluttered_digits", "folder", "elpv", *DOWNLOADED)
Data = TypeVar("Data")  # a data set of some class


def load(
    name: str = "cluttered_digits",
    *,
    root: str | Path = "data",
    size: int = 64,
    fragments: int = 8,
    zoom: float = 1.0,
    curriculum: Sequence[tuple[int, int]] = (),
    counts: Counts = None,
    unreadable: Unreadable = "refuse",
    allow_large: bool = False,
    bits: int = 16,
    seed: int = 0,
) -> Splits:
    """Load a data set by its name, split for training, validation and test.

    Each data set also has its own function, which documents its options in detail: `digit_splits`,
    `folder_splits`, `elpv_splits` and `torchvision_splits`.

    Args:
        name: ``cluttered_digits``; ``folder``, your own images in ``train/``, ``test/`` and perhaps
            ``val/``; ``elpv``, photographs of solar cells; or one of torchvision's ``aircraft``,
            ``cifar10``, ``cifar100``, ``oxford_pets`` and ``svhn``, which are downloaded once.
        root: Folder of your own images, or of torchvision's sets.
        size: Side of the square images in pixels.
        fragments: Number of clutter fragments per image, for cluttered digits.
        zoom: Enlargement of cluttered digits: their images are ``size * zoom`` pixels wide.
        curriculum: Canvas and number of fragments of cluttered digits in the first epochs.
        counts: Number of images in ``train``, ``val`` and ``test``. By default, there are 8,000,
            1,000 and 4,000 cluttered digits. Other data sets use all images, with a tenth of the
            training images for validation.
        unreadable: ``refuse`` a folder with files that can't be read as images, or ``skip`` them.
        allow_large: Read images of any number of pixels from a folder.
        bits: Bits that a folder's grey images with 16 bits per channel really use.
        seed: Seed of the composition, or of the validation split.

    Raises:
        ValueError: If the name or a split in ``counts`` is unknown, or a number is out of range;
            the message lists the valid names.
        FileNotFoundError: If a folder has no ``train/`` or ``test/``.
        RuntimeError: If a download fails, or a package is not installed.
    """
    match name:
        case "cluttered_digits":
            return digit_splits(
                size=size,
                fragments=fragments,
                zoom=zoom,
                curriculum=curriculum,
                counts=counts,
                seed=seed,
            )
        case "folder":
            return folder_splits(
                root,
                size=size,
                counts=counts,
                unreadable=unreadable,
                allow_large=allow_large,
                bits=bits,
                seed=seed,
            )
        case "elpv":
            return elpv_splits(size=size, counts=counts, seed=seed)
    if name not in DOWNLOADED:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(NAMES)}")
    return torchvision_splits(name, root, size=size, counts=counts, seed=seed)


def on(dataset: Data, device: torch.device | str) -> Data:
    """Return a copy of a data set with its tensors on a device, so that its items are there too.

    A data set that keeps no tensors is returned as it is. The method ``fresh`` of the copy still
    composes its images on the CPU.
    """
    if isinstance(dataset, Subset):
        return cast(Data, Subset(on(dataset.dataset, device), dataset.indices))
    tensors = {name: value for name, value in vars(dataset).items() if isinstance(value, Tensor)}
    if not tensors:
        return dataset
    moved = copy(dataset)  # a shallow copy: the original keeps its own tensors
    for name, tensor in tensors.items():
        setattr(moved, name, tensor.to(device))
    return moved
