"""Exercises of the chapter Results."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import torch
from scipy import stats

from course_utils.exercises._feedback import as_number, require, require_number
from course_utils.studies.statistics import interval, quantile


def paired(answer, one, other) -> str:
    """Compute the mean paired difference of two variants and the margin of its 95 % interval.

    Args:
        answer: The mean and the margin.
        one: One value per seed.
        other: The values of the variant that it is compared with, for the same seeds.
    """
    mean, margin = (
        as_number(part, name) for part, name in zip(answer, ("The mean", "The margin"), strict=True)
    )
    expected, _ = interval(one - other)
    mistakes = [
        (-expected, "The sign of the mean is wrong: subtract the second from the first."),
    ]
    otherwise = "The mean is wrong: take the difference for each seed, and then the mean of these."
    require_number(mean, expected, mistakes, otherwise, tolerance=1e-4 * abs(expected))
    _check_margin(margin, one, other)
    verdict = "undecided" if abs(mean) < margin else "a difference"
    return (
        f"Right: {mean:+.4f} ± {margin:.4f}, {verdict}. But taps and losses differ too, "
        "not only attention."
    )


def _check_margin(margin: float, one: pd.Series, other: pd.Series) -> None:
    gain, n = one - other, len(one)
    _, expected = interval(gain)
    t, error = quantile(n - 1), gain.sem()
    unpaired = ((one.var() + other.var()) / n) ** 0.5
    mistakes = [
        (
            error,
            "This margin is one standard error. How many of them does the "
            "interval of so few values need?",
        ),
        (
            t * gain.std(),
            "This margin is that of a single run. A mean varies less: by which factor?",
        ),
        (
            1.96 * error,
            "This margin has 1.96 standard errors, which holds only for very many seeds.",
        ),
        (2 * expected, "That is the length of the whole interval. The margin is half of it."),
        (
            expected * (1 - 1 / n) ** 0.5,
            "Your standard deviation divides by n. Around their own mean, n values need n − 1.",
        ),
        (quantile(n) * error, f"Student's t has one degree of freedom less than the {n} values."),
        (t * unpaired, "This margin treats the runs as two separate lists, but they are pairs."),
    ]
    otherwise = (
        "The mean is right, but the margin isn't: use the standard deviation of the "
        "differences, √n and Student's t."
    )
    require_number(margin, expected, mistakes, otherwise, tolerance=1e-4 * abs(margin))


def sign_flips(function) -> str:
    """Write the p value of paired differences from all choices of their signs."""
    # With sizes like these each mistake leads to its own number, and multiples of 1 / 1024 are
    # added without rounding, so the order of a sum makes no difference.
    sizes = torch.cat([torch.randint(700, 1024, (3,)), -torch.randint(100, 600, (2,))]) / 1024
    gain = pd.Series(sizes, dtype=float).sample(frac=1, ignore_index=True)
    p = as_number(function(gain.copy()), "The p value")
    signs = np.array(list(itertools.product((1, -1), repeat=len(gain))))
    means = (signs * gain.to_numpy()).mean(axis=1)
    found, distances = gain.mean(), abs(means)
    require(
        0 <= p <= 1,
        f"A p value is a share of the {len(means)} choices, so it lies between 0 and 1, "
        f"but yours is {p:.3g}.",
    )
    mistakes = [
        (
            (means >= found).mean(),
            "You count one side only. A mean that is as far from 0 on the other "
            "side counts as well.",
        ),
        (
            (distances > found).mean(),
            "You leave out the signs that were found. They are one of the choices, "
            "so they count as well.",
        ),
        (
            stats.ttest_1samp(gain, 0).pvalue,
            "That is Student's p value, which assumes a normal distribution.",
        ),
    ]
    otherwise = (
        f"The share is wrong. Do you go through all {len(means)} choices, "
        "with either sign for each difference?"
    )
    require_number(p, (distances >= found).mean(), mistakes, otherwise, tolerance=1e-5)
    return (
        f"Right. With five differences it is never below 2 of {len(means)}, "
        f"or {2 / len(means):.4f}."
    )


def seeds(n) -> str:
    """Find how many seeds halve the interval of five seeds, at the same standard deviation."""
    n = as_number(n, "The number of seeds")
    require(
        n == int(n) >= 2,
        f"The number of seeds is a whole number, and an interval needs at least 2: yours is {n:g}.",
    )
    share, with_one_less = (_length(k) / _length(5) if k > 1 else 2 for k in (int(n), int(n) - 1))
    length = f"With {n:.0f} seeds the interval has {share:.2f} of the length that it has with five"
    require(share <= 0.5, f"{length}, which is more than half.")
    why = ", because Student's t shrinks as well" if n == 20 else ""
    require(with_one_less > 0.5, f"{length}. Fewer seeds are enough{why}.")
    return f"Right: {n:.0f} seeds. Student's t shrinks with more seeds, in addition to 1 / √n."


def _length(n: int) -> float:
    """Return half the length of the interval of n values, in standard deviations."""
    return quantile(n - 1) / n**0.5
