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

from course_utils.core.eval_mode import evaluating
from course_utils.core.targets import Targets, target_classes
from course_utils.core.tensor_checks import check_maps
from course_utils.explain.grad_cam import logits_of, unwrapped


def deletion(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    maps: Float[Tensor, "B 1 h w"],
    classes: Targets = None,
    *,
    steps: int = 16,
    fill: Float[Tensor, "B C H W"] | None = None,
) -> Float[Tensor, "B steps_and_1"]:
    """Return the probability of a class while the highest-valued pixels are removed step by step.

    The mean of a curve is the area under it. It is *low* for a map that highlights what the network
    needs.

    Source: Petsiuk et al. 2018, "RISE", section 4.

    Args:
        model: Any network that returns logits. Its mode and its parameters stay as they are.
        images: Input of the network.
        maps: Non-negative; upsampled to the size of the images.
        classes: One class for all images, or one per image. If None, the predicted class.
        steps: Number of steps; each removes 1 / steps of the pixels. Pixels with equal values are
            removed in random order.
        fill: What replaces the removed pixels. If None, black. A result that changes with the fill
            is partly a result about the fill, so compare two fills.

    Returns:
        One curve per image, from the whole image to an image of the fill alone.

    Raises:
        ValueError: If the maps or the classes do not fit the images, or steps is below 1.
    """
    fill = torch.zeros_like(images) if fill is None else fill
    return _curves(model, images, fill, maps, classes, steps)


def insertion(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    maps: Float[Tensor, "B 1 h w"],
    classes: Targets = None,
    *,
    steps: int = 16,
    fill: Float[Tensor, "B C H W"] | None = None,
) -> Float[Tensor, "B steps_and_1"]:
    """Return the probability of a class while the highest-valued pixels are added step by step.

    This is `deletion` in reverse, starting from an image of the fill alone: the area under the
    curve is *high* for a good map. The arguments are those of `deletion`; if classes is None, they
    are predicted from the whole images.

    Source: See `deletion`.

    Raises:
        ValueError: See `deletion`.
    """
    if classes is None:
        with evaluating(unwrapped(model)) as network:
            classes = logits_of(network(images)).argmax(dim=1)
    fill = torch.zeros_like(images) if fill is None else fill
    return _curves(model, fill, images, maps, classes, steps)


def drop_and_increase(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    maps: Float[Tensor, "B 1 h w"],
    classes: Targets = None,
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Return how a class's probability changes when the image is multiplied by its map.

    The map is divided by its maximum first, so its highest position stays as it is.

    Source: Chattopadhay et al. 2018, "Grad-CAM++", section 4.1.

    Returns:
        The fraction of the probability that is lost (0 if it does not fall; lower is better), and
        whether the probability rises (1 or 0; higher is better). Their means over images are the
        paper's *average drop* and *increase in confidence*.

    Raises:
        ValueError: If the maps or the classes do not fit the images.
    """
    maps = _upsampled(maps, images)
    highest = maps.amax(dim=(1, 2, 3), keepdim=True)
    with evaluating(unwrapped(model)) as network:
        whole = logits_of(network(images))
        classes = target_classes(classes, whole)
        masked = logits_of(network(images * maps / highest.where(highest > 0, 1)))
    before = _probability(whole, classes)
    after = _probability(masked, classes)
    return (before - after).clamp(min=0) / before, (after > before).to(before.dtype)


def _curves(
    model: nn.Module, start: Tensor, end: Tensor, maps: Tensor, classes: Targets, steps: int
) -> Float[Tensor, "B steps_and_1"]:
    """Return class probabilities while `start` turns into `end`, highest map values first."""
    if steps < 1:
        raise ValueError(f"expected at least 1 step, got {steps}")
    maps = _upsampled(maps, start)
    rank = _ranks(maps)
    curve = []
    with evaluating(unwrapped(model)) as network:
        for step in range(steps + 1):
            changed = rank < round(step / steps * rank[0].numel())
            logits = logits_of(network(torch.where(changed, end, start)))
            # If no classes are given, the first step predicts them and the later ones keep them.
            classes = target_classes(classes, logits)
            curve.append(_probability(logits, classes))
    return torch.stack(curve, dim=1)


def _probability(
    logits: Float[Tensor, "B classes"], classes: Int[Tensor, " B"]
) -> Float[Tensor, " B"]:
    return logits.softmax(dim=1).gather(1, classes[:, None])[:, 0]


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
    if maps.ndim != 4 or maps.shape[:2] != (len(images), 1):
        raise ValueError(
            f"expected maps (B, 1, h, w) for {len(images)} images, got {tuple(maps.shape)}"
        )
    check_maps(maps)
    return F.interpolate(
        maps.to(images.dtype), size=images.shape[-2:], mode="bilinear", align_corners=False
    )
