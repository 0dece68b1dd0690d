"""Statistics of a few training runs, and of images: intervals, tests and verdicts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int, Real
from scipy import optimize, stats
from torch import Tensor

AT_ONCE = 20  # resamples of a bootstrap, so their weights fit into the cache
LOOKS_AT_MOST = 12  # seeds in a table of false alarms, which doubles with each of them


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


class Welch(NamedTuple):
    """The difference of two means by Welch's t-test, which needs no equal variances."""

    mean: float  # of the first minus that of the second
    margin: float  # half the length of its confidence interval
    p: float  # two-sided
    freedom: float  # degrees of freedom, rarely a whole number


def welch(one: Iterable[float], other: Iterable[float], level: float = 0.95) -> Welch:
    """Compare the means of two independent samples that may have different variances (Welch 1947).

    Nothing is paired, so the samples may have different sizes.

    Args:
        one: At least two values. Values that are NaN are left out, here and in ``other``.
        other: The values to compare with.
        level: Confidence level of the interval, inside (0, 1).

    Returns:
        The difference mean(one) − mean(other), the margin of its interval, the two-sided p value
        and the degrees of freedom (NaN if neither sample varies).

    Raises:
        ValueError: If fewer than two values of a sample are left.
    """
    samples = [pd.Series(list(values), dtype=float).dropna() for values in (one, other)]
    if min(map(len, samples)) < 2:
        raise ValueError(
            "expected at least two values in each sample, "
            f"got {len(samples[0])} and {len(samples[1])}"
        )
    mean = float(samples[0].mean() - samples[1].mean())
    # Squared standard errors of the two means. Not `scipy.stats.ttest_ind`: it warns if the values
    # of one sample are equal, as counts of a few runs may be.
    parts = np.array([sample.var() / len(sample) for sample in samples])
    if not parts.any():  # t is ±∞, or undefined
        return Welch(mean, 0.0, float(mean == 0), float("nan"))
    error = float(parts.sum() ** 0.5)
    others = np.array([len(sample) - 1 for sample in samples])
    freedom = float(parts.sum() ** 2 / (parts**2 / others).sum())
    margin = error * float(stats.t.ppf((1 + level) / 2, freedom))
    return Welch(mean, margin, 2 * float(stats.t.sf(abs(mean) / error, freedom)), freedom)


def differences(
    scores: pd.DataFrame,
    pairs: Iterable[tuple[str, str]],
    columns: Sequence[str] = ("accuracy",),
    *,
    paired: bool = True,
) -> pd.DataFrame:
    """Compare variants with their controls by t-tests.

    Args:
        scores: One row per variant and seed, with the columns ``variant`` and ``seed``.
        pairs: Each variant with its control.
        columns: The scores to compare.
        paired: Compare the runs that share a seed, by paired t-tests; seeds that only one of the
            two has are left out. If False, treat the runs as two independent samples, see `welch`.

    Returns:
        One row per pair and score, indexed by ``variant``, ``control`` and ``score``: the ``mean``
        of variant − control over the seeds, the ``margin`` of its 95 % interval, and ``p``, the
        two-sided p value: the probability of a mean at least as far from 0 if the true difference
        were 0.
    """
    by_variant, rows = scores.set_index(["variant", "seed"]), {}
    for variant, control in pairs:
        for column in columns:
            one, other = by_variant.loc[variant, column], by_variant.loc[control, column]
            compared = _paired(one - other) if paired else welch(one, other)[:3]
            rows[variant, control, column] = dict(zip(("mean", "margin", "p"), compared))
    return pd.DataFrame(rows).T.rename_axis(["variant", "control", "score"])


def _paired(gains: pd.Series) -> tuple[float, float, float]:
    """Return the mean, the margin and the p value of differences, without those that are NaN."""
    mean, margin = interval(gains)
    # If all differences are equal, t is ±∞, or undefined if the mean is 0 as well.
    p = stats.ttest_1samp(gains.dropna(), 0).pvalue if margin else mean == 0
    return mean, margin, float(p)


class Wins(NamedTuple):
    """In how many of all pairs a value of one sample beats a value of another, and a p value."""

    wins: float  # a tie is half a win
    pairs: int
    p: float  # exact, two-sided


def mann_whitney(one: Iterable[float], other: Iterable[float]) -> Wins:
    """Compare two samples by counting wins (Mann and Whitney 1947).

    Each value of one sample meets each value of the other. No distribution is assumed: if both
    samples come from the same one, whichever it is, every assignment of the values to the samples
    is equally likely. All assignments are counted, so the p value is exact, with ties as well.

    Args:
        one: At least one value, none of them NaN; the same holds for ``other``.
        other: The values to compare with.

    Returns:
        The number of pairs in which the value of ``one`` is higher, where a tie counts as one half;
        the number of all pairs; and the probability that the number of wins is at least as far from
        half of the pairs if there is no difference.

    Raises:
        ValueError: If a sample is empty or has a value that is NaN.
    """
    one, other = list(one), list(other)
    values = np.array([*one, *other], dtype=float)
    size, others = len(one), len(other)
    if not (size and others) or np.isnan(values).any():
        raise ValueError(
            f"expected two samples without NaN, got {size} and {others} values, "
            f"{np.isnan(values).sum()} of them NaN"
        )
    ranks = (2 * stats.rankdata(values)).astype(int)  # doubled, so tied ranks are whole numbers
    # ways[n, total]: how many choices of n values have this total of ranks
    ways = np.zeros((size + 1, ranks.sum() + 1))
    ways[0, 0] = 1
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, :-rank]  # the value belongs to `one`, or it doesn't
    doubled = np.arange(ways.shape[1]) - size * (size + 1)  # wins, for each total of ranks
    half = size * others  # of all pairs, doubled
    found = int(ranks[:size].sum()) - size * (size + 1)
    extreme = np.abs(doubled - half) >= abs(found - half)
    return Wins(found / 2, half, float(ways[size, extreme].sum() / ways[size].sum()))


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


def two_way_bootstrap(
    gains: Real[Tensor, "seeds images"],
    clusters: Int[Tensor, " images"],
    *,
    over: Collection[str] = ("seeds", "sources"),
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return an interval of the mean gain for other seeds and other test images (Owen 2007).

    Every resample draws as many seeds and as many sources as there are, with replacement. All
    images made from the same source are drawn together. The mean is taken over the drawn seeds ×
    the images of the drawn sources, so an interval covers both what training and what the choice of
    the test images might change. It doesn't cover other training images.

    Percentiles of a plain bootstrap of few seeds are too close together (Hesterberg 2015). So the
    deviations between the seeds are stretched by the factor that makes a bootstrap of the seeds
    alone about as long as Student's `interval`. Nothing is stretched for the sources, of which
    there should be dozens.

    Over both, the bootstrap is conservative: variance that belongs to single pairs of a seed and a
    source is counted three times. If there is no other variance, the interval is about twice as
    long as it needs to be. So trust an interval that excludes 0, and don't take the length of one
    that includes it too literally.

    Args:
        gains: Score of a variant minus that of its control, per seed and test image: −1, 0 or 1 if
            the score is whether the answer is correct.
        clusters: The source of each image. Use a different one for each image to treat the images
            as independent.
        over: What is resampled: ``"seeds"``, ``"sources"`` or both. The interval doesn't cover
            the other one.
        resamples: Number of resamples, at least 1.
        level: Coverage of the interval, inside (0, 1).
        seed: Seed of the resamples.

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: If the shapes don't fit, there is just one of what is resampled, ``over`` is
            empty or has an unknown name, the level is outside (0, 1), or ``resamples`` is below 1.
    """
    sums, counts = _by_source(gains, clusters)
    sizes = dict(zip(("seeds", "sources"), sums.shape))
    _check_bootstrap(sizes, over, resamples, level)
    seeds, sources = sums.shape
    rng, means = np.random.default_rng(seed), []
    for start in range(0, resamples, AT_ONCE):
        rows = min(AT_ONCE, resamples - start)
        # how often each seed and each source is drawn; once if it isn't resampled
        of_seeds, of_sources = np.ones((rows, seeds)), np.ones((rows, sources))
        if "seeds" in over:
            # Each row still adds up to the number of seeds.
            of_seeds += _stretch(seeds, level) * (_draw_counts(rng, rows, seeds) - 1)
        if "sources" in over:
            of_sources = _draw_counts(rng, rows, sources)
        totals = (of_seeds @ sums * of_sources).sum(axis=1)
        means.append(totals / (seeds * (of_sources @ counts)))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _by_source(gains: Tensor, clusters: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of the gains per seed and source, and the number of images per source.

    Raises:
        ValueError: If there isn't a source for each image.
    """
    if gains.ndim != 2 or clusters.shape != gains.shape[1:] or not gains.numel():
        raise ValueError(
            "expected gains (seeds, images) and one source per image, "
            f"got {tuple(gains.shape)} and {tuple(clusters.shape)}"
        )
    _, members, counts = clusters.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(gains), len(counts), dtype=torch.double)
    return sums.index_add_(1, members, gains.double()).numpy(), counts.double().numpy()


def _check_bootstrap(
    sizes: dict[str, int], over: Collection[str], resamples: int, level: float
) -> None:
    """Raise if an argument of `two_way_bootstrap` is out of range."""
    if isinstance(over, str) or not over or not set(over) <= set(sizes):
        raise ValueError(f"expected one or both of {tuple(sizes)} to resample, got {over!r}")
    for name in over:
        if sizes[name] < 2:
            raise ValueError(f"expected at least two {name} to resample, got {sizes[name]}")
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(
            f"expected at least one resample and a level inside (0, 1), got {resamples} and {level}"
        )


def _stretch(seeds: int, level: float) -> float:
    """Return how much longer Student's interval is than that of a plain bootstrap, on average.

    The bootstrap's quantiles are about normal, and its variance is that of n, not of n − 1.
    """
    normal = stats.norm.ppf((1 + level) / 2)
    return quantile(seeds - 1, level) / float(normal) * (seeds / (seeds - 1)) ** 0.5


def _draw_counts(rng: np.random.Generator, rows: int, n: int) -> np.ndarray:
    """Draw n of n with replacement, once per row; return how often each was drawn (rows, n)."""
    drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(float)


def optional_stopping(
    looks: Sequence[int], *, level: float = 0.95, runs: int = 200_000, seed: int = 0
) -> float:
    """Return the probability of a false alarm if you test again after adding seeds.

    There is no effect: the differences are drawn from a normal distribution with mean 0. A false
    alarm is at least one look at which the interval excludes 0 (a paired t-test finds a
    "difference"). With one look its probability is 1 − level; with each further look it grows.

    Args:
        looks: After how many seeds there is a look, each at least 2.
        level: Confidence level of the interval at each look, inside (0, 1).
        runs: Number of simulated experiments. The result's standard error is below
            0.5 / √runs, so 0.001 for the default.
        seed: Seed of the simulation.

    Raises:
        ValueError: If there is no look, or one after fewer than two seeds.
    """
    return float(_alarms(looks, level, runs, seed).any(axis=1).mean())


@cache
def false_alarms(seeds: int) -> tuple[float, ...]:
    """Return the result of `optional_stopping` for every choice of looks at up to so many seeds.

    The value at index Σ 2**(n − 2) belongs to looks after n seeds: index 0b101 to looks after 2 and
    4 seeds. All values come from the same simulation.

    Args:
        seeds: The largest number of seeds, from 2 to 12.

    Raises:
        ValueError: If ``seeds`` is out of range.
    """
    if not 2 <= seeds <= LOOKS_AT_MOST:
        raise ValueError(f"expected 2 to {LOOKS_AT_MOST} seeds, got {seeds}")
    alarms = _alarms(range(2, seeds + 1), 0.95, 200_000, 0)
    choices = np.arange(2 ** (seeds - 1))
    marks = alarms @ 2 ** np.arange(seeds - 1)  # the looks with an alarm in each run, as an index
    share = np.bincount(marks, minlength=len(choices)) / len(alarms)
    return tuple((((choices[:, None] & choices) > 0) @ share).tolist())


def _alarms(looks: Sequence[int], level: float, runs: int, seed: int) -> np.ndarray:
    """Simulate runs without an effect; return at which looks the interval excludes 0."""
    if not looks or min(looks) < 2 or runs < 1:
        raise ValueError(
            f"expected looks after at least 2 seeds and at least one run, got {list(looks)}, {runs}"
        )
    gains = np.random.default_rng(seed).normal(size=(runs, max(looks)))
    alarms = []
    for n in looks:
        mean, deviation = gains[:, :n].mean(axis=1), gains[:, :n].std(axis=1, ddof=1)
        alarms.append(np.abs(mean) > quantile(n - 1, level) * deviation / n**0.5)
    return np.stack(alarms, axis=1)


def holm(p: pd.Series) -> pd.Series:
    """Return Holm-adjusted p values of several tests (Holm 1979).

    The smallest of m p values is multiplied by m, the next by m − 1, and so on. Then comes the
    stopping rule: the first test that fails ends the procedure, and all tests with larger p values
    fail with it, even if their own product is below 0.05. So an adjusted value is never smaller
    than the one before it.

    If you call a difference real whenever its adjusted value is below 0.05, the probability of one
    or more false claims among all the tests is at most 0.05.

    Args:
        p: One p value per test.

    Returns:
        The adjusted values, with the index and in the order of ``p``.
    """
    ordered = p.sort_values()
    tests_left = pd.Series(range(len(p), 0, -1), ordered.index)
    # The running maximum is the stopping rule.
    return (ordered * tests_left).clip(upper=1).cummax()[p.index]


def verdicts(table: pd.DataFrame, small: float) -> pd.DataFrame:
    """Add the Holm-adjusted p values and a verdict to a table of differences.

    A row is a ``difference`` if its adjusted p value is below 0.05. Otherwise there is ``no effect
    larger than`` the given one if the whole interval lies between −small and small, and the row is
    ``undecided`` if it doesn't. Only the differences are adjusted: the margins are those of single
    intervals.

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
