"""Exercises of the chapter Attention against Grad-CAM."""

from __future__ import annotations

from torch import Tensor, nn

from course_utils.exercises._feedback import as_number, refuse, require, require_number
from course_utils.explain import metrics
from course_utils.explain.faithfulness import area, deletion

MOST_STEPS = 128  # more take long, and tell nothing new


def centre(answer, regions: Tensor) -> str:
    """Find the mean pointing scores of a uniform map and of a centre prior.

    Args:
        answer: The two means.
        regions: The boxes, true inside.
    """
    names = ("The score of the uniform map", "The score of the prior")
    uniform, bump = (as_number(part, name) for part, name in zip(answer, names, strict=True))
    share = metrics.area_share(regions).mean().item()
    prior = metrics.centre_prior(regions.shape[-1]).expand(len(regions), -1, -1, -1)
    hits = metrics.pointing_game(prior, regions).mean().item()
    refuse(
        _same(uniform, hits) and _same(bump, share),
        "The numbers are right, but in the wrong order: give the uniform map's score first.",
    )
    refuse(
        _same(uniform, 1.0),
        "A uniform map has its maximum everywhere, so not all of its maxima lie in the box.",
    )
    refuse(
        _same(uniform, 0.0),
        "A uniform map has its maximum everywhere, so some of its maxima lie in the box.",
    )
    require(
        _same(uniform, share),
        "The score of the uniform map is wrong: every position is a maximum. "
        "What share of them lies in the box?",
    )
    refuse(
        _same(bump, metrics.energy_inside(prior, regions).mean().item()),
        "That is the prior's energy. The pointing game uses only its maximum.",
    )
    require(
        _same(bump, hits),
        "The uniform map is right, but the prior isn't: score the prior with each region, "
        "then take the mean.",
    )
    return f"Right: {uniform:.3f}, and {bump:.3f} for a prior that has never seen the image."


def steps(answer, network: nn.Module, images: Tensor, maps: Tensor, edges: Tensor) -> str:
    """Find a number of steps with which deletion tells maps from the edges of the images.

    Args:
        answer: The number of steps, up to 128.
        network: The network whose evidence is deleted.
        images: A few images.
        maps: Their maps.
        edges: Their edges, which know nothing of the network.
    """
    count = as_number(answer, "The number of steps")
    require(
        count == round(count) and 1 <= count <= MOST_STEPS,
        f"The number of steps should be a whole number from 1 to {MOST_STEPS}, not {count:g}.",
    )
    count, pixels = round(count), images.shape[-2] * images.shape[-1]
    yours, theirs = (_deleted(network, images, m, count) for m in (maps, edges))
    found = (
        f"With {pixels / count:.0f} pixels per step, the area is {yours:.4f} for the maps and "
        f"{theirs:.4f} for the edges"
    )
    require(
        yours < theirs / 2,
        f"{found}. That's still more than half. Which pixels are gone after the first step?",
    )
    return f"Right: {found[0].lower()}{found[1:]}. Now deletion can tell them apart."


def _deleted(network: nn.Module, images: Tensor, maps: Tensor, count: int) -> float:
    """Return the mean area under the deletion curves, above what is left without any pixel."""
    curves = deletion(network, images, maps, steps=count)
    return area(curves, floor=curves[:, -1]).mean().item()


def threshold(answer, maps: Tensor, regions: Tensor) -> str:
    """Find the best single threshold, as a share of each map's maximum, and its mean IoU.

    Args:
        answer: The share and the mean IoU.
        maps: The maps.
        regions: The boxes, true inside.
    """
    share, value = (
        as_number(part, name) for part, name in zip(answer, ("The share", "The IoU"), strict=True)
    )
    require(
        share < 1,
        f"A share of the maximum is below 1, but yours is {share:g}: "
        "did you give its index in the list?",
    )
    each = {n / 20: metrics.iou(maps, regions, n / 20).mean().item() for n in range(1, 20)}
    chosen = min(each, key=lambda candidate: abs(candidate - share))
    require(
        _same(chosen, share),
        f"The share should be one of 0.05, 0.10, … 0.95, but yours is {share:g}.",
    )
    best = max(each, key=each.__getitem__)
    free = metrics.best_iou(maps, regions).mean().item()
    require(
        chosen == best,
        f"With the share {share:.2f} the mean IoU is {each[chosen]:.3f}, "
        "and another share has a higher one.",
    )
    mistakes = [
        (
            free,
            "The share is right, but this IoU uses the best threshold for each map. "
            "Use one for all.",
        ),
    ]
    otherwise = f"The share is right, but its mean IoU is not {value:.3f}."
    require_number(value, each[best], mistakes, otherwise)
    return (
        f"Right: {share:.2f}, with an IoU of {value:.3f}; a separate choice for each image "
        f"would reach {free:.3f}."
    )


def _same(value: float, expected: float) -> bool:
    return abs(value - expected) < 1e-3
