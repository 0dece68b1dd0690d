"""How far a reported accuracy can be from what it stands for, without anyone's meaning it."""

from __future__ import annotations

import numpy as np
from scipy import stats


def best_of(accuracy: float, n: int, epochs: int) -> float:
    r"""The accuracy that the best of some epochs is expected to show on n test images, in [0, 1].

    All epochs are equally good, and each is measured with chance mistakes of its own: the number of right answers is
    binomial, at most k of n with probability P(k), and the highest of E such numbers is expected to be
    :math:`\sum_{k<n} (1 - P(k)^E)`. Epochs of one run make many of the same mistakes, so that less than this remains
    in practice.

    Args:
        accuracy: of every epoch, in truth.
        n: test images.
        epochs: from which the best is kept.

    Raises:
        ValueError: an accuracy outside [0, 1], no images or no epochs.
    """
    if not 0 <= accuracy <= 1 or n < 1 or epochs < 1:
        raise ValueError(
            f"expected an accuracy in [0, 1], and an image and an epoch or more, got {accuracy}, {n} and {epochs}"
        )
    below = stats.binom.cdf(np.arange(n), n, accuracy)
    return float((1 - below**epochs).sum() / n)
