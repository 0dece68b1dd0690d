"""Crop the part of an image that a map points at, so that a gradient still reaches the map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def centre(maps: Float[Tensor, "B 1 h w"]) -> Float[Tensor, "B 2"]:
    r"""Return the mean position of a map, :math:`\sum_i a_i p_i / \sum_i a_i` (soft-argmax).

    The coordinates of the highest position have no gradient, but this mean moves with every weight.
    If a map has two peaks, its mean lies between them, at neither peak.

    Returns:
        Coordinates x and y, from −1 (left, top) to 1 (right, bottom).

    Raises:
        ValueError: If a map has negative or non-finite values, or is zero everywhere.
    """
    total = maps.sum(dim=(1, 2, 3))  # (B,)
    if not (maps.isfinite().all() and (maps >= 0).all() and (total > 0).all()):
        raise ValueError("expected finite, non-negative maps, none of them zero everywhere")
    h, w = maps.shape[2:]
    # Coordinates of the middles of the positions: with 2 positions, −1/2 and 1/2.
    x, y = ((2 * torch.arange(n, device=maps.device) + 1) / n - 1 for n in (w, h))
    sum_x = (maps.sum(dim=(1, 2)) * x).sum(dim=1)  # (B, w) → (B,)
    sum_y = (maps.sum(dim=(1, 3)) * y).sum(dim=1)  # (B, h) → (B,)
    return torch.stack([sum_x, sum_y], dim=1) / total[:, None]


def crop(
    images: Float[Tensor, "B C H W"],
    centres: Float[Tensor, "B 2"],
    *,
    share: float = 0.5,
    size: int | None = None,
) -> Float[Tensor, "B C _ _"]:
    """Crop a square window around a centre from each image. The window stays inside the image.

    Each pixel of the window is interpolated between four pixels of the image (bilinear sampling).
    So the window changes smoothly when it moves, and a gradient reaches the centre, except in a
    direction in which the border has stopped the window.

    Source: Jaderberg et al. 2015, "Spatial Transformer Networks", with a fixed scale.

    Args:
        images: Square images.
        centres: Coordinates x and y from −1 to 1, as `centre` returns them.
        share: Side of the window divided by the side of the image, in (0, 1].
        size: Side of the result in pixels. If None, the side of the image times the share.

    Raises:
        ValueError: If the images are not square, the share is outside (0, 1], or the size is less
            than 1.
    """
    if images.shape[-1] != images.shape[-2]:
        raise ValueError(f"expected square images, got {tuple(images.shape)}")
    size = max(1, round(images.shape[-1] * share)) if size is None else size
    if not 0 < share <= 1 or size < 1:
        raise ValueError(
            f"expected a share in (0, 1] and a size of at least 1, got {share} and {size}"
        )
    # An affine map takes each position of the window to its position in the image: scaled by the
    # share, then moved to the centre.
    theta = images.new_zeros(len(images), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = share
    theta[:, :, 2] = centres.clamp(share - 1, 1 - share)  # here the window stays inside
    grid = F.affine_grid(theta, [*images.shape[:2], size, size], align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)  # (B, C, size, size)
