"""Look again: cut out the part of an image that a map points at, so that a gradient still reaches the map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def centre(maps: Float[Tensor, "B 1 h w"]) -> Float[Tensor, "B 2"]:
    r"""The mean place of a map, :math:`\sum_i a_i p_i / \sum_i a_i`, as x, y from -1 (left, top) to 1.

    A highest position has no slope; this mean moves with every weight (soft-argmax). With two peaks it falls between
    them, where neither is.

    Raises:
        ValueError: a map with negative or non-finite values, or one that is zero everywhere.
    """
    total = maps.sum(dim=(1, 2, 3))
    if not (maps.isfinite().all() and (maps >= 0).all() and (total > 0).all()):
        raise ValueError("expected finite, non-negative maps, none of them zero everywhere")
    h, w = maps.shape[2:]
    x, y = (
        (2 * torch.arange(n, device=maps.device) + 1) / n - 1 for n in (w, h)
    )  # the middles of the positions
    place = torch.stack(
        [(maps.sum(dim=(1, 2)) * x).sum(dim=1), (maps.sum(dim=(1, 3)) * y).sum(dim=1)], dim=1
    )
    return place / total[:, None]


def crop(
    images: Float[Tensor, "B C H W"],
    centres: Float[Tensor, "B 2"],
    *,
    share: float = 0.5,
    size: int | None = None,
) -> Float[Tensor, "B C _ _"]:
    """Cut a square window out of each image around a centre; it stays inside the image.

    Each pixel of the window is read between four pixels of the image (bilinear sampling), so it changes smoothly when
    the window moves, and slopes lead to the centre, except in a direction in which the border has stopped it. Source:
    Jaderberg et al. 2015, "Spatial Transformer Networks", with a fixed scale.

    Args:
        images: to look at again.
        centres: x, y from -1 to 1, as `centre` gives them.
        share: side of the window as a share of the image's.
        size: side of the result in pixels; without, that of the images times the share.

    Raises:
        ValueError: images that are not square, a share outside (0, 1], or a size below 1.
    """
    if images.shape[-1] != images.shape[-2]:
        raise ValueError(f"expected square images, got {tuple(images.shape)}")
    size = max(1, round(images.shape[-1] * share)) if size is None else size
    if not 0 < share <= 1 or size < 1:
        raise ValueError(
            f"expected a share in (0, 1] and a size of at least 1, got {share} and {size}"
        )
    theta = images.new_zeros(
        len(images), 2, 3
    )  # takes a place in the window to its place in the image
    theta[:, 0, 0] = theta[:, 1, 1] = share
    theta[:, :, 2] = centres.clamp(share - 1, 1 - share)
    grid = F.affine_grid(theta, [*images.shape[:2], size, size], align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
