"""Exercises of the chapter Gallery of kinds."""

from __future__ import annotations

import copy
from typing import cast

import torch

from course_utils.attention import Attention, scores
from course_utils.attention.feature_related import AttentionViaAttention, InteractiveCoAttention
from course_utils.exercises._feedback import (
    UnfinishedError,
    as_tensor,
    is_close,
    refuse,
    require,
)


def interactive(function) -> str:
    """Write interactive co-attention with scaled dot products, which returns two contexts."""
    x, y = torch.randn(2, 6, 5), torch.randn(2, 3, 5)
    result = function(x, y)
    if result is None or result is ...:
        raise UnfinishedError
    require(
        isinstance(result, tuple) and len(result) == 2,
        "The function should return two contexts: that of x, and that of y.",
    )
    c_x, c_y = (
        as_tensor(c, (2, 1, 5), f"The context of {name}") for c, name in zip(result, ("x", "y"))
    )
    dot = Attention(scores.scaled_multiplicative)
    (right_x, _), (right_y, _) = InteractiveCoAttention(dot, dot)(x, y)
    mean_x, mean_y = (vectors.mean(dim=1, keepdim=True) for vectors in (x, y))
    refuse(is_close(c_x, right_y) and is_close(c_y, right_x), "You return the two in turned order.")
    refuse(
        is_close(c_x, dot(mean_x, x, x).context),
        "Your x is queried by its own mean, so the two sets never meet.",
    )
    refuse(
        is_close(c_x, right_x) and is_close(c_y, dot(right_x, y, y).context),
        "Your context of x queries y. That's alternating co-attention; here, the mean of x does.",
    )
    plain = Attention(scores.multiplicative)
    refuse(
        is_close(c_x, plain(mean_y, x, x).context),
        "Your scores aren't divided by the root of their size.",
    )
    require(is_close(c_x, right_x), "The context of x isn't the one that the mean of y reads.")
    require(is_close(c_y, right_y), "The context of y isn't the one that the mean of x reads.")
    return "Right: two means ask, two contexts come back."


def unlink(function) -> str:
    """Cut the link between the levels of attention-via-attention, and nothing else."""
    torch.manual_seed(0)
    d_q, d_c, d_f = 4, 3, 5
    parts = Attention(scores.General(d_q, d_c)), Attention(scores.General(d_q + d_c, d_f))
    via = AttentionViaAttention(*parts)
    before = copy.deepcopy(via)
    result = function(via, d_q)
    if result is None or result is ...:
        raise UnfinishedError
    require(
        isinstance(result, AttentionViaAttention),
        "The function should return the attention-via-attention that it gets.",
    )
    q, coarse, fine = torch.randn(2, 1, d_q), torch.randn(2, 6, d_c), torch.randn(2, 8, d_f)
    with torch.no_grad():
        now, other, then = (
            m(q, c, fine) for m, c in ((result, coarse), (result, -coarse), (before, coarse))
        )
        turned = result(-q, coarse, fine)
        W = cast(scores.General, before.fine.score).project.weight  # (d_f, d_q + d_c)
        expected = (fine @ W[:, :d_q] @ q.mT).mT.softmax(dim=-1)
    refuse(
        not is_close(now.coarse.weights, then.coarse.weights),
        "You changed the coarse level. It should read what it read before.",
    )
    refuse(
        not is_close(now.fine.weights, other.fine.weights),
        "Another coarse level still changes the fine weights, so the link isn't cut.",
    )
    refuse(
        is_close(now.fine.weights, turned.fine.weights),
        "The fine weights don't depend on the query any more. Keep the part that belongs to it.",
    )
    require(
        is_close(now.fine.weights, expected),
        "The link is cut, but the part of the fine score that belongs to the query has changed.",
    )
    return "Right: that's the control. Both contexts go on, but the coarse one no longer asks."
