"""How well a map finds the right place: the pointing game and the energy inside a region, with their chance level.

A map is upsampled bilinearly to the size of the region first. A uniform map scores `area_share` on both metrics, which
is therefore the chance level to print beside them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def pointing_game(maps: Float[Tensor, "B 1 h w"], regions: Bool[Tensor, "B 1 H W"]) -> Float[Tensor, " B"]:
    """Whether the map's maximum lies in the region: 1 or 0, or the share of the maxima if there are several.

    Source: Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", without its margin in pixels.

    Raises:
        ValueError: see `fit_to`.
    """
    maps = fit_to(maps, regions)
    highest = maps >= maps.amax(dim=(1, 2, 3), keepdim=True) * (1 - 1e-6)  # interpolation rounds equals apart
    return (highest & regions).sum(dim=(1, 2, 3)) / highest.sum(dim=(1, 2, 3))


def energy_inside(maps: Float[Tensor, "B 1 h w"], regions: Bool[Tensor, "B 1 H W"]) -> Float[Tensor, " B"]:
    """Share of the map's sum that lies in the region, in [0, 1]; 0 for a map that is zero everywhere.

    Source: Wang et al. 2020, "Score-CAM": the energy-based pointing game.

    Raises:
        ValueError: see `fit_to`.
    """
    maps = fit_to(maps, regions)
    total = maps.sum(dim=(1, 2, 3))
    return (maps * regions).sum(dim=(1, 2, 3)) / total.where(total > 0, torch.ones_like(total))


def area_share(regions: Bool[Tensor, "B 1 H W"]) -> Float[Tensor, " B"]:
    """Share of the image that the region covers: what a uniform map, or a random point, scores."""
    return regions.float().mean(dim=(1, 2, 3))


def centre_prior(size: int) -> Float[Tensor, "1 1 S S"]:
    """A map that always looks at the middle: a Gaussian whose standard deviation is a quarter of the side."""
    x = (torch.arange(size) + 0.5) / size - 0.5
    bump = torch.exp(-(x**2) / (2 * 0.25**2))
    return (bump[:, None] * bump)[None, None]


def fit_to(maps: Float[Tensor, "B 1 h w"], regions: Bool[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 H W"]:
    """Check that maps can be scored against regions, and upsample them to the regions' size.

    Raises:
        ValueError: shapes that do not belong together, or a map with negative or non-finite values.
    """
    if maps.ndim != 4 or regions.ndim != 4 or maps.shape[:2] != (len(regions), 1) or regions.shape[1] != 1:
        given = f"{tuple(maps.shape)} and {tuple(regions.shape)}"
        raise ValueError(f"expected maps (B, 1, h, w) and regions (B, 1, H, W), got {given}")
    if not (maps.isfinite().all() and (maps >= 0).all()):
        raise ValueError(f"expected finite, non-negative maps, got values from {maps.min():.3g} to {maps.max():.3g}")
    return F.interpolate(maps.float(), size=regions.shape[-2:], mode="bilinear", align_corners=False)
