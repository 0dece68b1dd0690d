"""Does a map show what the network uses? Remove the pixels it highlights, or keep only them.

These scores need no region, only the network. But the altered images are unlike any that the
network was trained on, so a drop can mean that something important is missing, or merely that the
image looks strange. The control is the map of another image: it is as smooth, and independent of
this image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.explain.networks import batches, check_input, running, unwrapped
from course_utils.explain.removal import (
    removal_ranks,
    settled_target,
    target_probability,
    upsampled_maps,
)
from course_utils.explain.targets import Target, as_score


def deletion(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    maps: Float[Tensor, "B 1 h w"],
    target: Target = None,
    *,
    steps: int | Sequence[float] = 64,
    fill: Float[Tensor, "#B #C #H #W"] | float | None = None,
) -> Float[Tensor, "B points"]:
    """Return the probability of a target while the highest-valued pixels are removed step by step.

    The `area` under the curve is *low* for a map that highlights what the network needs.

    Source: Petsiuk et al. 2018, "RISE", section 4.

    Args:
        model: Any network of Python modules. Its mode and its parameters stay as they are.
        images: Input of the network. They run in batches, so the memory stays bounded.
        maps: Non-negative; upsampled to the size of the images.
        target: One class for all images, one per image, or a function from the network's output to
            one number per image; see `targets`. If None, the predicted class. The probability of a
            class is its softmax; that of a single logit or a `Label` is its sigmoid. For a function
            of your own, its value takes the place of the probability.
        steps: Number of steps, each of which removes 1 / steps of the pixels; or the shares of the
            pixels that have been removed at each point of the curve, in increasing order. A step
            must be small beside the object: if one step can remove it, all maps that highlight it
            score alike. Pixels with equal values are removed in random order.
        fill: What replaces the removed pixels: one value, or a tensor for all images or for each.
            If None, they become 0, which is black. A result that changes with the fill is partly a
            result about the fill, so compare two fills.

    Returns:
        One curve per image, from the whole image to an image of the fill alone.

    Raises:
        ValueError: If the maps, the fill or the target do not fit the images; if the number of
            steps is below 1; or if the shares are not increasing numbers from 0 to 1.
    """
    return _curves(model, images, fill, maps, target, steps, removing=True)


def insertion(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    maps: Float[Tensor, "B 1 h w"],
    target: Target = None,
    *,
    steps: int | Sequence[float] = 64,
    fill: Float[Tensor, "#B #C #H #W"] | float | None = None,
) -> Float[Tensor, "B points"]:
    """Return the probability of a target while the highest-valued pixels are added step by step.

    This is `deletion` in reverse, starting from an image of the fill alone: the `area` under the
    curve is *high* for a good map. The arguments are those of `deletion`; predictions are made from
    the whole images.

    Source: See `deletion`.

    Raises:
        ValueError: See `deletion`.
    """
    return _curves(model, images, fill, maps, target, steps, removing=False)


def area(
    curves: Float[Tensor, "*B points"],
    steps: Sequence[float] | None = None,
    *,
    floor: Float[Tensor, " *B"] | float = 0.0,
) -> Float[Tensor, " *B"]:
    """Return the area under curves of `deletion` or `insertion`, by the trapezoidal rule.

    Args:
        curves: Probabilities.
        steps: The shares of the pixels at the points of the curves; if None, equal steps from 0
            to 1.
        floor: What lies below this probability does not count. A network gives every class some
            probability, even for an image of the fill alone: the last point of a deletion, and the
            first of an insertion.

    Raises:
        ValueError: If there isn't one share per point of the curves.
    """
    points = curves.shape[-1]
    shares = torch.linspace(0, 1, points) if steps is None else torch.tensor([*steps])
    if points != len(shares):
        raise ValueError(f"expected one share per point, got {len(shares)} and {points} points")
    return torch.trapezoid(curves, shares.to(curves)) - floor * (shares[-1] - shares[0]).item()


def drop_and_increase(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    maps: Float[Tensor, "B 1 h w"],
    target: Target = None,
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Return how a target's probability changes when the image is multiplied by its map.

    The map is divided by its maximum first, so its highest position stays as it is. The arguments
    are those of `deletion`.

    Source: Chattopadhay et al. 2018, "Grad-CAM++", section 4.1.

    Returns:
        The fraction of the probability that is lost (0 if it does not fall, NaN if it was not
        above 0; lower is better), and whether the probability rises (1 or 0; higher is better).
        Their means over images are the paper's *average drop* and *increase in confidence*.

    Raises:
        ValueError: If the maps or the target do not fit the images.
    """
    model = unwrapped(model)
    check_input(model, images)
    maps = upsampled_maps(maps, images)
    highest = maps.amax(dim=(1, 2, 3), keepdim=True)
    masked = images * maps / highest.where(highest > 0, 1)
    before, after = [], []
    with running(model):
        for which, score in batches(images, as_score(target)):
            settled, whole = settled_target(model, images[which], score)
            before.append(whole)
            after.append(target_probability(model, masked[which], settled))
    old, new = torch.cat(before), torch.cat(after)
    lost = (old - new).clamp(min=0) / old.where(old > 0, torch.nan)
    return lost, (new > old).to(old.dtype)


def _curves(
    model: nn.Module,
    images: Tensor,
    fill: Tensor | float | None,
    maps: Tensor,
    target: Target,
    steps: int | Sequence[float],
    *,
    removing: bool,
) -> Float[Tensor, "B points"]:
    """Return probabilities while images turn into the fill or back, highest map values first."""
    shares = _shares(steps)
    model = unwrapped(model)
    check_input(model, images)
    rank = removal_ranks(upsampled_maps(maps, images))
    fill = _fitting(fill, images)
    start, end = (images, fill) if removing else (fill, images)
    pixels = rank[0].numel() if len(rank) else 0
    curves = []
    with running(model):
        for which, score in batches(images, as_score(target)):
            settled, _ = settled_target(model, images[which], score)
            curve = []
            for share in shares:
                changed = rank[which] < round(share * pixels)
                mixed = torch.where(changed, end[which], start[which])
                curve.append(target_probability(model, mixed, settled))
            curves.append(torch.stack(curve, dim=1))
    return torch.cat(curves)


def _shares(steps: int | Sequence[float]) -> list[float]:
    """Return the shares of the pixels that have changed at each point of a curve."""
    if isinstance(steps, int) and steps >= 1:
        return [step / steps for step in range(steps + 1)]
    shares = [float(share) for share in steps] if isinstance(steps, Iterable) else []
    increasing = all(a < b for a, b in pairwise(shares))
    if len(shares) < 2 or not (increasing and shares[0] >= 0 and shares[-1] <= 1):
        raise ValueError(
            "expected a whole number of steps, at least 1, or increasing shares of the pixels from "
            f"0 to 1, got {steps}"
        )
    return shares


def _fitting(
    fill: Tensor | float | None, images: Float[Tensor, "B C H W"]
) -> Float[Tensor, "B C H W"]:
    if fill is None:
        return torch.zeros_like(images)
    try:
        fitting = torch.as_tensor(fill).to(images).expand_as(images)
    except (RuntimeError, TypeError, ValueError):
        raise ValueError(
            f"expected a fill that can be broadcast to images {tuple(images.shape)}, "
            f"got {tuple(getattr(fill, 'shape', ())) or fill!r}"
        ) from None
    if not fitting.isfinite().all():
        raise ValueError("expected a finite fill, got NaN or infinite values")
    return fitting
