"""SeedsExplorer in a page: every mean, interval, verdict and rate of false alarms is right."""

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


VERDICT = ".course-status > span:first-child"
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
    status = show_widget(widget).locator(VERDICT).inner_text()
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
        assert found[8] == (
            f"Difference in these {len(chosen)} pairs: the interval excludes zero, "
            f"and {names[0]} is {word}"
        )


def test_a_clear_difference_is_reported_in_the_right_direction(show_widget):
    frame = table()
    frame.loc[frame.variant == "with_maps", ["accuracy", "loss"]] += 0.2
    for score, word in ((0, "better"), (1, "worse")):
        widget = SeedsExplorer.from_scores(frame, first="with_maps", second="another")
        widget.score = score
        said = show_widget(widget).locator(VERDICT).inner_text()
        assert said.endswith(f"excludes zero, and with maps is {word}.")


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


def told(shown):
    """The numbers in the text on looks: how many, at which seeds, the rate, other comparisons."""
    text = shown.locator(".course-looks").inner_text()
    count, seeds, rate = re.search(
        r"so far: (\d+) \(at (.+) seeds\)\. If there were no effect, .*?([\d.]+) %", text
    ).groups()
    others = re.search(r"also looked at (\d+) other comparison", text)
    return int(count), seeds, float(rate), int(others[1]) if others else 0


@pytest.mark.parametrize("seeds", [SEEDS, range(10)], ids=["5 seeds", "10 seeds"])
def test_each_new_number_of_seeds_is_a_look_that_raises_the_rate_of_false_alarms(
    show_widget, seeds
):
    shown = show_widget(explorer(seeds, count=2))
    count = shown.get_by_role("slider", name=re.compile("^Seeds used"))
    assert told(shown) == (1, "2", 5.0, 0)
    looks = (2, 3, 4, 5)
    for _ in looks[1:]:
        count.press("ArrowRight")
    rate = 100 * statistics.optional_stopping(looks)
    assert rate == pytest.approx(13.5, abs=0.1)
    assert told(shown) == (4, "2, 3, 4 and 5", pytest.approx(rate, abs=0.2), 0)
    count.press("ArrowLeft")  # this one has been seen
    assert told(shown)[0] == 4
    if len(seeds) > 5:
        count.press("End")
        rate = 100 * statistics.optional_stopping((*looks, 10))
        assert told(shown) == (5, "2, 3, 4, 5 and 10", pytest.approx(rate, abs=0.2), 0)


def test_looks_belong_to_a_comparison(show_widget):
    shown = show_widget(explorer(count=3))
    shown.get_by_role("slider", name=re.compile("^Seeds used")).press("ArrowRight")
    assert told(shown)[:2] == (2, "3 and 4")
    shown.get_by_role("combobox", name="Score").select_option("1")
    assert told(shown) == (1, "4", 5.0, 1)
    shown.get_by_role("slider", name=re.compile("^First seed")).press("ArrowRight")
    assert told(shown) == (1, "4", 5.0, 2)
    shown.get_by_role("slider", name=re.compile("^First seed")).press("ArrowLeft")
    shown.get_by_role("combobox", name="Score").select_option("0")
    assert (told(shown)[1], told(shown)[3]) == ("3 and 4", 2)
    # the same pair, the other way round
    widget = show_widget(explorer())
    before = told(widget)
    widget.get_by_role("combobox", name="compared with").select_option("0")
    widget.get_by_role("combobox", name="Variant").select_option("1")
    assert told(widget)[:3] == before[:3]


def test_ten_seeds_are_drawn_and_judged(show_widget):
    shown = show_widget(explorer(range(10)))
    assert shown.locator("svg").nth(1).locator("circle").count() == 10
    status = shown.locator(VERDICT).inner_text()
    assert "10 seeds (0, 1, 2, 3, 4, 5, 6, 7, 8 and 9)" in status
    values = np.array(table(seeds=range(10)).accuracy[:20]).reshape(2, 10)
    low, high = stats.ttest_rel(*values).confidence_interval()
    found = re.search(r"95 % interval (\S+) to (\S+)\)", status).groups()
    assert [number(text) for text in found] == pytest.approx([low, high], abs=6e-4)


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
