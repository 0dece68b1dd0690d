"""Feature-related attention: several inputs, several levels, or several representations.

These are the feature-related mechanisms of Brauwers and Frasincar 2023, "A General Survey on
Attention Mechanisms in Deep Learning", section 3.1. Co-attention, parallel or interactive, and
rotatory attention read several inputs, attention-via-attention and hierarchical attention several
levels, and multi-representational attention several representations of one input. The other
mechanisms of the survey are in `query_related`.
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


class ParallelCoAttention(nn.Module):
    r"""Parallel co-attention: two sets attend to each other at once, by a score for every pair.

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


class InteractiveCoAttention(nn.Module):
    """Interactive co-attention: the mean of each set is the query for the other set.

    Source: Ma et al. 2017, "Interactive Attention Networks for Aspect-Level Sentiment
    Classification", equations 2 to 6, where the score is `scores.ActivatedGeneral`, and the
    classifier reads both contexts.
    """

    def __init__(self, read_x: Attention, read_y: Attention):
        """Choose the attention for each set.

        Args:
            read_x: Attention for queries of size d_y and keys of size d_x.
            read_y: Attention for queries of size d_x and keys of size d_y.
        """
        super().__init__()
        self.read_x, self.read_y = read_x, read_y

    def forward(
        self, x: Float[Tensor, "B K d_x"], y: Float[Tensor, "B T d_y"]
    ) -> tuple[Attended, Attended]:
        """Return one context with its weights for x, and one for y.

        Raises:
            ValueError: If a set is empty; see also `Attention.forward`.
        """
        of_x = self.read_x(_mean(y), x, x)  # (B, 1, d_x)
        of_y = self.read_y(_mean(x), y, y)  # (B, 1, d_y)
        return of_x, of_y


def _mean(vectors: Float[Tensor, "B K d"]) -> Float[Tensor, "B 1 d"]:
    """Return the mean of each set, as a query.

    Raises:
        ValueError: If the sets are empty.
    """
    if not vectors.shape[1]:
        raise ValueError(f"expected at least one vector to average, got {tuple(vectors.shape)}")
    return vectors.mean(dim=1, keepdim=True)


class RotatoryContexts(NamedTuple):
    """The four contexts of `Rotatory` attention, each with its weights.

    Attributes:
        left: What the mean of the target reads in the left context.
        target_by_left: What the vector of the left context reads in the target.
        target_by_right: What the vector of the right context reads in the target.
        right: What the mean of the target reads in the right context.
    """

    left: Attended
    target_by_left: Attended
    target_by_right: Attended
    right: Attended

    @property
    def context(self) -> Float[Tensor, "B 1 d"]:
        """All four contexts, one behind the other, as a classifier reads them."""
        return torch.cat([part.context for part in self], dim=-1)


class Rotatory(nn.Module):
    """Rotatory attention: a target queries the contexts on both sides, which query it back.

    Source: Zheng and Xia 2018, "Left-Center-Right Separated Neural Network for Aspect-based
    Sentiment Analysis with Rotatory Attention", section 2.2, where the score is
    `scores.ActivatedGeneral`, and a recurrent network processes each of the three parts first.
    """

    def __init__(
        self,
        left: Attention,
        right: Attention,
        target_by_left: Attention,
        target_by_right: Attention,
    ):
        """Choose the four attentions.

        Args:
            left: Attention for queries of size d_t and keys of size d_l.
            right: Attention for queries of size d_t and keys of size d_r.
            target_by_left: Attention for queries of size d_l and keys of size d_t.
            target_by_right: Attention for queries of size d_r and keys of size d_t.
        """
        super().__init__()
        self.left, self.right = left, right
        self.target_by_left, self.target_by_right = target_by_left, target_by_right

    def forward(
        self,
        target: Float[Tensor, "B T d_t"],
        left: Float[Tensor, "B L d_l"],
        right: Float[Tensor, "B R d_r"],
    ) -> RotatoryContexts:
        """Attend to both contexts with the target, and to the target with both contexts.

        Raises:
            ValueError: If the target is empty; see also `Attention.forward`.
        """
        query = _mean(target)
        of_left = self.left(query, left, left)  # (B, 1, d_l)
        of_right = self.right(query, right, right)  # (B, 1, d_r)
        return RotatoryContexts(
            of_left,
            self.target_by_left(of_left.context, target, target),  # (B, 1, d_t)
            self.target_by_right(of_right.context, target, target),  # (B, 1, d_t)
            of_right,
        )


class LevelContexts(NamedTuple):
    """The contexts of `AttentionViaAttention`, each with its weights.

    Attributes:
        coarse: What the query reads in the coarse level.
        fine: What the query, extended by the coarse context, reads in the fine level.
    """

    coarse: Attended
    fine: Attended

    @property
    def context(self) -> Float[Tensor, "B Q d"]:
        """Both contexts, one behind the other, as a classifier reads them."""
        return torch.cat([self.coarse.context, self.fine.context], dim=-1)


class AttentionViaAttention(nn.Module):
    """Attention-via-attention: the context of a coarse level extends the query for the fine level.

    Both contexts go to the classifier.

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
