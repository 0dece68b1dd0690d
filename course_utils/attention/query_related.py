"""Kinds of attention by their queries: where they come from, and how often they ask.

They are the query-related kinds of Brauwers and Frasincar 2023, "A General Survey on Attention Mechanisms in Deep
Learning": self-attention, multi-head, multi-hop, capsules. All take an `Attention` with any score and alignment.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from course_utils.attention.general import Attended, Attention
from course_utils.core.tensor_checks import check_shape


class AttendedOften(NamedTuple):
    """What attention returns that attends n times, in n heads or n hops.

    Attributes:
        context: (B, Q, d_v), what the n times came to.
        weights: (B, n, Q, K), the weights of each time.
    """

    context: Float[Tensor, "B Q d_v"]
    weights: Float[Tensor, "B n Q K"]


class SelfAttention(nn.Module):
    """Every position of a set asks all of them: queries, keys and values are projections of one input."""

    def __init__(self, attention: Attention, size: int, d_k: int, d_v: int):
        """Make the three projections, without bias.

        Args:
            attention: between queries and keys of size d_k.
            size: of an input vector.
            d_k: of a query and of a key.
            d_v: of a value, and so of the context.
        """
        super().__init__()
        self.attention = attention
        self.project_query, self.project_key = (nn.Linear(size, d_k, bias=False) for _ in range(2))
        self.project_value = nn.Linear(size, d_v, bias=False)

    def forward(
        self, inputs: Float[Tensor, "B K size"], mask: Bool[Tensor, "*broadcastable"] | None = None
    ) -> Attended:
        """A context for each of the K positions, so Q = K.

        Raises:
            ValueError: inputs of another size; see also `Attention.forward`.
        """
        check_shape("inputs", inputs, None, None, self.project_query.in_features)
        return self.attention(
            self.project_query(inputs), self.project_key(inputs), self.project_value(inputs), mask
        )


class MultiHead(nn.Module):
    """Attention in several heads, each on a slice of the projected vectors (Vaswani et al. 2017, section 3.2.2).

    With the scaled dot product and softmax it computes what `torch.nn.MultiheadAttention` computes; a test holds the
    two equal. A score with parameters is shared by the heads and sees vectors of size / heads.
    """

    def __init__(self, attention: Attention, size: int, heads: int):
        """Make the projections.

        Args:
            attention: what each head does.
            size: of queries, keys, values and contexts alike.
            heads: their number, which divides the size.

        Raises:
            ValueError: a size that the heads do not divide.
        """
        super().__init__()
        if heads < 1 or size % heads:
            raise ValueError(
                f"expected a number of heads that divides the size {size}, got {heads}"
            )
        self.attention, self.heads = attention, heads
        self.project_query, self.project_key, self.project_value = (
            nn.Linear(size, size) for _ in range(3)
        )
        self.combine = nn.Linear(size, size)

    def forward(
        self,
        queries: Float[Tensor, "B Q size"],
        keys: Float[Tensor, "B K size"],
        values: Float[Tensor, "B K size"],
        mask: Bool[Tensor, "*broadcastable"] | None = None,
    ) -> AttendedOften:
        """Attend in every head and combine their contexts; the mask is the same for all heads.

        Raises:
            ValueError: vectors of another size; see also `Attention.forward`.
        """
        for name, given in (("queries", queries), ("keys", keys), ("values", values)):
            check_shape(name, given, None, None, self.combine.in_features)
        projected = self.project_query(queries), self.project_key(keys), self.project_value(values)
        slices = zip(*(vectors.chunk(self.heads, dim=-1) for vectors in projected))
        contexts, weights = zip(*(self.attention(*one_head, mask) for one_head in slices))
        return AttendedOften(self.combine(torch.cat(contexts, dim=-1)), torch.stack(weights, dim=1))


class MultiHop(nn.Module):
    """Attend, add the context to the query, attend again (Sukhbaatar et al. 2015, "End-To-End Memory Networks").

    Keys and values stay the same in all hops; the paper also lets every hop have its own. The context is that of the
    last hop: one hop is `Attention`.
    """

    def __init__(self, attention: Attention, hops: int):
        """Choose the attention, the same in every hop, and the number of hops.

        Raises:
            ValueError: fewer hops than one.
        """
        super().__init__()
        if hops < 1:
            raise ValueError(f"expected at least one hop, got {hops}")
        self.attention, self.hops = attention, hops

    def forward(
        self,
        queries: Float[Tensor, "B Q d_q"],
        keys: Float[Tensor, "B K d_k"],
        values: Float[Tensor, "B K d_v"],
        mask: Bool[Tensor, "*broadcastable"] | None = None,
    ) -> AttendedOften:
        """Combine the values for each query, hop after hop.

        Raises:
            ValueError: values of another size than the queries, to which they are added; see also `Attention.forward`.
        """
        check_shape("values", values, None, None, queries.shape[-1])
        weights = []
        for _ in range(self.hops):
            context, hop = self.attention(queries, keys, values, mask)
            queries = queries + context
            weights.append(hop)
        return AttendedOften(context, torch.stack(weights, dim=1))


class Capsuled(NamedTuple):
    """What `Capsules` return.

    Attributes:
        context: (B, classes, d), what each capsule attended to.
        weights: (B, classes, K), its weights.
        logits: (B, classes), how sure it is that its class is there; each by itself, not one against the others.
    """

    context: Float[Tensor, "B classes d"]
    weights: Float[Tensor, "B classes K"]
    logits: Float[Tensor, "B classes"]

    @property
    def probabilities(self) -> Float[Tensor, "B classes"]:
        """The logistic sigmoid of the logits, in (0, 1); a row sums to anything."""
        return self.logits.sigmoid()


class Capsules(nn.Module):
    """Attention with a query of its own for each class, and the class's probability from what it found.

    Source: Wang et al. 2018, "Sentiment Analysis by Capsules". There the probability also scales the context, which
    must then rebuild the average of the inputs; that second loss is left out here.
    """

    def __init__(self, attention: Attention, classes: int, d_q: int, size: int):
        """Make a query and a classifier for each class.

        Args:
            attention: what each capsule does.
            classes: number of capsules.
            d_q: of a query.
            size: of an input vector, and so of a context.

        Raises:
            ValueError: fewer classes than one.
        """
        super().__init__()
        if classes < 1:
            raise ValueError(f"expected at least one class, got {classes}")
        self.attention = attention
        self.queries = nn.Parameter(torch.randn(classes, d_q) / math.sqrt(d_q))
        self.weight = nn.Parameter(torch.randn(classes, size) / math.sqrt(size))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(
        self, inputs: Float[Tensor, "B K size"], mask: Bool[Tensor, "*broadcastable"] | None = None
    ) -> Capsuled:
        """Let each capsule attend and judge; the mask is broadcast to (B, classes, K).

        Raises:
            ValueError: inputs of another size; see also `Attention.forward`.
        """
        check_shape("inputs", inputs, None, None, self.weight.shape[1])
        context, weights = self.attention(
            self.queries.expand(len(inputs), -1, -1), inputs, inputs, mask
        )
        return Capsuled(context, weights, (context * self.weight).sum(dim=-1) + self.bias)
