"""Exercises of the chapter Kinds of attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from course_utils.attention import alignments, scores
from course_utils.attention.general import Attention
from course_utils.attention.query_related import MultiHead
from course_utils.exercises._feedback import as_number, as_tensor, is_close, refuse, require


def row_mask(function) -> str:
    """Write the mask (H·W, H·W) with which each position of a grid sees only its own row."""
    height, width = 3, 5  # not equal, so that swapping them is noticed
    mask = as_tensor(function(height, width), (15, 15), "For a 3 × 5 grid the mask")
    require(mask.dtype == torch.bool, f"The mask should be boolean, but yours is {mask.dtype}.")
    i = torch.arange(15)
    expected = i[:, None] // width == i // width
    mistakes = [
        (~expected, "That's the opposite: the mask should be true where attention is allowed."),
        (
            i[:, None] % width == i % width,
            "With this mask a position sees its column, not its row.",
        ),
        (
            i[:, None] // height == i // height,
            "A row of a 3 × 5 grid has five positions, but your rows have three.",
        ),
        (i[:, None] == i, "With this mask each position sees only itself."),
    ]
    for mistaken, sentence in mistakes:
        refuse(mask.equal(mistaken), sentence)
    for query, key in (mask != expected).nonzero()[:1].tolist():
        sees, row = ("doesn't see", "its own") if expected[query, key] else ("sees", "another")
        refuse(
            True,
            f"On a 3 × 5 grid, position {query} {sees} position {key}, which is in {row} row.",
        )
    smaller = torch.block_diag(*[torch.ones(4, 4)] * 2).bool()
    require(
        torch.equal(as_tensor(function(2, 4), (8, 8), "For a 2 × 4 grid the mask"), smaller),
        "The mask is right for a 3 × 5 grid, but not for a 2 × 4 grid.",
    )
    return "Right: each position sees one row. On an 8 × 8 grid that is 0.125 of the matrix."


def two_heads(function) -> str:
    """Write attention with two heads, as in the drawing, but without biases.

    Args:
        function: From q (B, Q, d), k and v (B, K, d) and four matrices (d, d) to (B, Q, d).
    """
    d = 6
    q, k, v = torch.randn(2, 3, d), torch.randn(2, 5, d), torch.randn(2, 5, d)
    matrices = [torch.randn(d, d) for _ in range(4)]
    c = as_tensor(function(q, k, v, *matrices), (2, 3, d), "The context").float()
    W_o = matrices[3]
    first, second = _contexts(2, q, k, v, *matrices[:3])
    expected = torch.cat([first, second], dim=-1) @ W_o.mT
    mistakes = {
        "Your heads see all features. Cut the projected vectors first: each head gets half.": (
            _contexts(1, q, k, v, *matrices[:3])[0] @ W_o.mT
        ),
        "The projection of the joined contexts is missing.": torch.cat([first, second], dim=-1),
        "Almost: each head divides its scores by the root of its own size, which is half of d.": (
            torch.cat(_contexts(2, q, k, v, *matrices[:3], divide_by=d), dim=-1) @ W_o.mT
        ),
        "Your scores aren't divided by the root of the head's size.": (
            torch.cat(_contexts(2, q, k, v, *matrices[:3], divide_by=1), dim=-1) @ W_o.mT
        ),
        "The contexts are joined in the wrong order: the first head comes first.": (
            torch.cat([second, first], dim=-1) @ W_o.mT
        ),
        "You multiply by the matrices from the other side: a layer computes x @ W.T.": (
            torch.cat(_contexts(2, q, k, v, *(W.mT for W in matrices[:3])), dim=-1) @ W_o
        ),
    }
    for sentence, mistaken in mistakes.items():
        refuse(is_close(c, mistaken), sentence)
    require(
        is_close(c, expected),
        "The shape is right, but the contexts aren't. Follow the drawing: project, cut, attend in "
        "each head, join, project.",
    )
    return "Right: two maps and two contexts, and not one parameter more than one head has."


def _contexts(
    heads: int,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    W_q: Tensor,
    W_k: Tensor,
    W_v: Tensor,
    *,
    divide_by: float | int | None = None,
) -> list[Tensor]:
    """Return the context of each head, whose scores are divided by the root of a number."""
    parts = ((x @ W.mT).chunk(heads, dim=-1) for x, W in ((q, W_q), (k, W_k), (v, W_v)))
    found = []
    for one_q, one_k, one_v in zip(*parts):
        root = math.sqrt(one_q.shape[-1] if divide_by is None else divide_by)
        found.append(alignments.softmax(one_q @ one_k.mT / root) @ one_v)
    return found


def fair_control(function) -> str:
    """Build the control of two heads: one head with just as many parameters, to be trained anew.

    Args:
        function: Takes a trained `MultiHead` with two heads, and returns the control.
    """
    two = MultiHead(Attention(scores.scaled_multiplicative), 12, 2)
    one = function(two)
    require(
        isinstance(one, nn.Module),
        f"The control is a module that can be trained, but yours is of type {type(one).__name__}.",
    )
    refuse(one is two, "That's the module with two heads itself, not a control.")
    require(
        isinstance(one, MultiHead),
        f"Change one thing at a time: the control should be a MultiHead, like the module that "
        f"it's compared with, not a {type(one).__name__}.",
    )
    require(one.heads == 1, f"The control should have one map, but yours has {one.heads} heads.")
    count = _trained_alike(one, two)
    require(
        one.attention.score is scores.scaled_multiplicative
        and one.attention.alignment is alignments.softmax,
        "Your control also has another score or alignment. Change the number of heads only.",
    )
    return (
        f"Right: {count} parameters on both sides, and only the number of maps differs. In the "
        "chapter, this control reads both digits in 10\u00a0% of the scenes."
    )


def _trained_alike(one: MultiHead, two: MultiHead) -> int:
    """Check that a control has as many parameters, free and freshly initialised; return them."""
    count, expected = (sum(p.numel() for p in part.parameters()) for part in (one, two))
    fewer = "fewer" if count < expected else "more"
    require(
        count == expected,
        f"Your control has {count} parameters, {fewer} than the {expected} of the two heads. So "
        f"if the two differ, you can't tell whether it's the maps or the parameters.",
    )
    require(
        all(p.requires_grad for p in one.parameters()),
        "Some parameters of your control are frozen, but those of the two heads were trained.",
    )
    refuse(
        any(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters()) if p.ndim == 2),
        "Your control starts from what the two heads have learned. It should start freshly "
        "initialised, as they did.",
    )
    return count


def gigabyte(answers) -> str:
    """Count the positions at which the weights of self-attention with eight heads fill 10⁹ bytes.

    Args:
        answers: The positions, and the side in pixels of the largest square image whose positions
            of 4 × 4 pixels are no more than that.
    """
    positions, pixels = answers
    n = as_number(positions, "most_positions")
    require(
        n > 0 and float(n).is_integer(),
        f"The number of positions is a positive whole number, but yours is {n}.",
    )
    n, most = int(n), math.isqrt(10**9 // 32)
    mistakes = {
        10**9 // 32: "That's the number of weights per head, and a head has one per pair of "
        "positions.",
        math.isqrt(10**9 // 4): "That's the answer for one head, but there are eight.",
        math.isqrt(10**9 // 8): "That's the answer for weights of one byte, but each has four.",
        math.isqrt(2**30 // 32): "That's the answer for 2³⁰ bytes, but a gigabyte here is 10⁹.",
    }  # fmt: skip
    refuse(n in mistakes, mistakes.get(n, ""))
    require(
        n <= most,
        f"The weights of {n} positions need {32 * n**2 / 1e9:.4f} · 10⁹ bytes, which is too many.",
    )
    require(
        n == most, f"The weights of {n} positions fit, but one more position would fit as well."
    )
    largest = _largest_square(as_number(pixels, "side"), most)
    return f"Right: {n} positions, and at most an image of {largest} × {largest} pixels."


def _largest_square(side: float, most: int) -> int:
    """Check the side of the largest square image, in pixels, and return it."""
    largest = 4 * math.isqrt(most)
    refuse(
        side == math.isqrt(most),
        "The number of positions is right. That's the number of positions along a side, and each "
        "is 4 pixels wide.",
    )
    refuse(
        side == 4 * most,
        "The number of positions is right, but they lie in a square, not in a single row.",
    )
    refuse(
        abs(side - 4 * math.sqrt(most)) < 0.1,
        "The number of positions is right. But a side has a whole number of positions, so round "
        "down to one before you multiply by 4.",
    )
    require(
        side == largest,
        f"The number of positions is right, but a square of {side:g} pixels isn't the largest "
        "that fits.",
    )
    return largest
