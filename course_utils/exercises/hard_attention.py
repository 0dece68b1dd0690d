"""Exercises of the chapter Hard attention."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.attention.glimpses import cell_centres, retina
from course_utils.exercises._feedback import (
    as_number,
    as_tensor,
    is_close,
    refuse,
    require,
    require_number,
)

FEATURES, SCORE, VALUE, POSITIONS = (
    10_000.0,
    32.0,
    32.0,
    256,
)  # multiply-adds per position; positions


def one_draw(function) -> str:
    """Estimate the gradient of the expected reward from one draw.

    Args:
        function: Takes the weights (K), the index that was drawn, its reward and the baseline, and
            returns the estimate for the scores (K).
    """
    a, i, R, R_0 = torch.randn(6).softmax(dim=0), int(torch.randint(6, ())), 2.0, 0.5
    estimate = as_tensor(function(a, i, R, R_0), (6,), "The estimate").float()
    drawn = torch.eye(6)[i]
    right = (R - R_0) * (drawn - a)
    mistakes = [
        (-right, "The sign is wrong: this points downhill, and a reward should rise."),
        (R * (drawn - a), "The baseline is missing: subtract it from the reward."),
        ((R + R_0) * (drawn - a), "The baseline is added, but the factor is R − R_0."),
        (a[i] * right, "That's the gradient of a. REINFORCE takes the gradient of log a."),
        ((R - R_0) * drawn, "Only the drawn score moves here. But softmax divides by a sum over "
         "all scores, so log a depends on the others, too."),
        (drawn - a, "That's the gradient of log a alone. The better the reward, the larger the "
         "step should be."),
    ]  # fmt: skip
    for wrong, sentence in mistakes:
        refuse(is_close(estimate, wrong), sentence)
    require(
        is_close(estimate, right),
        "This isn't the gradient of (R − R_0) log a for the drawn position. How does log a change "
        "with its own score, and how with another one?",
    )
    return (
        "Right: the drawn score goes up and the others go down, if the reward beats the baseline."
    )


def _noise(a: Tensor, R: Tensor, R_0: float) -> float:
    """Return the expected squared length of the REINFORCE estimate for the scores.

    Args:
        a: Weights, (K).
        R: Reward of each position, (K).
        R_0: Baseline.
    """
    lengths = (torch.eye(len(a), dtype=a.dtype) - a).square().sum(dim=1)  # |∇ log a_i|²
    return float((a * (R - R_0).square() * lengths).sum())


def best_baseline(function) -> str:
    """Find the constant baseline that makes the noise of REINFORCE smallest.

    Args:
        function: Takes the weights (K) and the reward of each position (K), and returns a number.
    """
    a = (2 * torch.randn(5, dtype=torch.double)).softmax(dim=0)
    R = torch.rand(5, dtype=torch.double) * 10
    R_0 = as_number(function(a, R), "The baseline")
    lengths = (torch.eye(5, dtype=torch.double) - a).square().sum(dim=1)
    best = float((a * lengths * R).sum() / (a * lengths).sum())
    expected = float(a @ R)
    mistakes = [
        (expected, "That's the expected reward: a good baseline, but not the best. Draws with a "
         "long gradient should count more."),
        (float(R.mean()), "That's the plain mean of the rewards. Rare draws count less: weight by "
         "their probability."),
        (float((lengths * R).sum() / lengths.sum()), "You weight the rewards by the squared "
         "lengths alone. How often does each draw happen?"),
        (float((a * lengths.sqrt() * R).sum() / (a * lengths.sqrt()).sum()), "You weight by "
         "the lengths of the gradients. The noise depends on their squares."),
        (float((a * lengths * R).sum()), "The weighted sum is right, but it has to be divided by "
         "the sum of its weights."),
    ]  # fmt: skip
    ratio = _noise(a, R, R_0) / _noise(a, R, best)
    otherwise = f"The noise is {ratio:.2f} times the smallest possible. Set its derivative to 0."
    require_number(R_0, best, mistakes, otherwise, tolerance=1e-4)
    gain = _noise(a, R, best) / _noise(a, R, expected)
    return (
        f"Right. For these rewards, the noise is {gain:.2f} times that with the expected reward "
        f"as the baseline, and {_noise(a, R, best) / _noise(a, R, 0.0):.2f} times that without one."
    )


def work(answer) -> str:
    """Count the multiply-adds of soft and hard attention over features that a CNN computes.

    Args:
        answer: The numbers for soft and for hard attention.
    """
    soft, hard = (as_number(n, name) for n, name in zip(answer, ("soft", "hard"), strict=True))
    full, seen = FEATURES + SCORE + VALUE, FEATURES + SCORE
    require_number(
        soft,
        POSITIONS * full,
        [
            (full, "soft: that's the work for one position, and there are 256."),
            (POSITIONS * seen, "soft: the weighted sum is missing, with 32 per position."),
            (POSITIONS * FEATURES, "soft: these are only the features. Add scores and sum."),
            (POSITIONS * (FEATURES + VALUE), "soft: every position needs a score, too."),
        ],
        "soft: count the features, the scores and the weighted sum of all 256 positions.",
    )
    require_number(
        hard,
        POSITIONS * seen,
        [
            (full, "hard: before the draw, every position needs a score. What is a score "
             "computed from?"),
            (seen, "hard: before the draw, every position needs a score. What is a score "
             "computed from?"),
            (FEATURES, "hard: before the draw, every position needs a score. What is a score "
             "computed from?"),
            (FEATURES + VALUE, "hard: before the draw, every position needs a score. What is a "
             "score computed from?"),
            (POSITIONS * SCORE + FEATURES, "hard: you score all positions, but the scores are "
             "computed from their features, which then exist for all positions, too."),
            (POSITIONS * SCORE + FEATURES + VALUE, "hard: you score all positions, but the scores "
             "are computed from their features, which then exist for all positions, too."),
            (POSITIONS * full, "hard: one part of the work is saved. Which sum has one term only?"),
            (POSITIONS * seen + VALUE, "hard: a sum with the single weight 1 needs no "
             "multiplication: the value is just copied."),
        ],
        "hard: go through the three parts one by one. Which of them runs over all 256 positions?",
    )  # fmt: skip
    return f"Right: the draw saves {1 - hard / soft:.1%} of the work, the weighted sum.".replace(
        "%", "\u00a0%"
    )


def second_look(function) -> str:
    """Cut the sharp window of the second look out of each image.

    Args:
        function: Takes images (B, 1, 64, 64) and the cell of each, from 0 to 63, and returns the
            windows (B, 1, 24, 24).
    """
    images = torch.rand(64, 1, 64, 64)
    cells = torch.arange(64)
    windows = as_tensor(function(images, cells), (64, 1, 24, 24), "The window tensor").float()
    right = _windows(images, cells)
    inside = [i for i in range(64) if 1 <= i // 8 <= 4 and 1 <= i % 8 <= 4]
    swapped = _windows(images, cells % 8 * 8 + cells // 8)
    refuse(
        is_close(windows[inside], swapped[inside]),
        "Row and column are swapped. Cells are counted row by row.",
    )
    corner = torch.stack([_padded(images[i], i, 0) for i in range(64)])
    refuse(
        is_close(windows[inside], corner[inside]),
        "Your windows begin at the middle of the cell. Its middle should be theirs.",
    )
    left = torch.stack([_padded(images[i], i, 8) for i in range(64)])
    refuse(
        is_close(windows[inside], left[inside]),
        "Your windows are 4 pixels too far to the lower right: the middle of a cell is 4 pixels "
        "from its edge.",
    )
    require(
        is_close(windows[inside], right[inside]),
        "Away from the border, some windows aren't where they should be. The middle of cell 0 is "
        "at pixel 4, and its neighbour's at 12.",
    )
    require(
        is_close(windows, right),
        "The windows at the border are wrong: move them into the image, so that all 24 × 24 "
        "pixels are of the image.",
    )
    return "Right: 576 of 4,096 pixels, at full resolution, wherever the policy points."


def _windows(images: Tensor, cells: Tensor) -> Tensor:
    return retina(images, cell_centres(8)[cells], [24], size=24)


def _padded(image: Tensor, cell: int, back: int) -> Tensor:
    """Return the window that starts `back` pixels before the middle of a cell; zeros outside."""
    row, column = divmod(cell, 8)
    top, left = 8 * row + 4 - back + 24, 8 * column + 4 - back + 24
    padded = torch.nn.functional.pad(image, (24, 48, 24, 48))
    return padded[:, top : top + 24, left : left + 24]
