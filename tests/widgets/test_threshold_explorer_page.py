"""ThresholdExplorer in a page: counts, rates and curves are scikit-learn's."""

import math
import re

import numpy as np
import pytest
import torch
from sklearn import metrics
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from tests.browser import page_with_module
from tests.widgets.threshold_explorer import N, drawn, explorer

CASES = [(seed, kind) for kind in ("smooth", "ties", "extremes") for seed in range(3)]


@pytest.fixture(scope="module")
def in_javascript(chromium):
    """Evaluate an expression of the widget's module on p and y, full precision."""
    page = page_with_module(chromium, "threshold_explorer")

    def call(expression, p, y, *more):
        return page.evaluate(
            f"""([p, y, ...more]) => {{
                  [p, y] = [Float32Array.from(p), Uint8Array.from(y)];
                  return {expression};
                }}""",
            [p.tolist(), y.tolist(), *more],
        )

    yield call
    page.close()


@pytest.mark.parametrize(("seed", "kind"), CASES)
def test_counts_and_rates_are_scikit_learns(in_javascript, seed, kind):
    p, y = drawn(seed, kind)
    for threshold in (0.0, 0.1, 0.37, 0.5, float(p[3]), 0.99, 1.0):
        called = p.astype(float) >= threshold
        found = in_javascript(
            "(c => [c, own.rates(c)])(own.counts(p, y, more[0]))", p, y, threshold
        )
        (tn, fp), (fn, tp) = metrics.confusion_matrix(y, called, labels=[0, 1]).tolist()
        assert found[0] == {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
        rates = found[1]
        assert rates["recall"] == pytest.approx(metrics.recall_score(y, called), abs=1e-9)
        assert rates["accuracy"] == pytest.approx(metrics.accuracy_score(y, called), abs=1e-9)
        assert rates["fpr"] == pytest.approx(fp / (fp + tn), abs=1e-9)
        assert rates["majority"] == pytest.approx(max(y.mean(), 1 - y.mean()), abs=1e-9)
        if called.any():
            assert rates["precision"] == pytest.approx(metrics.precision_score(y, called), abs=1e-9)
        else:
            assert math.isnan(rates["precision"])


@pytest.mark.parametrize(("seed", "kind"), CASES)
def test_curves_and_areas_are_scikit_learns(in_javascript, seed, kind):
    p, y = drawn(seed, kind)
    points = in_javascript(
        "own.sweep(p, y).map(c => [c.threshold, own.rates(c).fpr, own.rates(c).recall])", p, y
    )
    fpr, recall, thresholds = metrics.roc_curve(y, p.astype(float), drop_intermediate=False)
    found = np.array(points)
    np.testing.assert_allclose(found[:, 1:], np.column_stack([fpr, recall]), atol=1e-9)
    np.testing.assert_array_equal(found[1:, 0], thresholds[1:])
    areas = in_javascript("own.areas(own.sweep(p, y))", p, y)
    assert areas["auc"] == pytest.approx(metrics.roc_auc_score(y, p), abs=1e-9)
    assert areas["ap"] == pytest.approx(metrics.average_precision_score(y, p), abs=1e-9)
    p, y = torch.from_numpy(p), torch.from_numpy(y)
    assert areas["auc"] == pytest.approx(binary_auroc(p, y).item(), abs=1e-5)
    assert areas["ap"] == pytest.approx(binary_average_precision(p, y).item(), abs=1e-5)


def cheapest(p, y, ratio):
    """The lowest cost, and the highest threshold that has it: infinite for no alarm at all."""
    best = (ratio * y.sum(), math.inf)
    for threshold in sorted(set(p.astype(float)), reverse=True):
        called = p >= threshold
        cost = ratio * (y[~called] == 1).sum() + (y[called] == 0).sum()
        best = min(best, (cost, threshold), key=lambda pair: pair[0])
    return best


@pytest.mark.parametrize(("seed", "kind"), CASES)
def test_the_cheapest_threshold_is_found(in_javascript, seed, kind):
    p, y = drawn(seed, kind)
    for ratio in (1 / 16, 0.5, 1, 3, 64):
        cost, threshold = cheapest(p, y, ratio)
        found = in_javascript(
            "(c => [own.costOf(c, more[0]), c.threshold])(own.cheapest(own.sweep(p, y), more[0]))",
            p,
            y,
            ratio,
        )
        assert found == [pytest.approx(cost, abs=1e-9), threshold]


@pytest.mark.parametrize(("seed", "kind"), CASES)
def test_the_histogram_is_numpys(in_javascript, seed, kind):
    p, y = drawn(seed, kind)
    p = np.clip(p + 0.001, 0, 1).astype(np.float32)  # off the edges of the bins
    for label in (0, 1):
        expected = np.histogram(p[y == label].astype(float), bins=20, range=(0, 1))[0]
        assert in_javascript("own.histogram(p, y, more[0])", p, y, label) == expected.tolist()


@pytest.mark.parametrize(
    "traits", [{}, {"threshold": 0.31, "power": 3.0}, {"threshold": 1.0, "power": -4.0}]
)
def test_it_displays_what_python_computes(show_widget, traits):
    widget, p, y = explorer(**traits)
    shown = show_widget(widget)
    called, ratio = p.astype(float) >= widget.threshold, 2**widget.power
    (tn, fp), (fn, tp) = metrics.confusion_matrix(y, called, labels=[0, 1]).tolist()
    status = shown.locator(".course-status").inner_text()
    assert (
        f"{tp} of {tp + fn} defective are found, "
        f"and {fp} of {fp + tn} functional raise a false alarm" in status
    )
    assert f"Accuracy {metrics.accuracy_score(y, called):.3f}; always the majority: " in status
    cost, threshold = cheapest(p, y, ratio)
    numbers = re.search(r"the mistakes here cost ([\d.]+)\. Cheapest is (.+): ([\d.]+)\.$", status)
    assert float(numbers[1]) == pytest.approx(ratio * fn + fp, abs=0.051)
    assert float(numbers[3]) == pytest.approx(cost, abs=0.051)
    expected = (
        "never to raise an alarm" if threshold == math.inf else f"a threshold of {threshold:.3f}"
    )
    assert numbers[2] == expected
    cells = [int(cell) for cell in shown.locator("td").all_inner_texts()]
    assert cells == [tp, fn, fp, tn]
    captions = shown.locator("figcaption").all_inner_texts()
    assert f"area {metrics.roc_auc_score(y, p):.3f}" in captions[0]
    assert f"AP {metrics.average_precision_score(y, p):.3f}" in captions[1]
    assert f"chance {y.mean():.3f}" in captions[1]
    meters = [float(m.get_attribute("aria-valuenow")) for m in shown.locator("[role=meter]").all()]
    precision = metrics.precision_score(y, called, zero_division=0)
    wanted = [precision, tp / (tp + fn), fp / (fp + tn), (tp + tn) / N, max(y.mean(), 1 - y.mean())]
    assert meters == pytest.approx(wanted, abs=1e-9)


def test_the_keyboard_moves_the_threshold_and_the_cost_apart(show_widget):
    widget, p, y = explorer()
    shown = show_widget(widget)
    status = shown.locator(".course-status")
    threshold, power = (
        shown.get_by_role("slider", name=re.compile(name)) for name in ("^Threshold", "^A miss")
    )
    cells = shown.locator("td").all_inner_texts()
    power.focus()
    power.press("End")
    assert "as much as 64 false alarms" in status.inner_text()
    assert shown.locator("td").all_inner_texts() == cells
    threshold.focus()
    threshold.press("Home")
    assert status.inner_text().startswith("From 0.000 on")
    assert shown.locator("td").all_inner_texts() == [str(y.sum()), "0", str(N - y.sum()), "0"]
    assert "as much as 64 false alarms" in status.inner_text()
    for _ in range(5):
        power.press("ArrowLeft")
    shown.get_by_role("button", name="Go to the cheapest threshold").press("Enter")
    cost, best = cheapest(p, y, 2.0)
    assert f"From {best:.3f} on" in status.inner_text()
    assert re.search(rf"mistakes here cost {cost:.0f}\.", status.inner_text())


def test_names_are_shown_as_they_are(show_widget):
    widget, *_ = explorer(classes=("<b>no</b>", "ein Bär 🐻"))
    shown = show_widget(widget)
    assert "called <b>no</b>" in shown.inner_text()
    assert "ein Bär 🐻 are found" in shown.locator(".course-status").inner_text()
