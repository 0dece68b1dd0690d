"""Glimpses: what a network sees that looks at an image through a few small windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from course_utils.attention.crops import crop


def retina(
    images: Float[Tensor, "B C H W"],
    centres: Float[Tensor, "B 2"],
    sides: Sequence[int],
    *,
    size: int,
) -> Float[Tensor, "B _ _ _"]:
    """Return windows of several sides around one centre, all shrunk to the same small size.

    A small window is sharp and shows little, a large one is blurred and shows more, as on the
    retina of an eye. A window that would cross the border is moved into the image. A gradient
    reaches the centre, as in `crops.crop`.

    Source: the glimpse sensor of Mnih et al. 2014, section 3.1. There, a window may cross the
    border, and what lies outside is empty.

    Args:
        images: Square images.
        centres: Coordinates x and y, from −1 (left, top) to 1 (right, bottom).
        sides: Sides of the windows in pixels: multiples of `size`, at most the side of the image.
        size: Side of each window in the result. All pixels that fall into one are averaged.

    Returns:
        The windows one after the other, as channels.

    Raises:
        ValueError: If the images are not square, or a side doesn't fit.
    """
    whole = images.shape[-1]
    if size < 1 or any(side % size or not size <= side <= whole for side in sides):
        raise ValueError(
            f"expected sides that are multiples of {size} and at most {whole}, got {tuple(sides)}"
        )
    windows = [  # the largest window fills the image, wherever its centre is
        images if side == whole else crop(images, centres, share=side / whole, size=side)
        for side in sides
    ]
    shrunk = [F.avg_pool2d(window, window.shape[-1] // size) for window in windows]
    return torch.cat(shrunk, dim=1)  # (B, C · windows, size, size)


def cell_centres(n: int) -> Float[Tensor, "cells 2"]:
    """Return the centres x and y of the n × n cells of a grid over the image, row by row."""
    line = (2 * torch.arange(n) + 1) / n - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)  # (n, n, 2) → (n · n, 2)
