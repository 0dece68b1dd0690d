"""Kinds of attention by what they read: several inputs, several levels, several representations.

They are the feature-related kinds of Brauwers and Frasincar 2023, "A General Survey on Attention Mechanisms in Deep
Learning": co-attention and rotatory attention read several inputs, attention-via-attention and hierarchical attention
several levels, multi-representational attention several representations. `queries` has the kinds by who asks.
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
    r"""Two sets attend to each other at once, through the affinity of every pair.

    .. math::
        C = \tanh(\mathrm{score}(y, x)), \quad
        H^x = \tanh(W_x x + C^\top W_y y), \quad H^y = \tanh(W_y y + C\, W_x x)

    and each set is aligned by one number for each row of its H. Source: Lu et al. 2016, "Hierarchical Question-Image
    Co-Attention", the parallel form; there the score is `scores.General`.
    """

    def __init__(
        self,
        score: Callable[..., Tensor],
        d_x: int,
        d_y: int,
        hidden: int,
        alignment: Callable[..., Tensor] = alignments.softmax,
    ):
        """Make the projections.

        Args:
            score: y as queries (B, T, d_y) and x as keys (B, K, d_x) → (B, T, K).
            d_x: size of a vector of the first set.
            d_y: size of a vector of the second set.
            hidden: size of a row of H.
            alignment: from the numbers to weights, for both sets.
        """
        super().__init__()
        self.score, self.alignment = score, alignment
        self.project_x, self.project_y = (
            nn.Linear(d_x, hidden, bias=False),
            nn.Linear(d_y, hidden, bias=False),
        )
        self.score_x, self.score_y = (
            nn.Linear(hidden, 1, bias=False),
            nn.Linear(hidden, 1, bias=False),
        )

    def forward(
        self, x: Float[Tensor, "B K d_x"], y: Float[Tensor, "B T d_y"]
    ) -> tuple[Attended, Attended]:
        """One context and one row of weights for each set: of x, then of y.

        Raises:
            ValueError: shapes that do not fit; see also the score and the alignment.
        """
        check_shape("the first input", x, None, None, self.project_x.in_features)
        check_shape("the second input", y, len(x), None, self.project_y.in_features)
        affinity = self.score(y, x).tanh()  # (B, T, K)
        from_x, from_y = self.project_x(x), self.project_y(y)
        scores_x = self.score_x((from_x + affinity.mT @ from_y).tanh()).mT  # (B, 1, K)
        scores_y = self.score_y((from_y + affinity @ from_x).tanh()).mT  # (B, 1, T)
        weights_x, weights_y = self.alignment(scores_x), self.alignment(scores_y)
        return Attended(weights_x @ x, weights_x), Attended(weights_y @ y, weights_y)


class Rotatory(nn.Module):
    """Inputs attended in turn, each with the context of the one before as the query, round after round.

    Source of the idea: Zheng and Xia 2018, "Left-Center-Right Separated Neural Network", where the average of the
    centre asks the left and the right, and their contexts ask the centre. Here the inputs stand in a ring of any
    length.
    """

    def __init__(self, attentions: Sequence[Attention], rounds: int = 1):
        """Choose the attention for each of two or more inputs, and how often the ring is gone round.

        Raises:
            ValueError: fewer attentions than two, or fewer rounds than one.
        """
        super().__init__()
        if len(attentions) < 2 or rounds < 1:
            given = f"{len(attentions)} and {rounds}"
            raise ValueError(
                f"expected attentions for two or more inputs and one or more rounds, got {given}"
            )
        self.attentions, self.rounds = nn.ModuleList(attentions), rounds

    def forward(
        self, queries: Float[Tensor, "B Q d_q"], *inputs: Float[Tensor, "B _ _"]
    ) -> list[Attended]:
        """Go round the inputs, from the first on.

        Args:
            queries: ask the first input in the first round.
            inputs: one set (B, K, d) for each attention; the contexts of one are queries to the next.

        Returns:
            For each input, what it was attended with in the last round.

        Raises:
            ValueError: another number of inputs; see also `Attention.forward`.
        """
        if len(inputs) != len(self.attentions):
            raise ValueError(f"expected {len(self.attentions)} inputs, got {len(inputs)}")
        for _ in range(self.rounds):
            attended = []
            for attention, positions in zip(self.attentions, inputs):
                attended.append(attention(queries, positions, positions))
                queries = attended[-1].context
        return attended


class LevelContexts(NamedTuple):
    """The coarse and the fine level, each with its contexts and weights; a classifier would read both contexts."""

    coarse: Attended
    fine: Attended


class AttentionViaAttention(nn.Module):
    """The context of a coarse level joins the query for the fine level.

    Source: Zhao and Zhang 2018, "Attention-via-Attention Neural Machine Translation", from words to characters.
    """

    def __init__(self, coarse: Attention, fine: Attention):
        """Choose the two; the fine one gets queries of size d_q + d_c."""
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
            ValueError: see `Attention.forward`.
        """
        first = self.coarse(queries, coarse, coarse)
        return LevelContexts(
            first, self.fine(torch.cat([queries, first.context], dim=-1), fine, fine)
        )


class Hierarchy(NamedTuple):
    """What `Hierarchical` attention returns.

    Attributes:
        context: (B, 1, d).
        weights: (B, 1, K), for each position its weight in the group times the weight of its group.
        within: (B, G, n), the weights in each group.
        over: (B, 1, G), the weights of the groups.
    """

    context: Float[Tensor, "B 1 d"]
    weights: Float[Tensor, "B 1 K"]
    within: Float[Tensor, "B G n"]
    over: Float[Tensor, "B 1 G"]


class Hierarchical(nn.Module):
    """Positions are pooled into groups, and the groups into one vector.

    Source: Yang et al. 2016, "Hierarchical Attention Networks", from words to sentences to a document. There a
    recurrent network reads each level before it is pooled; here nothing stands between the levels.
    """

    def __init__(
        self, within: AttentionPooling, over: AttentionPooling, groups: Int[Tensor, "G n"]
    ):
        """Choose the two poolings, and the groups.

        Args:
            within: pools the positions of a group, with one query for all groups.
            over: pools the groups.
            groups: the positions that belong to each group, as `blocks` makes them.

        Raises:
            ValueError: groups that do not have each position once.
        """
        super().__init__()
        if groups.ndim != 2 or sorted(groups.flatten().tolist()) != list(range(groups.numel())):
            raise ValueError(
                f"expected groups (G, n) with each position from 0 on once, got {tuple(groups.shape)}"
            )
        self.within, self.over = within, over
        self.register_buffer("groups", groups)

    def forward(self, l: Float[Tensor, "B K d"]) -> Hierarchy:
        """Pool the positions, level by level.

        Raises:
            ValueError: another number of positions than the groups have; see also `Attention.forward`.
        """
        check_shape("local features", l, None, self.groups.numel(), None)
        context, within = self.within(l[:, self.groups].flatten(0, 1))  # (B · G, n, d) is pooled
        context, over = self.over(
            context.unflatten(0, (len(l), -1)).squeeze(2)
        )  # (B, G, d) is pooled
        within = within.unflatten(0, (len(l), -1)).squeeze(2)  # (B, G, n)
        by_group = (within * over.mT).flatten(1)
        weights = by_group[
            :, self.groups.flatten().argsort()
        ]  # back into the order of the positions
        return Hierarchy(context, weights[:, None], within, over)


def blocks(height: int, width: int, side: int) -> Int[Tensor, "G n"]:
    """The positions of a grid in square blocks, row by row: the groups of `Hierarchical`.

    Raises:
        ValueError: a side that does not divide height and width.
    """
    if side < 1 or height % side or width % side:
        raise ValueError(f"expected a side that divides a grid of {height} × {width}, got {side}")
    grid = torch.arange(height * width).view(height // side, side, width // side, side)
    return grid.transpose(1, 2).reshape(-1, side * side)


class MultiRepresentational(nn.Module):
    """Several representations of the same positions, mixed at each position by attention.

    Source: Kiela et al. 2018, "Dynamic Meta-Embeddings for Improved Sentence Representations": the representations are
    projected to one size, and a learned query attends to them; there the score is `scores.multiplicative`.
    """

    def __init__(self, pool: AttentionPooling, sizes: Sequence[int], size: int):
        """Make a projection for each representation.

        Args:
            pool: attends to the representations of a position.
            sizes: of a vector of each representation.
            size: all are projected to.

        Raises:
            ValueError: no representation.
        """
        super().__init__()
        if not sizes:
            raise ValueError("expected the sizes of at least one representation, got none")
        self.pool, self.projections = pool, nn.ModuleList(nn.Linear(d, size) for d in sizes)

    def forward(self, *representations: Float[Tensor, "B K _"]) -> Attended:
        """Mix the representations; one query a position, one key and value a representation.

        Returns:
            Contexts (B, K, size), again a vector a position, and weights (B, K, R) of the R representations.

        Raises:
            ValueError: another number of representations, or shapes that do not fit.
        """
        if len(representations) != len(self.projections):
            raise ValueError(
                f"expected {len(self.projections)} representations, got {len(representations)}"
            )
        for given, project in zip(representations, self.projections):
            check_shape(
                "a representation", given, *representations[0].shape[:2], project.in_features
            )
        projected = [project(given) for given, project in zip(representations, self.projections)]
        together = torch.stack(projected, dim=2)  # (B, K, R, size)
        context, weights = self.pool(together.flatten(0, 1))
        return Attended(
            *(part.squeeze(1).unflatten(0, together.shape[:2]) for part in (context, weights))
        )
