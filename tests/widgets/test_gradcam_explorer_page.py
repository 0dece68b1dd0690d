"""GradcamExplorer in a page: maps and displayed values are the package's."""

import json
import re

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from course_utils.core.boxes import box_regions
from course_utils.explain import metrics
from tests.browser import number, page_with_module
from tests.widgets.gradcam_explorer import BOXES, CLASSES, LABELS, SIZE, N, made, network, parts

NAMES = ["fine", "coarse"]


def without(n, c):
    """A network in whose coarse layer every channel lowers the score of a class."""
    model = network()
    with torch.no_grad():
        for linear in (model[6], model[8]):
            linear.weight.abs_()
        model[8].weight[c].neg_()
    return model


def expected(widget):
    """The package's results: channel order, the drawn map, all classes' full maps, scores."""
    A, alpha = (part[widget.image] for part in parts(widget, widget.layer))
    A = A.flatten(1)
    adds = alpha[widget.target] * A.mean(dim=1)
    order = adds.abs().sort(descending=True, stable=True).indices
    kept = order[: widget.kept]
    values = alpha[widget.target, kept] @ A[kept]
    full = alpha @ A
    if widget.relu:
        values, full = values.relu(), full.relu()
    rows, columns = widget.shapes[widget.layer][1:]
    as_map, region = (
        values.relu().view(1, 1, rows, columns),
        box_regions(BOXES[[widget.image]], SIZE),
    )
    scores = (
        metrics.energy_inside(as_map, region).item(),
        metrics.pointing_game(as_map, region).item(),
    )
    return order, values, full, adds, scores


@pytest.fixture(scope="module")
def in_javascript(chromium):
    """Call the widget's own module, full precision."""
    page = page_with_module(chromium, "gradcam_explorer")

    def call(widget):
        numbers = [
            np.frombuffer(b, np.float32).tolist() for b in (widget.activations, widget.alphas)
        ]
        shapes = json.loads(json.dumps(widget.shapes, sort_keys=True))  # as a notebook stores them
        chosen = [widget.layer, widget.image, widget.target, widget.kept, widget.relu]
        return page.evaluate(
            """([[a, w], shapes, N, classes, size, box, [layer, n, c, kept, relu]]) => {
                 const here = own.places(shapes, N, classes)[layer];
                 const A = own.channelsOf(new Float32Array(a), here, n);
                 const alpha = own.weightsOf(new Float32Array(w), here, n, classes, c);
                 const { adds, order } = own.additions(A, alpha);
                 const map = own.mapOf(A, alpha, order, kept, relu);
                 return [order, [...map], [...adds], own.scores(map, here, size, box)];
               }""",
            [numbers, shapes, N, CLASSES, SIZE, widget.boxes[widget.image], chosen],
        )

    yield call
    page.close()


CHOICES = [
    {"kept": 1},
    {"kept": 3, "target": 0},
    {"kept": 5, "image": 2, "target": 3},
    {"layer": 1, "kept": 1, "image": 1},
    {"layer": 1, "kept": 4, "image": 1, "target": 0},
    {"layer": 1, "kept": 7, "image": 2, "target": 3},
]


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("traits", CHOICES, ids=str)
def test_maps_and_scores_are_the_packages(in_javascript, traits, relu):
    widget, _ = made()
    for name, value in {"relu": relu, **traits}.items():
        widget.set_trait(name, value)
    order, values, adds, scores = in_javascript(widget)
    wanted = expected(widget)
    assert order == wanted[0].tolist()
    assert_close(torch.tensor(values, dtype=torch.double), wanted[1], atol=1e-12, rtol=1e-9)
    assert_close(torch.tensor(adds, dtype=torch.double), wanted[3], atol=1e-12, rtol=1e-9)
    assert [scores["energy"], scores["pointing"]] == pytest.approx(wanted[4], abs=1e-6)


def ends_of(values):
    return [values.min().item(), values.max().item()]


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("traits", CHOICES, ids=str)
def test_it_displays_what_the_package_computes(show_widget, traits, relu, own):
    widget, images = made()
    for name, value in {"relu": relu, "own_scale": own, **traits}.items():
        widget.set_trait(name, value)
    order, values, full, adds, (energy, pointing) = expected(widget)
    shown = show_widget(widget)
    status = shown.locator(".course-status").inner_text()
    start = re.match(
        r"Test image (\d) shows class (\d), and the network answers class (\d)\. "
        r"At (\w+), for class (\d), (\d) of (\d) channels are kept\. "
        r"The map runs from (\S+) to (\S+) and is above 0 at (\d+) of (\d+) positions\.",
        status,
    ).groups()
    n = widget.image
    answer = network()(images[[n]]).argmax().item()
    assert start[:3] == (str(n + 1), str(LABELS[n].item()), str(answer))
    assert start[3:7] == (
        NAMES[widget.layer],
        str(widget.target),
        str(widget.kept),
        str(len(order)),
    )
    assert [number(v) for v in start[7:9]] == pytest.approx(ends_of(values), rel=0.06, abs=1e-12)
    assert start[9:] == (str(int((values > 0).sum())), str(len(values)))
    if values.max() > 0:
        share, chance, point = re.search(
            r"(\d+) % of the positive part lies in the box \(of a uniform map: (\d+) %\); "
            r"the highest point (.*)\.$",
            status,
        ).groups()
        assert share == f"{100 * energy:.0f}"
        assert chance == f"{100 * widget.chances[widget.image]:.0f}"
        assert point == {1: "lies in the box", 0: "lies outside"}.get(pointing, point)
        assert ("shared" in point) == (0 < pointing < 1)
    else:
        assert "Nothing is above 0" in status
    scale = shown.locator(".course-scale").inner_text()
    low, high, whose = re.search(
        r"from (\S+) to (\S+), the highest of (this class|all classes) with all", scale
    ).groups()
    most = (full[widget.target] if own else full).abs().max().item()
    assert number(high) == pytest.approx(most, rel=0.06)
    assert number(low) == pytest.approx(0 if relu else -most, rel=0.06)
    assert whose == ("this class" if own else "all classes")
    assert ("beyond it" in scale) == bool(values.abs().max() > most * (1 + 1e-9))
    alphas, additions = (svg.get_attribute("aria-label") for svg in shown.locator("svg").all())
    _, alpha = (part[widget.image] for part in parts(widget, widget.layer))
    for label, of_channels in ((alphas, alpha[widget.target]), (additions, adds)):
        said = [number(v) for v in re.search(r"from (\S+) to (\S+);", label).groups()]
        assert said == pytest.approx(ends_of(of_channels), rel=0.06, abs=1e-12)
        assert f"the first {widget.kept} are kept" in label


def pixels(shown):
    return shown.locator("figure canvas").evaluate_all("all => all.map(c => c.toDataURL())")


def test_the_keyboard_takes_channels_away_and_nothing_else(show_widget):
    widget, _ = made()
    shown = show_widget(widget)
    slider, status = (
        shown.get_by_role("slider", name="Channels kept"),
        shown.locator(".course-status"),
    )
    before, said = pixels(shown), status.inner_text()
    scale = shown.locator(".course-scale").inner_text().partition(";")[0]
    slider.focus()
    slider.press("Home")
    assert "1 of 5 channels are kept" in status.inner_text()
    assert pixels(shown)[0] == before[0]  # the image
    assert pixels(shown)[1] != before[1]
    assert shown.locator(".course-scale").inner_text().partition(";")[0] == scale
    kept = shown.locator("svg").first.locator("rect[opacity='1']")
    assert kept.count() == 1
    slider.press("ArrowRight")
    assert kept.count() == 2
    slider.press("End")
    assert (pixels(shown), status.inner_text()) == (before, said)


def test_all_channels_stay_all_at_another_layer(show_widget):
    shown = show_widget(made()[0])
    layer, slider = (
        shown.get_by_role("combobox", name="Layer"),
        shown.get_by_role("slider", name="Channels kept"),
    )
    status = shown.locator(".course-status")
    assert "5 of 5 channels" in status.inner_text()
    layer.select_option("1")
    assert "7 of 7 channels" in status.inner_text()
    assert slider.get_attribute("max") == "7"
    assert slider.input_value() == "7"
    slider.press("ArrowLeft")
    layer.select_option("0")
    assert "5 of 5 channels" in status.inner_text()
    slider.press("Home")
    layer.select_option("1")
    assert "1 of 7 channels" in status.inner_text()


def test_class_image_relu_and_scale_can_be_chosen(show_widget):
    shown = show_widget(made()[0])
    status, before = shown.locator(".course-status"), pixels(shown)
    shown.get_by_role("combobox", name="Class").select_option("2")
    assert "for class 2," in status.inner_text()
    assert pixels(shown)[0] == before[0]
    assert pixels(shown)[1] != before[1]
    shown.get_by_role("slider", name="Test image").press("End")
    assert status.inner_text().startswith(f"Test image {N} ")
    assert pixels(shown)[0] != before[0]
    before = pixels(shown)
    shown.get_by_label("ReLU").uncheck()
    assert pixels(shown)[1] != before[1]
    before, said = pixels(shown), status.inner_text()
    shown.get_by_label("a colour scale for each class").check()
    assert pixels(shown)[1] != before[1]
    assert status.inner_text() == said


def test_a_blank_map_is_reported(show_widget):
    c = 2
    widget, _ = made(without(0, c))
    widget.layer, widget.kept, widget.target, widget.own_scale = 1, 7, c, True
    shown = show_widget(widget)
    status = shown.locator(".course-status").inner_text()
    assert (
        "The map runs from 0 to 0 and is above 0 at 0 of 64 positions. Nothing is above 0" in status
    )
    assert "from 0 to 0, the highest of this class" in shown.locator(".course-scale").inner_text()
    shown.get_by_label("ReLU").uncheck()
    low, high = re.search(
        r"runs from (\S+) to (\S+) and", shown.locator(".course-status").inner_text()
    ).groups()
    assert number(low) < 0
    assert number(high) <= 0


def test_in_the_chapter(page, open_chapter):
    """The page of the chapter itself, as it was built."""
    shown = open_chapter("13_grad_cam")
    status, said = shown.locator(".course-status"), set()
    assert "64 of 64 channels are kept" in status.inner_text()
    for layer in range(3):
        shown.get_by_role("combobox", name="Layer").select_option(str(layer))
        said.add(status.inner_text())
    assert len(said) == 3
    shown.get_by_role("slider", name="Channels kept").press("Home")
    assert "1 of 64 channels are kept" in status.inner_text()
    assert len(page.locator("script[type*='widget-state']").text_content()) < 700_000
