"""The exercises of chapter 01."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from course_utils.attention import alignments, scores
from course_utils.attention.general import Attention, to_maps
from course_utils.exercises._feedback import close, expect, number, require, tensor
from course_utils.explain import metrics


def masked(function) -> str:
    """Attention that may not look at some positions: context and weights, from queries, keys, values and mask."""
    q, k, v = torch.randn(2, 3, 6), torch.randn(2, 5, 6), torch.randn(2, 5, 4)
    mask = torch.tensor([[[True, False, True, True, False]], [[False, True, True, False, True]]])
    given = function(q, k, v, mask)
    two = isinstance(given, tuple | list) and len(given) == 2
    require(two, "Two things are wanted, as attend returns them: the context and the weights.")
    turned = [getattr(part, "shape", None) for part in given] == [(2, 3, 5), (2, 3, 4)]
    require(not turned, "The context should come first, and then the weights.")
    context, weights = (
        tensor(given[0], (2, 3, 4), "The context"),
        tensor(given[1], (2, 3, 5), "The weights"),
    )
    hidden = weights.masked_fill(mask, 0)
    require(weights.any(), "All weights are 0; those of a query should sum to 1.")
    require(
        (weights - hidden).any(),
        "It looks only where it may not: the mask is true where it may look.",
    )
    r = scores.scaled_multiplicative(q, k)
    zeros = alignments.softmax(r * mask)
    require(
        not close(weights, zeros),
        "A score of 0 gives a weight like any other score: which score gives none?",
    )
    left_out = hidden.abs().max()
    require(
        left_out == 0,
        f"A position left out has the weight {left_out:.2g}, and should have exactly 0.",
    )
    late = f"Weights of a query sum to {weights[0, 0].sum():.2f}: what is left out had its share in the softmax."
    require(not close(weights, alignments.softmax(r) * mask), late)
    no_scale = alignments.softmax(q @ k.mT, mask=mask)
    require(
        not close(weights, no_scale),
        "The mask is right; what is missing is the scale of the scores.",
    )
    expected = Attention(scores.scaled_multiplicative)(q, k, v, mask)
    require(
        close(weights, expected.weights),
        "Other weights come out. Where all may be seen, they should be attend's.",
    )
    require(
        close(context, expected.context),
        "The weights are right; the context is not what they make of the values.",
    )
    return "Right: exactly 0 where it may not look, and the rest sums to 1."


def avoiding(query, features) -> str:
    """A query with less energy in the box than chance, on these `probes.Features`."""
    query = tensor(
        torch.as_tensor(query, dtype=torch.float32), features.local.shape[2:], "avoiding"
    )
    require(
        query.any(),
        "A query of zeros scores all keys alike: its map is even, and its energy chance.",
    )
    _, energy = _found(query @ features.local.mT, features.regions)
    chance = metrics.area_share(features.regions).mean().item()
    require(
        energy < chance,
        f"Of its map {energy:.3f} is in the box, by chance {chance:.3f}: it does not look away.",
    )
    return f"Right: energy {energy:.4f}, chance {chance:.3f}."


def without_length(pointing, features, query) -> str:
    """How often the query points into the box of these `probes.Features` if each key is divided by its length."""
    pointing = number(pointing, "The pointing")
    require(0 <= pointing <= 1, f"Pointing is a share, from 0 to 1, and yours is {pointing:.3g}.")
    expected, energy = _found(query @ F.normalize(features.local, dim=-1).mT, features.regions)
    with_length, _ = _found(query @ features.local.mT, features.regions)
    across, _ = _found(query @ F.normalize(features.local, dim=1).mT, features.regions)
    slips = {
        "That is the energy without the lengths; asked is the pointing.": energy,
        "So often it points with the lengths; divide each key by its own, and ask again.": with_length,
        "A key is the 32 numbers of one position: along which axis did you divide?": across,
    }
    otherwise = (
        "Another share comes out: only the keys should have changed since the chapter asked."
    )
    expect(pointing, expected, slips, otherwise)
    return f"Right: {expected:.3f} without the lengths, {with_length:.3f} with them."


def _found(r, regions):
    """Pointing and energy of the weights of scores (N, K), brought to a spread of 3, as the chapter has it."""
    maps = to_maps(alignments.softmax(3 * r / r.std())[:, None], math.isqrt(r.shape[1]))
    return tuple(
        f(maps, regions).mean().item() for f in (metrics.pointing_game, metrics.energy_inside)
    )
