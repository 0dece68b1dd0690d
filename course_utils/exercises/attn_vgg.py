"""Exercises of the chapter AttnVGG."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.attention import spatial
from course_utils.exercises._feedback import (
    Number,
    as_number,
    as_tensor,
    is_close,
    refuse,
    require,
    require_number,
)
from course_utils.explain import metrics


def pointing(function) -> str:
    """Write the pointing game for one map and one region."""
    maps, regions = torch.rand(50, 1, 6, 9), torch.rand(50, 1, 6, 9) < 0.3
    pairs = zip(maps, regions, strict=True)
    answers = torch.tensor([as_number(function(a[0], region[0])) for a, region in pairs])
    expected = metrics.pointing_game(maps, regions)
    refuse(
        is_close(answers, metrics.energy_inside(maps, regions)),
        "That is the energy, which uses the whole map. The pointing game uses only its "
        "highest value.",
    )
    odd = answers[(answers != 0) & (answers != 1)]
    require(
        len(odd) == 0,
        "The answer is either 1 or 0, but your function returns "
        f"{odd[:1].sum():.4g} for one of the maps.",
    )
    refuse(
        torch.equal(answers, 1 - expected),
        "Your function returns 1 where it should return 0, and 0 where it should return 1.",
    )
    lowest = metrics.pointing_game(1 - maps, regions)
    refuse(torch.equal(answers, lowest), "Your function uses the lowest value of the map.")
    missed, invented = (answers < expected).sum(), (answers > expected).sum()
    require(
        missed == 0,
        f"Your function returns 0 for {missed} of 50 maps whose maximum lies inside the region.",
    )
    require(
        invented == 0,
        f"Your function returns 1 for {invented} of 50 maps whose maximum lies outside the region.",
    )
    chance = metrics.area_share(regions).mean()
    return f"Right for all 50 random maps; by chance {chance:.2f} of them would point inside."


def sigmoid(function) -> str:
    """Write the context and the weights of sigmoid attention, for scores (B, 1, H, W)."""
    l, scores = torch.randn(2, 6, 4, 5), 2 * torch.randn(2, 1, 4, 5)
    expected_context, expected_weights = spatial.attend(scores, l, "sigmoid")
    answer = function(l, scores)
    two = isinstance(answer, tuple | list) and len(answer) == 2
    require(two, "Return two tensors: the context and the weights.")
    shapes = [getattr(part, "shape", None) for part in answer]
    refuse(
        shapes == [expected_weights.shape, expected_context.shape],
        "Return the context first, then the weights.",
    )
    context = as_tensor(answer[0], expected_context.shape, "The context")
    weights = as_tensor(answer[1], expected_weights.shape, "The weight tensor")
    softmax = scores.flatten(2).softmax(dim=-1).view_as(scores)
    refuse(
        is_close(weights, softmax),
        "That is softmax: the weights of a map sum to 1, so its positions compete.",
    )
    require(
        is_close(weights, expected_weights),
        "The weights are wrong. Each one follows from its own score and lies between 0 and 1.",
    )
    _check_context(context, expected_context, l, weights)
    sums = " and ".join(f"{total:.1f}" for total in weights.sum(dim=(1, 2, 3)))
    return f"Right. The weights of the two maps sum to {sums}: nothing keeps these sums at 1."


def _check_context(context: Tensor, expected: Tensor, l: Tensor, weights: Tensor) -> None:
    """Check the context, given the right weights."""
    total = (weights * l).sum(dim=(2, 3))
    refuse(
        is_close(context, total),
        f"The weights are right, but the context is {weights[0].numel()} times too long.",
    )
    refuse(
        is_close(context, total / weights.sum(dim=(2, 3))),
        "The weights are right. But if you divide by their sum, the positions compete after all.",
    )
    refuse(
        is_close(context, l.mean(dim=(2, 3))),
        "The weights are right, but the context doesn't use them.",
    )
    require(is_close(context, expected), "The weights are right, but the context is wrong.")


def stretched(energy, maps: tuple[Tensor, ...], regions: Tensor) -> str:
    """Compute the mean energy of the second maps after each was stretched to its own range.

    Args:
        energy: The answer.
        maps: The first and the second map of each image.
        regions: The boxes, true inside.
    """
    energy = as_number(energy)
    # Stretching also divides by the range, but a factor doesn't change a share.
    first, second = (each - each.amin(dim=(2, 3), keepdim=True) for each in maps[:2])
    expected, raw = _mean_energy(second, regions), _mean_energy(maps[1], regions)
    chance = metrics.area_share(regions).mean()
    mistakes: list[tuple[Number, str]] = [
        (raw, "That is the energy of the maps as they are. Stretch them first."),
        (_mean_energy(first, regions), "That is the energy of the first map. Use the second one."),
        (
            _mean_energy(maps[1] - maps[1].min(), regions),
            "You stretched all maps with one common range. Each map has its own.",
        ),
        (len(regions) * expected, "That is the sum over the images. Take the mean."),
        (chance, "That is chance: the share of the image that a box covers."),
    ]
    otherwise = (
        f"The stretched maps don't have an energy of {energy:.4g}; unstretched it is {raw:.3f}."
    )
    require_number(energy, expected, mistakes, otherwise)
    return (
        f"Right: stretching raises the energy from {raw:.3f} to {expected:.3f}; "
        f"chance is {chance:.3f}."
    )


def _mean_energy(maps: Tensor, regions: Tensor) -> float:
    return metrics.energy_inside(maps, regions).mean().item()
