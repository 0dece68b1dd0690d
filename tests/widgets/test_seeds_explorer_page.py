"""SeedsExplorer in a page: every mean, interval and verdict is SciPy's."""

import json
import re

import numpy as np
import pytest
from scipy import stats

from course_utils.studies import statistics
from course_utils.widgets.seeds_explorer import SeedsExplorer
from tests.browser import number, page_with_module
from tests.widgets.seeds_explorer import SEEDS, explorer, table


@pytest.fixture(scope="module")
def in_javascript(chromium):
    """Call a function of the widget's own module, full precision."""
    page = page_with_module(chromium, "seeds_explorer")

    def call(name, *arguments):
        return page.evaluate("([name, given]) => own[name](...given)", [name, arguments])

    yield call
    page.close()


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 30])
def test_students_t_is_scipys(in_javascript, freedom):
    for t in (0.0, 0.3, 1.0, 2.776, 40.0):
        expected = stats.t.cdf(t, freedom) - stats.t.cdf(-t, freedom)
        assert in_javascript("central", t, freedom) == pytest.approx(expected, rel=1e-9)
    for level in (0.5, 0.9, 0.95, 0.99):
        expected = stats.t.ppf((1 + level) / 2, freedom)
        assert in_javascript("quantile", freedom, level) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 12])
def test_means_and_intervals_are_numpys_and_scipys(in_javascript, n):
    values = np.random.default_rng(n).normal(0.01, 0.02, n)
    assert in_javascript("mean", values.tolist()) == pytest.approx(values.mean(), rel=1e-9)
    assert in_javascript("deviation", values.tolist()) == pytest.approx(
        values.std(ddof=1), rel=1e-9
    )
    found = in_javascript("interval", values.tolist())
    low, high = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert [found["mean"] - found["margin"], found["mean"] + found["margin"]] == pytest.approx(
        [low, high], rel=1e-9
    )
    assert list(found.values()) == pytest.approx(statistics.interval(values), rel=1e-9)


def test_the_seeds_go_round(in_javascript):
    assert in_javascript("used", 0, 3, 5) == [0, 1, 2]
    assert in_javascript("used", 3, 4, 5) == [3, 4, 0, 1]


SETTINGS = [
    {},
    {"count": 2},
    {"count": 3, "start": 3},
    {"score": 1, "first": 2, "second": 0},
    {"score": 2, "first": 1, "second": 0, "start": 4, "count": 4},
]


@pytest.mark.parametrize("traits", SETTINGS, ids=str)
def test_it_displays_what_scipy_computes(show_widget, traits):
    widget = explorer(**traits)
    chosen = [(widget.start + i) % len(SEEDS) for i in range(widget.count)]
    one, other = (
        np.array(widget.values[widget.score][variant])[chosen]
        for variant in (widget.first, widget.second)
    )
    low, high = stats.t.interval(
        0.95, len(chosen) - 1, (one - other).mean(), stats.sem(one - other)
    )
    status = show_widget(widget).locator(".course-status").inner_text()
    names = [widget.variants[variant] for variant in (widget.first, widget.second)]
    seeds = re.fullmatch(
        r"(.+) and (\d)", ", ".join(map(str, chosen[:-1])) + f" and {chosen[-1]}"
    ).group()
    assert status.startswith(
        f"{widget.scores[widget.score]}, {names[0]} against {names[1]}, "
        f"{len(chosen)} seeds ({seeds}): the means are "
    )
    found = re.search(
        r"means are ([\d.]+) and ([\d.]+); the difference is above zero for (\d) of (\d) seeds, "
        r"and its mean is (\S+) "
        r"± ([\d.]+) \(95 % interval (\S+) to (\S+)\)\. (.+)\.$",
        status,
    ).groups()
    expected = [one.mean(), other.mean(), (one > other).sum(), len(chosen), (one - other).mean()]
    expected += [(high - low) / 2, low, high]
    for text, value in zip(found, expected):
        digits = len(text.partition(".")[2])
        assert number(text) == pytest.approx(value, abs=0.51 * 10**-digits)
    if low <= 0 <= high:
        assert found[8] == "Undecided: the interval includes zero"
    else:
        better = ((one - other).mean() > 0) != widget.lower_is_better[widget.score]
        word = "better" if better else "worse"
        assert found[8] == f"The interval excludes zero: {names[0]} is {word}"


def test_a_clear_difference_is_reported_in_the_right_direction(show_widget):
    frame = table()
    frame.loc[frame.variant == "with_maps", ["accuracy", "loss"]] += 0.2
    for score, word in ((0, "better"), (1, "worse")):
        widget = SeedsExplorer.from_scores(frame, first="with_maps", second="another")
        widget.score = score
        said = show_widget(widget).locator(".course-status").inner_text()
        assert said.endswith(f"The interval excludes zero: with maps is {word}.")


def test_a_variant_without_the_score_is_reported(show_widget):
    shown = show_widget(explorer(score=2, second=2))
    assert (
        shown.locator(".course-status")
        .inner_text()
        .endswith("no maps has no such score, so there is nothing to compare.")
    )
    assert shown.get_by_text("has no such score", exact=True).count() == 1
    shown.get_by_role("combobox", name="compared with").select_option("1")
    assert "its mean is" in shown.locator(".course-status").inner_text()


def test_each_control_changes_what_it_names_and_nothing_else(show_widget):
    shown = show_widget(explorer())
    controls = {
        "count": shown.get_by_role("slider", name=re.compile("^Seeds used")),
        "start": shown.get_by_role("slider", name=re.compile("^First seed")),
        "score": shown.get_by_role("combobox", name="Score"),
        "first": shown.get_by_role("combobox", name="Variant"),
        "second": shown.get_by_role("combobox", name="compared with"),
    }
    steps = {
        "count": lambda c: c.press("ArrowLeft"),
        "start": lambda c: c.press("ArrowRight"),
        "score": lambda c: c.select_option("1"),
        "first": lambda c: c.select_option("2"),
        "second": lambda c: c.select_option("0"),
    }
    status = shown.locator(".course-status")
    for name, step in steps.items():
        before, said = {n: c.input_value() for n, c in controls.items()}, status.inner_text()
        step(controls[name])
        after = {n: c.input_value() for n, c in controls.items()}
        assert {n for n in after if after[n] != before[n]} == {name}
        assert status.inner_text() != said


def test_every_run_is_a_dot_and_unused_ones_are_hollow(show_widget):
    shown = show_widget(explorer(count=2))
    runs, gains = (shown.locator("svg").nth(i) for i in (0, 1))
    assert runs.locator("circle").count() == 2 * len(SEEDS)
    assert runs.locator("circle[fill=none]").count() == 2 * (len(SEEDS) - 2)
    assert gains.locator("circle").count() == len(SEEDS)
    x = [float(c.get_attribute("cx")) for c in runs.locator("circle").all()]
    values = np.concatenate([explorer().values[0][variant] for variant in (0, 1)])
    assert np.corrcoef(x, values)[0, 1] == pytest.approx(1, abs=1e-9)


def test_a_notebook_may_sort_what_it_stores(show_widget):
    widget = explorer()
    stored = json.loads(json.dumps(widget.values, sort_keys=True))
    assert stored == widget.values
