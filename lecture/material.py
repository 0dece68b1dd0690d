"""Test images, shipped networks and their maps, shared by the lecture's figures and numbers."""

import copy
from functools import cache

import torch
from torch import Tensor, nn

from course_utils.data.splits import load
from course_utils.studies import shipped
from course_utils.studies.presets import PRESETS

SMALL = shipped.adapt("learn_to_pay_attention", PRESETS["cpu"])  # images of 32 pixels
GUIDED = {
    "pc + softmax": "pay_pc",
    "scaled dp + softmax": "pay_scaled_dp",
    "pc + sigmoid": "pay_pc_sigmoid",
}
# The index of the first layer behind the last tap: conv 14 and 15, which lead to g alone.
BEHIND_LAST_TAP = 41
DRAWS = (101, 102, 103)  # seeds of the freshly initialised layers that replace the trained ones


@cache
def images(count: int, *, small: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the first test images, so that no image is picked by hand.

    Args:
        count: How many images.
        small: Whether they have 32 pixels per side, as in the chapter Learn to Pay Attention. If
            False, they have 64, as in the chapter AttnVGG.

    Returns:
        The images (N, 1, H, W), their labels (N), the regions of the digits (N, 1, H, W), and
        their boxes (N, 4).
    """
    # Only the test split is used. Of the small images, the first 1,000 test images are composed, as
    # in the chapters Learn to Pay Attention and Results.
    counts = {"train": 1, "val": 1}
    if small:
        counts["test"] = 1000
    options = SMALL.data if small else PRESETS["cpu"].data
    data = load(**options | {"counts": counts}).test
    columns = zip(*(data[i] for i in range(count)))
    return *(torch.stack(column) for column in columns), data.boxes[:count]


def titles(labels: Tensor) -> list[str]:
    """Return the title of each image."""
    return [f"a {label}" for label in labels.tolist()]


def relative_to_mean(maps: Tensor) -> Tensor:
    """Divide each map (N, 1, h, w) by its mean, so a uniform map is 1 everywhere.

    In this unit, maps of different kinds can share a colour scale.
    """
    # A map of zeros stays zero.
    return maps / maps.mean(dim=(2, 3), keepdim=True).clamp(min=1e-12)


def trained(variant: str) -> nn.Module:
    """Return a trained network that the package ships, loaded anew at each call."""
    return shipped.load(variant)[0]


@cache
def guided(variant: str) -> list[nn.Module]:
    """Return a network of the chapter Learn to Pay Attention, and copies without its trained g.

    In each copy, freshly initialised layers replace those behind the last tap. These layers only
    compute the global vector g.
    """
    network = trained(variant)
    versions = [network]
    for seed in DRAWS:
        fresh = shipped.build(variant, SMALL, seed=seed)
        other = copy.deepcopy(network)
        other.features[BEHIND_LAST_TAP:].load_state_dict(
            fresh.features[BEHIND_LAST_TAP:].state_dict()
        )
        other.dense.load_state_dict(fresh.dense.state_dict())
        versions.append(other)
    return versions


@cache
def maps(variant: str) -> tuple[Tensor, ...]:
    """Return the maps of an AttnVGG variant for the first eight test images."""
    with torch.inference_mode():
        return trained(variant)(images(8)[0]).maps
