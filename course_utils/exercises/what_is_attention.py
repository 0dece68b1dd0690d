"""Exercises of the chapter What is attention?"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.attention import alignments, scores
from course_utils.attention.general import Attention, to_maps
from course_utils.exercises._feedback import (
    as_number,
    as_tensor,
    is_close,
    refuse,
    require,
    require_number,
)
from course_utils.explain import metrics


def masked(function) -> str:
    """Write attention with a mask: context and weights from queries, keys, values and the mask."""
    q, k, v = torch.randn(2, 3, 6), torch.randn(2, 5, 6), torch.randn(2, 5, 4)
    mask = torch.tensor([[[True, False, True, True, False]], [[False, True, True, False, True]]])
    context, weights = _context_and_weights(function(q, k, v, mask))
    _check_masked_weights(weights, scores.scaled_multiplicative(q, k), mask)
    no_scale = alignments.softmax(q @ k.mT, mask=mask)
    refuse(is_close(weights, no_scale), "The mask is right, but the scores aren't divided by √d_k.")
    expected = Attention(scores.scaled_multiplicative)(q, k, v, mask)
    require(
        is_close(weights, expected.weights),
        "These weights differ from those of attend even where the mask allows every position.",
    )
    require(
        is_close(context, expected.context),
        "The weights are right, but the context isn't the sum of the values with these weights.",
    )
    return "Right: the weights are exactly 0 where the mask is false, and the others sum to 1."


def _context_and_weights(result) -> tuple[Tensor, Tensor]:
    two = isinstance(result, tuple | list) and len(result) == 2
    require(two, "Return two tensors, as attend does: the context and the weights.")
    shapes = [getattr(part, "shape", None) for part in result]
    refuse(shapes == [(2, 3, 5), (2, 3, 4)], "Return the context first, then the weights.")
    context = as_tensor(result[0], (2, 3, 4), "The context")
    weights = as_tensor(result[1], (2, 3, 5), "The weights")
    return context, weights


def _check_masked_weights(weights: Tensor, r: Tensor, mask: Tensor) -> None:
    """Check that the mask, not the score, decides which positions have no weight."""
    hidden = weights.masked_fill(mask, 0)
    require(weights.any(), "All weights are 0, but the weights of each query should sum to 1.")
    require(
        (weights - hidden).any(),
        "Your weights are positive only where they should be 0. "
        "The mask is true where attention is allowed.",
    )
    refuse(
        is_close(weights, alignments.softmax(r * mask)),
        "A score of 0 still gets a weight, because exp(0) is 1. "
        "Which score has an exponential of 0?",
    )
    highest = hidden.max()
    require(
        highest == 0,
        f"A masked position has a weight of {highest:.2g}, but it should be exactly 0.",
    )
    late = (
        f"The weights of one query sum to {weights[0, 0].sum():.2f}, but should sum to 1. "
        "Apply the mask before the softmax, not after it."
    )
    refuse(is_close(weights, alignments.softmax(r) * mask), late)


def without_length(pointing, features, query) -> str:
    """Measure how often a query points into the box if each key is divided by its length.

    Args:
        pointing: The answer.
        features: `probes.Features` of the test images.
        query: The query, with as many entries as a key.
    """
    pointing = as_number(pointing, "The pointing score")
    require(
        0 <= pointing <= 1, f"A pointing score lies between 0 and 1, but yours is {pointing:.3g}."
    )
    local, regions = features.local, features.regions
    expected, energy = _pointing_and_energy(query @ F.normalize(local, dim=-1).mT, regions)
    with_length, _ = _pointing_and_energy(query @ local.mT, regions)
    wrong_axis, _ = _pointing_and_energy(query @ F.normalize(local, dim=1).mT, regions)
    mistakes = [
        (energy, "That's the energy. The exercise asks for the pointing score."),
        (
            with_length,
            "That's the score with the original keys. Divide each key by its length first.",
        ),
        (
            wrong_axis,
            "That's the number your colleague reported. Which vectors have length 1 in her code?",
        ),
    ]
    otherwise = (
        "That's a different score. Change only the keys; "
        "the query and `maps_of` stay as in the chapter."
    )
    require_number(pointing, expected, mistakes, otherwise)
    return (
        f"Right: {expected:.2f} without the lengths, and {with_length:.2f} with them. "
        "Her code divides each feature by its length over the positions, "
        "so long keys stay long."
    )


def by_direction(query, features, difference) -> str:
    """Find a query that points into the box in most images although all keys have length 1.

    Args:
        query: The answer.
        features: `probes.Features` of the test images.
        difference: The chapter's query, which needs the lengths.
    """
    query = torch.as_tensor(query, dtype=torch.float32)
    query = as_tensor(query, features.local.shape[2:], "The query")
    require(query.any(), "A query of zeros gives all keys the same score, so its map is uniform.")
    directions = F.normalize(features.local, dim=-1)
    found, before, reversed_, with_length = (
        _pointing_and_energy(q @ keys.mT, features.regions)[0]
        for q, keys in (
            (query, directions),
            (difference, directions),
            (-query, directions),
            (query, features.local),
        )
    )
    refuse(
        F.cosine_similarity(query, difference, dim=0) > 0.999,
        "That's the difference of means again. Without the lengths of the keys, "
        f"it points into the box in {before:.0%} of the images.",
    )
    refuse(
        found <= 0.5 < reversed_,
        f"This query points into the box in {found:.0%} of the images. Is its sign right?",
    )
    refuse(
        found <= 0.5 < with_length,
        f"With the lengths of the keys, your query reaches {with_length:.0%}, but without them "
        f"only {found:.0%}. Fit it to keys of length 1. If you did, a difference of averages isn't "
        "enough: train the query, as in hint 2.",
    )
    require(
        found > 0.5,
        f"This query points into the box in {found:.0%} of the images. Aim for more than half.",
    )
    return (
        f"Right: by direction alone, your query points into the box in {found:.0%} of the images; "
        f"the difference of means reaches {before:.0%}."
    )


def _pointing_and_energy(r: Tensor, regions: Tensor) -> tuple[float, float]:
    """Score the weights of scores (N, K), scaled to a standard deviation of 3 as in the chapter."""
    weights = alignments.softmax(3 * r / r.std())
    maps = to_maps(weights[:, None], math.isqrt(r.shape[1]))
    pointing = metrics.pointing_game(maps, regions).mean().item()
    return pointing, metrics.energy_inside(maps, regions).mean().item()
