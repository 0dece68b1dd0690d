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
from course_utils.explain.diagnosis import suggest_layers
from course_utils.explain.grad_cam import activation_and_gradient, gradcam
from course_utils.explain.targets import Contrast, logits_of


def chosen_layer(
    answer, network: nn.Module, images: Tensor, labels: Tensor, regions: Tensor
) -> str:
    """Choose the layer with the best IoU on the first half of the images; score it on the second.

    Args:
        answer: The name of the layer, and its mean best IoU on the second half.
        network: A network that the chapter doesn't use elsewhere.
        images: Some images for it.
        labels: Their classes.
        regions: The boxes, true inside.
    """
    chosen, score = answer
    names = [layer.name for layer in suggest_layers(network, images[:1])]
    score = as_number(score, "The score")
    require(chosen in names, f"Choose one of the layers {', '.join(names)}, by its name.")
    require(0 <= score <= 1, f"A best IoU lies between 0 and 1, but yours is {score:.3g}.")
    half, of_layers = len(images) // 2, {}
    for name in names:
        m = gradcam(network, images, name, labels)
        of_layers[name] = metrics.best_iou(m, regions)
    best = max(names, key=lambda name: of_layers[name][:half].mean().item())
    refuse(
        chosen == names[0] != best,
        f"{chosen} is the deepest layer. Another one scores higher on the first half.",
    )
    require(chosen == best, f"{chosen} isn't the layer with the highest score on the first half.")
    own = of_layers[best]
    mistakes = [
        (own[:half].mean(), "That's the score on the images that chose the layer. Use the others."),
        (own.mean(), "That's the score on all images, and half of them chose the layer."),
    ]
    expected = own[half:].mean().item()
    otherwise = "The layer is right. Take the mean best IoU of its maps of the second half."
    require_number(score, expected, mistakes, otherwise)
    others = ", ".join(f"{name} {of_layers[name][half:].mean():.3f}" for name in names)
    return f"Right: {best}. On the second half, the layers score {others}."


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


def _same_map(one: Tensor, other: Tensor) -> bool:
    """Return whether two maps agree, however small their values are."""
    return is_close(one / other.abs().max(), other / other.abs().max())
