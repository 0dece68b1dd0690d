"""Handwriting as movements of a pen: the strokes behind the image of a digit, and ink along strokes.

MNIST has images of digits and not the movements that made them. `traced` finds lines that could have made one, so that
a drawing can be replayed point by point; `inked` is the pen.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

Path = list[list[float]]  # points x, y
FINER = 4  # an image is enlarged before it is thinned: lines through whole pixels would be stairs
CLOCKWISE = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]  # rows and columns, from the north


def skeleton(ink: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """Thin lines of ink to the width of a pixel; what hangs together stays together.

    Pixels are taken off the edges, those of the south and east and those of the north and west in turn, as long as none
    of them ends a line or holds one together. Only a speck of two by two pixels vanishes.

    Source: Zhang and Suen 1984, "A fast parallel algorithm for thinning digital patterns", with at least 3 neighbours
    instead of 2, as Lü and Wang 1986 have it: slanted lines two pixels wide would vanish otherwise.
    """
    ink, before = F.pad(ink, (1, 1, 1, 1)), None
    while before is None or not torch.equal(ink, before):
        before = ink
        for first in (True, False):
            around = torch.stack([ink.roll((-dy, -dx), (0, 1)) for dy, dx in CLOCKWISE])
            count, rises = around.sum(dim=0), (~around & around.roll(-1, 0)).sum(dim=0)
            n, e, s, w = around[::2]
            edge = ~(e & s & (n | w)) if first else ~(n & w & (e | s))
            ink = ink & ~(edge & (rises == 1) & (count >= 3) & (count <= 6))
    return ink[1:-1, 1:-1]


def traced(digit: UInt8[Tensor, "H W"]) -> list[Path]:
    """Lines of the pen that could have written a digit, in its own pixels, with (0, 0) at the upper left corner.

    Raises:
        ValueError: an image without lines of at least half the full ink.
    """
    fine = F.interpolate(digit[None, None].float(), scale_factor=FINER, mode="bilinear")[0, 0] >= 128
    left, paths = {tuple(at) for at in skeleton(fine).nonzero().tolist()}, []
    if not left:
        raise ValueError(f"expected a digit with lines of 128 or more, got one whose brightest pixel is {digit.max()}")
    seen: set[tuple[int, int]] = set()
    while left:
        ends = sorted(at for at in left if len(_around(at, left)) + len(_around(at, seen)) <= 1)
        joins = sorted(at for at in left if _around(at, seen))
        at = (joins or ends or sorted(left))[0]
        path = [*_around(at, seen)[:1], at]  # it sets out from a line that is there already, or where one ends
        left.remove(at)
        seen.add(at)
        while ahead := _around(at, left):
            at = ahead[0]
            path.append(at)
            left.remove(at)
            seen.add(at)
        path += [p for p in _around(at, seen) if p not in path[-3:]][:1]  # a ring is closed
        kept = [*path[:-1:FINER], path[-1]]
        paths.append([[(x + 0.5) / FINER, (y + 0.5) / FINER] for y, x in kept])
    return paths


def _around(at: tuple[int, int], places: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those of the places that touch one, the ones that share a side with it first."""
    steps = CLOCKWISE[::2] + CLOCKWISE[1::2]
    return [there for dy, dx in steps if (there := (at[0] + dy, at[1] + dx)) in places]


def inked(paths: Sequence[Path], size: int, width: float) -> Float[Tensor, "size size"]:
    """What a round pen leaves along lines: 1 within half its width, and less over the next pixel.

    Args:
        paths: in pixels, with (0, 0) at the upper left corner; a path of one point is a dot.
        size: side of the square in pixels.
        width: of the line where the ink is half, in pixels.
    """
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    ink = torch.zeros(size, size)
    for path in paths:
        for (x0, y0), (x1, y1) in zip(path, path[1:] or path):
            dx, dy = x1 - x0, y1 - y0
            along = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy or 1)).clamp(0, 1)
            distance = torch.hypot(x - x0 - along * dx, y - y0 - along * dy)
            ink = torch.maximum(ink, (width / 2 + 0.5 - distance).clamp(0, 1))
    return ink
