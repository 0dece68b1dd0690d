"""The exercises of chapter 03."""

from __future__ import annotations

import math

import torch

from course_utils.attention import alignments
from course_utils.exercises._feedback import close, expect, number, require, tensor


def temperature(T, r) -> str:
    """The temperature at which the highest weight of softmax over the scores r is 0.9."""
    T = number(T, "T")
    require(T > 0, f"A temperature is above 0, and yours is {T:.3g}.")
    top = alignments.softmax(r, temperature=T).max().item()
    if abs(top - 0.9) > 1e-3:
        turned = alignments.softmax(r, temperature=1 / T).max().item()
        require(
            abs(turned - 0.9) > 1e-3,
            "The scores, times that, have a highest weight of 0.9: T divides them.",
        )
        colder = "lower" if top < 0.9 else "higher"
        require(
            False,
            f"At {T:.4g} the highest weight is {top:.4f}, not 0.9: a {colder} temperature is needed.",
        )
    return f"Right: at {T:.4f} the highest weight is {top:.4f}."


def top_three(function) -> str:
    """Softmax over the three highest scores of each row, 0 elsewhere; scores (..., K)."""
    r = torch.randn(4, 5, 20)
    a = tensor(function(r), (4, 5, 20), "The weights")
    highest, lowest = (
        torch.zeros(r.shape).scatter(-1, s.topk(3).indices, 1).bool() for s in (r, -r)
    )
    kept = a > 0
    require(
        not close(a, alignments.softmax(r)),
        "Nothing is left out: this is softmax over all positions.",
    )
    require(
        kept.sum() != 3,
        "Three of all scores together are kept; each row should keep three of its own.",
    )
    columns = (kept.sum(dim=-2) == 3).all()
    require(
        not columns,
        "Three of each column are kept; the positions of a row lie along the last axis.",
    )
    odd = kept.sum(dim=-1)[kept.sum(dim=-1) != 3]
    require(
        len(odd) == 0, f"Each row should have three weights above 0, and one has {odd[:1].sum()}."
    )
    require(not kept.equal(lowest), "Those are the three lowest.")
    require(kept.equal(highest), "Three are kept in each row, but not the three highest.")
    late = f"The weights of a row sum to {a[0, 0].sum():.2f}: what is left out had its share in the softmax."
    require(not close(a, alignments.softmax(r) * highest), late)
    expected = alignments.softmax(r, mask=highest)
    require(
        close(a, expected),
        "The right three are kept, and their weights are not those of softmax over them.",
    )
    single = tensor(function(r[0, 0]), (20,), "The weights of a single row")
    require(
        close(single, expected[0, 0]), "A single row, without a batch, should get the same weights."
    )
    return "Right: three weights in each row, whatever the shape of the scores."


def constant(constant, r) -> str:
    """The number that, added to all scores r, makes their sigmoid weights sum to 1."""
    constant = number(constant, "The constant")
    weights = alignments.sigmoid(r + constant)
    total = weights.sum().item()
    if abs(total - 1) > 1e-3:
        missing, turned = (1 - alignments.sigmoid(each).sum().item() for each in (r, r - constant))
        slips = {
            f"It makes the exponentials sum to 1, and the sigmoids to {total:.3f}.": -r.logsumexp(
                dim=-1
            ).item(),
            "So much is missing in the sum of the weights; the constant is added to the scores.": missing,
            "So much would each weight need; the constant is added to the scores.": missing
            / len(r),
        }
        if abs(turned) < 1e-3:
            slips["The sign: taken away from the scores it does it, and not added."] = constant
        lower = "lower" if total > 1 else "higher"
        otherwise = (
            f"With {constant:.4g} they sum to {total:.4f}, not 1: a {lower} constant is needed."
        )
        expect(constant, math.inf, slips, otherwise)
    apart = (weights - alignments.softmax(r)).abs().max().item()
    return (
        f"Right: they sum to {total:.4f}. The weights of softmax are others, by up to {apart:.3f}."
    )
