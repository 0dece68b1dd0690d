"""Query-related attention: where the queries come from, and how often they are used.

These are the query-related mechanisms of Brauwers and Frasincar 2023, "A General Survey on
Attention Mechanisms in Deep Learning": self-attention, multi-head and multi-hop attention, and
capsules, also without their reconstruction: one query per class. Each takes an `Attention` with any
score and any alignment.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.attention.alignments import Mask
from course_utils.attention.general import Attended, Attention
from course_utils.core.tensor_checks import check_shape


class AttendedOften(NamedTuple):
    """The output of attention with n heads or n hops.

    Attributes:
        context: (B, Q, d_v), the context of all heads, or of the last hop.
        weights: (B, n, Q, K), the weights of each head or hop.
    """

    context: Float[Tensor, "B Q d_v"]
    weights: Float[Tensor, "B n Q K"]


class SelfAttention(nn.Module):
    """Self-attention: queries, keys and values are projections of the same input.

    Every position of a set attends to all positions of the set.
    """

    def __init__(self, attention: Attention, size: int, d_k: int, d_v: int):
        """Create the three projections, without bias.

        Args:
            attention: Attention between queries and keys of size d_k.
            size: Size of an input vector.
            d_k: Size of a query and of a key.
            d_v: Size of a value, and so of the context.
        """
        super().__init__()
        self.attention = attention
        self.project_query = nn.Linear(size, d_k, bias=False)
        self.project_key = nn.Linear(size, d_k, bias=False)
        self.project_value = nn.Linear(size, d_v, bias=False)

    def forward(self, inputs: Float[Tensor, "B K size"], mask: Mask | None = None) -> Attended:
        """Return a context for each of the K positions, so Q = K.

        Args:
            inputs: Vectors that attend to each other.
            mask: True where attention is allowed; broadcast to (B, K, K).

        Raises:
            ValueError: If the inputs have the wrong size; see also `Attention.forward`.
        """
        check_shape("inputs", inputs, None, None, self.project_query.in_features)
        return self.attention(
            self.project_query(inputs), self.project_key(inputs), self.project_value(inputs), mask
        )


class MultiHead(nn.Module):
    """Multi-head attention: each head attends with a slice of the projected vectors.

    With the scaled dot product and softmax, it computes the same as `torch.nn.MultiheadAttention`.
    A score with parameters is shared by the heads, and gets vectors of size / heads.

    Source: Vaswani et al. 2017, section 3.2.2.
    """

    def __init__(self, attention: Attention, size: int, heads: int):
        """Create the projections.

        Args:
            attention: Attention of each head.
            size: Size of queries, keys, values and contexts.
            heads: Number of heads; it must divide the size.

        Raises:
            ValueError: If the number of heads does not divide the size.
        """
        super().__init__()
        if heads < 1 or size % heads:
            raise ValueError(
                f"expected a number of heads that divides the size {size}, got {heads}"
            )
        self.attention, self.heads = attention, heads
        self.project_query = nn.Linear(size, size)
        self.project_key = nn.Linear(size, size)
        self.project_value = nn.Linear(size, size)
        self.combine = nn.Linear(size, size)

    def forward(
        self,
        queries: Float[Tensor, "B Q size"],
        keys: Float[Tensor, "B K size"],
        values: Float[Tensor, "B K size"],
        mask: Mask | None = None,
    ) -> AttendedOften:
        """Attend in every head, and combine the contexts of the heads.

        The arguments are those of `Attention.forward`; all heads have the same mask.

        Raises:
            ValueError: If the vectors have the wrong size; see also `Attention.forward`.
        """
        for name, given in (("queries", queries), ("keys", keys), ("values", values)):
            check_shape(name, given, None, None, self.combine.in_features)
        projected = self.project_query(queries), self.project_key(keys), self.project_value(values)
        # One triple of queries, keys and values per head: (B, Q or K, size) → (B, Q or K, size / n)
        slices = zip(*(vectors.chunk(self.heads, dim=-1) for vectors in projected))
        contexts, weights = zip(*(self.attention(*one_head, mask) for one_head in slices))
        context = self.combine(torch.cat(contexts, dim=-1))  # (B, Q, size)
        return AttendedOften(context, torch.stack(weights, dim=1))  # weights (B, n, Q, K)


class MultiHop(nn.Module):
    """Multi-hop attention: attend, add the context to the query, and attend again.

    All hops have the same keys and values; in the paper, each hop may have its own. The context is
    that of the last hop, so one hop is the same as `Attention`.

    Source: Sukhbaatar et al. 2015, "End-To-End Memory Networks".
    """

    def __init__(self, attention: Attention, hops: int):
        """Choose the attention and the number of hops.

        Args:
            attention: Attention of every hop.
            hops: Number of hops, at least 1.

        Raises:
            ValueError: If the number of hops is less than 1.
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
        mask: Mask | None = None,
    ) -> AttendedOften:
        """Combine the values for each query, hop after hop.

        The arguments are those of `Attention.forward`; all hops have the same mask.

        Raises:
            ValueError: If values and queries have different sizes, so that the context can't be
                added to the query; see also `Attention.forward`.
        """
        check_shape("values", values, None, None, queries.shape[-1])
        weights = []
        for _ in range(self.hops):
            context, weights_of_hop = self.attention(queries, keys, values, mask)
            queries = queries + context
            weights.append(weights_of_hop)
        return AttendedOften(context, torch.stack(weights, dim=1))  # weights (B, n, Q, K)


class AttendedByClass(NamedTuple):
    """The output of `ClassQueries`.

    Attributes:
        context: (B, classes, d), the context of each class.
        weights: (B, classes, K), the weights of each class.
        logits: (B, classes), the evidence for each class. Each class is judged independently, so
            several of them can be present.
    """

    context: Float[Tensor, "B classes d"]
    weights: Float[Tensor, "B classes K"]
    logits: Float[Tensor, "B classes"]

    @property
    def probabilities(self) -> Float[Tensor, "B classes"]:
        """Probability of each class, the sigmoid of its logit. The sum of a row is not fixed."""
        return self.logits.sigmoid()


class ClassQueries(nn.Module):
    """One learned query per class, and a logit from the context of that query.

    With the reconstruction of their source, they are `Capsules`.
    """

    def __init__(self, attention: Attention, classes: int, d_q: int, size: int):
        """Create a query and a classifier for each class.

        Args:
            attention: Attention of each query.
            classes: Number of classes, at least 1.
            d_q: Size of a query.
            size: Size of an input vector, and so of a context.

        Raises:
            ValueError: If the number of classes is less than 1.
        """
        super().__init__()
        if classes < 1:
            raise ValueError(f"expected at least one class, got {classes}")
        self.attention = attention
        self.queries = nn.Parameter(torch.randn(classes, d_q) / math.sqrt(d_q))
        self.weight = nn.Parameter(torch.randn(classes, size) / math.sqrt(size))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(
        self, inputs: Float[Tensor, "B K size"], mask: Mask | None = None
    ) -> AttendedByClass:
        """Return the context, weights and logit of each class.

        Args:
            inputs: Vectors that every query attends to.
            mask: True where attention is allowed; broadcast to (B, classes, K).

        Raises:
            ValueError: If the inputs have the wrong size; see also `Attention.forward`.
        """
        check_shape("inputs", inputs, None, None, self.weight.shape[1])
        queries = self.queries.expand(len(inputs), -1, -1)  # (B, classes, d_q)
        context, weights = self.attention(queries, inputs, inputs, mask)
        # Each class reads only its own context: a dot product per row, not a matrix product.
        logits = (context * self.weight).sum(dim=-1) + self.bias  # (B, classes)
        return AttendedByClass(context, weights, logits)


class Capsuled(NamedTuple):
    """The output of `Capsules`.

    Attributes:
        context: (B, classes, d), the representation c_m of each capsule.
        weights: (B, classes, K), the weights of each capsule.
        logits: (B, classes), the evidence for each class.
        reconstructions: (B, classes, d), the context of each capsule times its probability.
    """

    context: Float[Tensor, "B classes d"]
    weights: Float[Tensor, "B classes K"]
    logits: Float[Tensor, "B classes"]
    reconstructions: Float[Tensor, "B classes d"]

    @property
    def probabilities(self) -> Float[Tensor, "B classes"]:
        """Probability of each class, the sigmoid of its logit. The sum of a row is not fixed."""
        return self.logits.sigmoid()


class Capsules(nn.Module):
    r"""One query per class, and a reconstruction of the input by each class.

    .. math:: p_m = \sigma(w_m^\top c_m + b_m), \quad r_m = p_m\, c_m

    These are not the capsules of Sabour, Frosst and Hinton 2017, which route vectors by agreement.

    Source: Wang et al. 2018, "Sentiment Analysis by Capsules", where a recurrent network makes the
    input vectors.
    """

    def __init__(self, attention: Attention, classes: int, d_q: int, size: int):
        """Create the queries and classifiers; the arguments are those of `ClassQueries`."""
        super().__init__()
        self.by_class = ClassQueries(attention, classes, d_q, size)

    def forward(self, inputs: Float[Tensor, "B K size"], mask: Mask | None = None) -> Capsuled:
        """Return the context, weights, logit and reconstruction of each capsule.

        The arguments are those of `ClassQueries.forward`.

        Raises:
            ValueError: See `ClassQueries.forward`.
        """
        found: AttendedByClass = self.by_class(inputs, mask)
        context, weights, logits = found
        return Capsuled(context, weights, logits, found.probabilities[..., None] * context)

    @staticmethod
    def loss(
        capsuled: Capsuled, inputs: Float[Tensor, "B K size"], present: Float[Tensor, "B classes"]
    ) -> Float[Tensor, " B"]:
        r"""Return the sum of both hinge losses, per input.

        .. math::
            \Big[1 + \sum_m t'_m p_m\Big]_+ + \Big[1 + \sum_m t'_m \bar v^\top r_m\Big]_+

        Here :math:`t'_m` is −1 if class m is present and 1 if not, and :math:`\bar v` is the mean
        of the input vectors: capsules that are present should be likely and resemble it, and the
        others shouldn't.

        Args:
            capsuled: What `forward` returned for the inputs.
            inputs: The same inputs.
            present: 1 for each class that is present, else 0. In the source, it's exactly one.
        """
        sign = 1 - 2 * present
        mean = inputs.mean(dim=1, keepdim=True)  # (B, 1, size)
        alike = (capsuled.reconstructions * mean).sum(dim=-1)  # (B, classes)
        hinges = [(1 + (sign * by).sum(dim=-1)).relu() for by in (capsuled.probabilities, alike)]
        return hinges[0] + hinges[1]
