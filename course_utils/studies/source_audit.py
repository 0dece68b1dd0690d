"""The chapter that audits the sources: how much selection can inflate a reported accuracy."""

from __future__ import annotations

import numpy as np
from scipy import stats


def best_of(accuracy: float, n: int, epochs: int) -> float:
    r"""Return the expected test accuracy of the best of several equally good epochs, in [0, 1].

    Every epoch has the same true accuracy, and its errors are independent of those of the others.
    The number of correct answers is then binomial, at most k of n with probability P(k), and the
    highest of E such numbers has the expectation :math:`\sum_{k<n} (1 - P(k)^E)`. In practice, the
    epochs of one run make many of the same errors, so the optimism is smaller than this.

    Args:
        accuracy: True accuracy of every epoch, in [0, 1].
        n: Number of test images, at least 1.
        epochs: Number of epochs from which the best is chosen, at least 1.

    Raises:
        ValueError: If the accuracy is outside [0, 1], or there are no images or no epochs.
    """
    if not 0 <= accuracy <= 1 or n < 1 or epochs < 1:
        raise ValueError(
            f"expected an accuracy in [0, 1], at least one image and at least one epoch, "
            f"got {accuracy}, {n} and {epochs}"
        )
    at_most = stats.binom.cdf(np.arange(n), n, accuracy)  # P(k) for k < n
    return float((1 - at_most**epochs).sum() / n)
