r"""Blocks that add a context to every position of a feature map, with the residual inside.

A gate multiplies what is there, so it can't carry anything from one position to another. These
blocks attend to the positions and add the context that they find:

.. math:: z_i = l_i + W_z\, c_i, \qquad c_i = \sum_j a_{ij} v_j

===============  =================================  ============================================
Block            Context                            Weights
===============  =================================  ============================================
`NonLocal`       one per position                   (B, HW, HW): one map per position
`GlobalContext`  one for all positions              (B, 1, H, W): one map for all positions
===============  =================================  ============================================

Both start as the identity: a freshly initialised block returns its input, so you can insert it into
a trained network. `gates.observe` returns the weights of all blocks inside a network. To replace
the weights, for example by their mean, pass yours to a block's ``add_context``.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_utils.attention.gates import Map, Observable, reduced
from course_utils.attention.general import to_sequence
from course_utils.core.checks import check_choice
from course_utils.core.tensor_checks import check_shape

Similarity = Literal["embedded_gaussian", "dot_product"]


class RelativePositions(nn.Module):
    r"""Scores that depend on the query and on how far away the key is, in rows and in columns.

    .. math:: r_{ij} = q_i^\top (p^h_{\Delta} + p^w_{\Delta'})

    The key lies :math:`\Delta` rows below and :math:`\Delta'` columns to the right of the query,
    and every offset has a learned vector. Scores of the content alone don't change if the positions
    are shuffled; these do.

    Source: Srinivas et al. 2021, "Bottleneck Transformers for Visual Recognition", figure 4. There,
    the map has one fixed size. Here, offsets beyond the reach share a vector, so any size works.
    """

    def __init__(self, size: int, reach: int):
        """Create the vectors of the offsets.

        Args:
            size: Size of a query.
            reach: Largest offset with its own vector, in either direction.

        Raises:
            ValueError: If the reach is less than 1.
        """
        super().__init__()
        if reach < 1:
            raise ValueError(f"expected a reach of at least 1, got {reach}")
        self.reach = reach
        self.rows = nn.Parameter(torch.randn(2 * reach + 1, size) / size**0.5)
        self.columns = nn.Parameter(torch.randn(2 * reach + 1, size) / size**0.5)

    def forward(self, queries: Float[Tensor, "B d H W"]) -> Float[Tensor, "B K K"]:
        """Return the score of each pair of positions, with K = H · W, row by row."""
        height, width = queries.shape[-2:]
        rows = self.rows[self._offsets(height)]  # (H, H, d): from row h to row k
        columns = self.columns[self._offsets(width)]  # (W, W, d)
        by_row = torch.einsum("bdhw,hkd->bhwk", queries, rows)  # (B, H, W, H)
        by_column = torch.einsum("bdhw,wkd->bhwk", queries, columns)  # (B, H, W, W)
        scores = by_row[..., :, None] + by_column[..., None, :]  # (B, H, W, H, W)
        return scores.flatten(3).flatten(1, 2)

    def _offsets(self, n: int) -> Int[Tensor, "n n"]:
        """Return the index of the vector for each pair of rows, or of columns."""
        positions = torch.arange(n, device=self.rows.device)
        return (positions - positions[:, None]).clamp(-self.reach, self.reach) + self.reach


class NonLocal(Observable):
    r"""Self-attention between the positions of a feature map.

    .. math::
        z_i = l_i + \mathrm{norm}\Big(W_z \sum_j a_{ij} W_v l_j\Big), \quad
        r_{ij} = (W_q l_i)^\top (W_k l_j)

    The similarity makes weights of the scores r. Queries, keys and values have C / 2 channels.

    - ``embedded_gaussian``: softmax of :math:`r_{ij} / \sqrt{C / 2}` over j. This is the attention
      of `scaled_dot_product_attention`, and of `SelfAttention`.
    - ``dot_product``: :math:`r_{ij} / K` for K positions; the weights can have any sign and sum.

    The last layer is a batch norm whose weights start at 0. The block therefore returns its input
    until training has moved them, and on the first step only they have a gradient.

    With C channels, the block has 2 C² + 2 C parameters. The weights have K² entries per image, so
    the memory grows with the fourth power of the side of the map.

    Source: Wang et al. 2018, "Non-local Neural Networks", eq. 3, 4 and 6, and section 4.1 for the
    batch norm. Equation 3 has no square root; the published code has it. Two things are left out
    here: max-pooling, which halves the map for keys and values in all blocks of the paper (section
    3.3), and the biases that the code adds to the projections.
    """

    def __init__(
        self,
        channels: int,
        similarity: Similarity = "embedded_gaussian",
        reach: int | None = None,
    ):
        """Create the projections, without bias.

        Args:
            channels: Channels C of the features.
            similarity: ``embedded_gaussian`` or ``dot_product``.
            reach: If given, `RelativePositions` with this reach are added to the scores. If None,
                the block can't see how the positions are arranged.

        Raises:
            ValueError: If the similarity is unknown, or the reach is less than 1.
        """
        super().__init__()
        check_choice("similarity", similarity, Similarity)
        self.similarity = similarity
        inner = max(1, channels // 2)
        self.project_query = nn.Conv2d(channels, inner, 1, bias=False)
        self.project_key = nn.Conv2d(channels, inner, 1, bias=False)
        self.project_value = nn.Conv2d(channels, inner, 1, bias=False)
        self.positions = None if reach is None else RelativePositions(inner, reach)
        self.combine = nn.Conv2d(inner, channels, 1, bias=False)  # W_z
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def weights(self, x: Map) -> Float[Tensor, "B K K"]:
        """Return the weight of each position (last dimension) for each position, row by row.

        Raises:
            ValueError: If the features have another shape than (B, C, H, W).
        """
        check_shape("features", x, None, self.combine.out_channels, None, None)
        gaussian = self.similarity == "embedded_gaussian"
        queries, keys = self.project_query(x), self.project_key(x)  # (B, C / 2, H, W)
        # Divide before the product, which may overflow in half precision.
        queries = queries / (queries.shape[1] ** 0.5 if gaussian else x.shape[2] * x.shape[3])
        scores = to_sequence(queries) @ keys.flatten(2)  # (B, K, C / 2) @ (B, C / 2, K)
        if self.positions is not None:
            scores = scores + self.positions(queries)
        return scores.softmax(dim=-1) if gaussian else scores

    def add_context(self, x: Map, weights: Float[Tensor, "B K K"]) -> Map:
        """Return the features plus the contexts that these weights give."""
        contexts = weights @ to_sequence(self.project_value(x))  # (B, K, C / 2)
        contexts = contexts.mT.unflatten(2, x.shape[-2:])  # (B, C / 2, H, W)
        return x + self.norm(self.combine(contexts))

    def forward(self, x: Map) -> Map:
        """Return the features, each with its context added.

        Raises:
            ValueError: See `weights`.
        """
        return self.add_context(x, self.weights(x))


class GlobalContext(Observable):
    r"""One context for all positions, added to each of them.

    .. math::
        z_i = l_i + W_2\,\mathrm{ReLU}(\mathrm{norm}(W_1 c + b_1)) + b_2, \quad
        c = \sum_j a_j l_j, \quad a = \mathrm{softmax}(w^\top l)

    There is no query: in trained non-local networks, Cao et al. found nearly the same map for every
    query, so one map may do. Compared with `SqueezeExcitation`, attention pools the features
    instead of the average, a layer norm comes before the ReLU, and the result is added, without a
    sigmoid, instead of multiplied.

    :math:`W_2` and :math:`b_2` start at 0, so the block returns its input until training has moved
    them, and on the first step only they have a gradient.

    Source: Cao et al. 2019, "GCNet", section 4.3. The published code also starts with a last layer
    of 0. It has a bias in the scores, which softmax cancels.
    """

    def __init__(self, channels: int, reduction: int = 16):
        """Create the layers.

        Args:
            channels: Channels C of the features.
            reduction: The hidden layer has C / reduction units, but, unlike in the paper, at least
                8: a layer norm removes the mean and the scale, which leaves nothing of a single
                unit and only a sign of two.

        Raises:
            ValueError: If the reduction is less than 1.
        """
        super().__init__()
        hidden = max(8, reduced(channels, reduction))
        self.score = nn.Conv2d(channels, 1, 1, bias=False)
        last = nn.Linear(hidden, channels)
        self.transform = nn.Sequential(
            nn.Linear(channels, hidden), nn.LayerNorm(hidden), nn.ReLU(), last
        )
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def weights(self, x: Map) -> Float[Tensor, "B 1 H W"]:
        """Return the map, whose weights sum to 1.

        Raises:
            ValueError: If the features have another shape than (B, C, H, W).
        """
        check_shape("features", x, None, self.score.in_channels, None, None)
        scores = self.score(x)  # (B, 1, H, W)
        return scores.flatten(2).softmax(dim=-1).view_as(scores)

    def add_context(self, x: Map, weights: Float[Tensor, "B 1 H W"]) -> Map:
        """Return the features plus the context that these weights give."""
        context = (weights * x).sum(dim=(2, 3))  # (B, C)
        return x + self.transform(context)[..., None, None]  # (B, C) → (B, C, 1, 1)

    def forward(self, x: Map) -> Map:
        """Return the features with the context added.

        Raises:
            ValueError: See `weights`.
        """
        return self.add_context(x, self.weights(x))
