"""The exercises of chapter 06."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.attention import spatial
from course_utils.exercises._feedback import close, expect, number, require, tensor
from course_utils.explain import metrics


def pointing(function) -> str:
    """The pointing game for one map and one region."""
    maps, regions = torch.rand(50, 1, 6, 9), torch.rand(50, 1, 6, 9) < 0.3
    found = torch.tensor([number(function(a[0], region[0])) for a, region in zip(maps, regions)])
    expected = metrics.pointing_game(maps, regions)
    energy = (maps * regions).sum(dim=(1, 2, 3)) / maps.sum(dim=(1, 2, 3))
    require(
        not close(found, energy),
        "That is the energy, which counts the whole map, and not its highest value alone.",
    )
    odd = found[(found != 0) & (found != 1)]
    require(
        not len(odd), f"The answer is 1 or 0, and it gives {odd[:1].sum():.4g} for one of the maps."
    )
    require(
        not torch.equal(found, 1 - expected),
        "It says 1 where it should say 0, and 0 where it should say 1.",
    )
    lowest = metrics.pointing_game(1 - maps, regions)
    require(not torch.equal(found, lowest), "It looks where the map is lowest.")
    require(
        (found >= expected).all(),
        f"It says 0 for {(found < expected).sum()} of 50 maps that are highest inside.",
    )
    require(
        (found <= expected).all(),
        f"It says 1 for {(found > expected).sum()} of 50 maps that are highest outside.",
    )
    return f"Right, in all of 50 random maps; chance would be {metrics.area_share(regions).mean():.2f}."


def sigmoid(function) -> str:
    """Context and weights of scores (B, 1, H, W) and local features, where each position decides alone."""
    l, scores = torch.randn(2, 6, 4, 5), 2 * torch.randn(2, 1, 4, 5)
    context, weights = spatial.attend(scores, l, "sigmoid")
    answer = function(l, scores)
    require(
        isinstance(answer, tuple | list) and len(answer) == 2,
        "It should give two tensors: context and weights.",
    )
    shapes = [getattr(part, "shape", None) for part in answer]
    require(
        shapes != [weights.shape, context.shape], "The context comes first, the weights second."
    )
    c, a = (
        tensor(answer[0], context.shape, "The context"),
        tensor(answer[1], weights.shape, "The weights"),
    )
    compete = scores.flatten(2).softmax(dim=-1).view_as(scores)
    require(
        not close(a, compete), "In these weights the positions compete: those of a map sum to 1."
    )
    require(
        close(a, weights),
        "Other weights come out. Each should follow from its own score, between 0 and 1.",
    )
    weighted = weights * l
    times = weights[0].numel()
    require(
        not close(c, weighted.sum(dim=(2, 3))),
        f"The right weights; the context is {times} times too long.",
    )
    by_weight = weighted.sum(dim=(2, 3)) / weights.sum(dim=(2, 3))
    require(
        not close(c, by_weight),
        "The right weights; divided by their sum they would compete after all.",
    )
    require(
        not close(c, l.mean(dim=(2, 3))), "The right weights, and the context does not use them."
    )
    require(close(c, context), "The weights are right, the context is another one.")
    sums = " and ".join(f"{total:.1f}" for total in weights.sum(dim=(1, 2, 3)))
    return f"Right. The weights of two maps of {times} positions sum to {sums}: nothing keeps them at 1."


def stretched(energy, maps: tuple[Tensor, ...], regions: Tensor) -> str:
    """The mean energy of the second maps, each stretched to its own range."""
    energy = number(energy)
    first, second = (
        maps[i] - maps[i].amin(dim=(2, 3), keepdim=True) for i in (0, 1)
    )  # a factor changes no share
    expected, raw, chance = (
        _energy(second, regions),
        _energy(maps[1], regions),
        metrics.area_share(regions).mean(),
    )
    slips = {
        "That is the energy of these maps as they are, unstretched.": raw,
        "That is the first map, stretched.": _energy(first, regions),
        "That stretches all maps together: each has a range of its own.": _energy(
            maps[1] - maps[1].min(), regions
        ),
        "That is the sum over the images, not their mean.": len(regions) * expected,
        "That is chance: the share of the boxes.": chance,
    }
    expect(
        energy,
        expected,
        slips,
        f"Stretched it is not {energy:.4g}; unstretched it would be {raw:.3f}.",
    )
    return f"Right: {expected:.3f}, where it was {raw:.3f} unstretched, and chance is {chance:.3f}."


def _energy(maps: Tensor, regions: Tensor) -> float:
    return metrics.energy_inside(maps, regions).mean().item()
