"""The exercises of chapter 11."""

from __future__ import annotations

from torch import Tensor, nn

from course_utils.exercises._feedback import expect, number, require, tensor
from course_utils.explain import metrics
from course_utils.explain.faithfulness import deletion


def centre(answer, regions: Tensor) -> str:
    """What an even map and a bump in the middle score in the pointing game, as two means over the regions."""
    even, bump = (
        number(part, what)
        for part, what in zip(answer, ("The even map's score", "The prior's score"))
    )
    share = metrics.area_share(regions).mean().item()
    prior = metrics.centre_prior(regions.shape[-1]).expand(len(regions), -1, -1, -1)
    hits, energy = (
        score(prior, regions).mean().item()
        for score in (metrics.pointing_game, metrics.energy_inside)
    )
    swapped = _same(even, hits) and _same(bump, share)
    require(not swapped, "Right numbers in the wrong order: the even map's comes first.")
    require(
        not _same(even, 1.0), "An even map has its maximum everywhere: not all of these lie inside."
    )
    require(
        not _same(even, 0.0), "An even map has its maximum everywhere: some of these lie inside."
    )
    require(
        _same(even, share),
        "Another score of the even map: all its positions are maxima. Which share of them counts?",
    )
    require(
        not _same(bump, energy),
        "That is the prior's energy: the pointing game looks at its maximum only.",
    )
    require(
        _same(bump, hits),
        "The even map is right, the prior is not: one prior for each region, and then the mean.",
    )
    return f"Right: {even:.3f}, and {bump:.3f} without a look at the image."


def winner(
    function, network: nn.Module, tried: Tensor, rival: Tensor, images: Tensor, regions: Tensor
) -> str:
    """Maps from images alone that do well in deletion and point nowhere.

    Args:
        function: makes the maps.
        network: the one whose evidence is deleted.
        tried: a few images for deletion.
        rival: the maps of these that have to be matched.
        images: many images for the pointing game.
        regions: where the object is in them.
    """
    m = tensor(function(tried), (len(tried), 1, *tried.shape[-2:]), "The maps")
    require(
        m.min() >= 0,
        f"No value of a map should be below zero here, and there is {m.min().item():.3g}.",
    )
    require(m.max() > 0, "The maps are zero everywhere: they name nothing.")
    one, other = (deletion(network, tried, maps).mean().item() for maps in (m, rival))
    behind = f"It names too little of the evidence: its deletion is {one:.3f}, the rival has {other:.3f}; low is good."
    require(one < other + 0.02, behind)
    hits = metrics.pointing_game(function(images).detach(), regions).mean().item()
    chance = metrics.area_share(regions).mean().item()
    beside = f"Deletion is good enough, but it points at the object in {hits:.3f} of the images; chance is {chance:.3f}."
    require(hits <= chance, beside)
    return f"Right: deletion {one:.3f} against {other:.3f}, and pointing {hits:.3f}, where chance is {chance:.3f}."


def threshold(answer, maps: Tensor, regions: Tensor) -> str:
    """The share of the maximum that has the best mean IoU as one threshold for all maps, and that IoU."""
    share, value = (number(part, what) for part, what in zip(answer, ("The share", "The IoU")))
    require(
        share < 1,
        f"A share of the maximum is below 1, and yours is {share:g}: is it the place in the list?",
    )
    each = {n / 20: metrics.iou(maps, regions, n / 20).mean().item() for n in range(1, 20)}
    chosen = min(each, key=lambda candidate: abs(candidate - share))
    require(
        _same(chosen, share),
        f"The share should be one of 0.05, 0.10, … 0.95, and yours is {share:g}.",
    )
    best, free = max(each, key=each.get), metrics.best_iou(maps, regions).mean().item()
    require(
        chosen == best,
        f"With the share {share:.2f} the mean IoU is {each[chosen]:.3f}; another one has a higher.",
    )
    slips = {
        "The share is right. That IoU has the best threshold for each map: here one is for all.": free
    }
    expect(value, each[best], slips, f"The share is right, but its mean IoU is not {value:.3f}.")
    return f"Right: {share:.2f}, IoU {value:.3f}; with a choice for each image {free:.3f}."


def _same(given: float, expected: float) -> bool:
    return abs(given - expected) < 1e-3
