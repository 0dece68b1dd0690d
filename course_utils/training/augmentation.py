"""Other views of the training images, made for a whole batch at once and on the device where it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def mirror_and_shift(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Each image mirrored with probability one half, and shifted by up to an eighth of the shorter side.

    What comes in from outside is black. For 32 pixels these are the flips and the crops with 4 pixels of padding that
    are usual on CIFAR. Not for digits: a mirrored 2 is none.
    """
    b, c, h, w = images.shape
    reach = min(h, w) // 8
    mirrored = torch.rand(b, 1, 1, 1) < 0.5  # drawn on the CPU: the same on every device
    down, right = torch.randint(2 * reach + 1, (2, b, 1))
    rows, columns = (
        down + torch.arange(h),
        right + torch.arange(w),
    )  # (B, H), (B, W) in the padded image
    columns = torch.where(mirrored[:, 0, 0], columns.flip(1), columns)
    image, channel = torch.arange(b)[:, None, None, None], torch.arange(c)[None, :, None, None]
    return F.pad(images, [reach] * 4)[
        image, channel, rows[:, None, :, None], columns[:, None, None, :]
    ]
