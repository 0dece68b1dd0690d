"""Does a map show what the network uses? Remove the pixels it highlights, or keep only them.

These scores need no region, only the network. But the altered images are unlike any that the
network was trained on, so a drop can mean that something important is missing, or merely that the
image looks strange. The control is the map of another image: it is as smooth, and independent of
this image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_utils.core.tensor_checks import check_maps
from course_utils.explain.networks import batches, check_input, running, unwrapped
from course_utils.explain.targets import Score, Target, as_score, probability_per_image


def deletion(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    maps: Float[Tensor, "B 1 h w"],
    target: Target = None,
    *,
    steps: int = 16,
    fill: Float[Tensor, "#B #C #H #W"] | float | None = None,
) -> Float[Tensor, "B steps_and_1"]:
    """Return the probability of a target while the highest-valued pixels are removed step by step.

    The mean of a curve is the area under it. It is *low* for a map that highlights what the network
    needs.

    Source: Petsiuk et al. 2018, "RISE", section 4.

    Args:
        model: Any network of Python modules. Its mode and its parameters stay as they are.
        images: Input of the network. They run in batches, so the memory stays bounded.
        maps: Non-negative; upsampled to the size of the images.
        target: One class for all images, one per image, or a function from the network's output to
            one number per image; see `targets`. If None, the predicted class. The probability of a
            class is its softmax; that of a single logit or a `Label` is its sigmoid. For a function
            of your own, its value takes the place of the probability.
        steps: Number of steps; each removes 1 / steps of the pixels. Pixels with equal values are
            removed in random order.
        fill: What replaces the removed pixels: one value, or a tensor for all images or for each.
            If None, they become 0, which is black. A result that changes with the fill is partly a
            result about the fill, so compare two fills.

    Returns:
        One curve per image, from the whole image to an image of the fill alone.

    Raises:
        ValueError: If the maps, the fill or the target do not fit the images, or steps is below 1.
    """
    return _curves(model, images, fill, maps, target, steps, removing=True)


def insertion(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    maps: Float[Tensor, "B 1 h w"],
    target: Target = None,
    *,
    steps: int = 16,
    fill: Float[Tensor, "#B #C #H #W"] | float | None = None,
) -> Float[Tensor, "B steps_and_1"]:
    """Return the probability of a target while the highest-valued pixels are added step by step.

    This is `deletion` in reverse, starting from an image of the fill alone: the area under the
    curve is *high* for a good map. The arguments are those of `deletion`; predictions are made from
    the whole images.

    Source: See `deletion`.

    Raises:
        ValueError: See `deletion`.
    """
    return _curves(model, images, fill, maps, target, steps, removing=False)


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
    maps = _upsampled(maps, images)
    highest = maps.amax(dim=(1, 2, 3), keepdim=True)
    masked = images * maps / highest.where(highest > 0, 1)
    before, after = [], []
    with running(model):
        for which, score in batches(images, as_score(target)):
            settled, whole = _settled(model, images[which], score)
            before.append(whole)
            after.append(_probability(model, masked[which], settled))
    old, new = torch.cat(before), torch.cat(after)
    lost = (old - new).clamp(min=0) / old.where(old > 0, torch.nan)
    return lost, (new > old).to(old.dtype)


def _curves(
    model: nn.Module,
    images: Tensor,
    fill: Tensor | float | None,
    maps: Tensor,
    target: Target,
    steps: int,
    *,
    removing: bool,
) -> Float[Tensor, "B steps_and_1"]:
    """Return probabilities while images turn into the fill or back, highest map values first."""
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"expected a whole number of steps, at least 1, got {steps}")
    model = unwrapped(model)
    check_input(model, images)
    rank = _ranks(_upsampled(maps, images))
    fill = _fitting(fill, images)
    start, end = (images, fill) if removing else (fill, images)
    pixels = rank[0].numel() if len(rank) else 0
    curves = []
    with running(model):
        for which, score in batches(images, as_score(target)):
            settled, _ = _settled(model, images[which], score)
            curve = []
            for step in range(steps + 1):
                changed = rank[which] < round(step / steps * pixels)
                mixed = torch.where(changed, end[which], start[which])
                curve.append(_probability(model, mixed, settled))
            curves.append(torch.stack(curve, dim=1))
    return torch.cat(curves)


def _settled(model: nn.Module, images: Tensor, score: Score) -> tuple[Score, Float[Tensor, " B"]]:
    """Return the target, settled by the predictions for whole images, and its probability."""
    output = model(images.clone())
    settled = score.settled(output)
    return settled, probability_per_image(settled, output, len(images))


def _probability(model: nn.Module, images: Tensor, score: Score) -> Float[Tensor, " B"]:
    # The network gets a copy, as it may change its input.
    return probability_per_image(score, model(images.clone()), len(images))


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


def _ranks(maps: Float[Tensor, "B 1 H W"]) -> Int[Tensor, "B 1 H W"]:
    """Return the rank of each pixel, 0 for the highest value; ties get a fixed random order.

    In reading order, a uniform map would remove the upper half of the image first.
    """
    flat = maps.flatten(1)
    source = torch.Generator().manual_seed(0)
    shuffle = torch.randperm(flat.shape[1], generator=source).to(flat.device)
    # A stable sort keeps equal values in their shuffled order.
    order = shuffle[flat[:, shuffle].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1).view_as(maps)  # the inverse permutation


def _upsampled(maps: Tensor, images: Tensor) -> Float[Tensor, "B 1 H W"]:
    fitting = isinstance(maps, Tensor) and maps.ndim == 4 and maps.shape[:2] == (len(images), 1)
    if not fitting:
        raise ValueError(
            f"expected maps (B, 1, h, w) for {len(images)} images, got "
            f"{tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__}"
        )
    check_maps(maps)
    return F.interpolate(
        maps.to(images.dtype), size=images.shape[-2:], mode="bilinear", align_corners=False
    )
