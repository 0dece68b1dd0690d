import itertools

import numpy as np
import torch
from scipy import stats

from course_utils.studies.statistics import quantile
from tests.exercises.cases import Case

COVERED = {
    "A": {"seed"},
    "B": {"test image"},
    "C": {"test image", "source digit"},
    "D": {"seed", "test image", "source digit"},
}


def but(**changed):
    return COVERED | changed


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


def by_student(gains, n, level):
    values = gains[:, :n]
    return (values.mean(dim=1) / (values.std(dim=1) / n**0.5)).abs() > quantile(n - 1, level)


def alarms(margin=by_student, join=lambda alarm: alarm.any(dim=0)):
    def false_alarms(gains, looks, level):
        return join(torch.stack([margin(gains, n, level) for n in looks])).double().mean()

    return false_alarms


def by_margin(margin):
    return alarms(lambda gains, n, level: gains[:, :n].mean(dim=1).abs() > margin(gains, n, level))


def normal(gains, n, level):
    return stats.norm.ppf((1 + level) / 2) * gains[:, :n].std(dim=1) / n**0.5


def divided_by_n(gains, n, level):
    return quantile(n - 1, level) * gains[:, :n].std(dim=1, correction=0) / n**0.5


def with_n_degrees(gains, n, level):
    return quantile(n, level) * gains[:, :n].std(dim=1) / n**0.5


def of_a_run(gains, n, level):
    return quantile(n - 1, level) * gains[:, :n].std(dim=1)


def positive(gains, n, level):
    return by_student(gains, n, level) & (gains[:, :n].mean(dim=1) > 0)


def independent(gains, looks, level):
    return alarms()(gains, looks, level) if len(looks) == 1 else 1 - level ** len(looks)


def study_by_study(gains, looks, level):
    raised = 0
    for study in gains.numpy():
        some = [(study[:n], quantile(n - 1, level) / n**0.5) for n in looks]
        raised += any(abs(values.mean()) > t * values.std(ddof=1) for values, t in some)
    return raised / len(gains)


CASES = {
    "covered": Case(
        wrong=[
            (but(A={"seed", "training data"}), "^A doesn't cover the training data. Nobody varied"),
            (but(D=["seed", "training data"], B="source digit"), "^D doesn't cover the training"),
            (but(A={"seed", "test image"}), "^A: the ten networks took the same test"),
            (but(A=("source digit", "seed")), "^A: the ten networks took the same test"),
            (but(B={"test image", "source digit"}), "^B: images made from one .* independent"),
            (but(B={"test image", "seed"}), "^B: one network has one seed"),
            (but(C={"source digit", "test image", "seed"}), "^C: one network has one seed"),
            (but(C="source digit"), "^C covers more .* brings its images along"),
            (but(D={"seed", "source digit"}), "^D covers more .* brings its images along"),
            (but(D={"test image", "source digit"}), "^D covers more than that: the seed is"),
            (but(A=set()), "^A covers more than that: the seed is"),
            (but(C={"test image"}), "^C covers more than that: the source digit is"),
            (but(A="seeds"), "^A contains 'seeds'. The names are seed, test image,"),
            (but(A=1), "^A should be a set of names"),
            (but(A={...}), "^Nothing to check yet"),
            (but(A=...), "^Nothing to check yet"),
            ({"A": "seed"}, "an entry for each of the intervals A, B, C and D"),
            ("seed", "^Pass a dictionary"),
        ],
        right=[
            COVERED,
            {letter: [*names] for letter, names in COVERED.items()},
            but(A="seed", B="test image"),
        ],
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
    "stopping": Case(
        wrong=[
            ((alarms(positive), 0.984), "differences above zero only"),
            ((by_margin(normal), 0.984), "use the normal distribution"),
            ((by_margin(divided_by_n), 0.984), "divides by n"),
            ((by_margin(with_n_degrees), 0.984), "one degree of freedom less"),
            ((by_margin(of_a_run), 0.984), "margin is that of a single run"),
            ((lambda *given: 100 * alarms()(*given), 0.984), "is a percentage"),
            ((lambda *given: len(given[0]) * alarms()(*given), 0.984), "number of studies"),
            ((alarms(join=lambda alarm: alarm[-1]), 0.984), "the last look only"),
            ((alarms(join=lambda alarm: alarm[0]), 0.984), "the first look only"),
            ((alarms(join=lambda alarm: alarm.double().mean(dim=0)), 0.984), "share of looks"),
            ((alarms(join=lambda alarm: alarm.sum(dim=0)), 0.984), "You add up"),
            ((alarms(join=lambda alarm: alarm.all(dim=0)), 0.984), "an alarm at every look"),
            ((independent, 0.984), "if every look had new seeds"),
            ((lambda *given: 0.3, 0.984), r"after \[5\] seeds, .* yours is 0\.300"),
            ((lambda gains, looks, level: gains[0], 0.984), "should be one number, not a tensor"),
            ((alarms(), 0.95), r"At 95 % a look, 13\.\d % of studies raise"),
            ((alarms(), 1 - 0.05 / 4), r"At 98\.75 % a look, [34]\.\d % .* stricter than it needs"),
            ((alarms(), 0.016), "looks like the share of false alarms"),
            ((alarms(), 98.4), "a share below 1: yours is 98.4"),
            ((alarms(), -1), "between 0 and 1"),
            ((alarms(), ...), "^Nothing to check yet"),
            ((lambda *_: None, 0.95), "^Nothing to check yet"),
            (alarms(), "Pass two things"),
        ],
        right=[(alarms(), 0.984), [study_by_study, 0.983], (alarms(), torch.tensor(0.985))],
    ),
}
