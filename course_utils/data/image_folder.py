"""A folder of photographs as a data set, with one sub-folder per class.

Every file is read once, when the data set is created. Unreadable or truncated files are therefore
reported at the start, not in the middle of an epoch.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from course_utils.core.checks import check_choice, check_size
from course_utils.data.in_memory import Photos, in_threads, square
from course_utils.data.parts import Counts, Splits, check_counts, take_counts

Unreadable = Literal["refuse", "skip"]
IGNORED = {"desktop.ini", "thumbs.db"}  # system files; hidden files are ignored as well
NAMED = 5  # unreadable files that a message names


class Reading(NamedTuple):
    """The result of reading one file: an image, or the reason why there is none."""

    path: Path
    label: int
    image: UInt8[Tensor, "3 S S"] | None
    problem: str = ""


class PhotoFiles(Photos):
    """Square photographs that are read from a list of files.

    Attributes:
        classes: Names of the classes; a label is an index into them.
        paths: The files in the order of the items.
    """

    def __init__(
        self,
        files: Sequence[tuple[Path, int]],
        classes: Sequence[str],
        size: int,
        *,
        root: Path,
        unreadable: Unreadable = "refuse",
    ):
        """Read every image, resize it, crop it to the centre and convert it to RGB.

        Args:
            files: Path and label of each photograph.
            classes: Names of the classes.
            size: Side S of the images in pixels; the shorter side of a photograph is resized to it.
            root: Folder that holds the files, for messages.
            unreadable: ``refuse`` raises an error if files can't be read as images, ``skip`` leaves
                them out with a warning.

        Raises:
            ValueError: If files are refused, a class has no images, ``unreadable`` is unknown, or
                the size is below 1.
        """
        check_choice("unreadable", unreadable, Unreadable)
        check_size(size)
        read = in_threads(partial(_read, size=size), files, root.name)
        _report_unreadable(read, root, unreadable)
        good = [reading for reading in read if reading.image is not None]
        labels = [reading.label for reading in good]
        if empty := [name for label, name in enumerate(classes) if label not in labels]:
            raise ValueError(
                f"{root} has no images of the class {', '.join(empty)}: "
                f"add some, or remove the sub-folder"
            )
        self.classes = tuple(classes)
        self.paths = tuple(reading.path for reading in good)
        super().__init__(
            torch.stack([reading.image for reading in good]),
            torch.tensor(labels),
        )


class PhotoFolder(PhotoFiles):
    """Square photographs from a folder with one sub-folder per class.

    Attributes:
        classes: Names of the sub-folders, sorted; a label is an index into them.
        paths: The files in the order of the items.
    """

    def __init__(self, root: str | Path, size: int, unreadable: Unreadable = "refuse"):
        """Read every image, resize it, crop it to the centre and convert it to RGB.

        Only the first frame of an animation is read, and transparent pixels become white. Hidden
        files, and system files such as Thumbs.db, are ignored. Links to folders are not followed.

        Args:
            root: Folder with a sub-folder for each of at least two classes. Their own sub-folders
                belong to the same class.
            size: Side S of the images in pixels; the shorter side of a photograph is resized to it.
            unreadable: ``refuse`` raises an error if files can't be read as images, ``skip`` leaves
                them out with a warning.

        Raises:
            FileNotFoundError: If the folder doesn't exist.
            ValueError: If files are refused, there are fewer than two classes, a class has no
                images, ``unreadable`` is unknown, or the size is below 1.
        """
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(f"there is no folder {root}")
        folders = (path for path in root.iterdir() if path.is_dir())
        classes = sorted(path.name for path in folders if not path.name.startswith("."))
        if len(classes) < 2:
            raise ValueError(
                f"{root} needs a sub-folder for each of at least two classes, "
                f"got {', '.join(classes) or 'none'}"
            )
        files = [
            (path, label) for label, name in enumerate(classes) for path in files_in(root / name)
        ]
        super().__init__(files, classes, size, root=root, unreadable=unreadable)


def folder_splits(
    root: str | Path,
    *,
    size: int = 64,
    counts: Counts = None,
    unreadable: Unreadable = "refuse",
    seed: int = 0,
) -> Splits:
    """Read a folder of photographs, split for training, validation and test.

    Args:
        root: Folder with ``train/`` and ``test/``, each with one sub-folder per class.
        size: Side of the square images in pixels.
        counts: Number of images per split. By default all images are used, and a tenth of the
            training images is held out for validation.
        unreadable: ``refuse`` raises an error if files can't be read as images, ``skip`` leaves
            them out with a warning.
        seed: Seed of the validation split and of samples.

    Warns:
        UserWarning: If files are skipped, if the same file is in ``train/`` and in ``test/``, or if
            the same training file is in two classes.

    Raises:
        FileNotFoundError: If ``train/`` or ``test/`` doesn't exist.
        ValueError: If ``train/`` and ``test/`` have different classes, `PhotoFolder` refuses one of
            them, or ``counts`` has an unknown split or a negative number.
    """
    root, counts = Path(root), check_counts(counts)
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise FileNotFoundError(
                f"{root} has no {part}/: expected train/ and test/, each with one sub-folder per "
                f"class"
            )
    train, test = (PhotoFolder(root / part, size, unreadable) for part in ("train", "test"))
    if train.classes != test.classes:
        both = [", ".join(part.classes) for part in (train, test)]
        raise ValueError(f"{root}: train/ has the classes {both[0]}, but test/ has {both[1]}")
    _warn_of_pairs(duplicates(train, test), root, "test/ are also in train/")
    _warn_of_pairs(in_two_classes(train), root, "train/ are in two classes")
    parts = take_counts(train, None, test, counts, seed)
    return Splits(*parts, classes=train.classes)


def read_image(path: Path, size: int) -> UInt8[Tensor, "3 size size"]:
    """Read one image file as `PhotoFolder` does.

    Raises:
        OSError: If the file is not an image, or is damaged.
        ValueError: If the image has 32 bits per pixel.
    """
    with Image.open(path) as file:
        file.load()  # decodes all of it, so a truncated file raises here
        image: Image.Image = file
        if image.mode in ("I", "F"):
            raise ValueError("32 bits per pixel, which have no standard range")
        if image.mode.startswith("I;16"):  # PIL's own conversion would clip the values at 255
            image = image.point(lambda value: value / 256).convert("L")
        image = ImageOps.exif_transpose(image)  # cameras store photographs unrotated
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("RGB")
    return square(image, size)


def files_in(folder: Path) -> list[Path]:
    """Return all files in a folder and its sub-folders that may be images, sorted by path."""
    found = []
    for path in folder.rglob("*"):
        # A broken link is not a file, but it has to be reported rather than ignored.
        is_file = path.is_file() or (path.is_symlink() and not path.is_dir())
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if is_file and not hidden and path.name.lower() not in IGNORED:
            found.append(path)
    return sorted(found)


def duplicates(one: PhotoFiles, other: PhotoFiles) -> list[tuple[Path, Path]]:
    """Return pairs of files that two data sets share, byte for byte, whatever their names."""
    known = {_digest(path): path for path in one.paths}
    return [(known[digest], path) for path in other.paths if (digest := _digest(path)) in known]


def in_two_classes(data: PhotoFiles) -> list[tuple[Path, Path]]:
    """Return pairs of files that are identical, byte for byte, but have different classes."""
    first: dict[str, int] = {}  # index of the first file with these bytes
    pairs = []
    for i, path in enumerate(data.paths):
        earlier = first.setdefault(_digest(path), i)
        if data.labels[earlier] != data.labels[i]:
            pairs.append((data.paths[earlier], path))
    return pairs


def _read(file: tuple[Path, int], size: int) -> Reading:
    """Read one file; an error becomes a short description of the problem."""
    path, label = file
    try:
        return Reading(path, label, read_image(path, size))
    except Image.UnidentifiedImageError:
        problem = "empty" if path.stat().st_size == 0 else "not an image"
    except Exception as error:  # PIL's decoders may raise anything on damaged data
        message = str(getattr(error, "strerror", None) or error).splitlines()
        problem = message[0] if message else type(error).__name__
    return Reading(path, label, None, problem)


def _report_unreadable(read: list[Reading], root: Path, unreadable: Unreadable) -> None:
    bad = [f"{r.path.relative_to(root)} ({r.problem})" for r in read if r.image is None]
    if not bad:
        return
    named = "; ".join(bad[:NAMED])
    if len(bad) > NAMED:
        named += f"; and {len(bad) - NAMED} more"
    problem = f"{len(bad)} of {len(read)} files in {root} can't be read as images: {named}"
    if unreadable == "refuse":
        raise ValueError(f"{problem}. Remove them, or leave them out with unreadable='skip'")
    warnings.warn(f"left out: {problem}", stacklevel=4)


def _warn_of_pairs(pairs: list[tuple[Path, Path]], root: Path, what: str) -> None:
    if pairs:
        example = " = ".join(str(path.relative_to(root)) for path in pairs[0])
        warnings.warn(f"{len(pairs)} files of {root}/{what}, such as {example}", stacklevel=3)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
