"""Exercises of the chapter Start here."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.exercises._feedback import (
    as_number,
    as_tensor,
    is_close,
    refuse,
    require,
)
from course_utils.explain import metrics

FLATTERING = 4  # images in the figure that misleads
CONCENTRATED = 0.9  # energy that a sharpened map has to reach


def energy(function) -> str:
    """Compute the share of each map that lies in its box; maps and regions are (B, 1, H, W)."""
    maps, regions = torch.rand(3, 1, 6, 5) + 0.1, torch.zeros(3, 1, 6, 5, dtype=torch.bool)
    regions[:, :, 1:4, 2:4] = True
    result = function(maps, regions)
    refuse(
        torch.is_tensor(result) and result.ndim == 0,
        "You return one number for the whole batch. Return one per image. "
        "Which axes should you sum over?",
    )
    shares, inside = as_tensor(result, (3,)), (maps * regions).sum(dim=(1, 2, 3))
    expected = metrics.energy_inside(maps, regions)
    refuse(
        is_close(shares, inside),
        "That's the sum of the map inside the box. What share of the whole map is it?",
    )
    refuse(
        is_close(shares, inside / 6),
        "That's the mean value of the map inside the box. Compute the share of "
        "the map that lies there.",
    )
    refuse(
        is_close(shares, metrics.area_share(regions)),
        "That's the share of the image that the box covers, which is the chance level.",
    )
    refuse(is_close(shares, 1 - expected), "That's the share of the map outside the box.")
    refuse(
        is_close(shares, inside / maps.sum()),
        "You divide by the sum over all maps. Divide each map by its own sum.",
    )
    require(
        is_close(shares, expected),
        "These aren't the shares. How much weight of a map lies in its box, "
        "and how much weight does the whole map have?",
    )
    return "Right: your function agrees with metrics.energy_inside."


def flattering(indices, maps, regions) -> str:
    """Choose four images whose maps have their highest point in the box.

    Args:
        indices: The answer: four different indices.
        maps: One map per test image.
        regions: The boxes, true inside.
    """
    hits, n = metrics.pointing_game(maps, regions), len(regions)
    refuse(
        torch.is_tensor(indices) and indices.dtype == torch.bool,
        "That's a mask over all images. Give four indices; nonzero() finds where a mask is true.",
    )
    require(
        hasattr(indices, "__len__") and not isinstance(indices, str),
        "Give four indices in a list, such as [3, 14, 15, 92].",
    )
    chosen = [as_number(index, "An index") for index in indices]
    require(len(chosen) == FLATTERING, f"The figure has four images, but you chose {len(chosen)}.")
    for index in chosen:
        require(
            index.is_integer() and 0 <= index < n,
            f"The indices run from 0 to {n - 1}, so there is no image {index:g}.",
        )
    require(len(set(chosen)) == FLATTERING, "You chose the same image twice.")
    missed = [int(index) for index in chosen if hits[int(index)] < 1]
    refuse(
        len(missed) == FLATTERING,
        "In all four images, the highest point lies outside the box. For which images does "
        "metrics.pointing_game return 1?",
    )
    require(
        not missed,
        f"In {len(missed)} of your images, the highest point lies outside the box: {missed}.",
    )
    share, chance = hits.mean().item(), metrics.area_share(regions).mean().item()
    return (
        "Right: four hits in four images, and every word of the caption could be true. Over all "
        f"images, this network's map hits {share:.1%}; a uniform map would get {chance:.1%}."
    )


def sharpened(function, lengths, regions) -> str:
    """Raise the energy of maps above 0.9 without moving their highest points.

    Args:
        function: The answer: maps (N, 1, h, w) to maps of the same shape.
        lengths: The maps to sharpen, with positive values.
        regions: The boxes, true inside, which the function doesn't get.
    """
    maps = as_tensor(function(lengths), tuple(lengths.shape), "The result")
    refuse((maps < 0).any(), "Your maps have negative values, and a weight can't be negative.")
    mirrored = as_tensor(function(lengths.flip(-1)), tuple(lengths.shape), "The result")
    require(
        is_close(mirrored.flip(-1), maps),
        "Mirrored maps should give mirrored results, but yours don't. Did you use the boxes? "
        "The function may look at nothing but the maps.",
    )
    refuse(
        (_highest(maps) != _highest(lengths)).any(),
        "In some maps, the highest point has moved. Change the values, but keep their order.",
    )
    before, after = _energy(lengths, regions), _energy(maps, regions)
    refuse(
        abs(after - before) < 1e-4,
        f"The energy is still {after:.2f}. It's relative to the sum of the map, so multiplying "
        "the whole map by a factor changes nothing.",
    )
    refuse(
        after < before,
        f"The energy falls from {before:.2f} to {after:.2f}, because you make the maps flatter. "
        "Make high values stand out more.",
    )
    require(
        after > CONCENTRATED,
        f"The energy rises from {before:.2f} to {after:.2f}. That's the right direction, "
        "so go further.",
    )
    return (
        f"Right: the energy rises from {before:.2f} to {after:.2f}, and every highest point is "
        "where it was. Energy rewards a sharp map, whether or not it finds more."
    )


def _highest(maps: Tensor) -> Tensor:
    """Return the index of the highest value of each map."""
    return maps.flatten(1).argmax(dim=1)


def _energy(maps: Tensor, regions: Tensor) -> float:
    return metrics.energy_inside(maps, regions).mean().item()
