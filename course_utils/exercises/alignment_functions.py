"""Exercises of the chapter Alignment functions."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor

from course_utils.attention import alignments
from course_utils.exercises._feedback import (
    UnfinishedError,
    as_number,
    as_tensor,
    is_close,
    refuse,
    require,
    require_number,
)

TWO = ("softmax", "sparsemax")


def constant(constant, r) -> str:
    """Find the constant that, added to all scores r, makes their sigmoid weights sum to 1."""
    constant = as_number(constant, "The constant")
    weights = alignments.sigmoid(r + constant)
    total = weights.sum().item()
    if abs(total - 1) > 1e-3:
        direction = "lower" if total > 1 else "higher"
        otherwise = (
            f"With {constant:.4g} the weights sum to {total:.4f}, not 1. "
            f"Try a {direction} constant."
        )
        # No single right number here (the sum decides), so nothing may count as equal to it.
        require_number(constant, math.inf, _wrong_constants(constant, r), otherwise)
    gap = (weights - alignments.softmax(r)).abs().max().item()
    return (
        f"Right: the weights sum to {total:.4f}, but they differ from those of softmax by up to "
        f"{gap:.3f}."
    )


def _wrong_constants(constant: float, r: Tensor) -> list[tuple[float, str]]:
    """Return the constants that known mistakes lead to, each with the sentence about it."""
    total = alignments.sigmoid(r + constant).sum().item()
    missing = 1 - alignments.sigmoid(r).sum().item()
    mistakes = [
        (
            -math.log(len(r)),
            "That's −log K. It would be about right if all scores were 0; here the weights sum to "
            f"{total:.3f}.",
        ),
        (
            -r.logsumexp(dim=-1).item(),
            f"That makes the exponentials sum to 1, but the sigmoid weights to {total:.3f}.",
        ),
        (
            missing,
            "That's what the sum of the weights lacks. The constant is added to the scores.",
        ),
        (
            missing / len(r),
            "That's what each weight lacks. The constant is added to the scores.",
        ),
    ]
    if abs(alignments.sigmoid(r - constant).sum().item() - 1) < 1e-3:
        mistakes.append((constant, "The sign is wrong: the constant is added, not subtracted."))
    return mistakes


def top_three(function) -> str:
    """Write softmax over the three highest scores of each row (..., K), with 0 elsewhere."""
    r = torch.randn(4, 5, 20)
    a = as_tensor(function(r), (4, 5, 20), "The weight tensor")
    highest = _three_highest(r)
    _check_positions(a, r, highest)
    late = (
        f"The weights of a row sum to {a[0, 0].sum():.2f}. Drop the other scores before the "
        "softmax, not after it."
    )
    refuse(is_close(a, alignments.softmax(r) * highest), late)
    expected = alignments.softmax(r, mask=highest)
    require(
        is_close(a, expected),
        "You keep the right three positions, but their weights aren't the softmax of their scores.",
    )
    single = as_tensor(function(r[0, 0]), (20,), "The weight tensor of a single row")
    require(
        is_close(single, expected[0, 0]),
        "A single row, without a batch dimension, should get the same weights.",
    )
    _check_ties(function)
    return "Right: every row has three weights, whatever its shape, and even if scores tie."


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


def _check_ties(function) -> None:
    """Check that exactly three of a row's scores are kept if several tie for the third place."""
    r = torch.tensor([[0.5, 2.0, 0.5, 1.0, 0.5, -1.0], [3.0, 0.0, 3.0, 3.0, 3.0, 1.0]])
    a = as_tensor(function(r), (2, 6), "The weight tensor")
    kept = (a > 0).sum(dim=-1)
    require(
        (kept == 3).all(),
        f"Without ties you keep three, but if several scores tie for third place, you keep "
        f"{kept[0]}. Choose positions, not a threshold.",
    )
    expected = r.topk(3).values.softmax(dim=-1)
    require(
        is_close(a.topk(3).values, expected),
        "If scores tie for third place, your three weights aren't the softmax of the three scores.",
    )


def in_a_window(function) -> str:
    """Write local attention on a line: scores r (K), a centre p and a half-width D → weights."""
    r, p, D = torch.randn(12).double(), 5.3, 2.5
    x = torch.arange(12.0, dtype=torch.double)
    a = as_tensor(function(r, p, D), (12,), "The weight tensor").double()
    near = (x - p).abs() <= D
    for wrong, sentence in _wrong_windows(r, x - p, D):
        refuse(is_close(a, wrong), sentence)
    refuse(
        bool((a[~near] != 0).any()),
        "A position outside the window gets a weight. It should be exactly 0 there.",
    )
    require(
        is_close(a, alignments.softmax(r, mask=near) * _bell(x - p, D / 2)),
        "The window is right, but the weights in it aren't softmax times the Gaussian.",
    )
    _check_edges(function)
    return f"Right: the weights sum to {a.sum():.2f}, and outside the window they are exactly 0."


def _bell(offset: Tensor, width: float) -> Tensor:
    return torch.exp(-(offset**2) / (2 * width**2))


def _wrong_windows(r: Tensor, offset: Tensor, D: float) -> list[tuple[Tensor, str]]:
    """Return the weights that each known mistake leads to, with the sentence about it."""
    near, bell = offset.abs() <= D, _bell(offset, D / 2)
    inside = alignments.softmax(r, mask=near)
    return [
        (inside, "These are the weights of softmax in the window. The Gaussian is missing."),
        (
            alignments.softmax(r) * bell,
            "Positions outside the window still get some weight. Leave them out of the softmax.",
        ),
        (
            alignments.softmax(r) * near * bell,
            "Your softmax still runs over all positions. Leave out those beyond the window first, "
            "so the weights in it sum to 1 before the Gaussian.",
        ),
        (
            inside * _bell(offset, D),
            "Your Gaussian is too wide. Its standard deviation is D / 2, not D.",
        ),
        (
            alignments.softmax(r, mask=offset.abs() <= D / 2) * bell,
            "Your window is too narrow. D is half its width: it reaches from p − D to p + D.",
        ),
        (
            inside * bell / (inside * bell).sum(),
            "Your weights sum to 1. Leave them as they are after the Gaussian.",
        ),
        (
            alignments.softmax(r * bell, mask=near),
            "You multiply the scores by the Gaussian. Multiply the weights.",
        ),
    ]


def _check_edges(function) -> None:
    """Check a centre on a position: the ends of the window, p − D and p + D, belong to it."""
    r, x = torch.randn(8).double(), torch.arange(8.0).double()
    a = as_tensor(function(r, 4.0, 2.0), (8,), "The weight tensor")
    expected = alignments.local(r, torch.tensor([4.0]).double(), x[:, None], window=2.0)
    require(
        is_close(a, expected),
        "For p = 4 and D = 2, the positions 2 and 6 belong to the window. Use ≤, not <.",
    )


def fair_comparison(function, runs) -> str:
    """Compare two alignments' pointing, each at the setting that the validation images choose."""
    require(callable(function), "Write a function that takes the table.")
    made_up = _made_up_runs()
    _check_pointing(_answer(function, made_up), made_up)
    found = _answer(function, runs)
    _check_pointing(found, runs)
    soft, sparse = (f"{100 * found[name]:.0f} %" for name in TWO)
    return (
        f"Right: each at its best, the map points at the digit in {soft} of the images with "
        f"softmax, and in {sparse} with sparsemax."
    )


def _answer(function, runs: pd.DataFrame) -> dict[str, float]:
    answer = function(runs.copy())
    if answer is None or answer is ...:
        raise UnfinishedError
    if isinstance(answer, pd.Series):
        answer = answer.to_dict()
    require(
        isinstance(answer, Mapping) and set(answer) == set(TWO),
        "Return a dictionary with one number for softmax and one for sparsemax.",
    )
    return {name: as_number(answer[name], name) for name in TWO}


def _made_up_runs() -> pd.DataFrame:
    """Return a random table with the columns of the shipped one, in which all mistakes differ."""
    rows = [
        (alignment, scale, rate, seed)
        for alignment in TWO
        for scale in (0.01, 0.1, 1.0)
        for rate in (0.01, 0.1)
        for seed in range(4)
    ]
    table = pd.DataFrame(rows, columns=["alignment", "scale", "rate", "seed"])
    for column in ("val_accuracy", "val_pointing", "accuracy", "pointing", "energy"):
        table[column] = torch.rand(len(table), dtype=torch.double).numpy()
    return table.sample(frac=1)


def _at_best(
    runs: pd.DataFrame, by: str, keys: tuple[str, ...] = ("scale", "rate"), then: str = "pointing"
) -> dict[str, float]:
    """Return a column's mean at the setting that has the highest mean of another column."""
    found = {}
    for name in TWO:
        means = runs[runs.alignment == name].groupby(list(keys))[[by]].mean()
        values = runs[runs.alignment == name].groupby(list(keys))[then].mean()
        found[name] = float(values[means[by].idxmax()])
    return found


def _mistakes(runs: pd.DataFrame) -> list[tuple[dict[str, float], str]]:
    """Return what each known mistake leads to, with the sentence about it."""
    every, by = runs.groupby("alignment").pointing, "val_pointing"
    one_seed = ("scale", "rate", "seed")
    return [
        (
            _at_best(runs, "pointing"),
            "You choose the setting on the test images, which you then report.",
        ),
        (
            _at_best(runs, "energy"),
            "You choose the setting by its energy, which rises with sharpness.",
        ),
        (
            _at_best(runs, "val_accuracy"),
            "You choose the setting by its accuracy. Here the question is which map points better.",
        ),
        (
            _at_best(runs, by, then="energy"),
            "You choose well, but you report the energy, which a sharper map raises.",
        ),
        (
            _at_best(runs, by, then=by),
            "You report the validation images, on which you chose. Report the test images.",
        ),
        (
            _at_best(runs, by, keys=("scale",)),
            "You choose the scale but average over the rates. Choose both.",
        ),
        (
            _at_best(runs, by, keys=one_seed),
            "You choose the luckiest seed. Average over the seeds before you choose.",
        ),
        (every.mean().to_dict(), "You average over all settings, good and bad."),
        (every.max().to_dict(), "You take the highest pointing of all test results."),
    ]


def _check_pointing(answer: dict[str, float], runs: pd.DataFrame) -> None:
    """Check the two numbers against the right ones and against those of known mistakes."""

    def same(one: dict[str, float]) -> bool:
        return all(abs(one[name] - answer[name]) < 1e-6 for name in TWO)

    if same(_at_best(runs, "val_pointing")):
        return
    for wrong, sentence in _mistakes(runs):
        refuse(same(wrong), sentence)
    refuse(True, "These aren't the mean test pointings at the settings that validation chooses.")
