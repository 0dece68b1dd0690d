"""The bootstrap: how much another sample of images might change a result."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np


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
            A value is NaN if it is not defined for these images.
        images: Size of the test set, at least 2. Each resample draws this many images, with
            replacement.
        level: Coverage of the interval, in (0, 1).
        resamples: Number of resamples, at least 1.

    Returns:
        The lower and the upper ends, one per value of the statistic. They are percentiles of the
        resamples for which the value is defined, and NaN if there are none.

    Raises:
        ValueError: If there are fewer than two images, the level is outside (0, 1), or
            ``resamples`` is below 1.
    """
    if images < 2 or not 0 < level < 1 or resamples < 1:
        raise ValueError(
            "expected at least 2 images, a level between 0 and 1 and at least 1 resample, "
            f"got {images}, {level} and {resamples}"
        )
    # Not `scipy.stats.bootstrap`, which has no interval if a single resample is NaN.
    rng = np.random.default_rng(0)
    draws = (rng.integers(images, size=images) for _ in range(resamples))  # one at a time
    values = np.array([statistic(drawn) for drawn in draws])  # (resamples) or (resamples, k)
    outside = (1 - level) / 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")  # NaN is the right result then
        low, high = np.nanpercentile(values, [100 * outside, 100 * (1 - outside)], axis=0)
    return np.asarray(low), np.asarray(high)
