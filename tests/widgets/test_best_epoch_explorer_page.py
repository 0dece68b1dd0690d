"""BestEpochExplorer in a page: distributions are SciPy's, the expectation is the package's."""

import re

import numpy as np
import pytest
from scipy import stats

from course_utils.studies.source_audit import best_of
from course_utils.widgets import BestEpochExplorer
from tests.browser import page_with_module

CASES = [
    (1, 0.5, 1),
    (7, 0.3, 4),
    (100, 0.9, 20),
    (1000, 0.94, 100),
    (3000, 0.998, 20),
    (10_000, 0.999, 100),
]


@pytest.fixture(scope="module")
def own(chromium):
    """Evaluate an expression of the widget's module for n, p and a number of epochs."""
    page = page_with_module(chromium, "best_epoch_explorer")
    yield lambda expression, *numbers: page.evaluate(
        f"([n, p, epochs]) => {expression}", list(numbers)
    )
    page.close()


@pytest.mark.parametrize(("n", "p", "epochs"), CASES)
def test_the_distributions_are_scipys(own, n, p, epochs):
    right = np.arange(n + 1)
    found = own("[...own.binomial(n, p)]", n, p, epochs)
    np.testing.assert_allclose(found, stats.binom.pmf(right, n, p), rtol=1e-8, atol=1e-12)
    below = stats.binom.cdf(right, n, p)
    np.testing.assert_allclose(
        own("[...own.atMost(own.binomial(n, p))]", n, p, epochs), below, atol=1e-9
    )
    highest = own("[...own.highest(own.atMost(own.binomial(n, p)), epochs)]", n, p, epochs)
    np.testing.assert_allclose(highest, np.diff(below**epochs, prepend=0), atol=1e-7)
    assert sum(highest) == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize(("n", "p", "epochs"), CASES)
def test_the_expectation_is_the_packages(own, n, p, epochs):
    found = own("own.bestOf(own.atMost(own.binomial(n, p)), epochs)", n, p, epochs)
    assert found == pytest.approx(best_of(p, n, epochs), abs=1e-8)


@pytest.mark.parametrize(("n", "p", "epochs"), CASES)
def test_how_often_luck_shows_is_scipys(own, n, p, epochs):
    expected = 1 - stats.binom.cdf(round(n * p, 6) // 1, n, p) ** epochs
    found = own("own.flattered(own.atMost(own.binomial(n, p)), epochs, p)", n, p, epochs)
    assert found == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    "traits",
    [
        {},
        {"power": 2.0, "epochs": 100, "accuracy": 0.1},
        {"power": 4.0, "epochs": 1, "accuracy": 0.999},
    ],
)
def test_it_displays_what_python_computes(show_widget, traits):
    widget = BestEpochExplorer(**traits)
    status = show_widget(widget).locator(".course-status").inner_text()
    n, p, epochs = round(10**widget.power), widget.accuracy, widget.epochs
    best = best_of(p, n, epochs)
    assert status.startswith(
        f"Every epoch classifies {100 * p:.1f} % of all images correctly. On {n:,} test images"
    )
    numbers = r"to show ([\d.]+) %: (-?[\d.]+) points, or (-?[\d.]+) images, are selection bias"
    shown, luck, images = re.search(numbers, status).groups()
    assert float(shown) == pytest.approx(100 * best, abs=0.0051)
    assert float(luck) == pytest.approx(100 * (best - p), abs=0.0051)
    assert float(images) == pytest.approx(n * (best - p), abs=0.051)
    cases = 1 - stats.binom.cdf(round(n * p, 6) // 1, n, p) ** epochs
    if cases < 0.995:
        assert float(re.search(r"in (\d+) % of all cases", status)[1]) == pytest.approx(
            100 * cases, abs=0.51
        )
    else:
        assert status.endswith("in almost all cases.")


def test_the_keyboard_moves_each_number_apart(show_widget):
    shown = show_widget(BestEpochExplorer())
    status, picture = shown.locator(".course-status"), shown.locator("svg")
    labels = [picture.get_attribute("aria-label")]
    for name, key, said in (
        ("Epochs", "Home", "the best of 1 is"),
        ("Test images", "End", "10,000 test images"),
    ):
        slider = shown.get_by_role("slider", name=re.compile(f"^{name}"))
        slider.focus()
        slider.press(key)
        assert said in status.inner_text()
        labels.append(picture.get_attribute("aria-label"))
    accuracy = shown.get_by_role("slider", name=re.compile("^True accuracy"))
    accuracy.focus()
    accuracy.press("ArrowRight")
    assert status.inner_text().startswith("Every epoch classifies 90.1 %")
    labels.append(picture.get_attribute("aria-label"))
    assert len(set(labels)) == 4
    # one epoch: nothing is selected
    assert " 0.00 points, or 0.0 images, are selection bias" in status.inner_text()


def test_what_is_drawn_stays_in_the_picture(show_widget):
    for traits in (
        {"power": 2.0, "accuracy": 0.1},
        {"power": 4.0, "accuracy": 0.999, "epochs": 100},
    ):
        shown = show_widget(BestEpochExplorer(**traits))
        points = shown.locator("polygon").evaluate_all(
            "list => list.map(p => [...p.points].map(q => [q.x, q.y]))"
        )
        assert len(points) == 2
        for polygon in map(np.array, points):
            assert polygon[:, 0].min() >= 0
            assert polygon[:, 0].max() <= 400
            assert polygon[:, 1].min() >= 30
            assert polygon[:, 1].max() <= 151
