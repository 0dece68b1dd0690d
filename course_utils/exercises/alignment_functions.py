"""Exercises of the chapter Alignment functions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.attention import alignments
from course_utils.exercises._feedback import (
    as_number,
    as_tensor,
    is_close,
    refuse,
    require,
    require_number,
)


def temperature(T, r) -> str:
    """Find the temperature at which the highest softmax weight of the scores r is 0.9."""
    T = as_number(T, "T")
    require(T > 0, f"A temperature is positive, but yours is {T:.3g}.")
    top = alignments.softmax(r, temperature=T).max().item()
    if abs(top - 0.9) > 1e-3:
        inverse = alignments.softmax(r, temperature=1 / T).max().item()
        refuse(
            abs(inverse - 0.9) <= 1e-3,
            "Multiplied by that, the scores have a highest weight of 0.9, "
            "but T divides the scores.",
        )
        direction = "lower" if top < 0.9 else "higher"
        refuse(
            True,
            f"At T = {T:.4g} the highest weight is {top:.4f}, not 0.9. "
            f"Try a {direction} temperature.",
        )
    return f"Right: at T = {T:.4f} the highest weight is {top:.4f}."


def top_three(function) -> str:
    """Write softmax over the three highest scores of each row (..., K), with 0 elsewhere."""
    r = torch.randn(4, 5, 20)
    a = as_tensor(function(r), (4, 5, 20), "The weight tensor")
    highest = _three_highest(r)
    _check_positions(a, r, highest)
    late = (
        f"The weights of a row sum to {a[0, 0].sum():.2f}: drop the other scores before the "
        "softmax, not after it."
    )
    refuse(is_close(a, alignments.softmax(r) * highest), late)
    expected = alignments.softmax(r, mask=highest)
    require(
        is_close(a, expected),
        "You keep the right three positions, but their weights are not the "
        "softmax of their scores.",
    )
    single = as_tensor(function(r[0, 0]), (20,), "The weight tensor of a single row")
    require(
        is_close(single, expected[0, 0]),
        "A single row, without a batch dimension, should get the same weights.",
    )
    return "Right: every row has three weights, whatever the shape of the scores."


def _three_highest(r: Tensor) -> Tensor:
    return torch.zeros(r.shape).scatter(-1, r.topk(3).indices, 1).bool()


def _check_positions(a: Tensor, r: Tensor, highest: Tensor) -> None:
    """Check that the three highest scores of each row, and no others, have a weight."""
    kept = a > 0
    refuse(
        is_close(a, alignments.softmax(r)),
        "This is the softmax over all positions: every weight is above 0.",
    )
    refuse(
        kept.sum() == 3,
        "You keep three scores of the whole tensor. Keep three in each row.",
    )
    refuse(
        (kept.sum(dim=-2) == 3).all(),
        "You keep three scores of each column. The positions of a row lie along the last axis.",
    )
    counts = kept.sum(dim=-1)
    odd = counts[counts != 3]
    require(
        len(odd) == 0, f"Each row should have three weights above 0, but one has {odd[:1].sum()}."
    )
    refuse(kept.equal(_three_highest(-r)), "You keep the three lowest scores.")
    require(kept.equal(highest), "You keep three scores of each row, but not the three highest.")


def constant(constant, r) -> str:
    """Find the constant that, added to all scores r, makes their sigmoid weights sum to 1."""
    constant = as_number(constant, "The constant")
    weights = alignments.sigmoid(r + constant)
    total = weights.sum().item()
    if abs(total - 1) > 1e-3:
        missing = 1 - alignments.sigmoid(r).sum().item()
        mistakes = [
            (
                -r.logsumexp(dim=-1).item(),
                f"That makes the exponentials sum to 1, but the sigmoid weights to {total:.3f}.",
            ),
            (
                missing,
                "That is what the sum of the weights lacks. The constant is added to the scores.",
            ),
            (
                missing / len(r),
                "That is what each weight lacks. The constant is added to the scores.",
            ),
        ]
        if abs(alignments.sigmoid(r - constant).sum().item() - 1) < 1e-3:
            mistakes.append((constant, "The sign is wrong: the constant is added, not subtracted."))
        direction = "lower" if total > 1 else "higher"
        otherwise = (
            f"With {constant:.4g} the weights sum to {total:.4f}, not 1. "
            f"Try a {direction} constant."
        )
        # No single right number here (the sum decides), so nothing may count as equal to it.
        require_number(constant, math.inf, mistakes, otherwise)
    gap = (weights - alignments.softmax(r)).abs().max().item()
    return (
        f"Right: the weights sum to {total:.4f}, but differ from those of "
        f"softmax by up to {gap:.3f}."
    )
