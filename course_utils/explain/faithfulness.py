"""Does a map show what the network uses? Take the pixels it names away, or keep nothing else, and ask again.

These need no region, only the network. But altered images are images that it has never been trained on, so a drop may
mean that something important has gone, or that the image looks strange. Compare with the map of another image, which
is as smooth and knows nothing of this one.
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
    """The probability of a class while the pixels with the highest values are taken away, a share at a time.

    The mean of a curve is the area under it: a map that names what the network needs has a *low* one.

    Source: Petsiuk et al. 2018, "RISE", section 4.

    Args:
        model: any network that returns logits; it is left as it was.
        images: as the network takes them.
        maps: non-negative; enlarged to the images.
        classes: one for all images, or one an image; without, the class that the network predicts.
        steps: how many times 1 / steps of the pixels go. Equal values go in random order.
        fill: what stands where a pixel has been taken away; black, unless given.

    Raises:
        ValueError: maps or classes that do not fit, or a number of steps below 1.
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
    """The same the other way round: from an empty image, the pixels with the highest values come first.

    Here a good map has a *high* area. Without classes, they are those predicted for the whole images.

    Source: see `deletion`.

    Raises:
        ValueError: see `deletion`.
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
    """What happens to the probability of a class where only the map shines through: image × map / its maximum.

    Source: Chattopadhay et al. 2018, "Grad-CAM++", section 4.1.

    Returns:
        Which share of the probability is lost (0 if none; lower is better), and whether it has grown (1 or 0; higher is
        better). The mean over images is the paper's *average drop* and *increase in confidence*.

    Raises:
        ValueError: maps or classes that do not fit.
    """
    maps = _enlarged(maps, images)
    highest = maps.amax(dim=(1, 2, 3), keepdim=True)
    with evaluating(unwrapped(model)) as network:
        whole = logits_of(network(images))
        classes = target_classes(classes, whole)
        shone = logits_of(network(images * maps / highest.where(highest > 0, 1)))
    before, after = (
        logits.softmax(dim=1).gather(1, classes[:, None])[:, 0] for logits in (whole, shone)
    )
    return (before - after).clamp(min=0) / before, (after > before).to(before.dtype)


def _curves(
    model: nn.Module, start: Tensor, end: Tensor, maps: Tensor, classes: Targets, steps: int
) -> Float[Tensor, "B steps_and_1"]:
    """The probability of the classes on the way from one image to another, the highest values of the map first."""
    if steps < 1:
        raise ValueError(f"expected at least 1 step, got {steps}")
    maps = _enlarged(maps, start)
    rank, curve = _ranks(maps), []
    with evaluating(unwrapped(model)) as network:
        for step in range(steps + 1):
            changed = rank < round(step / steps * rank[0].numel())
            logits = logits_of(network(torch.where(changed, end, start)))
            classes = target_classes(classes, logits)  # without classes, those of the first step
            curve.append(logits.softmax(dim=1).gather(1, classes[:, None])[:, 0])
    return torch.stack(curve, dim=1)


def _ranks(maps: Float[Tensor, "B 1 H W"]) -> Int[Tensor, "B 1 H W"]:
    """The place of each pixel if the highest come first; equal ones in random order, the same every time."""
    flat = maps.flatten(1)
    shuffle = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(0)).to(
        flat.device
    )
    order = shuffle[flat[:, shuffle].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1).view_as(maps)


def _enlarged(maps: Tensor, images: Tensor) -> Float[Tensor, "B 1 H W"]:
    if maps.ndim != 4 or maps.shape[:2] != (len(images), 1):
        raise ValueError(
            f"expected maps (B, 1, h, w) for {len(images)} images, got {tuple(maps.shape)}"
        )
    check_maps(maps)
    return F.interpolate(
        maps.to(images.dtype), size=images.shape[-2:], mode="bilinear", align_corners=False
    )
