"""Photographs with boxes or masks around their objects, in a folder or an archive.

`boxed_splits` reads photographs with one box each, which a table ``boxes.csv`` lists, and
`masked_photographs` reads photographs with pixel masks, which a table ``index.csv`` lists. The
course measures on such sets, but it ships none, because photographs of strangers rarely come with a
licence for it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode

from course_utils.core.boxes import box_regions
from course_utils.core.files import cache_dir, replacing
from course_utils.data.copies import groups_of_copies
from course_utils.data.image_files import read_image
from course_utils.data.in_memory import Photos, in_threads, square
from course_utils.data.parts import Splits
from course_utils.data.stratified import hold_out

BOX = ("x0", "y0", "x1", "y1")


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
        try:
            with replacing(into) as new:
                shutil.unpack_archive(path, new)
        except (shutil.ReadError, EOFError, ValueError) as error:
            raise ValueError(
                f"{path} isn't a whole archive, perhaps half a download ({error}): fetch it again"
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
        ValueError: If the table lacks a column, or a photograph can't be read.
    """
    root = unpacked(root)
    table = _table(root / "boxes.csv", ("file", "class", "split", *BOX))
    classes = tuple(sorted(table["class"].unique()))
    read = in_threads(partial(_boxed, root, size), table.to_dict("records"), "photographs")
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
        ValueError: If the table lacks a column, a file can't be read, or a mask has another size
            than its photograph.
    """
    root = unpacked(root)
    table = _table(root / "index.csv", ("file", "mask"))
    lines = (root / "classes.txt").read_text(encoding="utf-8").splitlines()
    classes = tuple(line.split(" ", 1)[1] for line in lines if line.strip())
    read = in_threads(partial(_masked, root, size), table.to_dict("records"), "photographs")
    images, masks = (torch.stack(column) for column in zip(*read))
    return Masked(images, masks, classes)


def _table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a table {path.name} in {path.parent}, but it isn't there"
        )
    table = pd.read_csv(path)
    if missing := [name for name in columns if name not in table]:
        raise ValueError(f"{path} has no column {missing[0]!r}: expected {', '.join(columns)}")
    return table


def _boxed(root: Path, size: int, row: dict[str, Any]) -> tuple[Tensor, Int[Tensor, " 4"]]:
    """Return a photograph, and its box after the photograph was resized and cropped."""
    pixels = read_image(root / row["file"], size)
    with Image.open(root / row["file"]) as image:
        width, height = image.size
    scale = size / min(width, height)
    cut = torch.tensor([width * scale - size, height * scale - size] * 2) / 2
    box = torch.tensor([float(row[name]) for name in BOX]) * scale - cut
    return pixels, box.round().long().clamp(0, size)


def _masked(root: Path, size: int, row: dict[str, Any]) -> tuple[Tensor, Tensor]:
    pixels = read_image(root / row["file"], size)
    with Image.open(root / row["file"]) as image, Image.open(root / row["mask"]) as mask:
        if image.size != mask.size:
            sizes = " and ".join(f"{width} × {height}" for width, height in (image.size, mask.size))
            raise ValueError(
                f"expected a mask of the photograph's size, got {sizes} pixels for {row['mask']}"
            )
        return pixels, square(mask, size, InterpolationMode.NEAREST)
