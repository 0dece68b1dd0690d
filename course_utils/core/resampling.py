"""The bootstrap: how much another sample of images might change a result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats


def bootstrap_interval(
    statistic: Callable[[np.ndarray], np.ndarray | float],
    images: int,
    *,
    level: float = 0.95,
    resamples: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile bootstrap interval of statistics of a test set (Efron 1979).

    The interval shows how much another sample of test images might change the statistics. It
    doesn't cover other training runs: train with several seeds for that. The resamples are always
    the same ones.

    Args:
        statistic: Computes a value, or an array of k values, from the indices of the drawn images.
        images: Size of the test set, at least 2. Each resample draws this many images, with
            replacement.
        level: Coverage of the interval, in (0, 1).
        resamples: Number of resamples.

    Returns:
        The lower and the upper ends, one per value of the statistic.
    """
    low, high = stats.bootstrap(
        (np.arange(images),),
        statistic,
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        vectorized=False,
        rng=0,
    ).confidence_interval
    return np.asarray(low), np.asarray(high)
