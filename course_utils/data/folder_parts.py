"""The parts of a folder of photographs: ``train/``, ``test/`` and, if it is there, ``val/``.

Warnings report images that aren't used, and anything that would make a score too good.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import partial
from itertools import combinations
from pathlib import Path

from course_utils.data.class_names import class_difference, composed, short_list
from course_utils.data.copies import duplicates, groups_of_copies, in_one_class, in_two_classes
from course_utils.data.image_files import is_left_over
from course_utils.data.image_folder import (
    PhotoFiles,
    PhotoFolder,
    Unreadable,
    check_image_folder,
    class_folders,
    is_named_image,
    labelled_files,
    warn_of_loose_images,
    without_images,
)
from course_utils.data.parts import Counts, Splits, check_counts, warn_of_fewer
from course_utils.data.stratified import hold_out, stratified_sample

VAL_FOLDERS = ("val", "valid", "validation")


def folder_splits(
    root: str | Path,
    *,
    size: int = 64,
    counts: Counts = None,
    unreadable: Unreadable = "refuse",
    allow_large: bool = False,
    bits: int = 16,
    seed: int = 0,
) -> Splits:
    """Read a folder of photographs, split for training, validation and test.

    Without ``val/``, a tenth of ``train/`` is held out for validation: class by class, at least one
    image of each, but never the last one, and all copies of an image on one side.

    Args:
        root: Folder with ``train/``, ``test/`` and perhaps ``val/`` (or ``valid/``, or
            ``validation/``), each with one sub-folder per class.
        size: Side of the square images in pixels.
        counts: Number of images per split, sampled class by class. By default all images are used.
        unreadable: ``refuse`` raises an error if files can't be read as images; ``skip`` leaves
            them out with a warning.
        allow_large: Read images of any number of pixels; see `read_image`.
        bits: Bits that grey images with 16 bits per channel really use, from 8 to 16.
        seed: Seed of the validation split and of samples.

    Warns:
        UserWarning: If files are skipped or not used, copies of an image are in two parts, in two
            classes or twice in ``train/``, a split has no image of some class, or ``counts`` asks
            for more images than there are.

    Raises:
        FileNotFoundError: If ``train/`` or ``test/`` doesn't exist, or a part is a broken link.
        NotADirectoryError: If a part is a file.
        ValueError: If the parts have different classes, no image can be held out, `PhotoFolder`
            refuses a part, or ``counts`` has an unknown split or a negative number.
    """
    root, counts = Path(root).expanduser(), check_counts(counts)
    folders = _part_folders(root)
    _warn_of_unused(root, folders)
    read = partial(
        PhotoFolder, size=size, unreadable=unreadable, allow_large=allow_large, bits=bits
    )
    parts = {name: read(root / name) for name in folders}
    train, test = parts["train"], parts["test"]
    for name, part in parts.items():
        if difference := class_difference(train.classes, part.classes, ("train/", f"{name}/")):
            raise ValueError(f"{root}: the parts have different classes: {difference}")
    _warn_of_copies(parts, root)
    val = next((parts[name] for name in parts if name in VAL_FOLDERS), None)
    return _split(root, train, val, test, counts, seed)


def folder_test(
    root: str | Path,
    *,
    size: int,
    classes: Sequence[str],
    unreadable: Unreadable = "refuse",
    allow_large: bool = False,
    bits: int = 16,
) -> PhotoFiles:
    """Read only ``test/`` of a folder, to evaluate a network that is already trained.

    Args:
        root: Folder with ``test/``, which has one sub-folder per class.
        size: Side of the square images in pixels.
        classes: Names of the network's classes; a label is an index into them.
        unreadable: ``refuse`` raises an error if files can't be read as images; ``skip`` leaves
            them out with a warning.
        allow_large: Read images of any number of pixels; see `read_image`.
        bits: Bits that grey images with 16 bits per channel really use, from 8 to 16.

    Warns:
        UserWarning: If there are no images of some of the classes, or files are skipped.

    Raises:
        FileNotFoundError: If ``test/`` doesn't exist.
        NotADirectoryError: If it is a file.
        ValueError: If a sub-folder isn't one of the classes, or files are refused.
    """
    root = Path(root).expanduser() / "test"
    folders, known = class_folders(root), tuple(map(composed, classes))
    if set(folders) - set(known):
        difference = class_difference(known, tuple(folders), ("the network", "test/"))
        raise ValueError(f"{root} has classes that the network wasn't trained on: {difference}")
    data = PhotoFiles(
        labelled_files(folders, known),
        classes,
        size,
        root=root,
        unreadable=unreadable,
        allow_large=allow_large,
        bits=bits,
    )
    if missing := without_images(data, known):
        warnings.warn(f"{root} has no images of {short_list(missing)}", stacklevel=2)
    return data


def _part_folders(root: Path) -> list[str]:
    """Return the names of the parts in a folder: train, test and, if it is there, val."""
    for part in ("train", *VAL_FOLDERS, "test"):
        if os.path.lexists(root / part):  # true for a broken link as well
            check_image_folder(root / part)
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise FileNotFoundError(
                f"{root} has no {part}/: expected train/ and test/, each with one sub-folder per "
                f"class"
            )
    val = [name for name in VAL_FOLDERS if (root / name).is_dir()]
    if len(val) > 1:
        raise ValueError(f"expected one folder for validation, got {' and '.join(val)} in {root}")
    return ["train", *val, "test"]


def _split(
    root: Path,
    train: PhotoFiles,
    val: PhotoFiles | None,
    test: PhotoFiles,
    counts: dict[str, int],
    seed: int,
) -> Splits:
    """Hold out validation images if there are none, and sample each part class by class."""
    parts: dict = {"train": train, "val": val, "test": test}
    if val is None:
        groups = groups_of_copies(train.digests)
        parts["train"], parts["val"] = hold_out(train, counts.get("val"), seed, groups)
        if not len(parts["val"]) and counts.get("val") != 0:
            raise ValueError(
                f"{root}/train has too few images to hold any out for validation: add images, or "
                f"a val/ folder"
            )
    for name, part in parts.items():
        warn_of_fewer(name, counts.get(name), len(part))
        part = parts[name] = stratified_sample(part, counts.get(name), seed)
        if len(part) and (missing := without_images(part, train.classes)):
            warnings.warn(
                f"{root}: the split {name} has no images of {short_list(missing)}, because "
                f"there are too few of them or counts is too small",
                stacklevel=2,
            )
    return Splits(**parts, classes=train.classes)


def _warn_of_unused(root: Path, parts: Sequence[str]) -> None:
    """Warn of images outside the parts."""
    warn_of_loose_images(root)
    others = sorted(
        path
        for path in root.iterdir()
        if path.is_dir() and path.name not in parts and not is_left_over(path.name)
    )
    # The search goes no deeper, because the root may hold everything that a user has.
    unused = [
        f"{path.name}/"
        for path in others
        if any(map(is_named_image, (*path.glob("*"), *path.glob("*/*"))))
    ]
    if unused:
        warnings.warn(
            f"not used: the images in {short_list(unused)} of {root}; only those in train/, val/ "
            f"and test/ are used",
            stacklevel=2,
        )


def _warn_of_copies(parts: dict[str, PhotoFolder], root: Path) -> None:
    train = parts["train"]
    for one, other in combinations(parts, 2):
        pairs = duplicates(parts[one], parts[other])
        _warn_of_pairs(pairs, root, f"{other}/ are also in {one}/")
    _warn_of_pairs(in_two_classes(train), root, "train/ are in two classes")
    _warn_of_pairs(in_one_class(train), root, "train/ are copies of other files there")


def _warn_of_pairs(pairs: list[tuple[Path, Path]], root: Path, what: str) -> None:
    if pairs:
        example = " = ".join(str(path.relative_to(root)) for path in pairs[0])
        count = f"{len(pairs)} in all"
        warnings.warn(f"images of {root}/{what} ({count}, such as {example})", stacklevel=2)
