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
CLOCKWISE = [
    (-1, 0),
    (-1, 1),
    (0, 1),
    (1, 1),
    (1, 0),
    (1, -1),
    (0, -1),
    (-1, -1),
]  # rows and columns, from the north


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
    fine = (
        F.interpolate(digit[None, None].float(), scale_factor=FINER, mode="bilinear")[0, 0] >= 128
    )
    left, paths = {tuple(at) for at in skeleton(fine).nonzero().tolist()}, []
    if not left:
        raise ValueError(
            f"expected a digit with lines of 128 or more, got one whose brightest pixel is {digit.max()}"
        )
    seen: set[tuple[int, int]] = set()
    while left:
        ends = sorted(at for at in left if len(_around(at, left)) + len(_around(at, seen)) <= 1)
        joins = sorted(at for at in left if _around(at, seen))
        at = (joins or ends or sorted(left))[0]
        path = [
            *_around(at, seen)[:1],
            at,
        ]  # it sets out from a line that is there already, or where one ends
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
    centres = torch.arange(size, dtype=torch.float64) + 0.5
    ink = torch.zeros(size, size, dtype=torch.float64)
    for path in paths:
        points = torch.tensor(path, dtype=torch.float64)
        to = torch.diff(
            points, dim=0, append=points[-1:]
        )  # from each point to the next, and a dot at the end
        dx, dy = to[:, :, None, None].unbind(dim=1)  # (points, 1, 1)
        x, y = (
            centres - points[:, :1, None],
            centres[:, None] - points[:, 1:, None],
        )  # from each point to each pixel
        along = ((x * dx + y * dy) / (dx * dx + dy * dy).clamp(min=1e-12)).clamp(0, 1)
        nearest = torch.hypot(x - along * dx, y - along * dy).amin(dim=0)
        ink = torch.maximum(ink, (width / 2 + 0.5 - nearest).clamp(0, 1))
    return ink.float()
