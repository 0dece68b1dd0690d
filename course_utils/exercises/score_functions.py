"""The exercises of chapter 02."""

from __future__ import annotations

import math

import torch

from course_utils.attention import alignments, scores
from course_utils.exercises._feedback import close, number, require, tensor


def temperature(T) -> str:
    """One key has the cosine 1 with the query, 255 others have −1: the temperature at which the one weighs 0.9."""
    T = number(T, "T")
    require(T > 0, f"A temperature is above 0, and yours is {T:.3g}.")
    r = torch.cat([torch.ones(1), -torch.ones(255)]).double()
    top = alignments.softmax(r, temperature=T)[0].item()
    colder = "lower" if top < 0.9 else "higher"
    require(
        abs(top - 0.9) < 1e-3,
        f"At {T:.4g} the weight is {top:.4f}, not 0.9: a {colder} temperature is needed.",
    )
    return f"Right: at {T:.4f} the weight of the one key is {top:.4f}."


def thin_matrices(W, W_q, W_k) -> str:
    """The matrix of a general score that does what two thin projections and a scaled product do."""
    d_k, d_q = W_k.shape[1], W_q.shape[1]
    turned = torch.is_tensor(W) and W.shape == (d_q, d_k)
    require(
        not turned,
        f"W takes q into the space of k, so it is ({d_k}, {d_q}): yours is that, transposed.",
    )
    W = tensor(W, (d_k, d_q), "W").float()
    q, k = torch.randn(2, 3, d_q), torch.randn(2, 5, d_k)
    thin = scores.scaled_multiplicative(q @ W_q.mT, k @ W_k.mT)
    found, scale = q @ W.mT @ k.mT, math.sqrt(len(W_q))
    require(
        not close(found, scale * thin),
        f"The right matrices; what is missing is the scale, 1 / √{len(W_q)}.",
    )
    require(
        close(found, thin),
        "Other scores come out. Write the score as kᵀ … q: what stands between k and q?",
    )
    rank, count = torch.linalg.matrix_rank(W).item(), W_q.numel() + W_k.numel()
    return f"Right. Its rank is {rank}: {count} numbers decide it, not {W.numel()}."


def near(function) -> str:
    """Scores without differences, which softmax cannot tell from −½ |q − k|²."""
    q, k = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    r = tensor(function(q, k), (2, 3, 5), "The scores")
    distances = scores.euclidean(q, k).square() / 2
    require(
        not close(alignments.softmax(r), alignments.softmax(distances)),
        "The sign: the nearest key should win.",
    )
    product = alignments.softmax(q @ k.mT)
    require(
        not close(alignments.softmax(r), product),
        "A long key wins at any distance. Which term of the square is left?",
    )
    hint = "Other weights come out. Expand the square: which of its three terms is the same for all keys?"
    require(close(alignments.softmax(r), alignments.softmax(-distances)), hint)
    of_keys = r - q @ k.mT
    needless = "The right weights. But |q|² is the same for all keys: without it, no difference of q and k is needed."
    require(close(of_keys, of_keys[:, :1].expand_as(r)), needless)
    return "Right: softmax cannot tell it from the distance."
