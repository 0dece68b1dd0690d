"""How well a map finds the right place: pointing, energy and overlap, how far it spreads, and what chance scores.

A map is upsampled bilinearly to the size of the region first. A uniform map scores `area_share` on the pointing game,
the energy and both overlaps, which is therefore the chance level to print beside them. `centre_prior` and `edge_map`
are maps that know nothing of a network: what does not beat them has not shown that it looks into one. `bootstrap` says
how much another draw of images might change a mean.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from scipy import stats
from torch import Tensor

from course_utils.core.tensor_checks import check_maps


def pointing_game(
    maps: Float[Tensor, "B 1 h w"], regions: Bool[Tensor, "B 1 H W"]
) -> Float[Tensor, " B"]:
    """Whether the map's maximum lies in the region: 1 or 0, or the share of the maxima if there are several.

    Source: Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", without its margin in pixels.

    Raises:
        ValueError: see `fit_to`.
    """
    maps = fit_to(maps, regions)
    highest = maps >= maps.amax(dim=(1, 2, 3), keepdim=True) * (
        1 - 1e-6
    )  # interpolation rounds equals apart
    return (highest & regions).sum(dim=(1, 2, 3)) / highest.sum(dim=(1, 2, 3))


def energy_inside(
    maps: Float[Tensor, "B 1 h w"], regions: Bool[Tensor, "B 1 H W"]
) -> Float[Tensor, " B"]:
    """Share of the map's sum that lies in the region, in [0, 1]; 0 for a map that is zero everywhere.

    Source: Wang et al. 2020, "Score-CAM": the energy-based pointing game.

    Raises:
        ValueError: see `fit_to`.
    """
    maps = fit_to(maps, regions)
    total = maps.sum(dim=(1, 2, 3))
    return (maps * regions).sum(dim=(1, 2, 3)) / total.where(total > 0, torch.ones_like(total))


def energy_by_position(
    regions: Bool[Tensor, "N 1 H W"], grid: tuple[int, int]
) -> Float[Tensor, "N positions"]:
    """The energy inside a region of each map that has all its weight on one position.

    If the grid divides the region's size, `energy_inside` of any map on that grid is the mean of
    these values, weighted by the map: upsampling is linear, and by a whole factor it spreads every
    position over equally many pixels. That lets a page score a map without upsampling it.

    Args:
        regions: One boolean mask per image.
        grid: Height h and width w of the maps; positions are counted row by row, h · w in all.

    Returns:
        One row per region, with values in [0, 1].

    Raises:
        ValueError: If the grid does not divide the size of the regions.
    """
    h, w = grid
    height, width = regions.shape[-2:]
    if h < 1 or w < 1 or height % h or width % w:
        raise ValueError(
            f"expected a grid that divides regions of {height} × {width} pixels, got {h} × {w}"
        )
    one_position = torch.eye(h * w, device=regions.device).view(h * w, 1, h, w)
    return torch.stack(
        [energy_inside(one_position, region.expand(h * w, 1, -1, -1)) for region in regions]
    )


def iou(
    maps: Float[Tensor, "B 1 h w"], regions: Bool[Tensor, "B 1 H W"], threshold: float = 0.5
) -> Float[Tensor, " B"]:
    """Intersection over union of the region and what reaches a share of the map's own maximum, in [0, 1].

    A map that finds one spot of a large region scores low here, however right the spot is: read it beside the others.

    Raises:
        ValueError: a threshold outside [0, 1]; see also `fit_to`.
    """
    found = _reached(maps, regions, threshold)
    return (found & regions).sum(dim=(1, 2, 3)) / (found | regions).sum(dim=(1, 2, 3))


def covered(
    maps: Float[Tensor, "B 1 h w"], regions: Bool[Tensor, "B 1 H W"], threshold: float = 0.5
) -> Float[Tensor, " B"]:
    """Which share of the region reaches a share of the map's own maximum, in [0, 1].

    A map that is high everywhere covers everything: read it beside `iou` and `effective_share`.

    Raises:
        ValueError: see `iou`.
    """
    found = _reached(maps, regions, threshold)
    return (found & regions).sum(dim=(1, 2, 3)) / regions.sum(dim=(1, 2, 3)).clamp(min=1)


def best_iou(
    maps: Float[Tensor, "B 1 h w"], regions: Bool[Tensor, "B 1 H W"]
) -> Float[Tensor, " B"]:
    """The highest intersection over union that any threshold gives, chosen for each image, in [0, 1].

    Never below `area_share`, which the threshold 0 gives. It is what a map could do, not what it does: the threshold is
    chosen with the region in view.

    Source: Choe et al. 2020, "Evaluating Weakly Supervised Object Localization Methods Right", in the spirit of their
    MaxBoxAcc: scores should not hang on one threshold.

    Raises:
        ValueError: see `fit_to`.
    """
    ordered, order = fit_to(maps, regions).flatten(1).sort(dim=1, descending=True)
    inside = (
        regions.flatten(1).gather(1, order).cumsum(dim=1)
    )  # (B, HW): of the n highest, how many are inside
    n = torch.arange(1, ordered.shape[1] + 1, device=ordered.device)
    score = inside / (regions.sum(dim=(1, 2, 3))[:, None] + n - inside)
    # a threshold can't part equals, and interpolation rounds them apart
    last_of_equals = F.pad(ordered[:, :-1] * (1 - 1e-6) > ordered[:, 1:], (0, 1), value=True)
    return score.where(last_of_equals, 0).amax(dim=1)


def entropy(maps: Float[Tensor, "B 1 h w"]) -> Float[Tensor, " B"]:
    """Shannon entropy of a map as a distribution over its positions, in nats: from 0, one position, to ln(h · w).

    A map that is zero everywhere has none: NaN.

    Raises:
        ValueError: a map with negative or non-finite values.
    """
    check_maps(maps)
    p = maps.flatten(1).double()
    return torch.special.entr(p / p.sum(dim=1, keepdim=True)).sum(dim=1).float()


def effective_share(maps: Float[Tensor, "B 1 h w"]) -> Float[Tensor, " B"]:
    """How far a map spreads: the exponential of its entropy over its number of positions; 1 for a uniform map.

    It counts the positions that an even map with this entropy would fill. Enlarge maps of different sizes to one first.

    Raises:
        ValueError: a map with negative or non-finite values.
    """
    return entropy(maps).exp() / maps[0].numel()


def area_share(regions: Bool[Tensor, "B 1 H W"]) -> Float[Tensor, " B"]:
    """Share of the image that the region covers: what a uniform map, or a random point, scores."""
    return regions.float().mean(dim=(1, 2, 3))


def centre_prior(size: int) -> Float[Tensor, "1 1 S S"]:
    """A map that always looks at the middle: a Gaussian whose standard deviation is a quarter of the side."""
    x = (torch.arange(size) + 0.5) / size - 0.5
    bump = torch.exp(-(x**2) / (2 * 0.25**2))
    return (bump[:, None] * bump)[None, None]


def edge_map(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
    """A map that looks wherever the image changes: the length of its Sobel gradient. It knows nothing of a network.

    Source: Adebayo et al. 2018, "Sanity Checks for Saliency Maps", compare saliency maps with an edge detector.
    """
    grey = F.pad(images.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = (
        torch.tensor(
            [[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=images.dtype, device=images.device
        )
        / 8
    )
    both = torch.stack([across, across.T])[:, None]  # (2, 1, 3, 3)
    return F.conv2d(grey, both).norm(dim=1, keepdim=True)


def bootstrap(values: Float[Tensor, " N"], level: float = 0.95) -> tuple[float, float, float]:
    """Return the mean over images and the ends of its bootstrap interval, see `bootstrap_interval`.

    Raises:
        ValueError: If there are fewer than two values, or the level is outside (0, 1).
    """
    x = values.double().numpy()
    low, high = bootstrap_interval(lambda drawn: x[drawn].mean(), len(x), level=level)
    return float(x.mean()), float(low), float(high)


def bootstrap_interval(
    statistic: Callable[[np.ndarray], np.ndarray | float],
    images: int,
    *,
    level: float = 0.95,
    resamples: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile bootstrap interval of statistics of a test set (Efron 1979).

    The interval shows how much another draw of test images might change the statistics. It doesn't
    cover other training runs: train with several seeds for that.

    Args:
        statistic: Computes a value, or an array of k values, from the indices of the drawn images.
        images: Size of the test set; every resample draws that many images with replacement.
        level: Share of the resamples that lies inside the interval.
        resamples: Number of resamples.

    Returns:
        The lower and the upper ends, one per value of the statistic.

    Raises:
        ValueError: If there are fewer than two images, or the level is outside (0, 1).
    """
    if images < 2 or not 0 < level < 1:
        raise ValueError(
            f"expected at least two images and a level between 0 and 1, got {images} and {level}"
        )
    resampled = stats.bootstrap(
        (np.arange(images),),
        statistic,
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        vectorized=False,
        rng=0,
    )
    low, high = resampled.confidence_interval
    return np.asarray(low), np.asarray(high)


def fit_to(
    maps: Float[Tensor, "B 1 h w"], regions: Bool[Tensor, "B 1 H W"]
) -> Float[Tensor, "B 1 H W"]:
    """Check that maps can be scored against regions, and upsample them to the regions' size.

    Raises:
        ValueError: shapes that do not belong together, or a map with negative or non-finite values.
    """
    if (
        maps.ndim != 4
        or regions.ndim != 4
        or maps.shape[:2] != (len(regions), 1)
        or regions.shape[1] != 1
    ):
        given = f"{tuple(maps.shape)} and {tuple(regions.shape)}"
        raise ValueError(f"expected maps (B, 1, h, w) and regions (B, 1, H, W), got {given}")
    check_maps(maps)
    return F.interpolate(
        maps.float(), size=regions.shape[-2:], mode="bilinear", align_corners=False
    )


def _reached(maps: Tensor, regions: Tensor, threshold: float) -> Bool[Tensor, "B 1 H W"]:
    if not 0 <= threshold <= 1:
        raise ValueError(f"expected a threshold from 0 to 1, got {threshold}")
    maps = fit_to(maps, regions)
    highest = maps.amax(dim=(1, 2, 3), keepdim=True)
    return (maps >= highest * threshold * (1 - 1e-6)) & (highest > 0)  # a blank map reaches nothing
