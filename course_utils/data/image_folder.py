"""A folder of photographs as a data set, one sub-folder a class.

Every file is read once, when the set is made: what is no image, or only half of one, is named then, not met in the
middle of an epoch.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from course_utils.core.checks import check_choice, check_size
from course_utils.data.in_memory import Photos, in_threads, square

Unreadable = Literal["refuse", "skip"]
IGNORED = {"desktop.ini", "thumbs.db"}  # what systems leave in folders, beside hidden files


class PhotoFolder(Photos):
    """Square photographs of two or more classes.

    Attributes:
        classes: the sub-folders' names, sorted; a label is an index into them.
        paths: the files, in the order of the items.
    """

    def __init__(self, root: str | Path, size: int, unreadable: Unreadable = "refuse"):
        """Read every image: resized so that the shorter side fits, cropped to the centre, in RGB.

        Of an animation the first frame counts. Transparent places become white. Files that are hidden or that an
        operating system left are no images and not looked at; links to folders within a class are not followed.

        Args:
            root: holds a sub-folder for each class; their own sub-folders belong to them.
            size: S, in pixels.
            unreadable: ``refuse`` the folder if it has a file that is no readable image, or ``skip`` and name them.

        Raises:
            FileNotFoundError: no such folder.
            ValueError: unreadable files, fewer than two classes, a class without images, an unknown choice, or a size
                below 1.
        """
        check_choice("unreadable", unreadable, Unreadable)
        check_size(size)
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(f"there is no folder {root}")
        self.classes = tuple(
            sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        )
        if len(self.classes) < 2:
            found = ", ".join(self.classes) or "none"
            raise ValueError(
                f"{root} needs a sub-folder for each of at least two classes, got {found}"
            )
        paths = [
            (path, label)
            for label, name in enumerate(self.classes)
            for path in files_in(root / name)
        ]
        read = in_threads(lambda item: _try(item[0], size), paths, root.name)
        bad = [
            f"{path.relative_to(root)} ({got})"
            for (path, _), got in zip(paths, read)
            if isinstance(got, str)
        ]
        if bad:
            named = "; ".join(bad[:5]) + (f"; and {len(bad) - 5} more" if len(bad) > 5 else "")
            said = f"{len(bad)} of {len(paths)} files in {root} can't be read as images: {named}"
            if unreadable == "refuse":
                raise ValueError(f"{said}. Remove them, or leave them out with unreadable='skip'")
            warnings.warn(f"left out: {said}", stacklevel=2)
        good = [
            (path, label, image)
            for (path, label), image in zip(paths, read)
            if not isinstance(image, str)
        ]
        if empty := [
            name for label, name in enumerate(self.classes) if label not in {g[1] for g in good}
        ]:
            raise ValueError(
                f"{root} has no images of the class {', '.join(empty)}: add some, or remove the sub-folder"
            )
        self.paths = tuple(path for path, *_ in good)
        super().__init__(
            torch.stack([image for *_, image in good]),
            torch.tensor([label for _, label, _ in good]),
        )


def read_image(path: Path, size: int) -> UInt8[Tensor, "3 size size"]:
    """One image file as `PhotoFolder` has it.

    Raises:
        OSError: no image, or a damaged one.
        ValueError: an image with 32 bits a pixel.
    """
    with Image.open(path) as image:
        image.load()  # decodes all of it: a file that ends early says so here
        if image.mode in ("I", "F"):
            raise ValueError("32 bits a pixel, which may mean any range")
        if image.mode.startswith("I;16"):  # which PIL would cut off at 255
            image = image.point(lambda value: value / 256).convert("L")
        image = ImageOps.exif_transpose(image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("RGB")
    return square(image, size)


def files_in(folder: Path) -> list[Path]:
    """All files in a folder and its sub-folders that may be images, in a stable order."""
    files = (p for p in folder.rglob("*") if p.is_file() or (p.is_symlink() and not p.is_dir()))
    hidden = (
        p for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )
    return sorted(p for p in hidden if p.name.lower() not in IGNORED)


def duplicates(one: PhotoFolder, other: PhotoFolder) -> list[tuple[Path, Path]]:
    """Files that two sets have in common, byte for byte, whatever their names and classes are."""
    known = {_digest(path): path for path in one.paths}
    return [(known[digest], path) for path in other.paths if (digest := _digest(path)) in known]


def in_two_classes(data: PhotoFolder) -> list[tuple[Path, Path]]:
    """Files of a set that are the same, byte for byte, and have different classes."""
    first: dict[str, int] = {}
    pairs = []
    for i, path in enumerate(data.paths):
        earlier = first.setdefault(_digest(path), i)
        if data.labels[earlier] != data.labels[i]:
            pairs.append((data.paths[earlier], path))
    return pairs


def _try(path: Path, size: int) -> Tensor | str:
    """The image, or in a few words why there is none."""
    try:
        return read_image(path, size)
    except Image.UnidentifiedImageError:
        return "empty" if path.stat().st_size == 0 else "not an image"
    except Exception as error:  # a decoder of the library may raise anything on damaged data
        said = str(getattr(error, "strerror", None) or error).splitlines()
        return said[0] if said else type(error).__name__


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
