"""What figures, numbers and widgets of the lecture share: test images, and shipped networks that look at them."""

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
DRAWS = (101, 102, 103)


@cache
def images(count: int, *, small: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The first test images, which nobody chose: images, labels, regions, boxes."""
    counts = {"train": 1, "val": 1} | (
        {"test": 1000} if small else {}
    )  # as in Learn to Pay Attention and Results
    data = load(**(SMALL if small else PRESETS["cpu"]).data | {"counts": counts}).test
    columns = zip(*(data[i] for i in range(count)))
    return *(torch.stack(column) for column in columns), data.boxes[:count]


def titles(labels: Tensor) -> list[str]:
    """What stands over each image."""
    return [f"a {label}" for label in labels.tolist()]


def times_even(a: Tensor) -> Tensor:
    """A map as multiples of its mean, the unit in which maps of different kinds can share a scale."""
    return a / a.mean(dim=(2, 3), keepdim=True).clamp(min=1e-12)


def trained(variant: str) -> nn.Module:
    """Return a trained network that the package ships."""
    return shipped.load(variant)[0]


@cache
def guided(variant: str) -> list[nn.Module]:
    """Return a network of Learn to Pay Attention, and copies with fresh layers behind the last tap."""
    versions = [network := trained(variant)]
    for seed in DRAWS:
        fresh, other = shipped.build(variant, SMALL, seed=seed), copy.deepcopy(network)
        other.features[41:].load_state_dict(fresh.features[41:].state_dict())
        other.dense.load_state_dict(fresh.dense.state_dict())
        versions.append(other)
    return versions


@cache
def maps(variant: str) -> tuple[Tensor, ...]:
    """Return the maps of a network of AttnVGG for the first eight test images."""
    with torch.inference_mode():
        return trained(variant)(images(8)[0]).maps
