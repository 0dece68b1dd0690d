"""Exercises of the chapter Kinds of attention."""

from __future__ import annotations

import math

import torch

from course_utils.attention import scores
from course_utils.attention.general import Attention
from course_utils.exercises._feedback import as_number, as_tensor, is_close, refuse, require


def average(matrices) -> str:
    """Find projections with which every context of self-attention is the average of the input."""
    W_q, W_k, W_v = (
        as_tensor(W, (32, 32), name).float()
        for W, name in zip(matrices, ("W_q", "W_k", "W_v"), strict=True)
    )
    l = torch.randn(2, 9, 32)
    context, weights = Attention(scores.scaled_multiplicative)(l @ W_q.mT, l @ W_k.mT, l @ W_v.mT)
    require(
        is_close(weights, torch.full_like(weights, 1 / 9), tolerance=1e-6),
        f"The weights of nine positions range from {weights.min():.2g} to "
        f"{weights.max():.2g}, but should all be equal.",
    )
    mean = l.mean(dim=1, keepdim=True).expand_as(context)
    require(
        context.any(),
        "The weights are uniform, but all contexts are 0: nothing of the input is left.",
    )
    factor = (context * mean).sum() / mean.square().sum()
    if not is_close(context, mean):
        refuse(
            is_close(context / factor, mean),
            f"The weights are uniform, but each context is {factor:.3g} times the average.",
        )
        refuse(True, "The weights are uniform, but the values they average are not the input.")
    return "Right: the weights are uniform and the values are the input."


def row_mask(function) -> str:
    """Write the mask (H·W, H·W) with which each position of a grid sees only its own row."""
    height, width = 3, 5  # not equal, so that swapping them is noticed
    mask = as_tensor(function(height, width), (15, 15), "For a 3 × 5 grid the mask")
    require(mask.dtype == torch.bool, f"The mask should be boolean, but yours is {mask.dtype}.")
    i = torch.arange(15)
    expected = i[:, None] // width == i // width
    mistakes = [
        (~expected, "That is the opposite: the mask should be true where attention is allowed."),
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
        sees, row = ("does not see", "its own") if expected[query, key] else ("sees", "another")
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


def gigabyte(positions) -> str:
    """Count the positions at which the weights of self-attention with eight heads fill 10⁹ bytes.

    Each weight takes 4 bytes.
    """
    n = as_number(positions, "most_positions")
    require(
        n > 0 and n.is_integer(),
        f"The number of positions is a positive whole number, but yours is {n}.",
    )
    n, most = int(n), math.isqrt(10**9 // 32)
    mistakes = {
        10**9
        // 32: "That is the number of weights per head, and a head has one per pair of positions.",
        math.isqrt(10**9 // 4): "That is the answer for one head, but there are eight.",
        math.isqrt(10**9 // 8): "That is the answer for weights of one byte, but each has four.",
        math.isqrt(2**30 // 32): "That is the answer for 2³⁰ bytes, but a gigabyte here is 10⁹.",
    }
    refuse(n in mistakes, mistakes.get(n, ""))
    require(
        n <= most,
        f"The weights of {n} positions need {32 * n**2 / 1e9:.4f} · 10⁹ bytes, which is too many.",
    )
    require(
        n == most, f"The weights of {n} positions fit, but one more position would fit as well."
    )
    side = 4 * math.isqrt(n)
    return f"Right: {n} positions, which is an image of about {side} × {side} pixels."
