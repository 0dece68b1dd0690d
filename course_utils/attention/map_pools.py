"""Pools of a feature map: one vector per image, with attention or without.

Each pool takes local features l and guiding features g, like `spatial.GridAttention`, and returns
the vector and a map of its weights; None if it has no such weights. So one can stand in for another
in a network.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from course_utils.attention.general import to_maps, to_sequence
from course_utils.attention.simple_pools import GeneralizedMean, max_pool
from course_utils.attention.spatial import GridAttention
from course_utils.core.tensor_checks import check_shape

Pooled = tuple[Float[Tensor, "B C"], Float[Tensor, "B 1 H W"] | None]


class AveragePool(nn.Module):
    """The mean over the positions: what attention has to beat."""

    def forward(self, l: Float[Tensor, "B C H W"], g: Tensor) -> Pooled:
        """Pool l; g isn't used."""
        return l.mean(dim=(2, 3)), None


class WithHidden(nn.Module):
    """A hidden layer at each position, and a pool of what it computes.

    Around an `AveragePool`, it shows what the hidden layer does without attention, so attention
    should be compared with it, or be given a hidden layer as well.
    """

    def __init__(self, channels: int, pool: nn.Module):
        """Create the hidden layer, a 1 × 1 convolution with as many outputs as inputs.

        Args:
            channels: Channels of l.
            pool: The pool of the hidden features.
        """
        super().__init__()
        self.hidden = nn.Conv2d(channels, channels, 1)
        nn.init.kaiming_normal_(self.hidden.weight)
        self.pool = pool

    def forward(self, l: Float[Tensor, "B C H W"], g: Tensor) -> Pooled:
        """Pool the hidden features of l; g guides the pool."""
        return self.pool(self.hidden(l).relu(), g)


class MaxPool(nn.Module):
    """The largest value of each channel."""

    def forward(self, l: Float[Tensor, "B C H W"], g: Tensor) -> Pooled:
        """Pool l; g isn't used."""
        return max_pool(to_sequence(l)), None


class GeMPool(nn.Module):
    """The generalised mean, see `simple_pools.GeneralizedMean`; negative features count as 0."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = GeneralizedMean()

    def forward(self, l: Float[Tensor, "B C H W"], g: Tensor) -> Pooled:
        """Pool l; g isn't used."""
        return self.mean(to_sequence(l)), None


class SelfAttentionPool(nn.Module):
    r"""Self-attention between the positions, and the mean of all contexts.

    .. math:: c = \frac{1}{HW} \sum_i \sum_j a_{ij} l_j = \sum_j \bar a_j\, l_j

    So the mean of the rows of the attention matrix is a map like that of any other pool.
    """

    def __init__(self, channels: int, hidden: int, scale: float = 1.0):
        """Create the projections.

        Args:
            channels: Channels of l.
            hidden: Size of queries and keys.
            scale: Factor on the scores, on top of 1 / √hidden.
        """
        super().__init__()
        self.project_query = nn.Linear(channels, hidden, bias=False)
        self.project_key = nn.Linear(channels, hidden, bias=False)
        self.scale = scale / hidden**0.5

    def forward(self, l: Float[Tensor, "B C H W"], g: Tensor) -> Pooled:
        """Pool l; g isn't used."""
        inputs = to_sequence(l)  # (B, HW, C)
        scores = self.project_query(inputs) @ self.project_key(inputs).mT * self.scale
        weights = scores.softmax(dim=-1).mean(dim=1, keepdim=True)  # (B, HW, HW) → (B, 1, HW)
        return (weights @ inputs).squeeze(1), to_maps(weights, l.shape[2])


class FixedMap(nn.Module):
    """A learned map that is the same for every image: a prior, without a look at the image."""

    def __init__(self, side: int):
        """Start from equal weights on a grid of side × side positions."""
        super().__init__()
        self.side = side
        self.scores = nn.Parameter(torch.zeros(side * side))

    def forward(self, l: Float[Tensor, "B C H W"], g: Tensor) -> Pooled:
        """Pool l; g isn't used.

        Raises:
            ValueError: If l has another grid.
        """
        check_shape("l", l, None, None, self.side, self.side)
        weights = self.scores.softmax(dim=0).view(1, 1, self.side, self.side)
        return (weights * l).sum(dim=(2, 3)), weights.expand(len(l), -1, -1, -1)


class Unguided(GridAttention):
    """`GridAttention` that sees only l: its guiding features are zeros."""

    def forward(
        self, l: Float[Tensor, "B C H W"], g: Float[Tensor, "B D h w"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B 1 H W"]]:
        """Pool l; of g, only the shape is used."""
        return super().forward(l, torch.zeros_like(g))


class ObjectPool(nn.Module):
    """The mean over the object, which is given: an oracle, to see what perfect attention brings."""

    def forward(self, l: Float[Tensor, "B C H W"], share: Shaped[Tensor, "B 1 H W"]) -> Pooled:
        """Pool l with weights in proportion to the share of each position that the object covers.

        Args:
            l: Local features.
            share: In [0, 1], and positive somewhere.
        """
        weights = share / share.sum(dim=(2, 3), keepdim=True)
        return (weights * l).sum(dim=(2, 3)), weights
