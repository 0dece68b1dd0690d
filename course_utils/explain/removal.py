"""What all scores share that remove pixels: the order of the pixels, and the target's probability.

The order comes from the map, upsampled to the size of the images. The target is settled once, by
the predictions for whole images, and stays the same while pixels disappear.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_utils.core.tensor_checks import check_maps
from course_utils.explain.targets import Score, probability_per_image


def upsampled_maps(
    maps: Float[Tensor, "B 1 h w"], images: Float[Tensor, "B C H W"]
) -> Float[Tensor, "B 1 H W"]:
    """Return maps, interpolated bilinearly to the size of the images.

    Raises:
        ValueError: If there is not one map per image, or a map is negative or not finite.
    """
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


def removal_ranks(maps: Float[Tensor, "B 1 H W"]) -> Int[Tensor, "B 1 H W"]:
    """Return the rank of each pixel, 0 for the highest value; ties get a fixed random order.

    In reading order, a uniform map would remove the upper half of the image first.
    """
    flat = maps.flatten(1)
    source = torch.Generator().manual_seed(0)
    shuffle = torch.randperm(flat.shape[1], generator=source).to(flat.device)
    # A stable sort keeps equal values in their shuffled order.
    order = shuffle[flat[:, shuffle].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1).view_as(maps)  # the inverse permutation


def settled_target(
    model: nn.Module, images: Float[Tensor, "B C H W"], score: Score
) -> tuple[Score, Float[Tensor, " B"]]:
    """Return the target, settled by the predictions for whole images, and its probability."""
    output = model(images.clone())
    settled = score.settled(output)
    return settled, probability_per_image(settled, output, len(images))


def target_probability(
    model: nn.Module, images: Float[Tensor, "B C H W"], score: Score
) -> Float[Tensor, " B"]:
    """Return the probability of a settled target for each image."""
    # The network gets a copy, as it may change its input.
    return probability_per_image(score, model(images.clone()), len(images))
