"""Photographs with boxes or masks around their objects, in a folder or an archive.

`boxed_splits` reads photographs with one box each, which a table ``boxes.csv`` lists, and
`masked_photographs` reads photographs with pixel masks, which a table ``index.csv`` lists. The
course measures on such sets, but it ships none, because photographs of strangers rarely come with a
licence for it.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Int, UInt8
from PIL import ExifTags, Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode

from course_utils.core.boxes import box_regions
from course_utils.core.checks import check_size
from course_utils.core.files import cache_dir, replacing
from course_utils.data.copies import groups_of_copies
from course_utils.data.image_files import pillow_limits, read_picture
from course_utils.data.in_memory import Photos, in_threads, square
from course_utils.data.parts import Splits
from course_utils.data.stratified import hold_out

BOX = ("x0", "y0", "x1", "y1")
# What Python's modules raise on archives that end too early or whose bytes have changed.
_DAMAGED = (
    shutil.ReadError,
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    ValueError,
)


class Masked(NamedTuple):
    """Photographs with pixel masks.

    Attributes:
        images: Of shape (N, 3, S, S), uint8.
        masks: Class of each pixel, of shape (N, 1, S, S); 0 is the background.
        classes: Names of the classes; that of the background is first.
    """

    images: UInt8[Tensor, "N 3 S S"]
    masks: UInt8[Tensor, "N 1 S S"]
    classes: tuple[str, ...]


def unpacked(path: str | Path) -> Path:
    """Return a folder as it is, and an archive as the folder into which it has been unpacked.

    Archives are unpacked once, into the course's cache.

    Raises:
        FileNotFoundError: If there is nothing at the path.
        ValueError: If the file isn't a whole archive.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return path
    if not path.is_file():
        raise FileNotFoundError(f"expected a folder or an archive, but there is no {path}")
    known = f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}"
    into = (
        cache_dir() / "archives" / f"{path.stem}_{hashlib.sha256(known.encode()).hexdigest()[:8]}"
    )
    if not into.is_dir():
        with replacing(into) as new:
            try:
                shutil.unpack_archive(path, new)
            except _DAMAGED as error:
                raise ValueError(
                    f"{path} isn't a whole archive, perhaps half a download ({error}): fetch it "
                    "again"
                ) from error
    return into


def boxed_splits(root: str | Path, *, size: int = 64, seed: int = 0) -> Splits:
    """Read photographs with one box each, split for training, validation and test.

    Photographs with the same pixels are one: if their labels differ or they are in two parts, all
    of them are left out, and otherwise the first is kept. A tenth of the training photographs is
    held out for validation, class by class.

    Args:
        root: Folder or archive with ``boxes.csv``. Its columns are ``file`` (relative to the
            table), ``class``, ``split`` (train or test), and the box ``x0``, ``y0``, ``x1``, ``y1``
            in pixels of the file; x1 and y1 are the first ones beyond it.
        size: Side of the square photographs in pixels, see `square`.
        seed: Seed of the validation split.

    Raises:
        FileNotFoundError: If there is no folder, archive or table.
        ValueError: If the table can't be read, lacks a column or a value, has no photograph of a
            split or a split of another name; if a photograph can't be read, or nothing of its box
            is left after cropping; or if the size is out of range.
    """
    check_size(size)
    root = unpacked(root)
    table = _table(root / "boxes.csv", ("file", "class", "split", *BOX))
    if set(table["split"]) != {"train", "test"}:
        got = ", ".join(sorted(set(table["split"])))
        raise ValueError(f"expected the splits train and test in {root / 'boxes.csv'}, got {got}")
    classes = tuple(sorted(table["class"].unique()))
    with pillow_limits(False) as most_pixels:
        one = partial(_boxed, root, size, most_pixels)
        read = in_threads(one, table.to_dict("records"), "photographs")
    images, boxes = (torch.stack(column) for column in zip(*read))
    labels = torch.tensor([classes.index(name) for name in table["class"]])
    regions = box_regions(boxes, size)
    groups = groups_of_copies([image.numpy().tobytes() for image in images])
    kept = [
        group[0]
        for group in groups
        if len(table.iloc[group][["class", "split"]].drop_duplicates()) == 1
    ]

    def part(rows: Sequence[int]) -> Photos:
        rows = list(rows)
        return Photos(images[rows], labels[rows], regions[rows])

    train, test = ([i for i in kept if table.split[i] == split] for split in ("train", "test"))
    left, held = hold_out(part(train), None, seed, [[i] for i in range(len(train))])
    train, val = ([train[i] for i in subset.indices] for subset in (left, held))
    return Splits(part(train), part(val), part(test), classes)


def masked_photographs(root: str | Path, *, size: int = 224) -> Masked:
    """Read photographs with pixel masks.

    Args:
        root: Folder or archive with ``index.csv``, which has the columns ``file`` and ``mask`` (two
            paths relative to the table), and ``classes.txt`` with a line ``0 background`` and one
            per class. A pixel of a mask has the number of its class.
        size: Side of the square photographs in pixels, see `square`.

    Raises:
        FileNotFoundError: If there is no folder, archive, table or file.
        ValueError: If the table can't be read or lacks a column or a value, a file can't be read, a
            mask has another size than its photograph or a value without a class, or the size is out
            of range.
    """
    check_size(size)
    root = unpacked(root)
    table = _table(root / "index.csv", ("file", "mask"))
    classes = _classes(root / "classes.txt")
    with pillow_limits(False) as most_pixels:
        one = partial(_masked, root, size, most_pixels, len(classes))
        read = in_threads(one, table.to_dict("records"), "photographs")
    images, masks = (torch.stack(column) for column in zip(*read))
    return Masked(images, masks, classes)


def _table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a table {path.name} in {path.parent}, but it isn't there"
        )
    words = {name: str for name in columns if name not in BOX}
    try:
        table = pd.read_csv(path, dtype=words)
    except ValueError as error:  # those of pandas, and of text that isn't UTF-8
        raise ValueError(f"{path} can't be read as a table: {error}") from error
    if missing := [name for name in columns if name not in table]:
        raise ValueError(f"{path} has no column {missing[0]!r}: expected {', '.join(columns)}")
    if table.empty:
        raise ValueError(f"{path} lists no photographs")
    numbers = [name for name in columns if name in BOX]
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    for name in columns:
        if (empty := table[name].isna()).any():
            what = "number" if name in BOX else "value"
            raise ValueError(f"{path} has no {what} for {name} in line {empty.idxmax() + 2}")
    return table


def _classes(path: Path) -> tuple[str, ...]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    numbers, names = zip(*(line.partition(" ")[::2] for line in lines or ["none"]))
    if list(numbers) != [f"{i}" for i in range(len(lines))]:
        raise ValueError(
            f"expected one line per class in {path}, numbered from 0, such as 0 background"
        )
    return names


def _boxed(
    root: Path, size: int, most_pixels: float, row: dict[str, Any]
) -> tuple[Tensor, Int[Tensor, " 4"]]:
    """Return a photograph, and its box after the photograph was resized and cropped."""
    pixels, width, height = _photograph(root / row["file"], size, most_pixels)
    scale = size / min(width, height)
    cut = torch.tensor([width * scale - size, height * scale - size] * 2) / 2
    given = [float(row[name]) for name in BOX]
    box = (torch.tensor(given) * scale - cut).round().long().clamp(0, size)
    if not (box[0] < box[2] and box[1] < box[3]):
        raise ValueError(
            f"expected a box with pixels in the square centre of {row['file']}, {width} × {height} "
            f"pixels, got {', '.join(f'{x:g}' for x in given)}"
        )
    return pixels, box


def _masked(
    root: Path, size: int, most_pixels: float, classes: int, row: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Return a photograph and its mask, both resized and cropped."""
    pixels, *of_photograph = _photograph(root / row["file"], size, most_pixels)
    path = root / row["mask"]
    try:
        with Image.open(path) as mask:
            mask.load()
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow's decoders may raise anything on damaged data
        raise ValueError(f"{path} can't be read as a mask: {_reason(error)}") from error
    if [*mask.size] != of_photograph:
        sizes = " and ".join(f"{width} × {height}" for width, height in (of_photograph, mask.size))
        raise ValueError(
            f"expected a mask of the photograph's size, got {sizes} pixels for {row['mask']}"
        )
    if mask.mode not in ("L", "P"):  # one byte per pixel: its class
        raise ValueError(f"expected a mask with one byte per pixel, got {mask.mode} in {path}")
    classified = square(mask, size, InterpolationMode.NEAREST)
    if (highest := int(classified.max())) >= classes:
        raise ValueError(f"expected classes from 0 to {classes - 1}, got {highest} in {path}")
    return pixels, classified


def _photograph(path: Path, size: int, most_pixels: float) -> tuple[Tensor, int, int]:
    """Return a photograph, resized and cropped, and the width and height of its file."""
    try:
        pixels = read_picture(path, size, most_pixels).pixels
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow's decoders may raise anything on damaged data
        raise ValueError(f"{path} can't be read as a photograph: {_reason(error)}") from error
    with Image.open(path) as image:
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            raise ValueError(
                f"{path} is stored turned or mirrored, so its box or mask may not fit: save it "
                "upright"
            )
        return pixels, image.width, image.height


def _reason(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(getattr(error, "strerror", None) or error) or type(error).__name__).splitlines()[0]
