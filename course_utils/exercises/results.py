"""The exercises of chapter 09."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import torch
from scipy import stats

from course_utils.exercises._feedback import expect, number, require
from course_utils.studies.statistics import interval, quantile


def paired(answer, one, other) -> str:
    """The mean of the differences of two variants, seed by seed, and the margin of its interval.

    Args:
        answer: the mean and the margin.
        one: a number a seed.
        other: what it is compared with, for the same seeds.
    """
    mean, margin = (number(part, what) for part, what in zip(answer, ("The mean", "The margin")))
    gain, n = one - other, len(one)
    expected, reach = interval(gain)
    sign = {"The sign of the mean: the first minus the second is asked for.": -expected}
    otherwise = "Another mean: take the differences seed by seed, and then their mean."
    expect(mean, expected, sign, otherwise, tolerance=1e-4 * abs(expected))
    t, error = quantile(n - 1), gain.sem()
    single, separate = (part**0.5 for part in (gain.var(), (one.var() + other.var()) / n))
    slips = {
        "This margin is one standard error: how many of them does the interval of so few numbers reach out?": error,
        "This margin is for single runs. A mean varies less: what does it depend on?": t * single,
        "This margin has 1.96 standard errors, which is right for very many seeds only.": 1.96
        * error,
        "That is the length of the whole interval: the margin reaches to one side.": 2 * reach,
        "This standard deviation divides by n: around their own mean n numbers take n − 1.": reach
        * (1 - 1 / n) ** 0.5,
        f"Student's t for {n} numbers has one degree of freedom less than {n}.": quantile(n)
        * error,
        "This margin is for two separate lists of runs: it does not know which are pairs.": t
        * separate,
    }
    otherwise = "The mean is right, the margin is not: spread of the differences, √n, Student's t."
    expect(margin, reach, slips, otherwise, tolerance=1e-4 * abs(margin))
    found = "a null result" if abs(mean) < margin else "beyond the seeds' spread"
    return f"Right: {mean:+.4f} ± {margin:.4f}, {found}. But taps and losses differ too, not only attention."


def sign_flips(function) -> str:
    """The p value of paired differences by all choices of their signs, without a distribution."""
    # More than two choices are as far from 0, so no slip gives another's number; sums are exact in any order.
    sizes = torch.cat([torch.randint(700, 1024, (3,)), -torch.randint(100, 600, (2,))]) / 1024
    gain = pd.Series(sizes, dtype=float).sample(frac=1, ignore_index=True)
    p = number(function(gain.copy()), "The p value")
    signs = np.array(list(itertools.product((1, -1), repeat=len(gain))))
    means = (signs * gain.to_numpy()).mean(axis=1)
    own, far = gain.mean(), abs(means)
    require(
        0 <= p <= 1,
        f"A p value is a share of the {len(means)} choices, from 0 to 1, and yours is {p:.3g}.",
    )
    slips = {
        "That counts one side only: a mean as far from 0 on the other side counts as well.": (
            means >= own
        ).mean(),
        "The signs that were found are one of the choices: they count as well.": (far > own).mean(),
        "That is Student's p value, which assumes a distribution.": stats.ttest_1samp(
            gain, 0
        ).pvalue,
    }
    otherwise = f"Another share comes out. Are all {len(means)} choices there, each difference with either sign?"
    expect(p, (far >= own).mean(), slips, otherwise, tolerance=1e-5)
    return (
        f"Right. With five differences it is never below 2 of {len(means)}, {2 / len(means):.4f}."
    )


def seeds(n) -> str:
    """How many seeds make an interval half as long as with five, if the standard deviation stays."""
    n = number(n, "The number of seeds")
    require(n == int(n) >= 2, f"Seeds are counted, and an interval needs two or more: not {n:g}.")
    left, fewer = (_length(k) / _length(5) if k > 1 else 2 for k in (int(n), int(n) - 1))
    require(
        left <= 0.5,
        f"With {n:.0f} seeds the interval is still {left:.2f} of the length that five give.",
    )
    why = "Student's t shrinks, too: fewer would do" if n == 20 else "fewer would do"
    require(
        fewer > 0.5,
        f"With {n:.0f} seeds the interval is {left:.2f} of the length that five give: {why}.",
    )
    return f"Right: {n:.0f}. The t of few seeds shrinks as well as 1 / √n."


def _length(n: int) -> float:
    """Of an interval, in standard deviations."""
    return quantile(n - 1) / n**0.5
