"""Exercises of the chapter Score functions."""

from __future__ import annotations

import math

import torch

from course_utils.attention import alignments, scores
from course_utils.exercises._feedback import as_number, as_tensor, is_close, refuse, require


def temperature(T) -> str:
    """Find the temperature that gives one key of cosine 1 among 255 of cosine −1 the weight 0.9."""
    T = as_number(T, "T")
    require(T > 0, f"A temperature is positive, but yours is {T:.3g}.")
    r = torch.cat([torch.ones(1), -torch.ones(255)]).double()
    top = alignments.softmax(r, temperature=T)[0].item()
    direction = "lower" if top < 0.9 else "higher"
    require(
        abs(top - 0.9) < 1e-3,
        f"At T = {T:.4g} the weight is {top:.4f}, not 0.9. Try a {direction} temperature.",
    )
    return f"Right: at T = {T:.4f} the weight of that key is {top:.4f}."


def thin_matrices(W, W_q, W_k) -> str:
    """Find the matrix of a general score that equals two thin projections and a scaled product.

    Args:
        W: The answer.
        W_q: The projection of the queries, (4, 6).
        W_k: The projection of the keys, (4, 8).
    """
    d_k, d_q = W_k.shape[1], W_q.shape[1]
    refuse(
        torch.is_tensor(W) and W.shape == (d_q, d_k),
        "That is the transpose: W maps a query to the space of the keys, "
        f"so its shape is ({d_k}, {d_q}).",
    )
    W = as_tensor(W, (d_k, d_q), "W").float()
    q, k = torch.randn(2, 3, d_q), torch.randn(2, 5, d_k)
    expected = scores.scaled_multiplicative(q @ W_q.mT, k @ W_k.mT)
    r, scale = q @ W.mT @ k.mT, math.sqrt(len(W_q))
    refuse(
        is_close(r, scale * expected),
        f"The product is right, but the factor 1 / √{len(W_q)} is missing.",
    )
    require(
        is_close(r, expected),
        "This W gives other scores. Write the score as kᵀ … q: what stands between k and q?",
    )
    rank, count = torch.linalg.matrix_rank(W).item(), W_q.numel() + W_k.numel()
    return f"Right. Its rank is only {rank}: {count} parameters determine its {W.numel()} entries."


def near(function) -> str:
    """Write a score without differences that softmax cannot distinguish from −½ |q − k|²."""
    q, k = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    r = as_tensor(function(q, k), (2, 3, 5), "The score tensor")
    weights = alignments.softmax(r)
    distances = scores.euclidean(q, k).square() / 2
    refuse(
        is_close(weights, alignments.softmax(distances)),
        "The sign is wrong: your highest weight goes to the farthest key, not to the nearest.",
    )
    refuse(
        is_close(weights, alignments.softmax(q @ k.mT)),
        "With this score a long key wins at any distance. Which term of the square is missing?",
    )
    require(
        is_close(weights, alignments.softmax(-distances)),
        "The weights differ. Expand the square: which of its three terms is the same for all keys?",
    )
    of_keys = r - q @ k.mT  # the same for all queries, unless the score also contains |q|²
    require(
        is_close(of_keys, of_keys[:, :1].expand_as(r)),
        "The weights are right, but |q|² is the same for all keys. Leave it out, "
        "and you need no difference of q and k.",
    )
    return "Right: after softmax it cannot be distinguished from the squared distance."
