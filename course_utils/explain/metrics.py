"""Scores of a map against the region of the object: pointing, energy, overlap and entropy.

Each score first upsamples the map bilinearly to the size of the region. A uniform map scores
`area_share` on the pointing game, the energy and both overlaps. The chance level to print beside
them is what the map of *another image* scores: it has the method's smoothness and its preference
for the centre, but no information about this image. `centre_prior` and `edge_map` need no network:
if a map does not score higher than these two, its score is no evidence that the map depends on the
network. `bootstrap` estimates
how much a mean would vary with other samples of images.

A region is a mask: booleans, or any other type with the values 0 and 1. A map of zeros and an empty
region have scores too, wherever the definition gives one. A score that is not defined, because it
would be 0 / 0, is NaN: leave it out of a mean with `Tensor.nanmean`, as `bootstrap` does.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from scipy.optimize import brentq
from torch import Tensor

from course_utils.core.resampling import bootstrap_interval
from course_utils.core.tensor_checks import as_masks, check_maps

Regions = Shaped[Tensor, "B 1 H W"]  # booleans, or 0 and 1

# Interpolation rounds equal values apart; values within this factor count as equal.
ALMOST_ONE = 1 - 1e-6


def pointing_game(maps: Float[Tensor, "B 1 h w"], regions: Regions) -> Float[Tensor, " B"]:
    """Return 1 if the maximum of a map lies in the region, and 0 otherwise.

    If several pixels share the maximum, the score is the fraction of them in the region. So a map
    of zeros scores like a uniform map, and an empty region is never hit.

    Source: Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", without their
    tolerance of some pixels around the object.

    Raises:
        ValueError: See `fit_to`.
    """
    maps, regions = _ready(maps, regions)
    highest = maps >= maps.amax(dim=(1, 2, 3), keepdim=True) * ALMOST_ONE
    return (highest & regions).sum(dim=(1, 2, 3)) / highest.sum(dim=(1, 2, 3))


def energy_inside(maps: Float[Tensor, "B 1 h w"], regions: Regions) -> Float[Tensor, " B"]:
    """Fraction of a map's sum that lies in the region, in [0, 1].

    A map of zeros has no sum to share out; it scores 0, because nothing of it is in the region.

    Source: Wang et al. 2020, "Score-CAM": the energy-based pointing game.

    Raises:
        ValueError: See `fit_to`.
    """
    maps, regions = _ready(maps, regions)
    total = maps.sum(dim=(1, 2, 3))
    return (maps * regions).sum(dim=(1, 2, 3)) / total.where(total > 0, torch.ones_like(total))


def energy_by_position(regions: Regions, grid: tuple[int, int]) -> Float[Tensor, "B positions"]:
    """Return the energy inside each region of the maps that have all weight on one position.

    If the grid divides the region's size, `energy_inside` of any map on that grid is the mean of
    these values, weighted by the map: upsampling is linear, and by a whole factor it spreads every
    position over equally many pixels. That lets a page score a map without upsampling it.

    Args:
        regions: One mask per image.
        grid: Height h and width w of the maps; positions are counted row by row, h · w in all.

    Returns:
        One row per region, with values in [0, 1].

    Raises:
        ValueError: If the grid does not divide the size of the regions, or these have values other
            than 0 and 1.
    """
    masks = as_masks("masks", regions)
    h, w = grid
    height, width = masks.shape[-2:]
    if h < 1 or w < 1 or height % h or width % w:
        raise ValueError(
            f"expected a grid that divides regions of {height} × {width} pixels, got {h} × {w}"
        )
    return _shares_inside(masks, _one_position(masks, grid))


def grid_ceiling(
    regions: Regions, grid: tuple[int, int]
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Return the best scores that a map with all weight on one position of a grid can reach.

    Maps on different grids can be compared with them in mind: on a coarse grid even the best map
    has some of its weight outside a small object. No map on the grid has more energy inside, if the
    grid divides the size of the regions; the maximum of a map that isn't all on one position may
    lie a pixel nearer to the object.

    Args:
        regions: One mask per image.
        grid: Height and width of the maps.

    Returns:
        For each region, the best `pointing_game` and the best `energy_inside`, in [0, 1].

    Raises:
        ValueError: If the grid has no position, or a region has values other than 0 and 1.
    """
    masks = as_masks("masks", regions)
    h, w = grid
    if h < 1 or w < 1:
        raise ValueError(f"expected a grid of at least 1 × 1 position, got {h} × {w}")
    maps = _one_position(masks, grid)
    highest = (maps >= maps.amax(dim=1, keepdim=True) * ALMOST_ONE).float()  # (positions, HW)
    pointing, energy = (_shares_inside(masks, marked).amax(dim=1) for marked in (highest, maps))
    return pointing, energy


def _one_position(masks: Tensor, grid: tuple[int, int]) -> Float[Tensor, "positions pixels"]:
    """Return the upsampled maps that have all weight on one position, row by row."""
    h, w = grid
    one = torch.eye(h * w, device=masks.device).view(h * w, 1, h, w)
    return F.interpolate(one, size=masks.shape[-2:], mode="bilinear").flatten(1)


def _shares_inside(
    masks: Bool[Tensor, "B 1 H W"], maps: Float[Tensor, "positions pixels"]
) -> Float[Tensor, "B positions"]:
    """Return the share of each map that lies in each mask."""
    return masks.flatten(1).float() @ (maps / maps.sum(dim=1, keepdim=True)).T


def iou(
    maps: Float[Tensor, "B 1 h w"], regions: Regions, threshold: float = 0.5
) -> Float[Tensor, " B"]:
    """Intersection over union of the region and the thresholded map, in [0, 1].

    A map that marks one spot of a large region scores low, even if the spot is correct, so read
    this score beside the others. A map of zeros marks nothing and scores 0, or NaN if the region is
    empty as well.

    Args:
        maps: Non-negative.
        regions: One boolean mask per image.
        threshold: Fraction of the map's own maximum that a pixel must reach, in [0, 1].

    Raises:
        ValueError: If the threshold is outside [0, 1]; see also `fit_to`.
    """
    marked, regions = _thresholded(maps, regions, threshold)
    return (marked & regions).sum(dim=(1, 2, 3)) / (marked | regions).sum(dim=(1, 2, 3))


def covered(
    maps: Float[Tensor, "B 1 h w"], regions: Regions, threshold: float = 0.5
) -> Float[Tensor, " B"]:
    """Fraction of the region that the thresholded map covers, in [0, 1]; NaN for an empty region.

    A map that is high everywhere covers everything, and a map of zeros covers nothing. Read this
    score beside `iou` and `effective_share`.

    Args:
        maps: Non-negative.
        regions: One boolean mask per image.
        threshold: Fraction of the map's own maximum that a pixel must reach, in [0, 1].

    Raises:
        ValueError: See `iou`.
    """
    marked, regions = _thresholded(maps, regions, threshold)
    return (marked & regions).sum(dim=(1, 2, 3)) / regions.sum(dim=(1, 2, 3))


def best_iou(maps: Float[Tensor, "B 1 h w"], regions: Regions) -> Float[Tensor, " B"]:
    """The highest intersection over union at any threshold, chosen for each image, in [0, 1].

    It is never below `area_share`, the score at threshold 0. The threshold is chosen with the
    region known, so the score is an upper bound for every threshold that is chosen without it. An
    empty region scores 0.

    Source: Choe et al. 2020, "Evaluating Weakly Supervised Object Localization Methods Right", in
    the spirit of their MaxBoxAcc: a score should not depend on one threshold.

    Raises:
        ValueError: See `fit_to`.
    """
    # Thresholding at the n-th highest value marks n pixels, so one sort covers all thresholds.
    maps, regions = _ready(maps, regions)
    ordered, order = maps.flatten(1).sort(dim=1, descending=True)  # (B, HW)
    # Among the n highest pixels, how many lie in the region
    inside = regions.flatten(1).gather(1, order).cumsum(dim=1)  # (B, HW)
    n = torch.arange(1, ordered.shape[1] + 1, device=ordered.device)
    score = inside / (regions.sum(dim=(1, 2, 3))[:, None] + n - inside)
    # No threshold separates equal values, so only the last of equals is a possible cut.
    last_of_equals = F.pad(ordered[:, :-1] * ALMOST_ONE > ordered[:, 1:], (0, 1), value=True)
    return score.where(last_of_equals, 0).amax(dim=1)


def entropy(maps: Float[Tensor, "B 1 h w"]) -> Float[Tensor, " B"]:
    """Shannon entropy of a map, read as a distribution over its positions, in nats.

    It ranges from 0, if all weight is on one position, to ln(h · w) for a uniform map, and is NaN
    for a map of zeros.

    Raises:
        ValueError: If a map has negative or non-finite values.
    """
    check_maps(maps)
    p = maps.flatten(1).double()
    return torch.special.entr(p / p.sum(dim=1, keepdim=True)).sum(dim=1).float()


def effective_share(maps: Float[Tensor, "B 1 h w"]) -> Float[Tensor, " B"]:
    """Effective fraction of the positions that a map uses: exp(entropy) / (h · w).

    It is 1 for a uniform map. In general it is the number of positions of the uniform map that has
    the same entropy, divided by the number of positions. To compare maps of different sizes,
    upsample them to the same size first. Like the entropy, it is NaN for a map of zeros.

    Raises:
        ValueError: If a map has negative or non-finite values.
    """
    return entropy(maps).exp() / maps[0].numel()


def sharpened(
    maps: Float[Tensor, "B 1 h w"], share: float
) -> tuple[Float[Tensor, "B 1 h w"], float]:
    """Raise maps to the power at which their mean `effective_share` has a given value.

    The order of the positions stays, and with it `pointing_game` and `best_iou`, but
    `energy_inside` changes. So compare the energy of two methods only at equal effective shares.

    Args:
        maps: Non-negative. Upsample them first if you compare maps of different sizes.
        share: The mean effective share, in (0, 1].

    Returns:
        The maps, each divided by its maximum and raised to the power; and the power. It lies
        between 0.01 and 100: at these ends, the share may be missed.

    Raises:
        ValueError: If the share is outside (0, 1], a map has negative or non-finite values, or all
            are zeros.
    """
    if not 0 < share <= 1:
        raise ValueError(f"expected an effective share above 0 and at most 1, got {share}")
    check_maps(maps)
    if not maps.any():
        raise ValueError("expected a map that is not blank, got zeros only")
    highest = maps.amax(dim=(1, 2, 3), keepdim=True)
    relative = maps / highest.where(highest > 0, 1)

    def excess(log_power: float) -> float:
        return effective_share(relative ** math.exp(log_power)).nanmean().item() - share

    low, high = math.log(0.01), math.log(100)
    if excess(high) > 0:
        root = high
    elif excess(low) < 0:
        root = low
    else:
        root = brentq(excess, low, high, xtol=1e-3)
    return relative ** math.exp(root), math.exp(root)


def area_share(regions: Regions) -> Float[Tensor, " B"]:
    """Fraction of the image that the region covers: the score of a uniform map or a random point.

    Raises:
        ValueError: If the regions have values other than 0 and 1.
    """
    return as_masks("masks", regions).float().mean(dim=(1, 2, 3))


def centre_prior(size: int) -> Float[Tensor, "1 1 S S"]:
    """Return the same map for every image: a Gaussian at the centre.

    Its standard deviation is a quarter of the side.
    """
    x = (torch.arange(size) + 0.5) / size - 0.5
    bump = torch.exp(-(x**2) / (2 * 0.25**2))
    return (bump[:, None] * bump)[None, None]


def edge_map(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
    """Return the length of the Sobel gradient: an edge detector, independent of any network.

    Source: Adebayo et al. 2018, "Sanity Checks for Saliency Maps", compare saliency maps with an
    edge detector.
    """
    grey = F.pad(images.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    kernel = [[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    horizontal = torch.tensor(kernel, dtype=images.dtype, device=images.device) / 8
    both = torch.stack([horizontal, horizontal.T])[:, None]  # (2, 1, 3, 3)
    return F.conv2d(grey, both).norm(dim=1, keepdim=True)  # (B, 2, H, W) to (B, 1, H, W)


def bootstrap(values: Float[Tensor, " N"], level: float = 0.95) -> tuple[float, float, float]:
    """Mean over images, with the bootstrap interval for another sample of images.

    The interval does not cover other training runs. It has the percentiles of 1,000 resamples
    (Efron 1979), always the same ones.

    Args:
        values: One score per image. Images whose score is NaN are left out.
        level: Coverage of the interval, in (0, 1).

    Returns:
        The mean, and the lower and the upper end of the interval.

    Raises:
        ValueError: If fewer than two values are left, or the level is outside (0, 1).
    """
    x = values[~values.isnan()].double().numpy()
    if len(x) < 2 or not 0 < level < 1:
        left_out = f" ({len(values) - len(x)} of them NaN)" if len(x) < len(values) else ""
        raise ValueError(
            "expected at least two values that are not NaN and a level between 0 and 1, "
            f"got {len(values)} values{left_out} and level {level}"
        )
    low, high = bootstrap_interval(lambda drawn: x[drawn].mean(), len(x), level=level)
    return float(x.mean()), float(low), float(high)


def fit_to(maps: Float[Tensor, "B 1 h w"], regions: Regions) -> Float[Tensor, "B 1 H W"]:
    """Check that maps can be scored against regions, and upsample them to the regions' size.

    Raises:
        ValueError: If the shapes do not match, a map has negative or non-finite values, or a region
            has values other than 0 and 1.
    """
    one_map_per_region = maps.ndim == 4 and maps.shape[:2] == (len(regions), 1)
    if not one_map_per_region or regions.ndim != 4 or regions.shape[1] != 1:
        given = f"{tuple(maps.shape)} and {tuple(regions.shape)}"
        raise ValueError(f"expected maps (B, 1, h, w) and regions (B, 1, H, W), got {given}")
    check_maps(maps)
    as_masks("masks", regions)
    return F.interpolate(
        maps.float(), size=regions.shape[-2:], mode="bilinear", align_corners=False
    )


def _ready(maps: Tensor, regions: Tensor) -> tuple[Tensor, Bool[Tensor, "B 1 H W"]]:
    """Return the maps at the size of the regions, and the regions as booleans."""
    regions = as_masks("masks", regions)
    return fit_to(maps, regions), regions


def _thresholded(
    maps: Tensor, regions: Tensor, threshold: float
) -> tuple[Bool[Tensor, "B 1 H W"], Bool[Tensor, "B 1 H W"]]:
    """Mark the pixels that reach a fraction of the map's maximum; none in a map of zeros.

    Returns:
        The marked pixels, and the regions as booleans.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"expected a threshold from 0 to 1, got {threshold}")
    maps, regions = _ready(maps, regions)
    highest = maps.amax(dim=(1, 2, 3), keepdim=True)
    return (maps >= highest * threshold * ALMOST_ONE) & (highest > 0), regions
