"""The exercises of chapter 04."""

from __future__ import annotations

import math

import torch

from course_utils.attention import scores
from course_utils.attention.general import Attention
from course_utils.exercises._feedback import close, number, require, tensor


def average(matrices) -> str:
    """Three projections with which every context of self-attention is the plain average of its input."""
    W_q, W_k, W_v = (
        tensor(W, (32, 32), name).float()
        for W, name in zip(matrices, ("W_q", "W_k", "W_v"), strict=True)
    )
    l = torch.randn(2, 9, 32)
    context, weights = Attention(scores.scaled_multiplicative)(l @ W_q.mT, l @ W_k.mT, l @ W_v.mT)
    uneven = f"For nine positions the weights go from {weights.min():.2g} to {weights.max():.2g}: they should be even."
    require(close(weights, torch.full_like(weights, 1 / 9), tolerance=1e-6), uneven)
    mean = l.mean(dim=1, keepdim=True).expand_as(context)
    require(
        context.any(), "The weights are even, and the contexts 0: nothing is left of the input."
    )
    factor = (context * mean).sum() / mean.square().sum()
    if not close(context, mean):
        scaled = f"The weights are even, but each context is {factor:.3g} times the average."
        require(not close(context / factor, mean), scaled)
        require(False, "The weights are even, but what they average is not the input.")
    return "Right: even weights, and values that are the input."


def row_mask(function) -> str:
    """The mask (H·W, H·W) with which each position of a grid looks along its own row only, from H and W."""
    height, width = 3, 5  # not alike, so that they can't be mixed up
    mask = tensor(function(height, width), (15, 15), "For a grid of 3 × 5 the mask")
    require(mask.dtype == torch.bool, f"The mask should be boolean, and yours is {mask.dtype}.")
    i = torch.arange(15)
    own = i[:, None] // width == i // width
    mistakes = [
        (~own, "That is the opposite: the mask is true where it may look."),
        (i[:, None] % width == i % width, "That looks along the column."),
        (
            i[:, None] // height == i // height,
            "On a grid of 3 × 5 a row has five positions, and your rows have three.",
        ),
        (i[:, None] == i, "Each position looks at itself only."),
    ]
    for mistaken, sentence in mistakes:
        require(not mask.equal(mistaken), sentence)
    for one, other in (mask != own).nonzero()[:1].tolist():
        may, row = ("may not", "its own") if own[one, other] else ("may", "another")
        require(False, f"On 3 × 5, position {one} {may} look at {other}, which is in {row} row.")
    smaller = torch.block_diag(*[torch.ones(4, 4)] * 2).bool()
    also = torch.equal(tensor(function(2, 4), (8, 8), "For a grid of 2 × 4 the mask"), smaller)
    require(also, "On a grid of 3 × 5 the mask is right, and on one of 2 × 4 it is not.")
    return "Right: each position sees one row. On a grid of 8 × 8 that uses 0.125 of the matrix."


def gigabyte(positions) -> str:
    """How many positions self-attention with eight heads can have if its weights, 4 bytes each, get 10⁹ bytes."""
    n = number(positions, "most_positions")
    require(
        n > 0 and n.is_integer(), f"A number of positions is whole and above 0, and yours is {n}."
    )
    n, most = int(n), math.isqrt(10**9 // 32)
    mistakes = {
        10**9 // 32: "So many weights a head may have, and it has one for each pair of positions.",
        math.isqrt(10**9 // 4): "That would be for one head; here are eight.",
        math.isqrt(10**9 // 8): "That would be for weights of one byte; here each has four.",
        math.isqrt(2**30 // 32): "That would be for 2³⁰ bytes; here are 10⁹.",
    }
    require(n not in mistakes, mistakes.get(n, ""))
    require(
        n <= most, f"The weights of {n} positions need {32 * n**2 / 1e9:.4f} · 10⁹ bytes: too many."
    )
    require(n == most, f"The weights of {n} positions fit, and those of one position more as well.")
    side = 4 * math.isqrt(n)
    return f"Right: {n} positions, an image of about {side} × {side} pixels."
