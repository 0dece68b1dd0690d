r"""Score functions: one number per pair of query and key, which measures how well they match.

All score functions are called alike: queries (B, Q, d_q) and keys (B, K, d_k) → scores (B, Q, K).
Those without parameters are functions, and those with parameters are small modules; you can pass
either to `Attention`. For a query q and a key k:

==========================  ==========================================================
`multiplicative`            :math:`q^\top k`
`scaled_multiplicative`     :math:`q^\top k / \sqrt{d_k}`
`cosine`                    :math:`q^\top k / (\lVert q \rVert \lVert k \rVert)`
`euclidean`                 :math:`-\lVert q - k \rVert`
`Additive`                  :math:`w^\top \mathrm{act}(W_q q + W_k k + b)`
`Concat`                    :math:`w^\top \tanh(W [q; k] + b)`
`General`                   :math:`k^\top W q`
`BiasedGeneral`             :math:`k^\top (W q + b)`
`ActivatedGeneral`          :math:`\tanh(k^\top W q + b)`, b a scalar
==========================  ==========================================================

The names are those of Niu et al. 2021, "A review on the attention mechanism of deep learning", and
of Brauwers and Frasincar 2023, "A General Survey on Attention Mechanisms in Deep Learning". A
tutorial that the course grew from prints the biased variant as :math:`k^\top W q + b` with a
*vector* b, which cannot be added to a number. The bias belongs inside the brackets.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Queries = Float[Tensor, "B Q d_q"]
Keys = Float[Tensor, "B K d_k"]
PairScores = Float[Tensor, "B Q K"]
Activation = Callable[[Tensor], Tensor]


def multiplicative(queries: Queries, keys: Keys) -> PairScores:
    """Return the dot product of query and key (Luong et al. 2015, "dot").

    Raises:
        ValueError: If a tensor is not 3-D or not floating point, the batch sizes differ, there are
            no keys, or d_q ≠ d_k.
    """
    _check(queries, keys, same_size=True)
    return queries @ keys.mT


def scaled_multiplicative(queries: Queries, keys: Keys) -> PairScores:
    """Return the dot product divided by √d_k (Vaswani et al. 2017, eq. 1).

    The dot product of two random vectors has a standard deviation of √d_k. Dividing by it keeps the
    scores at the same scale for every d_k.

    Raises:
        ValueError: See `multiplicative`.
    """
    _check(queries, keys, same_size=True)
    # Divide the queries, not the products: in half precision, the undivided product may overflow.
    return queries / math.sqrt(keys.shape[-1]) @ keys.mT


def cosine(queries: Queries, keys: Keys) -> PairScores:
    """Return the cosine of the angle between query and key, in [−1, 1] (Graves et al. 2014).

    If one of the two is the zero vector, there is no angle, and the score is 0.

    Raises:
        ValueError: See `multiplicative`.
    """
    unit_queries, unit_keys = (
        F.normalize(vectors.to(_wide(vectors)), dim=-1).to(vectors.dtype)
        for vectors in (queries, keys)
    )
    return multiplicative(unit_queries, unit_keys)


def euclidean(queries: Queries, keys: Keys) -> PairScores:
    """Return minus the Euclidean distance, so a nearer key has a higher score; at most 0.

    Raises:
        ValueError: See `multiplicative`.
    """
    _check(queries, keys, same_size=True)
    wide = _wide(queries)
    # cdist has a faster way, |q|² + |k|² − 2 q·k. It subtracts large numbers, which rounds small
    # distances away; but the small distances are the ones that matter here.
    distances = torch.cdist(
        queries.to(wide), keys.to(wide), compute_mode="donot_use_mm_for_euclid_dist"
    )
    return -distances.to(queries.dtype)


class Additive(nn.Module):
    """Score by a network with one hidden layer: the projected query plus the projected key.

    Source: Bahdanau et al. 2015.
    """

    def __init__(self, d_q: int, d_k: int, hidden: int, act: Activation = torch.tanh):
        """Create the projections.

        Args:
            d_q: Size of a query.
            d_k: Size of a key.
            hidden: Size of the space in which the two are added.
            act: Activation function, applied to the sum.
        """
        super().__init__()
        self.project_query = nn.Linear(d_q, hidden, bias=False)
        self.project_key = nn.Linear(d_k, hidden)  # its bias is the b of the formula
        self.score = nn.Linear(hidden, 1, bias=False)
        self.act = act

    def forward(self, queries: Queries, keys: Keys) -> PairScores:
        """Score every pair.

        Raises:
            ValueError: If a tensor is not 3-D or not floating point, the batch sizes differ, there
                are no keys, or the sizes are not d_q and d_k.
        """
        _check(queries, keys, self.project_query.in_features, self.project_key.in_features)
        # (B, Q, 1, hidden) + (B, 1, K, hidden) → (B, Q, K, hidden)
        both = self.project_query(queries)[:, :, None] + self.project_key(keys)[:, None]
        return self.score(self.act(both)).squeeze(-1)  # (B, Q, K)


class Concat(nn.Module):
    """Score by a network with one hidden layer over the concatenated query and key.

    With W = [W_q, W_k], it computes the same as `Additive`. Source: Luong et al. 2015, "concat".
    """

    def __init__(self, d_q: int, d_k: int, hidden: int):
        """Create the layers; the arguments are those of `Additive`."""
        super().__init__()
        self.sizes = (d_q, d_k)
        self.project = nn.Linear(d_q + d_k, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, queries: Queries, keys: Keys) -> PairScores:
        """Score every pair.

        Raises:
            ValueError: See `Additive.forward`.
        """
        _check(queries, keys, *self.sizes)
        Q, K = queries.shape[1], keys.shape[1]
        left = queries[:, :, None].expand(-1, -1, K, -1)  # (B, Q, K, d_q)
        right = keys[:, None].expand(-1, Q, -1, -1)  # (B, Q, K, d_k)
        pairs = torch.cat([left, right], dim=-1)  # (B, Q, K, d_q + d_k)
        return self.score(self.project(pairs).tanh()).squeeze(-1)  # (B, Q, K)


class General(nn.Module):
    """Bilinear score: the dot product of the key and the projected query.

    Source: Luong et al. 2015, "general".
    """

    bias = False

    def __init__(self, d_q: int, d_k: int):
        """Create the projection from queries of size d_q to the size d_k of the keys."""
        super().__init__()
        self.project = nn.Linear(d_q, d_k, bias=self.bias)

    def forward(self, queries: Queries, keys: Keys) -> PairScores:
        """Score every pair.

        Raises:
            ValueError: See `Additive.forward`.
        """
        _check(queries, keys, self.project.in_features, self.project.out_features)
        return self.project(queries) @ keys.mT


class BiasedGeneral(General):
    """Bilinear score with a bias b on the projected query (Sordoni et al. 2016).

    The bias adds b·k to the score of a key for every query, so it is a preference for some keys.
    """

    bias = True


class ActivatedGeneral(General):
    """Tanh of a bilinear score plus a scalar bias (Ma et al. 2017)."""

    def __init__(self, d_q: int, d_k: int):
        """Create the projection from queries of size d_q to the size d_k of the keys."""
        super().__init__(d_q, d_k)
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, queries: Queries, keys: Keys) -> PairScores:
        """Score every pair.

        Raises:
            ValueError: See `Additive.forward`.
        """
        return (super().forward(queries, keys) + self.offset).tanh()


def _wide(vectors: Tensor) -> torch.dtype:
    """Return a precision for lengths, at least single: in half precision, squares overflow."""
    return torch.promote_types(vectors.dtype, torch.float32)


def _check(
    queries: Tensor,
    keys: Tensor,
    d_q: int | None = None,
    d_k: int | None = None,
    *,
    same_size: bool = False,
) -> None:
    """Check that queries and keys fit each other, and the sizes d_q and d_k where they are given.

    Without these checks, some mistakes would be broadcast and give a wrong result without an error.
    """
    given = f"got {tuple(queries.shape)} and {tuple(keys.shape)}"
    if queries.ndim != 3 or keys.ndim != 3:
        raise ValueError(f"expected queries (B, Q, d_q) and keys (B, K, d_k), {given}")
    if not (queries.is_floating_point() and keys.is_floating_point()):
        raise ValueError(
            f"expected queries and keys in floating point, got {queries.dtype} and {keys.dtype}"
        )
    if queries.shape[0] != keys.shape[0]:  # `len` would fix the batch size in `torch.export`
        raise ValueError(f"expected queries and keys with the same batch size, {given}")
    if keys.shape[1] == 0:
        raise ValueError(f"expected at least one key, {given}")
    if same_size and queries.shape[2] != keys.shape[2]:
        raise ValueError(
            f"expected d_q = d_k, got queries of size {queries.shape[2]} "
            f"and keys of size {keys.shape[2]}"
        )
    if (d_q is not None and queries.shape[2] != d_q) or (d_k is not None and keys.shape[2] != d_k):
        raise ValueError(f"expected queries of size {d_q} and keys of size {d_k}, {given}")
