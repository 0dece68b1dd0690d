"""Feature-related attention: several inputs, several levels, or several representations.

These are the feature-related mechanisms of Brauwers and Frasincar 2023, "A General Survey on
Attention Mechanisms in Deep Learning". Co-attention and rotatory attention read several inputs,
attention-via-attention and hierarchical attention several levels, and multi-representational
attention several representations of one input. The other mechanisms of the survey are in
`query_related`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_utils.attention import alignments
from course_utils.attention.general import Attended, Attention, AttentionPooling
from course_utils.core.tensor_checks import check_shape


class CoAttention(nn.Module):
    r"""Co-attention: two sets attend to each other at once, through a score for every pair.

    .. math::
        C = \tanh(\mathrm{score}(y, x)), \quad
        H^x = \tanh(W_x x + C^\top W_y y), \quad H^y = \tanh(W_y y + C\, W_x x)

    Each row of :math:`H^x` and :math:`H^y` gives one score, and each set is aligned by its own
    scores.

    Source: Lu et al. 2016, "Hierarchical Question-Image Co-Attention", the parallel variant, where
    the score is `scores.General`.
    """

    def __init__(
        self,
        score: Callable[..., Tensor],
        d_x: int,
        d_y: int,
        hidden: int,
        alignment: Callable[..., Tensor] = alignments.softmax,
    ):
        """Create the projections.

        Args:
            score: Function from y as queries (B, T, d_y) and x as keys (B, K, d_x) to (B, T, K).
            d_x: Size of a vector of the first set.
            d_y: Size of a vector of the second set.
            hidden: Size of a row of H.
            alignment: Alignment function for both sets.
        """
        super().__init__()
        self.score, self.alignment = score, alignment
        self.project_x = nn.Linear(d_x, hidden, bias=False)
        self.project_y = nn.Linear(d_y, hidden, bias=False)
        self.score_x = nn.Linear(hidden, 1, bias=False)
        self.score_y = nn.Linear(hidden, 1, bias=False)

    def forward(
        self, x: Float[Tensor, "B K d_x"], y: Float[Tensor, "B T d_y"]
    ) -> tuple[Attended, Attended]:
        """Return one context with its weights for x, and one for y.

        Raises:
            ValueError: If shapes do not fit, or the score or the alignment function raises it.
        """
        check_shape("the first input", x, None, None, self.project_x.in_features)
        check_shape("the second input", y, len(x), None, self.project_y.in_features)
        affinity = self.score(y, x).tanh()  # (B, T, K)
        from_x = self.project_x(x)  # (B, K, hidden)
        from_y = self.project_y(y)  # (B, T, hidden)
        scores_x = self.score_x((from_x + affinity.mT @ from_y).tanh()).mT  # (B, 1, K)
        scores_y = self.score_y((from_y + affinity @ from_x).tanh()).mT  # (B, 1, T)
        weights_x = self.alignment(scores_x)
        weights_y = self.alignment(scores_y)
        return Attended(weights_x @ x, weights_x), Attended(weights_y @ y, weights_y)


class Rotatory(nn.Module):
    """Rotatory attention: inputs are attended in turn, each with the previous context as its query.

    Source of the idea: Zheng and Xia 2018, "Left-Center-Right Separated Neural Network". There, the
    average of the centre is the query for the left and the right part, and their contexts are the
    queries for the centre. Here, any number of inputs follow each other.
    """

    def __init__(self, attentions: Sequence[Attention]):
        """Choose the attention for each input.

        Args:
            attentions: One attention per input, at least two.

        Raises:
            ValueError: If there are fewer than two attentions.
        """
        super().__init__()
        if len(attentions) < 2:
            raise ValueError(f"expected attentions for at least 2 inputs, got {len(attentions)}")
        self.attentions = nn.ModuleList(attentions)

    def forward(
        self, queries: Float[Tensor, "B Q d_q"], *inputs: Float[Tensor, "B _ _"]
    ) -> list[Attended]:
        """Attend to the inputs one after the other.

        Args:
            queries: Queries for the first input.
            inputs: One set (B, K, d) per attention. The contexts of one set are the queries for
                the next.

        Returns:
            The context and the weights of each input.

        Raises:
            ValueError: If the number of inputs is not that of the attentions; see also
                `Attention.forward`.
        """
        if len(inputs) != len(self.attentions):
            raise ValueError(f"expected {len(self.attentions)} inputs, got {len(inputs)}")
        attended = []
        for attention, vectors in zip(self.attentions, inputs):
            attended.append(attention(queries, vectors, vectors))
            queries = attended[-1].context
        return attended


class LevelContexts(NamedTuple):
    """Contexts and weights of the coarse and the fine level; a classifier reads both contexts."""

    coarse: Attended
    fine: Attended


class AttentionViaAttention(nn.Module):
    """Attention-via-attention: the context of a coarse level extends the query for the fine level.

    Source: Zhao and Zhang 2018, "Attention-via-Attention Neural Machine Translation", with words as
    the coarse level and characters as the fine one.
    """

    def __init__(self, coarse: Attention, fine: Attention):
        """Choose the attention for each level.

        Args:
            coarse: Attention for queries of size d_q.
            fine: Attention for queries of size d_q + d_c.
        """
        super().__init__()
        self.coarse, self.fine = coarse, fine

    def forward(
        self,
        queries: Float[Tensor, "B Q d_q"],
        coarse: Float[Tensor, "B G d_c"],
        fine: Float[Tensor, "B K d_f"],
    ) -> LevelContexts:
        """Attend to the coarse vectors, then to the fine ones.

        Raises:
            ValueError: See `Attention.forward`.
        """
        first = self.coarse(queries, coarse, coarse)
        extended = torch.cat([queries, first.context], dim=-1)  # (B, Q, d_q + d_c)
        return LevelContexts(first, self.fine(extended, fine, fine))


class AttendedByGroup(NamedTuple):
    """The output of `Hierarchical` attention.

    Attributes:
        context: (B, 1, d).
        weights: (B, 1, K), the weight of each position: its weight within the group times the
            weight of the group.
        within: (B, G, n), the weights within each group.
        over: (B, 1, G), the weights of the groups.
    """

    context: Float[Tensor, "B 1 d"]
    weights: Float[Tensor, "B 1 K"]
    within: Float[Tensor, "B G n"]
    over: Float[Tensor, "B 1 G"]


class Hierarchical(nn.Module):
    """Hierarchical attention: positions are pooled into groups, and the groups into one vector.

    Source: Yang et al. 2016, "Hierarchical Attention Networks", from words to sentences to a
    document. In the paper, a recurrent network processes each level before it is pooled; here, the
    levels follow each other directly.
    """

    groups: Tensor  # a buffer

    def __init__(
        self, within: AttentionPooling, over: AttentionPooling, groups: Int[Tensor, "G n"]
    ):
        """Choose the two poolings and the groups.

        Args:
            within: Pools the positions of a group, with the same query for all groups.
            over: Pools the groups.
            groups: Indices of the positions in each group, as `blocks` returns them.

        Raises:
            ValueError: If the groups do not contain each position exactly once.
        """
        super().__init__()
        if groups.ndim != 2 or sorted(groups.flatten().tolist()) != list(range(groups.numel())):
            raise ValueError(
                "expected groups (G, n) that contain each position from 0 exactly once, "
                f"got groups of shape {tuple(groups.shape)}"
            )
        self.within, self.over = within, over
        self.register_buffer("groups", groups)

    def forward(self, l: Float[Tensor, "B K d"]) -> AttendedByGroup:
        """Pool the positions, level by level.

        Args:
            l: Local features, one vector per position.

        Raises:
            ValueError: If the number of positions is not that of the groups; see also
                `Attention.forward`.
        """
        check_shape("local features", l, None, self.groups.numel(), None)
        members = l[:, self.groups]  # (B, G, n, d)
        # Every group of every image is one input of the lower pooling.
        context, within = self.within(members.flatten(0, 1))  # (B * G, 1, d), (B * G, 1, n)
        by_image = (len(l), -1)
        context = context.unflatten(0, by_image).squeeze(2)  # (B, G, d)
        within = within.unflatten(0, by_image).squeeze(2)  # (B, G, n)
        context, over = self.over(context)  # (B, 1, d), (B, 1, G)
        by_group = (within * over.mT).flatten(1)  # (B, G * n), in the order of the groups
        weights = by_group[:, self.groups.flatten().argsort()]  # (B, K), in that of the positions
        return AttendedByGroup(context, weights[:, None], within, over)


def blocks(height: int, width: int, side: int) -> Int[Tensor, "G n"]:
    """Return the positions of a grid in square blocks, as groups for `Hierarchical`.

    Args:
        height: Rows of the grid.
        width: Columns of the grid.
        side: Side of a block, which must divide both.

    Returns:
        Indices of the positions, one row per block. Blocks, and positions in a block, are in
        reading order.

    Raises:
        ValueError: If the side does not divide the height and the width.
    """
    if side < 1 or height % side or width % side:
        raise ValueError(f"expected a side that divides a grid of {height} × {width}, got {side}")
    grid = torch.arange(height * width).view(height // side, side, width // side, side)
    # (block row, row in block, block column, column in block) → one row per block
    return grid.transpose(1, 2).reshape(-1, side * side)  # (G, n)


class MultiRepresentational(nn.Module):
    """Multi-representational attention: several representations are mixed at each position.

    The representations are projected to one size, and a learned query attends to them.

    Source: Kiela et al. 2018, "Dynamic Meta-Embeddings for Improved Sentence Representations",
    where the score is `scores.multiplicative`.
    """

    def __init__(self, pool: AttentionPooling, sizes: Sequence[int], size: int):
        """Create one projection per representation.

        Args:
            pool: Attends to the representations of a position.
            sizes: Size of a vector of each representation.
            size: Size to which all of them are projected.

        Raises:
            ValueError: If there is no representation.
        """
        super().__init__()
        if not sizes:
            raise ValueError("expected the sizes of at least one representation, got none")
        self.pool, self.sizes = pool, tuple(sizes)
        self.projections = nn.ModuleList(nn.Linear(d, size) for d in sizes)

    def forward(self, *representations: Float[Tensor, "B K _"]) -> Attended:
        """Mix the representations of each position.

        Args:
            representations: Vectors of the same K positions, once per representation.

        Returns:
            Contexts (B, K, size), one mixed vector per position, and weights (B, K, R) of the R
            representations.

        Raises:
            ValueError: If the number of representations is not that of the projections, or shapes
                do not fit.
        """
        if len(representations) != len(self.projections):
            raise ValueError(
                f"expected {len(self.projections)} representations, got {len(representations)}"
            )
        batch_and_positions = representations[0].shape[:2]
        for given, size in zip(representations, self.sizes):
            check_shape("a representation", given, *batch_and_positions, size)
        projected = [project(given) for given, project in zip(representations, self.projections)]
        together = torch.stack(projected, dim=2)  # (B, K, R, size)
        # Every position of every image is one input of the pooling; R plays the role of K there.
        context, weights = self.pool(together.flatten(0, 1))  # (B * K, 1, size), (B * K, 1, R)
        return Attended(
            context.squeeze(1).unflatten(0, batch_and_positions),  # (B, K, size)
            weights.squeeze(1).unflatten(0, batch_and_positions),  # (B, K, R)
        )
