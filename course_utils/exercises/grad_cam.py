"""Exercises of the chapter Grad-CAM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_utils.exercises._feedback import (
    as_bool,
    as_number,
    as_tensor,
    is_close,
    refuse,
    require,
    require_number,
)
from course_utils.explain import metrics
from course_utils.explain.grad_cam import activation_and_gradient, gradcam
from course_utils.explain.targets import Contrast, logits_of


def below_zero(share, raw_maps: Tensor, regions: Tensor) -> str:
    """Compute the share of a map's negative part that lies in the box, averaged over the images.

    Args:
        share: The answer.
        raw_maps: Grad-CAM without the ReLU.
        regions: The boxes, true inside.
    """
    refuse(
        torch.is_tensor(share) and share.shape == (len(regions),),
        f"That is one number for each of the {len(regions)} images. Take their mean.",
    )
    share = as_number(share, "The share")
    require(0 <= share <= 1, f"A share lies between 0 and 1, but yours is {share:.3g}.")
    negative, chance = (-raw_maps).relu(), metrics.area_share(regions).mean().item()
    large = metrics.fit_to(negative, regions)
    mistakes = [
        (
            _mean_energy(raw_maps.relu(), regions),
            "That is the share of the positive part. Use the negative one.",
        ),
        (_mean_energy(raw_maps.abs(), regions), "That counts the positive part as well."),
        (chance, "That is chance: the share of a uniform map."),
        (
            negative.sum() / raw_maps.abs().sum(),
            "That is how much of the maps lies below zero. How much of this negative "
            "part is in the box?",
        ),
        (
            (large * regions).sum() / large.sum(),
            "You computed one share for all maps together, so strong maps count more. "
            "Take the mean of the shares.",
        ),
    ]
    expected = _mean_energy(negative, regions)
    otherwise = (
        "That is another share. Compute the energy in the box of a map that holds only the "
        "negative part."
    )
    require_number(share, expected, mistakes, otherwise)
    comparison = "less" if expected < chance else "more"
    return f"Right: {expected:.3f}, {comparison} than chance ({chance:.3f})."


def hires_cam(
    answer, network: nn.Module, images: Tensor, labels: Tensor, layers: dict[str, str]
) -> str:
    """Write HiResCAM, and decide at which layers it equals Grad-CAM.

    Args:
        answer: A function of an activation and a gradient, and True or False for each layer.
        network: The network of the chapter.
        images: Some images for it.
        labels: Their classes.
        layers: The module names of the layers, by the names that the answer uses.
    """
    function, equal = answer
    _check_hires_cam(function)
    require(equal.keys() == layers.keys(), f"Give an answer for each of: {', '.join(layers)}.")
    for name, claim in equal.items():
        claim = as_bool(claim, name)
        A, G = activation_and_gradient(network, images, layers[name], labels)
        hires = (G * A).sum(dim=1, keepdim=True).relu()
        require(
            claim == _same_map(hires, gradcam(network, images, layers[name], labels)),
            f"The function is right. {name}: is the gradient there the same at all positions?",
        )
    return "Right: where the gradient is the same at all positions, averaging it changes nothing."


def _check_hires_cam(function) -> None:
    A, G = torch.rand(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    m = as_tensor(function(A, G), (2, 1, 4, 5), "The map")
    total = (G * A).sum(dim=1, keepdim=True)
    refuse(
        is_close(m, total),
        "The sums are right, but they still contain evidence against the class: a ReLU is missing.",
    )
    averaged = (G.mean(dim=(2, 3), keepdim=True) * A).sum(dim=1, keepdim=True)
    refuse(
        is_close(m, averaged.relu()),
        "That is Grad-CAM. In HiResCAM each gradient counts at its own position.",
    )
    refuse(is_close(m, total.relu() / 3), "You take the mean over the channels. Take their sum.")
    refuse(
        is_close(m, (G * A).relu().sum(dim=1, keepdim=True)),
        "The ReLU comes too early: first add up the channels, including those against the class.",
    )
    require(
        is_close(m, total.relu()),
        "The values are wrong. Each position sums gradient times activation over its channels.",
    )


def contrast(answer, network: nn.Module, images: Tensor, layer: str) -> str:
    """Write Grad-CAM of the difference of two logits with Grad-CAM of single logits.

    Args:
        answer: A function of images and two classes, and whether the map would be the same with
            the ReLU.
        network: The network that the function uses.
        images: Some images for it.
        layer: The layer that the function uses.
    """
    function, same_with_relu = answer
    a, b = torch.randperm(logits_of(network(images[:1])).shape[1])[:2].tolist()
    expected = gradcam(network, images, layer, Contrast(a, b), relu=False)
    m = as_tensor(function(images, a, b), tuple(expected.shape), "The map")
    clipped_a, clipped_b = (gradcam(network, images, layer, c) for c in (a, b))
    refuse(_same_map(m, -expected), "The sign is wrong: this map says why b and not a.")
    refuse(
        _same_map(m, clipped_a - clipped_b),
        "You subtract two maps that a ReLU has clipped already.",
    )
    refuse(
        _same_map(m, expected.relu()),
        "You clip the difference at zero, but evidence for b should be negative.",
    )
    single = gradcam(network, images, layer, a, relu=False)
    refuse(
        _same_map(m, single),
        "That is the map of a alone. What does b contribute to the difference?",
    )
    require(
        _same_map(m, expected),
        "The map is wrong. How does the gradient of a difference follow from two gradients?",
    )
    require(
        as_bool(same_with_relu, "same_with_relu") == _same_map(clipped_a - clipped_b, expected),
        "The function is right. Now subtract two maps that were clipped at zero: "
        "do you get the same map?",
    )
    return "Right: two maps are enough for a contrast, as long as neither has been clipped."


def _mean_energy(m: Tensor, regions: Tensor) -> float:
    return metrics.energy_inside(m, regions).mean().item()


def _same_map(one: Tensor, other: Tensor) -> bool:
    """Return whether two maps agree, however small their values are."""
    return is_close(one / other.abs().max(), other / other.abs().max())
