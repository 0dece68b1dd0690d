r"""Score functions: how well a key answers a query, as one unnormalised number for each pair.

All have one call shape: queries (B, Q, d_q) and keys (B, K, d_k) → scores (B, Q, K). Those without parameters are
functions, those with parameters are small modules; both can be handed to `attention.Attention`. With a query q and a
key k:

==========================  ==========================================================
`multiplicative`            :math:`q^\top k`
`scaled_multiplicative`     :math:`q^\top k / \sqrt{d_k}`
`cosine`                    :math:`q^\top k / (\lVert q \rVert \lVert k \rVert)`
`euclidean`                 :math:`-\lVert q - k \rVert`
`Additive`                  :math:`w^\top \mathrm{act}(W_q q + W_k k + b)`
`Concat`                    :math:`w^\top \mathrm{act}(W [q; k] + b)`
`General`                   :math:`k^\top W q`
`BiasedGeneral`             :math:`k^\top (W q + b)`
`ActivatedGeneral`          :math:`\mathrm{act}(k^\top W q + b)`, b a scalar
==========================  ==========================================================

The names are those of Niu et al. 2021, "A review on the attention mechanism of deep learning", and of Brauwers and
Frasincar 2023, "A General Survey on Attention Mechanisms in Deep Learning". A tutorial that the course grew from
prints the biased form as :math:`k^\top W q + b` with a *vector* b, which cannot be added to a number; the bias belongs
inside the bracket.
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
Scores = Float[Tensor, "B Q K"]
Activation = Callable[[Tensor], Tensor]


def multiplicative(queries: Queries, keys: Keys) -> Scores:
    """The dot product of query and key (Luong et al. 2015, "dot").

    Raises:
        ValueError: ranks other than 3, another batch, no keys, or d_q ≠ d_k.
    """
    _check(queries, keys, same_size=True)
    return queries @ keys.mT


def scaled_multiplicative(queries: Queries, keys: Keys) -> Scores:
    """The dot product over √d_k, whose spread does not grow with d_k (Vaswani et al. 2017, eq. 1).

    The queries are divided, not the products: in half precision a product may overflow that the quotient would not.

    Raises:
        ValueError: see `multiplicative`.
    """
    _check(queries, keys, same_size=True)
    return queries / math.sqrt(keys.shape[-1]) @ keys.mT


def cosine(queries: Queries, keys: Keys) -> Scores:
    """The cosine of the angle between query and key, in [−1, 1]; 0 where one of them is zero (Graves et al. 2014).

    Raises:
        ValueError: see `multiplicative`.
    """
    units = (
        F.normalize(vectors.to(_wide(vectors)), dim=-1).to(vectors.dtype)
        for vectors in (queries, keys)
    )
    return multiplicative(*units)


def euclidean(queries: Queries, keys: Keys) -> Scores:
    """Minus the Euclidean distance, so that a nearer key scores higher; at most 0.

    Taken from the differences themselves: the faster way, over the dot product and the two lengths, loses the small
    distances, the ones that matter.

    Raises:
        ValueError: see `multiplicative`.
    """
    _check(queries, keys, same_size=True)
    wide = _wide(queries)
    distances = torch.cdist(
        queries.to(wide), keys.to(wide), compute_mode="donot_use_mm_for_euclid_dist"
    )
    return -distances.to(queries.dtype)


class Additive(nn.Module):
    """A network of one hidden layer over the sum of projected query and key (Bahdanau et al. 2015)."""

    def __init__(self, d_q: int, d_k: int, hidden: int, act: Activation = torch.tanh):
        """Make the score.

        Args:
            d_q: size of a query.
            d_k: size of a key.
            hidden: size of the space in which the two are added.
            act: applied to the sum, element by element.
        """
        super().__init__()
        self.project_query = nn.Linear(d_q, hidden, bias=False)
        self.project_key = nn.Linear(d_k, hidden)  # its bias is the b of the formula
        self.score = nn.Linear(hidden, 1, bias=False)
        self.act = act

    def forward(self, queries: Queries, keys: Keys) -> Scores:
        """Score every pair.

        Raises:
            ValueError: ranks other than 3, another batch, no keys, or sizes other than d_q and d_k.
        """
        _check(queries, keys, self.project_query.in_features, self.project_key.in_features)
        both = (
            self.project_query(queries)[:, :, None] + self.project_key(keys)[:, None]
        )  # (B, Q, K, hidden)
        return self.score(self.act(both)).squeeze(-1)


class Concat(nn.Module):
    """A network of one hidden layer over the query and the key, one after the other (Luong et al. 2015, "concat").

    With W = [W_q, W_k] it is `Additive` in other words; a test holds the two equal.
    """

    def __init__(self, d_q: int, d_k: int, hidden: int, act: Activation = torch.tanh):
        """Make the score; the arguments are those of `Additive`."""
        super().__init__()
        self.sizes = (d_q, d_k)
        self.project = nn.Linear(d_q + d_k, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.act = act

    def forward(self, queries: Queries, keys: Keys) -> Scores:
        """Score every pair.

        Raises:
            ValueError: see `Additive.forward`.
        """
        _check(queries, keys, *self.sizes)
        Q, K = queries.shape[1], keys.shape[1]
        pairs = torch.cat(
            [queries[:, :, None].expand(-1, -1, K, -1), keys[:, None].expand(-1, Q, -1, -1)], dim=-1
        )
        return self.score(self.act(self.project(pairs))).squeeze(-1)  # from (B, Q, K, d_q + d_k)


class General(nn.Module):
    """A bilinear form: the query, taken into the space of the keys, times the key (Luong et al. 2015, "general")."""

    bias = False

    def __init__(self, d_q: int, d_k: int):
        """Make the score for queries of size d_q and keys of size d_k."""
        super().__init__()
        self.project = nn.Linear(d_q, d_k, bias=self.bias)

    def forward(self, queries: Queries, keys: Keys) -> Scores:
        """Score every pair.

        Raises:
            ValueError: see `Additive.forward`.
        """
        _check(queries, keys, self.project.in_features, self.project.out_features)
        return self.project(queries) @ keys.mT


class BiasedGeneral(General):
    """The bilinear form with a bias b on the projected query: a preference for keys (Sordoni et al. 2016)."""

    bias = True


class ActivatedGeneral(General):
    """The bilinear form with a scalar bias and an activation around it (Ma et al. 2017)."""

    def __init__(self, d_q: int, d_k: int, act: Activation = torch.tanh):
        """Make the score for queries of size d_q and keys of size d_k."""
        super().__init__(d_q, d_k)
        self.offset = nn.Parameter(torch.zeros(()))
        self.act = act

    def forward(self, queries: Queries, keys: Keys) -> Scores:
        """Score every pair.

        Raises:
            ValueError: see `Additive.forward`.
        """
        return self.act(super().forward(queries, keys) + self.offset)


def _wide(vectors: Tensor) -> torch.dtype:
    """Single precision at least, for lengths: in half precision the squares of ordinary numbers overflow."""
    return torch.promote_types(vectors.dtype, torch.float32)


def _check(
    queries: Tensor,
    keys: Tensor,
    d_q: int | None = None,
    d_k: int | None = None,
    *,
    same_size: bool = False,
) -> None:
    """Say in one sentence what does not fit."""
    given = f"got {tuple(queries.shape)} and {tuple(keys.shape)}"
    if queries.ndim != 3 or keys.ndim != 3:
        raise ValueError(f"expected queries (B, Q, d_q) and keys (B, K, d_k), {given}")
    if not (queries.is_floating_point() and keys.is_floating_point()):
        raise ValueError(
            f"expected queries and keys in floating point, got {queries.dtype} and {keys.dtype}"
        )
    if len(queries) != len(keys):
        raise ValueError(f"expected queries and keys of one batch, {given}")
    if keys.shape[1] == 0:
        raise ValueError(f"expected at least one key, {given}")
    if same_size and queries.shape[2] != keys.shape[2]:
        raise ValueError(
            f"expected d_q = d_k, got queries of size {queries.shape[2]} and keys of size {keys.shape[2]}"
        )
    if (d_q is not None and queries.shape[2] != d_q) or (d_k is not None and keys.shape[2] != d_k):
        raise ValueError(f"expected queries of size {d_q} and keys of size {d_k}, {given}")
