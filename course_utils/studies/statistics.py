"""Statistics of a few training runs: Student's interval, paired differences, Holm's correction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
from scipy import stats


def quantile(freedom: int, level: float = 0.95) -> float:
    """How many standard errors to either side of a mean Student's interval reaches.

    Raises:
        ValueError: no degree of freedom, or a level outside (0, 1).
    """
    if freedom < 1 or not 0 < level < 1:
        raise ValueError(
            f"expected a degree of freedom or more and a level inside (0, 1), got {freedom} and {level}"
        )
    return float(stats.t.ppf((1 + level) / 2, freedom))


def interval(values: Iterable[float], level: float = 0.95) -> tuple[float, float]:
    """The mean of a few runs, and how far Student's interval reaches to either side of it.

    Raises:
        ValueError: fewer than two values.
    """
    values = pd.Series(list(values), dtype=float)
    if len(values) < 2:
        raise ValueError(f"an interval needs two values or more, got {len(values)}")
    return float(values.mean()), quantile(len(values) - 1, level) * float(values.sem())


def differences(
    scores: pd.DataFrame, pairs: Iterable[tuple[str, str]], columns: Sequence[str] = ("accuracy",)
) -> pd.DataFrame:
    """What a variant has more than another, seed by seed.

    Args:
        scores: one row per variant and seed.
        pairs: a variant, and what it is compared with.
        columns: which scores.

    Returns:
        A row a pair and score: ``mean`` of the differences of all seeds that both have, ``margin`` of Student's 95 %
        interval, and ``p``, how often chance alone would give a mean as far from 0 if there were no difference.
    """
    by_variant, rows = scores.set_index(["variant", "seed"]), {}
    for variant, control in pairs:
        for column in columns:
            gain = (by_variant.loc[variant, column] - by_variant.loc[control, column]).dropna()
            mean, margin = interval(gain)
            error = gain.sem()
            p = 2 * stats.t.sf(abs(mean) / error, len(gain) - 1) if error else float(mean == 0)
            rows[variant, control, column] = {"mean": mean, "margin": margin, "p": p}
    return pd.DataFrame(rows).T.rename_axis(["variant", "control", "score"])


def holm(p: pd.Series) -> pd.Series:
    """P values that may be read together (Holm 1979): below 0.05, one in twenty *families* is wrong by chance."""
    ordered = p.sort_values()
    still_there = pd.Series(range(len(p), 0, -1), ordered.index)
    return (ordered * still_there).clip(upper=1).cummax()[p.index]
