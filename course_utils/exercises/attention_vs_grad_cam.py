"""Exercises of the chapter Attention against Grad-CAM."""

from __future__ import annotations

from torch import Tensor, nn

from course_utils.exercises._feedback import (
    as_number,
    as_tensor,
    refuse,
    require,
    require_number,
)
from course_utils.explain import metrics
from course_utils.explain.faithfulness import deletion


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


def winner(
    function, network: nn.Module, tried: Tensor, rival: Tensor, images: Tensor, regions: Tensor
) -> str:
    """Make maps from images alone that do well in deletion and do not point at the object.

    Args:
        function: The answer: a function of images that returns maps.
        network: The network whose evidence is deleted.
        tried: A few images for deletion.
        rival: The maps of these images that have to be matched.
        images: Many images for the pointing game.
        regions: Their boxes, true inside.
    """
    m = as_tensor(function(tried), (len(tried), 1, *tried.shape[-2:]), "The map tensor")
    require(
        m.min() >= 0, f"A map should not be negative here, but one value is {m.min().item():.3g}."
    )
    require(m.max() > 0, "The maps are zero everywhere, so they mark nothing.")
    yours, others = (deletion(network, tried, maps).mean().item() for maps in (m, rival))
    require(
        yours < others + 0.02,
        f"Your maps mark too little of the evidence: their deletion score is {yours:.3f}, "
        f"and the rival has {others:.3f} (lower is better).",
    )
    hits = metrics.pointing_game(function(images).detach(), regions).mean().item()
    chance = metrics.area_share(regions).mean().item()
    require(
        hits <= chance,
        f"Deletion is low enough, but your maps point at the object in {hits:.3f} of the "
        f"images; chance is {chance:.3f}.",
    )
    return (
        f"Right: deletion {yours:.3f} against {others:.3f}, and pointing {hits:.3f} where "
        f"chance is {chance:.3f}."
    )


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
