"""Exercises of the chapter Results."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from course_utils.exercises._feedback import (
    UnfinishedError,
    as_number,
    refuse,
    require,
    require_number,
)
from course_utils.studies.statistics import quantile

_SOURCES = ("seed", "test image", "source digit", "training data")
_COVERED = {
    "A": {"seed"},
    "B": {"test image"},
    "C": {"test image", "source digit"},  # a digit that is drawn brings its images along
    "D": {"seed", "test image", "source digit"},
}
_STUDIES, _FIXED = 400, 3  # of these studies, each mistake finds another share


def covered(answers) -> str:
    """Say which sources of variation each of four intervals covers.

    Args:
        answers: For each of the intervals A to D one or several of the names of `_SOURCES`. A is
            Student's interval of ten networks that differ in their seed; B and C come from a
            bootstrap over the test images, or over the source digits, of one network; D from a
            two-way bootstrap over networks and source digits.
    """
    require(
        isinstance(answers, dict) and set(answers) == set(_COVERED),
        "Pass a dictionary with an entry for each of the intervals A, B, C and D.",
    )
    named = {letter: _as_sources(answers[letter], letter) for letter in _COVERED}
    # The training data come first: nobody varied them, whichever interval you look at.
    for source in reversed(_SOURCES):
        for letter in _COVERED:
            _check_source(letter, source, source in named[letter])
    return (
        "Right. Only D covers the networks and the test alike. And none of the four says what "
        "would happen with other training data: for that, somebody has to vary them."
    )


def _as_sources(answer: Any, letter: str) -> set[str]:
    """Return the names of sources in an answer, which may be one name or several."""
    some = {answer} if isinstance(answer, str) else answer
    valid = ", ".join(_SOURCES)
    require(
        isinstance(some, set | frozenset | tuple | list),
        f"{letter} should be a set of names, among {valid}.",
    )
    if ... in some:
        raise UnfinishedError
    for name in some:
        require(name in _SOURCES, f"{letter} contains {name!r}. The names are {valid}.")
    return set(some)


def _check_source(letter: str, source: str, claimed: bool) -> None:
    """Refuse a source that an interval doesn't cover, and one that it covers but isn't named."""
    if claimed == (source in _COVERED[letter]):
        return
    refuse(
        source == "training data",
        f"{letter} doesn't cover the training data. Nobody varied them: all networks learned from "
        "the same digits.",
    )
    refuse(
        claimed and letter == "A",
        "A: the ten networks took the same test. Easier images would have raised all ten scores, "
        "and the ten values would lie as close together as now.",
    )
    refuse(
        claimed and source == "source digit",
        "B: images made from one source digit aren't independent. B draws them as if each had a "
        "digit of its own, so it doesn't know about the digits.",
    )
    refuse(claimed, f"{letter}: one network has one seed, so nothing in {letter} varies with it.")
    refuse(
        letter in "CD" and source == "test image",
        f"{letter} covers more than that: a digit that is drawn brings its images along, so the "
        "images vary as well.",
    )
    refuse(
        True,
        f"{letter} covers more than that: the {source} is one of the things that are drawn anew, "
        "or differ from value to value. Add it.",
    )


def sign_flips(function) -> str:
    """Write the p value of paired differences from all choices of their signs."""
    # With sizes like these each mistake leads to its own number, and multiples of 1 / 1024 are
    # added without rounding, so the order of a sum makes no difference.
    sizes = torch.cat([torch.randint(700, 1024, (3,)), -torch.randint(100, 600, (2,))]) / 1024
    gain = pd.Series(sizes, dtype=float).sample(frac=1, ignore_index=True)
    p = as_number(function(gain.copy()), "The p value")
    signs = np.array(list(itertools.product((1, -1), repeat=len(gain))))
    means = (signs * gain.to_numpy()).mean(axis=1)
    found, distances = gain.mean(), abs(means)
    require(
        0 <= p <= 1,
        f"A p value is a share of the {len(means)} choices, so it lies between 0 and 1, "
        f"but yours is {p:.3g}.",
    )
    mistakes = [
        (
            (means >= found).mean(),
            "You count one side only. A mean that is as far from 0 on the other "
            "side counts as well.",
        ),
        (
            (distances > found).mean(),
            "You leave out the signs that were found. They are one of the choices, "
            "so they count as well.",
        ),
        (
            stats.ttest_1samp(gain, 0).pvalue,
            "That is Student's p value, which assumes a normal distribution.",
        ),
    ]
    otherwise = (
        f"The share is wrong. Do you go through all {len(means)} choices, "
        "with either sign for each difference?"
    )
    require_number(p, (distances >= found).mean(), mistakes, otherwise, tolerance=1e-5)
    return (
        f"Right. With five differences it is never below 2 of {len(means)}, or "
        f"{2 / len(means):.4f}; with ten, never below 2 of 1,024, or {2 / 1024:.4f}."
    )


def seeds(n) -> str:
    """Find how many seeds halve the interval of five seeds, at the same standard deviation."""
    n = as_number(n, "The number of seeds")
    require(
        n == int(n) >= 2,
        f"The number of seeds is a whole number, and an interval needs at least 2: yours is {n:g}.",
    )
    share, with_one_less = (_length(k) / _length(5) if k > 1 else 2 for k in (int(n), int(n) - 1))
    length = f"With {n:.0f} seeds the interval has {share:.2f} of the length that it has with five"
    require(share <= 0.5, f"{length}, which is more than half.")
    why = ", because Student's t shrinks as well" if n == 20 else ""
    require(with_one_less > 0.5, f"{length}. Fewer seeds are enough{why}.")
    return (
        f"Right: {n:.0f} seeds, not 20, because Student's t shrinks with more seeds as well as "
        "1 / √n."
    )


def stopping(answer) -> str:
    """Count the false alarms of studies that look several times, and find a level for the looks.

    Args:
        answer: A function and a level. The function takes differences (studies, seeds), the numbers
            of seeds after which a study looks, and the level of its intervals, and returns the
            share of studies in which at least one interval excludes zero. The level is that at
            which looks after 2, 3, 4 and 5 seeds raise a false alarm in 5 % of studies.
    """
    require(
        isinstance(answer, tuple | list) and len(answer) == 2,
        "Pass two things: the function false_alarms and the level.",
    )
    function, level = answer
    for looks, tried in (([5], 0.95), ([2, 3, 4, 5], 0.95), ([3, 6], 0.9)):
        _check_alarms(function, looks, tried)
    return _check_level(as_number(level, "The level"))


def _check_alarms(function, looks: list[int], level: float) -> None:
    """Check the share of studies that raise a false alarm."""
    gains = torch.randn(_STUDIES, 6, generator=torch.Generator().manual_seed(_FIXED)).double()
    case = f"For looks after {looks} seeds, the share of false alarms"
    found = as_number(function(gains, list(looks), level), case)
    mean, deviation = _by_look(gains, looks)
    alarms = mean.abs() > deviation * _factors(looks, level)  # (studies, looks)
    expected = alarms.any(dim=1).double().mean().item()
    mistakes = [
        (100 * expected, "That is a percentage. Return a share from 0 to 1."),
        (_STUDIES * expected, "That is the number of studies with an alarm. Return their share."),
        *(
            _look_mistakes(alarms, level)
            if len(looks) > 1
            else _margin_mistakes(mean[:, 0], deviation[:, 0], looks[0], level)
        ),
    ]
    otherwise = (
        f"{case} is {expected:.3f} in the studies of this check, but yours is {found:.3f}. A study "
        "raises an alarm if any of its intervals excludes zero."
    )
    require_number(found, expected, mistakes, otherwise, tolerance=0.5 / _STUDIES)


def _margin_mistakes(mean: Tensor, deviation: Tensor, n: int, level: float) -> list:
    """Return the shares that wrong margins at one look lead to, with sentences about them."""
    t, error = quantile(n - 1, level), deviation / n**0.5

    def share(margin: Tensor) -> float:
        return (mean.abs() > margin).double().mean().item()

    return [
        (
            (mean > t * error).double().mean().item(),
            "You count the differences above zero only. An interval below zero is an alarm too.",
        ),
        (
            share(stats.norm.ppf((1 + level) / 2) * error),
            "Your margins use the normal distribution. With so few seeds, use Student's t: "
            "statistics.quantile(n - 1, level).",
        ),
        (
            share(t * error * (1 - 1 / n) ** 0.5),
            "Your standard deviation divides by n. Around their own mean, n values need n − 1.",
        ),
        (
            share(quantile(n, level) * error),
            "Student's t has one degree of freedom less than there are seeds: n − 1.",
        ),
        (
            share(t * deviation),
            "Your margin is that of a single run. The mean of n seeds varies less, by √n.",
        ),
    ]


def _look_mistakes(alarms: Tensor, level: float) -> list:
    """Return the shares that follow if looks are put together wrongly, and sentences about them."""
    by_look = alarms.double().mean(dim=0)
    return [
        (
            by_look[-1].item(),
            "You count the alarms of the last look only. A study that stopped earlier has raised "
            "its alarm as well.",
        ),
        (by_look[0].item(), "You count the alarms of the first look only."),
        (
            by_look.mean().item(),
            "That is the share of looks with an alarm. Count studies: how many have at least one?",
        ),
        (
            by_look.sum().item(),
            "You add up the shares of the looks, so a study with two alarms counts twice.",
        ),
        (
            1 - level ** len(by_look),
            "That would be right if every look had new seeds. But each look contains the seeds of "
            "the one before.",
        ),
        (
            alarms.all(dim=1).double().mean().item(),
            "You ask for an alarm at every look. The study stops at the first one.",
        ),
    ]


def _by_look(gains: Tensor, looks: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the means and standard deviations (studies, looks) of the first seeds at each look."""
    some = [gains[:, :n] for n in looks]
    return (
        torch.stack([each.mean(dim=1) for each in some], dim=1),
        torch.stack([each.std(dim=1) for each in some], dim=1),
    )


def _alarm_rate(gains: Tensor, looks: Sequence[int], level: float) -> float:
    """Return the share of studies in which at least one interval excludes zero."""
    mean, deviation = _by_look(gains, looks)
    return (mean.abs() > deviation * _factors(looks, level)).any(dim=1).double().mean().item()


def _factors(looks: Sequence[int], level: float) -> Tensor:
    """Return half the length of each look's interval, in standard deviations."""
    return torch.tensor([_length(n, level) for n in looks]).double()


def _length(n: int, level: float = 0.95) -> float:
    """Return half the length of the interval of n values, in standard deviations."""
    return quantile(n - 1, level) / n**0.5


def _check_level(level: float) -> str:
    """Check the level of four looks by many studies, and say what it costs."""
    refuse(level > 1, f"Your function is right. The level is a share below 1: yours is {level:g}.")
    refuse(
        0 <= level < 0.5,
        f"Your function is right. But {level:g} looks like the share of false alarms at one look. "
        "The level of its interval is one minus that.",
    )
    require(0 < level < 1, "Your function is right. The level should lie between 0 and 1.")
    looks = (2, 3, 4, 5)
    gains = torch.randn(40_000, 5, generator=torch.Generator().manual_seed(_FIXED))
    rate = _alarm_rate(gains, looks, level)
    found = f"Your function is right. At {100 * level:.4g} % a look, {100 * rate:.1f} % of studies"
    # An estimate from 10,000 studies can be wrong by three standard errors of 0.2 %.
    require(rate <= 0.056, f"{found} raise a false alarm. Try wider intervals: a higher level.")
    require(
        rate >= 0.043,
        f"{found} raise a false alarm. That's safe, but stricter than it needs to be, because the "
        "looks share seeds. Try a slightly lower level.",
    )
    often, once = (_alarm_rate(gains + 2, *way) for way in ((looks, level), ((5,), 0.95)))
    return (
        f"Right: {100 * rate:.1f} %. Looking has its price. Four looks at this level find a true "
        f"difference of two standard deviations in {100 * often:.0f} % of studies, and a single "
        f"look after five seeds finds it in {100 * once:.0f} %."
    )
