"""Data augmentation for a whole batch at once, on the device where the batch is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def mirror_and_shift(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Flip each image horizontally with probability 1/2, and shift it at random.

    The shift is at most an eighth of the shorter side in each direction, and pixels from outside
    the image are black. For images of 32 pixels this is the usual augmentation on CIFAR: flips, and
    crops after padding by 4 pixels. Don't use it for digits, because a mirrored 2 is not a digit.
    """
    b, c, h, w = images.shape
    reach = min(h, w) // 8
    # Drawn on the CPU, so that a seed gives the same views on every device.
    mirrored = torch.rand(b, 1, 1, 1) < 0.5
    down, right = torch.randint(2 * reach + 1, (2, b, 1))  # (B, 1) each
    # A shifted image is a window of the padded one, and a mirrored window is the same window read
    # from right to left: one lookup of rows and columns does both.
    rows = down + torch.arange(h)  # (B, H)
    columns = right + torch.arange(w)  # (B, W)
    columns = torch.where(mirrored[:, 0, 0], columns.flip(1), columns)
    image = torch.arange(b)[:, None, None, None]
    channel = torch.arange(c)[None, :, None, None]
    padded = F.pad(images, [reach] * 4)  # (B, C, H + 2 reach, W + 2 reach)
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]  # (B, C, H, W)
