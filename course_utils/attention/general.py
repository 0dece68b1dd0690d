r"""The general attention model: score, align, combine.

.. math:: r = \mathrm{score}(q, k), \quad a = \mathrm{alignment}(r), \quad c = \sum_i a_i v_i

Every kind of attention in the course is this model with some of its parts chosen and some of them
repeated; see `query_related` and `feature_related`.

Source: the task model of Brauwers and Frasincar 2023, "A General Survey on Attention Mechanisms in
Deep Learning", section 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.attention import alignments
from course_utils.attention.alignments import Mask
from course_utils.core.tensor_checks import check_shape


class Attended(NamedTuple):
    """The output of attention.

    Attributes:
        context: (B, Q, d_v), the weighted sum of the values for each query.
        weights: (B, Q, K), the weight of each value for each query.
    """

    context: Float[Tensor, "B Q d_v"]
    weights: Float[Tensor, "B Q K"]


class AttendedByFeature(NamedTuple):
    """The output of `MultiDimensional` attention.

    Attributes:
        context: (B, Q, d_v), the weighted sum of the values, with separate weights per feature.
        weights: (B, Q, K, d_v), the weight of each feature of each value for each query.
    """

    context: Float[Tensor, "B Q d_v"]
    weights: Float[Tensor, "B Q K d_v"]


class Attention(nn.Module):
    """Attention with any score function of `scores` and any alignment function of `alignments`."""

    def __init__(
        self, score: Callable[..., Tensor], alignment: Callable[..., Tensor] = alignments.softmax
    ):
        """Choose the two functions.

        Args:
            score: Function from queries (B, Q, d_q) and keys (B, K, d_k) to scores (B, Q, K).
            alignment: Function from scores, and a keyword argument ``mask`` if there is one, to
                weights (B, Q, K).
        """
        super().__init__()
        self.score, self.alignment = score, alignment

    def forward(
        self,
        queries: Float[Tensor, "B Q d_q"],
        keys: Float[Tensor, "B K d_k"],
        values: Float[Tensor, "B K d_v"],
        mask: Mask | None = None,
    ) -> Attended:
        """Combine the values for each query.

        Args:
            queries: Vectors that describe what is looked for.
            keys: Vectors that are matched with the queries, one per position.
            values: Vectors that are combined into the contexts, one per key.
            mask: True where attention is allowed; broadcast to (B, Q, K).

        Raises:
            ValueError: If there is not one value per key, or the score or the alignment function
                raises it.
        """
        if values.ndim != 3 or values.shape[:2] != keys.shape[:2]:
            raise ValueError(
                f"expected a value for each key, got {tuple(values.shape)} for {tuple(keys.shape)}"
            )
        scores = self.score(queries, keys)  # (B, Q, K)
        # An alignment of your own needs no argument `mask` as long as you pass none.
        weights = self.alignment(scores) if mask is None else self.alignment(scores, mask=mask)
        return Attended(weights @ values, weights)


class AttentionPooling(nn.Module):
    """Pool a set of vectors into one, with a learned query that is the same for every input."""

    def __init__(self, attention: nn.Module, d_q: int):
        """Create the learned query.

        Args:
            attention: `Attention`, or another kind with the same arguments, such as `MultiHead`.
            d_q: Size of the query.
        """
        super().__init__()
        self.attention = attention
        self.query = nn.Parameter(torch.randn(d_q) / math.sqrt(d_q))

    def forward(
        self,
        keys: Float[Tensor, "B K d_k"],
        values: Float[Tensor, "B K d_v"] | None = None,
        mask: Mask | None = None,
    ) -> Any:
        """Return what the attention returns: for `Attention`, an `Attended` with one query.

        The arguments are those of `Attention.forward`.

        Args:
            keys: Vectors that are matched with the query.
            values: Vectors that are pooled. If None, the keys.
            mask: True where attention is allowed; broadcast to (B, 1, K).

        Raises:
            ValueError: See `Attention.forward`.
        """
        query = self.query.expand(len(keys), 1, -1)  # (d_q,) → (B, 1, d_q)
        return self.attention(query, keys, keys if values is None else values, mask)


class MultiDimensional(nn.Module):
    r"""Attention with a separate weight for each feature of each value.

    .. math::
        r_i = W \tanh(W_q q + W_k k_i + b) \in \mathbb{R}^{d_v}, \quad c = \sum_i a_i \odot v_i

    `Attention` has one weight for the whole value. Here, the last vector w of additive attention is
    replaced by a matrix W, which gives d_v scores per pair, and each feature is aligned over the K
    positions independently.

    Source: Shen et al. 2018, "DiSAN". The paper adds one more bias to r, which softmax cancels,
    because it is the same for all i.
    """

    def __init__(
        self,
        d_q: int,
        d_k: int,
        d_v: int,
        hidden: int,
        alignment: Callable[..., Tensor] = alignments.softmax,
    ):
        """Create the projections.

        Args:
            d_q: Size of a query.
            d_k: Size of a key.
            d_v: Size of a value.
            hidden: Size of the space in which the projected query and key are added.
            alignment: Alignment function, applied per feature.
        """
        super().__init__()
        self.project_query = nn.Linear(d_q, hidden, bias=False)
        self.project_key = nn.Linear(d_k, hidden)
        self.score = nn.Linear(hidden, d_v, bias=False)
        self.alignment = alignment

    def forward(
        self,
        queries: Float[Tensor, "B Q d_q"],
        keys: Float[Tensor, "B K d_k"],
        values: Float[Tensor, "B K d_v"],
        mask: Mask | None = None,
    ) -> AttendedByFeature:
        """Combine the values for each query and each feature.

        The arguments are those of `Attention.forward`.

        Raises:
            ValueError: If shapes do not fit, or the alignment function raises it.
        """
        check_shape("queries", queries, None, None, self.project_query.in_features)
        check_shape("keys", keys, len(queries), None, self.project_key.in_features)
        check_shape("values", values, *keys.shape[:2], self.score.out_features)
        # (B, Q, 1, hidden) + (B, 1, K, hidden) → (B, Q, K, hidden)
        both = self.project_query(queries)[:, :, None] + self.project_key(keys)[:, None]
        # Alignments run along the last dimension, so the positions are moved there.
        scores = self.score(both.tanh()).mT  # (B, Q, d_v, K)
        if mask is None:
            weights = self.alignment(scores).mT  # (B, Q, K, d_v)
        else:
            by_feature = torch.atleast_1d(mask)[..., None, :]  # (..., 1, K): one for all features
            weights = self.alignment(scores, mask=by_feature).mT  # (B, Q, K, d_v)
        return AttendedByFeature((weights * values[:, None]).sum(dim=2), weights)


def to_sequence(features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B H*W C"]:
    """Return a feature map as a set of vectors: one per position, row by row.

    Raises:
        ValueError: If the features are not 4-D.
    """
    check_shape("features", features, None, None, None, None)
    return features.flatten(2).mT  # (B, C, H * W) → (B, H * W, C)


def to_maps(weights: Float[Tensor, "B Q K"], height: int) -> Float[Tensor, "B Q H W"]:
    """Return the weights of each query as a map: the inverse of `to_sequence`.

    Args:
        weights: Weights of K positions, row by row.
        height: Number of rows of the map. It must divide K.

    Raises:
        ValueError: If the height does not divide the number of positions.
    """
    if height < 1 or weights.shape[-1] % height:
        raise ValueError(
            f"expected a height that divides {weights.shape[-1]} positions, got {height}"
        )
    return weights.unflatten(-1, (height, -1))
