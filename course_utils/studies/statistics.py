"""Statistics of a few training runs, and of images: intervals, differences, Holm's correction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from scipy import optimize, stats
from torch import Tensor


def quantile(freedom: int, level: float = 0.95) -> float:
    """Return half the length of Student's interval, in standard errors of the mean.

    Args:
        freedom: Degrees of freedom, at least 1: one less than the number of runs.
        level: Confidence level, inside (0, 1).

    Raises:
        ValueError: If there is no degree of freedom, or the level is outside (0, 1).
    """
    if freedom < 1 or not 0 < level < 1:
        raise ValueError(
            f"expected at least one degree of freedom and a level inside (0, 1), "
            f"got {freedom} and {level}"
        )
    return float(stats.t.ppf((1 + level) / 2, freedom))


def interval(values: Iterable[float], level: float = 0.95) -> tuple[float, float]:
    """Return the mean of a few runs and the margin of its confidence interval (Student 1908).

    The interval runs from mean − margin to mean + margin. It covers what varies between the values:
    for runs from several seeds, the initial weights and the order of the images, but not the
    choice of the test images.

    Args:
        values: One value per run. Values that are NaN are left out.
        level: Confidence level, inside (0, 1).

    Raises:
        ValueError: If fewer than two values are left.
    """
    runs = pd.Series(list(values), dtype=float).dropna()
    if len(runs) < 2:
        raise ValueError(f"expected at least two values for an interval, got {len(runs)}")
    return float(runs.mean()), quantile(len(runs) - 1, level) * float(runs.sem())


def detectable(values: Iterable[float], level: float = 0.95, power: float = 0.8) -> float:
    """Return the true difference that a paired t-test of these runs would have found.

    It is the smallest one that the test finds, with the right sign, with the given probability, if
    the differences are normal and their standard deviation is that of the sample. A difference that
    was not found may well be there if it is smaller than this.

    Args:
        values: One difference per pair. Values that are NaN are left out.
        level: Confidence level of the interval; 1 − 0.05 / m for one of m tests (Bonferroni).
        power: Probability with which the difference is found, at least 0.5 and less than 1.

    Raises:
        ValueError: If fewer than two values are left, or the power is outside [0.5, 1).
    """
    runs = pd.Series(list(values), dtype=float).dropna()
    if len(runs) < 2 or not 0.5 <= power < 1:
        raise ValueError(
            f"expected at least two values and a power in [0.5, 1), got {len(runs)} and {power}"
        )
    freedom = len(runs) - 1
    critical = quantile(freedom, level)

    def excess(shift: float) -> float:  # the true difference in standard errors
        return float(stats.nct.sf(critical, freedom, shift)) - power

    highest = 1.0
    while excess(highest) < 0:
        highest *= 2
    return float(optimize.brentq(excess, 0, highest)) * float(runs.sem())


def differences(
    scores: pd.DataFrame, pairs: Iterable[tuple[str, str]], columns: Sequence[str] = ("accuracy",)
) -> pd.DataFrame:
    """Compare variants with their controls by paired t-tests: the pairs share a seed.

    Args:
        scores: One row per variant and seed, with the columns ``variant`` and ``seed``.
        pairs: Each variant with its control. Seeds that only one of the two has are left out.
        columns: The scores to compare.

    Returns:
        One row per pair and score, indexed by ``variant``, ``control`` and ``score``: the ``mean``
        of variant − control over the seeds, the ``margin`` of its 95 % interval, and ``p``, the
        two-sided p value: the probability of a mean at least as far from 0 if the true difference
        were 0.
    """
    by_variant, rows = scores.set_index(["variant", "seed"]), {}
    for variant, control in pairs:
        for column in columns:
            gain = (by_variant.loc[variant, column] - by_variant.loc[control, column]).dropna()
            mean, margin = interval(gain)
            # If all differences are equal, t is ±∞, or undefined if the mean is 0 as well.
            p = stats.ttest_1samp(gain, 0).pvalue if margin else float(mean == 0)
            rows[variant, control, column] = {"mean": mean, "margin": margin, "p": p}
    return pd.DataFrame(rows).T.rename_axis(["variant", "control", "score"])


def clustered_sign_test(changes: Int[Tensor, " n"], clusters: Int[Tensor, " n"]) -> float:
    """Return the exact two-sided p value of a sum of changes, with random signs per cluster.

    Images made from the same source digit tend to change together. So the changes of a source are
    added up first, and it is the sign of this sum that is equally likely to be + or − if there is
    no effect. The distribution of the total over all signs is computed, not sampled.

    Args:
        changes: One whole number per image, for example −1 (lost), 0 or 1 (won).
        clusters: The source of each image.
    """
    _, members = clusters.unique(return_inverse=True)
    sums = torch.zeros(int(members.max()) + 1, dtype=torch.long).index_add_(0, members, changes)
    probability = np.ones(1)  # of each total from −reach to reach, where reach grows by each sum
    for size in sums.abs().tolist():
        if size:
            probability = np.convolve(probability, [0.5, *[0] * (2 * size - 1), 0.5])
    totals = np.arange(len(probability)) - len(probability) // 2
    return float(probability[np.abs(totals) >= abs(int(sums.sum()))].sum())


def holm(p: pd.Series) -> pd.Series:
    """Return Holm-adjusted p values of several tests (Holm 1979).

    If you call a difference real whenever its adjusted value is below 0.05, the probability of one
    or more false claims among all the tests is at most 0.05.

    Args:
        p: One p value per test.

    Returns:
        The adjusted values, with the index and in the order of ``p``.
    """
    ordered = p.sort_values()
    tests_left = pd.Series(range(len(p), 0, -1), ordered.index)
    return (ordered * tests_left).clip(upper=1).cummax()[p.index]


def verdicts(table: pd.DataFrame, small: float) -> pd.DataFrame:
    """Add the Holm-adjusted p values and a verdict to a table of differences.

    A row is a ``difference`` if its adjusted p value is below 0.05. Otherwise there is ``no effect
    larger than`` the given one if the whole interval is smaller, and else it is ``undecided``. Only
    the differences are adjusted: the margins are those of single intervals.

    Args:
        table: One row per comparison, with the columns ``mean``, ``margin`` and ``p``, such as
            `differences` returns.
        small: An effect that is small enough not to matter, in the units of ``mean``.

    Returns:
        The table with the columns ``Holm p`` and ``verdict`` in the place of ``p``.
    """
    adjusted = holm(table.p)
    words = pd.Series("undecided", table.index)
    words[table["mean"].abs() + table.margin < small] = f"no effect larger than {small:g}"
    words[adjusted < 0.05] = "difference"
    return table.drop(columns="p").assign(**{"Holm p": adjusted, "verdict": words})
