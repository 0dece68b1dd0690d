"""Helpers that the tests of ThresholdExplorer share."""

import numpy as np
import torch

from course_utils.widgets import ThresholdExplorer

N = 150


def drawn(seed, kind="smooth"):
    """Random probabilities, in single precision as in the page, and weakly correlated labels."""
    random = np.random.default_rng(seed)
    p = random.random(N)
    p = {
        "smooth": p,
        "ties": np.round(p, 1),
        "extremes": np.where(p < 0.3, 0.0, np.where(p > 0.7, 1.0, p)),
    }[kind]
    y = (random.random(N) < 0.2 + 0.5 * p).astype(int)
    y[:2] = 0, 1
    return p.astype(np.float32), y


def explorer(seed=0, **traits):
    p, y = drawn(seed)
    return ThresholdExplorer(torch.from_numpy(p), torch.from_numpy(y), **traits), p, y
