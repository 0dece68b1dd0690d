"""The exercises of chapter 10."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_utils.exercises._feedback import close, expect, number, require, tensor, truth
from course_utils.explain import metrics
from course_utils.explain.grad_cam import activation_and_gradient, gradcam, logits_of


def below_zero(share, raw_maps: Tensor, regions: Tensor) -> str:
    """Which share of what is below zero in a map lies in the box, on average over the images."""
    each = torch.is_tensor(share) and share.shape == (len(regions),)
    require(
        not each, f"That is a number for each of {len(regions)} images: their mean is asked for."
    )
    share = number(share, "The share")
    require(0 <= share <= 1, f"A share is from 0 to 1, and yours is {share:.3g}.")
    below, chance = (-raw_maps).relu(), metrics.area_share(regions).mean().item()
    large = metrics.fit_to(below, regions)
    of_all, at_once = below.sum() / raw_maps.abs().sum(), (large * regions).sum() / large.sum()
    slips = {
        "That is what lies above zero: this is about the rest.": _inside(raw_maps.relu(), regions),
        "That counts what lies above zero, too.": _inside(raw_maps.abs(), regions),
        "That is chance, the share of an even map.": chance,
        "That is how much of the maps lies below zero. How much of that is in the box?": of_all,
        "That is one share for all maps together, where strong maps count more: take the mean of the images'.": at_once,
    }
    expected = _inside(below, regions)
    otherwise = "Another share comes out: it is the energy inside of a map of what was below zero, and of nothing else."
    expect(share, expected, slips, otherwise)
    return f"Right: {expected:.3f}, {'less' if expected < chance else 'more'} than chance, which is {chance:.3f}."


def hires_cam(
    answer, network: nn.Module, images: Tensor, labels: Tensor, layers: dict[str, str]
) -> str:
    """A map without the mean of the gradient, and at which layers it is Grad-CAM all the same.

    Args:
        answer: a function of an activation and a gradient, and True or False for each layer.
        network: the chapter's.
        images: some that it is asked about.
        labels: their classes.
        layers: what the names in the answer mean.
    """
    function, equal = answer
    A, G = torch.rand(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    m = tensor(function(A, G), (2, 1, 4, 5), "The map")
    whole, mean = (G * A).sum(dim=1, keepdim=True), G.mean(dim=(2, 3), keepdim=True)
    require(
        not close(m, whole), "The sums are right. What speaks against the class is still in them."
    )
    averaged = (mean * A).sum(dim=1, keepdim=True)
    require(
        not close(m, averaged.relu()),
        "That is Grad-CAM: each gradient should count at its own position.",
    )
    require(not close(m, whole.relu() / 3), "The channels should be added up: yours is their mean.")
    early = (G * A).relu().sum(dim=1, keepdim=True)
    require(
        not close(m, early),
        "The ReLU comes too early: channels that speak against the class should count.",
    )
    require(
        close(m, whole.relu()),
        "Other values come out. At a position, all channels of that position count.",
    )
    require(
        equal.keys() == layers.keys(), f"An answer is expected for each of: {', '.join(layers)}."
    )
    for name, said in equal.items():
        said = truth(said, name)
        A, G = activation_and_gradient(network, images, layers[name], labels)
        same = _alike(
            (G * A).sum(dim=1, keepdim=True).relu(), gradcam(network, images, layers[name], labels)
        )
        require(
            said == same,
            f"The function is right. {name}: is its gradient the same at all positions?",
        )
    return "Right: where the gradient is the same at all positions, the mean takes nothing from it."


def contrast(answer, network: nn.Module, images: Tensor, layer: str) -> str:
    """Grad-CAM of the difference of two logits, from Grad-CAM of one.

    Args:
        answer: a function of images and two classes, and whether the same holds with the ReLU.
        network: the one that the function asks.
        images: some that it is asked about.
        layer: the one that it looks at.
    """
    function, same_with_relu = answer
    a, b = torch.randperm(logits_of(network(images[:1])).shape[1])[:2].tolist()
    expected = gradcam(_Difference(network, a, b), images, f"inner.{layer}", 0, relu=False)
    m = tensor(function(images, a, b), tuple(expected.shape), "The map")
    one, other = (gradcam(network, images, layer, c) for c in (a, b))
    require(not _alike(m, -expected), "The sign: this says why b and not a.")
    require(
        not _alike(m, one - other),
        "These maps were cut at zero before one was taken from the other.",
    )
    require(
        not _alike(m, expected.relu()),
        "The difference is cut at zero: what speaks for b should be below it.",
    )
    single = gradcam(network, images, layer, a, relu=False)
    require(
        not _alike(m, single), "That is the map of a alone: what is b's part in the difference?"
    )
    require(
        _alike(m, expected),
        "Another map comes out. How does the gradient of a difference follow from two gradients?",
    )
    same = truth(same_with_relu, "same_with_relu")
    compare = (
        "The function is right. Now subtract two maps that were cut at zero: is that the same map?"
    )
    require(same == _alike(one - other, expected), compare)
    return "Right: two maps say all that a map of the contrast would, as long as nothing has been cut off."


class _Difference(nn.Module):
    """A network whose one logit is the difference of two of another."""

    def __init__(self, inner: nn.Module, a: int, b: int):
        super().__init__()
        self.inner, self.a, self.b = inner, a, b

    def forward(self, x: Tensor) -> Tensor:
        logits = logits_of(self.inner(x))
        return logits[:, [self.a]] - logits[:, [self.b]]


def _inside(m: Tensor, regions: Tensor) -> float:
    return metrics.energy_inside(m, regions).mean().item()


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two maps agree, however small their values are."""
    return close(one / other.abs().max(), other / other.abs().max())
