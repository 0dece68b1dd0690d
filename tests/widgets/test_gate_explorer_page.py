"""GateExplorer in a page: weights and displayed values are the package's."""

import json
import re

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from course_utils.widgets.gate_explorer import CELLS
from tests.browser import page_with_module
from tests.widgets.gate_explorer import BOXES, NAMES, SIZE, N, explorer, kept

WINDOW = 2  # cells


def turned(x, row, column, strength):
    """Features with those in the window multiplied, and where the window is."""
    cell = x.shape[-1] // CELLS
    window = torch.zeros(x.shape[-2:], dtype=torch.bool)
    window[row * cell : (row + WINDOW) * cell, column * cell : (column + WINDOW) * cell] = True
    return torch.where(window, strength * x, x), window


@pytest.fixture(scope="module")
def in_javascript(chromium):
    """Call a gate of the widget's own module on features (C, H, H), full precision."""
    page = page_with_module(chromium, "gate_explorer")

    def call(name, widget, x):
        shapes = json.loads(json.dumps(widget.shapes, sort_keys=True))  # as a notebook stores them
        found = page.evaluate(
            """([name, numbers, shapes, x, columns]) => {
                 const learned = own.unpacked(new Float32Array(numbers), shapes);
                 const rows = x.map((r) => Float64Array.from(r));
                 return own.GATES[name](learned, rows, columns).map((r) => [...r]);
               }""",
            [
                name,
                np.frombuffer(widget.parameters, np.float32).tolist(),
                shapes,
                x.flatten(1).tolist(),
                x.shape[-1],
            ],
        )
        return torch.tensor(found, dtype=torch.double).view_as(x)

    yield call
    page.close()


@pytest.mark.parametrize("strength", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("name", NAMES)
def test_every_weight_is_the_packages(in_javascript, name, strength):
    widget, given = explorer()
    gate = given[name][0].double()
    for n in range(N):
        x, _ = turned(kept(widget, name)[n : n + 1], 2, 5, strength)
        expected = gate.weights(x).expand_as(x)
        assert_close(in_javascript(name, widget, x[0]), expected[0], atol=1e-10, rtol=1e-8)


SETTINGS = [
    ("conv", {"row": 0, "column": 6, "strength": 3.0}),
    ("squeeze", {"image": 1, "strength": 0.0}),
    ("spatial", {"row": 6, "column": 0, "strength": 2.5}),
    ("spatial", {"row": 3, "column": 3, "image": 2}),
    ("second_order", {"image": 2, "strength": 0.25}),
    ("streamlined", {"row": 1, "column": 1}),
    ("streamlined", {"strength": 1.0}),
]


@pytest.mark.parametrize(("name", "traits"), SETTINGS, ids=str)
def test_it_displays_what_the_package_computes(show_widget, name, traits):
    widget, given = explorer(gate=NAMES.index(name), **traits)
    gate, x = given[name][0].double(), kept(widget, name)[widget.image][None]
    changed_x, window = turned(x, widget.row, widget.column, widget.strength)
    before, after = gate.weights(x), gate.weights(changed_x)
    change = (after - before).abs()
    shown = show_widget(widget)
    status = shown.locator(".course-status").inner_text()
    assert (
        f"({name}, drawn) on image {widget.image + 1}, a {widget.labels[widget.image]}:" in status
    )
    assert f"multiplied by {widget.strength:g}," in status

    spill = (change * x.abs() * ~window).max().item()
    if spill:
        assert float(re.search(r"change by up to ([\d.e-]+?)\.?$", status)[1]) == pytest.approx(
            spill, rel=0.06
        )
    else:
        assert status.endswith("Outside the window the gated features stay as they are.")
    if widget.strength == 1:
        assert "no weight changes" in status
        return
    found = re.search(
        r"(\d+) of (\d+) weights change, (.*); the largest change is from ([-\d.]+) to (-?\d\.\d+)",
        status,
    )
    assert int(found[2]) == before.numel()  # as many as the gate has for an image
    assert int(found[1]) == (change > 0).sum()
    i = change.argmax()
    assert float(found[4]) == pytest.approx(before.flatten()[i].item(), abs=6e-4)
    assert float(found[5]) == pytest.approx(after.flatten()[i].item(), abs=6e-4)

    where = change.expand_as(x).amax(dim=1)[0] > 0  # (H, H)
    if name == "conv":
        assert found[3] == "inside the window only"
        assert torch.equal(where, window)
    elif name == "spatial":
        near = torch.nn.functional.max_pool2d(window[None].float(), 7, 1, 3)[0].bool()
        assert torch.equal(where, near)
        assert found[3] == f"at {near.sum()} of 256 positions, up to 3 away from the window"
        assert spill > 0
    else:
        assert found[3] == "at every position"
        assert where.all()
        assert change.std(dim=(2, 3), correction=0).max() < 1e-12  # alike at all of them
    captions = shown.locator("figcaption").all_inner_texts()
    for caption, weights, features in ((captions[2], before, x), (captions[3], after, changed_x)):
        merged = (weights * features).amax(dim=1)
        low, high = map(float, re.search(r": ([-\d.e]+) to ([-\d.e]+)$", caption).groups())
        assert low == pytest.approx(merged.min().item(), rel=0.06, abs=1e-3)
        assert high == pytest.approx(merged.max().item(), rel=0.06)


def test_the_window_starts_on_the_first_digit_and_the_keyboard_moves_it(show_widget):
    widget, _ = explorer()
    x0, y0, x1, y1 = BOXES[0].tolist()
    cell = SIZE / CELLS
    assert x0 <= (widget.column + 1) * cell <= x1
    assert y0 <= (widget.row + 1) * cell <= y1
    shown = show_widget(widget)
    chart, status = shown.locator(".course-values"), shown.locator(".course-status")
    pictures = "canvases => canvases.map(c => c.toDataURL())"

    def looks():
        return shown.locator("figure canvas").evaluate_all(pictures)

    start = looks(), status.inner_text(), chart.get_attribute("aria-label")
    row, column = (
        shown.get_by_role("slider", name=re.compile(f"^Window {name}"))
        for name in ("row", "column")
    )
    at = int(row.input_value()), int(column.input_value())
    row.press("ArrowRight")
    assert (int(row.input_value()), int(column.input_value())) == (at[0] + 1, at[1])
    assert all(now != then for now, then in zip(looks(), start[0]))
    row.press("ArrowLeft")
    assert (looks(), status.inner_text(), chart.get_attribute("aria-label")) == start
    strength = shown.get_by_role("slider", name=re.compile("^Window times"))
    strength.press("Home")
    assert "multiplied by 0," in status.inner_text()
    now = looks()
    assert now[0] == start[0][0]  # the image stays
    assert now[3] != start[0][3]
    for _ in range(4):
        strength.press("ArrowRight")
    assert "multiplied by 1, no weight changes" in status.inner_text()
    now = looks()
    assert now[2] == now[3]


@pytest.mark.parametrize("gate", range(5))
def test_every_gate_has_a_name_and_four_pictures(show_widget, gate):
    shown = show_widget(explorer(gate=gate)[0])
    title = shown.get_by_role("combobox", name="Gate").locator("option").nth(gate).inner_text()
    assert shown.locator(".course-status").inner_text().startswith(title)
    assert shown.locator("figure canvas").count() == 4
