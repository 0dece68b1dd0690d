r"""The general attention model: score, align, combine.

.. math:: r = \mathrm{score}(q, k), \quad a = \mathrm{alignment}(r), \quad c = \sum_i a_i v_i

Every kind of attention in the course is this with some parts chosen and some repeated (`queries`, `kinds`). Source:
the task model of Brauwers and Frasincar 2023, "A General Survey on Attention Mechanisms in Deep Learning", section 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from course_utils.attention import alignments
from course_utils.core.tensor_checks import check_shape


class Attended(NamedTuple):
    """What attention returns.

    Attributes:
        context: (B, Q, d_v), the values combined by their weights, one vector a query.
        weights: (B, Q, K), the weight of each value for each query.
    """

    context: Float[Tensor, "B Q d_v"]
    weights: Float[Tensor, "B Q K"]


class AttendedByFeature(NamedTuple):
    """What `MultiDimensional` attention returns.

    Attributes:
        context: (B, Q, d_v), each feature of the values combined by weights of its own.
        weights: (B, Q, K, d_v), the weight of each feature of each value for each query.
    """

    context: Float[Tensor, "B Q d_v"]
    weights: Float[Tensor, "B Q K d_v"]


class Attention(nn.Module):
    """Attention with any score of `scores` and any alignment of `alignments`."""

    def __init__(
        self, score: Callable[..., Tensor], alignment: Callable[..., Tensor] = alignments.softmax
    ):
        """Choose the two functions.

        Args:
            score: queries (B, Q, d_q) and keys (B, K, d_k) → scores (B, Q, K).
            alignment: scores, and a mask by name where one is given → weights (B, Q, K).
        """
        super().__init__()
        self.score, self.alignment = score, alignment

    def forward(
        self,
        queries: Float[Tensor, "B Q d_q"],
        keys: Float[Tensor, "B K d_k"],
        values: Float[Tensor, "B K d_v"],
        mask: Bool[Tensor, "*broadcastable"] | None = None,
    ) -> Attended:
        """Combine the values for each query.

        Args:
            queries: what is looked for.
            keys: what each position offers to be found by.
            values: what each position gives.
            mask: true where attention may go; broadcast to (B, Q, K).

        Raises:
            ValueError: values that do not belong to the keys; see also the score and the alignment.
        """
        if values.ndim != 3 or values.shape[:2] != keys.shape[:2]:
            raise ValueError(
                f"expected a value for each key, got {tuple(values.shape)} for {tuple(keys.shape)}"
            )
        weights = self.alignment(
            self.score(queries, keys), **({} if mask is None else {"mask": mask})
        )
        return Attended(weights @ values, weights)


class AttentionPooling(nn.Module):
    """A set of vectors → one vector, by a query that is learned and the same for every input."""

    def __init__(self, attention: Attention, d_q: int):
        """Make the query, of size d_q, beside the attention that uses it."""
        super().__init__()
        self.attention = attention
        self.query = nn.Parameter(torch.randn(d_q) / math.sqrt(d_q))

    def forward(
        self,
        keys: Float[Tensor, "B K d_k"],
        values: Float[Tensor, "B K d_v"] | None = None,
        mask: Bool[Tensor, "*broadcastable"] | None = None,
    ) -> Attended:
        """Pool the values, or the keys themselves; one query an input, so Q = 1.

        Args:
            keys: what the query is held against.
            values: one a key; the keys, if not given.
            mask: true where attention may go; broadcast to (B, 1, K).

        Raises:
            ValueError: see `Attention.forward`.
        """
        return self.attention(
            self.query.expand(len(keys), 1, -1), keys, keys if values is None else values, mask
        )


class MultiDimensional(nn.Module):
    r"""A weight for each feature of each value, where `Attention` has one for the value as a whole.

    .. math:: r_i = W\,\mathrm{act}(W_q q + W_k k_i + b) \in \mathbb{R}^{d_v}, \quad c = \sum_i a_i \odot v_i

    It is additive attention whose last vector w has become a matrix W; each feature is aligned over the K positions by
    itself. Source: Shen et al. 2018, "DiSAN", which adds one more bias to r, the same for all i: softmax cannot see it.
    """

    def __init__(
        self,
        d_q: int,
        d_k: int,
        d_v: int,
        hidden: int,
        alignment: Callable[..., Tensor] = alignments.softmax,
        act: Callable[[Tensor], Tensor] = torch.tanh,
    ):
        """Make the score for queries, keys and values of these sizes; the rest is as in `scores.Additive`."""
        super().__init__()
        self.project_query = nn.Linear(d_q, hidden, bias=False)
        self.project_key = nn.Linear(d_k, hidden)
        self.score = nn.Linear(hidden, d_v, bias=False)
        self.alignment, self.act = alignment, act

    def forward(
        self,
        queries: Float[Tensor, "B Q d_q"],
        keys: Float[Tensor, "B K d_k"],
        values: Float[Tensor, "B K d_v"],
        mask: Bool[Tensor, "*broadcastable"] | None = None,
    ) -> AttendedByFeature:
        """Combine the values for each query, feature by feature; the mask is broadcast to (B, Q, K).

        Raises:
            ValueError: shapes that do not fit; see also the alignment.
        """
        check_shape("queries", queries, None, None, self.project_query.in_features)
        check_shape("keys", keys, len(queries), None, self.project_key.in_features)
        check_shape("values", values, *keys.shape[:2], self.score.out_features)
        both = (
            self.project_query(queries)[:, :, None] + self.project_key(keys)[:, None]
        )  # (B, Q, K, hidden)
        scores = self.score(
            self.act(both)
        ).mT  # (B, Q, d_v, K): alignments go along the last dimension
        weights = self.alignment(
            scores, **({} if mask is None else {"mask": torch.atleast_1d(mask)[..., None, :]})
        ).mT
        return AttendedByFeature((weights * values[:, None]).sum(dim=2), weights)


def to_sequence(features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B H*W C"]:
    """A feature map as a set of vectors, one a position, row by row.

    Raises:
        ValueError: features of another rank.
    """
    check_shape("features", features, None, None, None, None)
    return features.flatten(2).mT


def to_maps(weights: Float[Tensor, "B Q K"], height: int) -> Float[Tensor, "B Q H W"]:
    """The weights of each query as a map of that height; `to_sequence` the other way round.

    Raises:
        ValueError: K positions are no whole number of rows.
    """
    if height < 1 or weights.shape[-1] % height:
        raise ValueError(
            f"expected a height that divides {weights.shape[-1]} positions, got {height}"
        )
    return weights.unflatten(-1, (height, -1))
