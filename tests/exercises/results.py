import itertools

import numpy as np
import pandas as pd
import torch
from scipy import stats

from tests.exercises.cases import Case

# Pairs that rise and fall together, so that a mistake about pairs is far from the truth.
ONE = pd.Series([0.31, 0.52, 0.12, 0.44, 0.25], name="loss")
OTHER = ONE + pd.Series([0.04, 0.09, 0.05, 0.03, 0.07])
GAIN = ONE - OTHER
MEAN, ERROR, T = GAIN.mean(), GAIN.sem(), 2.7764


def means_of(gain):
    return [
        (gain.to_numpy() * signs).mean() for signs in itertools.product((1, -1), repeat=len(gain))
    ]


def one_at_a_time(gain):
    return [gain.mean() - 2 * value / len(gain) for value in gain]


def share(chosen):
    return sum(chosen) / len(chosen)


def by_numpy(gain):
    signs = 1 - 2 * ((np.arange(2 ** len(gain))[:, None] >> np.arange(len(gain))) & 1)
    return (abs(signs @ gain.to_numpy()) >= abs(gain.sum())).mean()


def by_torch(gain):
    signs = torch.tensor(list(itertools.product((1.0, -1.0), repeat=len(gain))))
    values = torch.tensor(gain.to_numpy()).float()
    return ((signs * values).mean(dim=1).abs() >= values.mean().abs()).float().mean()


CASES = {
    "paired": Case(
        wrong=[
            ((-MEAN, T * ERROR), "sign of the mean"),
            ((ONE.mean(), T * ERROR), "mean is wrong"),
            ((MEAN, ERROR), "one standard error"),
            ((MEAN, T * GAIN.std()), "of a single run"),
            ((MEAN, 1.96 * ERROR), "only for very many seeds"),
            ((MEAN, 2 * T * ERROR), "length of the whole interval"),
            ((MEAN, T * GAIN.std(ddof=0) / 5**0.5), "divides by n"),
            ((MEAN, 2.5706 * ERROR), "one degree of freedom less than the 5"),
            ((MEAN, T * ((ONE.var() + OTHER.var()) / 5) ** 0.5), "two separate lists"),
            ((MEAN, 0.5), "The mean is right, but the margin isn't"),
            ((GAIN, T * ERROR), "^The mean should be one number, not a Series"),
        ],
        right=[
            (MEAN, T * ERROR),
            (torch.tensor(MEAN), np.float64(stats.t.interval(0.95, 4, scale=ERROR)[1])),
        ],
        given=lambda: {"one": ONE, "other": OTHER},
    ),
    "sign_flips": Case(
        wrong=[
            (lambda gain: share([m >= gain.mean() for m in means_of(gain)]), "one side only"),
            (
                lambda gain: share([abs(m) > abs(gain.mean()) for m in means_of(gain)]),
                "one of the choices",
            ),
            (
                lambda gain: sum(abs(m) >= abs(gain.mean()) for m in means_of(gain)),
                "between 0 and 1, but yours is",
            ),
            (lambda gain: stats.ttest_1samp(gain, 0).pvalue, "Student's p value"),
            (
                lambda gain: share([abs(m) >= abs(gain.mean()) for m in one_at_a_time(gain)]),
                "share is wrong",
            ),
            (lambda gain: means_of(gain), "^The p value should be one number, not a list"),
        ],
        right=[
            lambda gain: share([abs(m) >= abs(gain.mean()) for m in means_of(gain)]),
            by_numpy,
            by_torch,
        ],
    ),
    "seeds": Case(
        wrong=[
            (20, r"0\.38 of the length .* Student's t shrinks"),
            (14, r"0\.47 of the length .* Fewer seeds are enough\.$"),
            (12, r"0\.51 of the length .* more than half"),
            (1, "at least 2: yours is 1"),
            (12.5, "yours is 12.5"),
            ("many", "^The number of seeds should be one number, not a str"),
        ],
        right=[13, 13.0, torch.tensor(13)],
    ),
}
