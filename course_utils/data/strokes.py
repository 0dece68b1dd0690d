"""Handwriting as movements of a pen: the strokes behind an image, and ink along strokes.

MNIST has images of digits, but not the movements that made them. `traced` finds lines that could
have made an image, so that a drawing can be replayed point by point; `inked` draws the lines again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

Path = list[list[float]]  # points x, y
Pixel = tuple[int, int]  # row, column

FINER = 4  # enlargement before thinning: lines through whole pixels would look like stairs
INK_THRESHOLD = 128  # of 255; brighter pixels belong to a line
CLOCKWISE = [  # the eight neighbours of a pixel (rows, columns), starting in the north
    (-1, 0),
    (-1, 1),
    (0, 1),
    (1, 1),
    (1, 0),
    (1, -1),
    (0, -1),
    (-1, -1),
]


def skeleton(ink: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """Thin lines of ink to the width of one pixel without breaking them.

    Pixels are removed from the edges, in turn from those in the south and east and from those in
    the north and west, as long as they neither end a line nor connect two parts of it. Only a speck
    of two by two pixels vanishes.

    Source: Zhang and Suen 1984, "A fast parallel algorithm for thinning digital patterns", with at
    least 3 neighbours instead of 2 as in Lü and Wang 1986. With 2, slanted lines that are two
    pixels wide would vanish.
    """
    ink = F.pad(ink, (1, 1, 1, 1))  # so that every pixel has eight neighbours
    before = None
    while before is None or not torch.equal(ink, before):
        before = ink
        for first in (True, False):
            around = torch.stack([ink.roll((-dy, -dx), (0, 1)) for dy, dx in CLOCKWISE])
            count = around.sum(dim=0)
            # One step from empty to ink on the way around: the neighbours are in one piece, so they
            # stay connected if the pixel goes.
            rises = (~around & around.roll(-1, 0)).sum(dim=0)
            north, east, south, west = around[::2]
            edge = ~(east & south & (north | west)) if first else ~(north & west & (east | south))
            ink = ink & ~(edge & (rises == 1) & (count >= 3) & (count <= 6))
    return ink[1:-1, 1:-1]


def traced(digit: UInt8[Tensor, "H W"]) -> list[Path]:
    """Return lines of a pen that could have written a digit.

    Returns:
        Lists of points x, y in pixels of the digit, with (0, 0) at the upper left corner.

    Raises:
        ValueError: If no part of the image has at least half the full ink.
    """
    fine = F.interpolate(digit[None, None].float(), scale_factor=FINER, mode="bilinear")[0, 0]
    left: set[Pixel] = {tuple(at) for at in skeleton(fine >= INK_THRESHOLD).nonzero().tolist()}
    if not left:
        raise ValueError(
            f"expected a digit with lines of {INK_THRESHOLD} or more, "
            f"got one whose brightest pixel is {digit.max()}"
        )
    paths = []
    seen: set[Pixel] = set()
    while left:
        path = _follow(_start(left, seen), left, seen)
        kept = [*path[:-1:FINER], path[-1]]  # one point per pixel of the digit, and the end
        paths.append([[(x + 0.5) / FINER, (y + 0.5) / FINER] for y, x in kept])
    return paths


def _start(left: set[Pixel], seen: set[Pixel]) -> Pixel:
    """Choose where the next line starts: at a line that is there already, or else at an end."""
    joins = sorted(at for at in left if _around(at, seen))
    if joins:
        return joins[0]
    ends = sorted(at for at in left if len(_around(at, left)) <= 1)
    return (ends or sorted(left))[0]  # a ring has no end


def _follow(at: Pixel, left: set[Pixel], seen: set[Pixel]) -> list[Pixel]:
    """Follow a line to its end, and move its pixels from ``left`` to ``seen``."""
    path = [*_around(at, seen)[:1], at]  # with the pixel of the line that it starts from
    left.remove(at)
    seen.add(at)
    while ahead := _around(at, left):
        at = ahead[0]
        path.append(at)
        left.remove(at)
        seen.add(at)
    # Close a ring, or join the line that this one runs into; not the pixels it has just left.
    return path + [there for there in _around(at, seen) if there not in path[-3:]][:1]


def _around(at: Pixel, pixels: set[Pixel]) -> list[Pixel]:
    """Return the neighbours of a pixel that are in a set, first those that share a side with it."""
    steps = CLOCKWISE[::2] + CLOCKWISE[1::2]
    return [there for dy, dx in steps if (there := (at[0] + dy, at[1] + dx)) in pixels]


def centred(paths: Sequence[Path], size: int, sheet: int, scale: float = 1.0) -> list[Path]:
    """Scale the lines of a digit about its middle, and move them to the middle of a sheet.

    Args:
        paths: Lists of points x, y in pixels of the digit.
        size: Side of the digit's square image in pixels.
        sheet: Side of the square sheet in pixels.
        scale: Factor on the size of the digit. The width of the pen is set later, by `inked`.

    Returns:
        Lists of points x, y in pixels of the sheet.
    """
    shift = (sheet - scale * size) / 2
    return [[[scale * x + shift, scale * y + shift] for x, y in path] for path in paths]


def inked(paths: Sequence[Path], size: int, width: float) -> Float[Tensor, "size size"]:
    """Draw lines with a round pen.

    The ink of a pixel depends on the distance from its centre to the line: it is 1 within half the
    width minus half a pixel, and falls to 0 over the next pixel. The centres are samples of the
    line, so its ink is not exactly its area: a diagonal line gets up to 0.12 too much or too little
    per pixel of its length, which is 12 % at a width of 1.

    Args:
        paths: Lists of points x, y in pixels, with (0, 0) at the upper left corner. A path of one
            point is a dot.
        size: Side of the square image in pixels.
        width: Width of the line in pixels, measured where the ink is one half; at least 1.

    Returns:
        Ink from 0 to 1.
    """
    centres = torch.arange(size, dtype=torch.float64) + 0.5
    ink = torch.zeros(size, size, dtype=torch.float64)
    for path in paths:
        points = torch.tensor(path, dtype=torch.float64)
        # Segments from each point to the next; the last point becomes one of length 0.
        to = torch.diff(points, dim=0, append=points[-1:])
        dx, dy = to[:, :, None, None].unbind(dim=1)  # (points, 1, 1)
        # From each point to each pixel, (points, 1, size) and (points, size, 1).
        x = centres - points[:, :1, None]
        y = centres[:, None] - points[:, 1:, None]
        # Position of the nearest point on each segment, as a share of its length.
        along = ((x * dx + y * dy) / (dx * dx + dy * dy).clamp(min=1e-12)).clamp(0, 1)
        nearest = torch.hypot(x - along * dx, y - along * dy).amin(dim=0)  # (size, size)
        ink = torch.maximum(ink, (width / 2 + 0.5 - nearest).clamp(0, 1))
    return ink.float()
