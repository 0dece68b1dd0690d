"""A folder of photographs as a data set, with one sub-folder per class.

Every file is read once, when the data set is created. Unreadable or truncated files are therefore
reported at the start, not in the middle of an epoch.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from PIL import Image

from course_utils.core.checks import check_choice, check_size
from course_utils.data.class_names import composed, short_list
from course_utils.data.image_files import (
    Picture,
    check_bits,
    files_in,
    is_figure,
    is_left_over,
    pillow_limits,
    read_picture,
)
from course_utils.data.in_memory import Photos, in_threads
from course_utils.data.stratified import labels_of

Unreadable = Literal["refuse", "skip"]
DARK = 2**15  # 16-bit images whose values all lie below are likely to have fewer bits


class Reading(NamedTuple):
    """The result of reading one file: a picture, or the reason why there is none."""

    path: Path
    label: int
    picture: Picture | None
    problem: str = ""


class PhotoFiles(Photos):
    """Square photographs that are read from a list of files.

    Attributes:
        classes: Names of the classes; a label is an index into them.
        paths: The files in the order of the items.
        digests: Hash of all pixels of each file's image, which is equal for copies.
    """

    def __init__(
        self,
        files: Sequence[tuple[Path, int]],
        classes: Sequence[str],
        size: int,
        *,
        root: Path,
        unreadable: Unreadable = "refuse",
        allow_large: bool = False,
        bits: int = 16,
    ):
        """Read every image, resize it, crop it to the centre and convert it to RGB.

        Args:
            files: Path and label of each photograph.
            classes: Names of the classes.
            size: Side S of the images in pixels; the shorter side of a photograph is resized to it.
            root: Folder that holds the files, for messages.
            unreadable: ``refuse`` raises an error if files can't be read as images; ``skip`` leaves
                them out with a warning.
            allow_large: Read images of any number of pixels; see `read_image`.
            bits: Bits that grey images with 16 bits per channel really use, from 8 to 16.

        Warns:
            UserWarning: If files are skipped, images with 16 bits seem to use fewer, or figures of
                ``course_utils visualize`` are among the files; they are left out.

        Raises:
            ValueError: If files are refused, there are none, ``unreadable`` is unknown, or a number
                is out of range.
        """
        check_choice("unreadable", unreadable, Unreadable)
        check_size(size)
        check_bits(bits)
        with pillow_limits(allow_large) as most_pixels:
            one = partial(_read, size=size, most_pixels=most_pixels, bits=bits)
            read = in_threads(one, _without_figures(files, root), root.name)
        _report_unreadable(read, root, unreadable)
        good = [(path, label, picture) for path, label, picture, _ in read if picture is not None]
        if not good:
            raise ValueError(f"{root} has no image that can be read")
        self.classes = tuple(classes)
        self.paths, labels, pictures = zip(*good)
        self.digests = tuple(picture.digest for picture in pictures)
        if bits == 16:
            _warn_of_dark([picture.highest for picture in pictures if picture.highest], root)
        super().__init__(
            torch.stack([picture.pixels for picture in pictures]),
            torch.tensor(labels),
        )


class PhotoFolder(PhotoFiles):
    """Square photographs from a folder with one sub-folder per class.

    Attributes:
        classes: Names of the sub-folders, sorted; a label is an index into them.
        paths: The files in the order of the items.
        digests: Hash of all pixels of each file's image, which is equal for copies.
    """

    def __init__(
        self,
        root: str | Path,
        size: int,
        unreadable: Unreadable = "refuse",
        *,
        allow_large: bool = False,
        bits: int = 16,
    ):
        """Read every image, resize it, crop it to the centre and convert it to RGB.

        Only the first frame of an animation is read, and transparent pixels become white. Hidden
        files, and those that other programs leave (such as Thumbs.db or @eaDir), are ignored. Links
        to folders are followed. Names of classes are in the composed form of Unicode (NFC).

        Args:
            root: Folder with a sub-folder for each of at least two classes. Their own sub-folders
                belong to the same class.
            size: Side S of the images in pixels; the shorter side of a photograph is resized to it.
            unreadable: ``refuse`` raises an error if files can't be read as images; ``skip`` leaves
                them out with a warning.
            allow_large: Read images of any number of pixels; see `read_image`.
            bits: Bits that grey images with 16 bits per channel really use, from 8 to 16.

        Warns:
            UserWarning: If files are skipped, images lie outside the sub-folders, or images with
                16 bits seem to use fewer.

        Raises:
            FileNotFoundError: If the folder doesn't exist.
            NotADirectoryError: If it is a file.
            ValueError: If files are refused, there are fewer than two classes, a class has no
                images, two have the same name, ``unreadable`` is unknown, or a number is out of
                range.
        """
        root = Path(root).expanduser()
        folders = class_folders(root)
        if len(folders) < 2:
            raise ValueError(
                f"{root} needs a sub-folder for each of at least two classes, "
                f"got {', '.join(folders) or 'none'}"
            )
        super().__init__(
            labelled_files(folders, tuple(folders)),
            tuple(folders),
            size,
            root=root,
            unreadable=unreadable,
            allow_large=allow_large,
            bits=bits,
        )
        if empty := without_images(self, self.classes):
            raise ValueError(
                f"{root} has no images of the class {short_list(empty)}: "
                f"add some, or remove the sub-folder"
            )


def class_folders(root: Path) -> dict[str, Path]:
    """Return the sub-folders that hold the images of one class each, sorted by name.

    Returns:
        Names of the classes in the composed form of Unicode (NFC), with their folders.

    Raises:
        FileNotFoundError: If the folder doesn't exist, or a link in it leads nowhere.
        NotADirectoryError: If it is a file.
        ValueError: If two names differ only in their form of Unicode.
    """
    check_image_folder(root)
    entries = sorted(path for path in root.iterdir() if not is_left_over(path.name))
    folders: dict[str, Path] = {}
    for path in entries:
        if not path.is_dir():
            if not path.exists():  # a broken link
                check_image_folder(path)
            continue
        other = folders.setdefault(composed(path.name), path)
        if other != path:
            raise ValueError(
                f"{root} has two folders that are both named {composed(path.name)} in "
                f"two forms of Unicode, {other.name!a} and {path.name!a}: merge them"
            )
    warn_of_loose_images(root)
    return dict(sorted(folders.items()))


def check_image_folder(path: Path) -> None:
    """Check that a folder exists.

    Raises:
        FileNotFoundError: If there is nothing, or a link that leads nowhere.
        NotADirectoryError: If it is a file.
    """
    if path.is_dir():
        return
    if path.exists():
        raise NotADirectoryError(f"expected a folder of images, but {path} is a file")
    if path.is_symlink():
        raise FileNotFoundError(f"{path} is a link to {path.readlink()}, which doesn't exist")
    raise FileNotFoundError(f"there is no folder {path}")


def warn_of_loose_images(root: Path) -> None:
    """Warn if images lie in a folder itself, where only those in its sub-folders are used."""
    loose = sorted(path.name for path in root.iterdir() if is_named_image(path))
    if loose:
        warnings.warn(
            f"not used: images that lie in {root} itself ({len(loose)} in all, such as "
            f"{loose[0]}); put them into a sub-folder",
            stacklevel=2,
        )


def is_named_image(path: Path) -> bool:
    """Return whether a path is a file with the name of an image."""
    suffixes = {*Image.registered_extensions(), ".heic", ".heif", ".jxl", ".dng"}
    return path.suffix.lower() in suffixes and not is_left_over(path.name) and path.is_file()


def without_images(data: Photos | torch.utils.data.Subset, classes: Sequence[str]) -> list[str]:
    """Return the names of the classes that have no image in a data set."""
    found = set(labels_of(data))
    return [name for label, name in enumerate(classes) if label not in found]


def labelled_files(folders: dict[str, Path], classes: Sequence[str]) -> list[tuple[Path, int]]:
    """Return the files in the folders of classes, with their labels."""
    return [
        (path, classes.index(name)) for name, folder in folders.items() for path in files_in(folder)
    ]


def _without_figures(files: Sequence[tuple[Path, int]], root: Path) -> list[tuple[Path, int]]:
    """Leave out figures that were written beside the images, with a warning."""
    figures = [path for path, _ in files if is_figure(path)]
    if figures:
        warnings.warn(
            f"not used: figures of `course_utils visualize` in {root} ({len(figures)} in all, such "
            f"as {figures[0].relative_to(root)})",
            stacklevel=3,
        )
    left_out = set(figures)
    return [(path, label) for path, label in files if path not in left_out]


def _read(file: tuple[Path, int], size: int, most_pixels: float, bits: int) -> Reading:
    """Read one file; an error becomes a short description of the problem."""
    path, label = file
    try:
        return Reading(path, label, read_picture(path, size, most_pixels, bits))
    except Exception as error:  # PIL's decoders may raise anything on damaged data
        message = str(getattr(error, "strerror", None) or error).splitlines()
        return Reading(path, label, None, message[0] if message else type(error).__name__)


def _report_unreadable(read: list[Reading], root: Path, unreadable: Unreadable) -> None:
    bad = [f"{r.path.relative_to(root)} ({r.problem})" for r in read if r.picture is None]
    if not bad:
        return
    named = short_list(bad, "; ")
    problem = f"{len(bad)} of {len(read)} files in {root} can't be read as images: {named}"
    if unreadable == "refuse":
        # In words that suit Python (unreadable="skip") as well as the command line.
        raise ValueError(f"{problem}. Remove or convert them, or choose to skip unreadable files")
    warnings.warn(f"left out: {problem}", stacklevel=2)


def _warn_of_dark(highest: list[int], root: Path) -> None:
    """Warn if 16-bit images seem to have fewer bits, as those of cameras and microscopes do."""
    top = max(highest, default=DARK)
    if top < DARK:
        warnings.warn(
            f"images with 16 bits in {root} ({len(highest)} in all) have values up to {top:,} of "
            f"65,535, so they look nearly black; if that is their full range, set bits to "
            f"{max(8, top.bit_length())} (for colour, convert them to 8 bits)",
            stacklevel=2,
        )
