"""GpuExplorer in a page: memory and minutes are those of `studies.on_a_gpu`."""

import re

import pytest

from course_utils.studies.on_a_gpu import CARDS, memory, minutes
from tests.browser import page_with_module
from tests.widgets import gpu_explorer

COSTS, IMAGES, STEPS = gpu_explorer.COSTS, gpu_explorer.IMAGES, gpu_explorer.STEPS


@pytest.fixture(scope="module")
def own(chromium):
    """Evaluate a function of the widget's module."""
    page = page_with_module(chromium, "gpu_explorer")
    yield lambda name, *values: page.evaluate(f"values => own.{name}(...values)", list(values))
    page.close()


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(("batch", "parts", "size"), [(64, 1, 224), (256, 8, 448), (2, 1, 32)])
def test_memory_and_minutes_are_pythons(own, cost, batch, parts, size):
    chosen = {"batch": batch, "parts": parts, "size": size, "reference": 224}
    chosen |= {"images": IMAGES, "steps": STEPS}
    expected = memory(cost, batch, size=size, accumulate=parts, images=IMAGES)
    assert own("memory", list(cost), chosen) == pytest.approx(list(expected))
    for card in CARDS:
        scaled = [time * size**2 / 224**2 for time in minutes(cost.operations, STEPS, card)]
        assert own("minutes", list(cost), list(card), chosen) == pytest.approx(scaled)


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        ([6.3, 12.2], "6 to 12 minutes"),
        ([0.2, 0.4], "about a minute or less"),
        ([3.6, 4.2], "about 4 minutes"),
        ([490, 953], "8 to 16 hours"),
    ],
)
def test_a_duration_has_the_precision_of_an_estimate(own, estimate, words):
    assert own("duration", estimate) == words


def test_its_status_has_pythons_numbers(show_widget):
    shown = show_widget(gpu_explorer.explorer())
    status = shown.locator(".course-status").inner_text()
    needed = sum(memory(COSTS[1], 64, images=IMAGES))
    assert f"needs at least {needed / 1e9:.1f} GB. That fits onto the T4" in status
    assert re.search(r"estimated at 6 to 13 minutes", status)


def test_more_parts_need_less_memory_and_as_much_time(show_widget):
    shown = show_widget(gpu_explorer.explorer(log_batch=8))
    status = shown.locator(".course-status")
    assert "does not fit" in (before := status.inner_text())
    parts = shown.get_by_role("slider", name=re.compile("^Parts"))
    parts.focus()
    parts.press("ArrowRight")
    parts.press("ArrowRight")
    after = status.inner_text()
    assert "in 4 parts of 64" in after
    assert "That fits" in after
    assert after.split("estimated")[1] == before.split("estimated")[1]


def test_no_part_has_less_than_two_images(show_widget):
    shown = show_widget(gpu_explorer.explorer(log_batch=3, log_parts=6))
    assert "in 4 parts of 2" in shown.locator(".course-status").inner_text()


@pytest.mark.parametrize("traits", [{}, {"log_batch": 10, "size": 448}, {"size": 32, "width": 0}])
def test_the_bar_stays_in_the_picture(show_widget, traits):
    shown = show_widget(gpu_explorer.explorer(**traits))
    boxes = shown.locator("rect").evaluate_all(
        "list => list.map(r => [r.x.baseVal.value, r.x.baseVal.value + r.width.baseVal.value])"
    )
    assert len(boxes) == 4
    assert all(10 <= left <= right <= 391 for left, right in boxes)
