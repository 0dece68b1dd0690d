"""LiveModel on a touch screen, twice on a page, in a notebook, on a phone, and in its chapter."""

import base64

import pytest
import torch
from torch.testing import assert_close

from benchmarks import bench_live_model
from book.tools import one_page
from course_utils.studies import shipped
from tests.widgets.live_model import (
    SEVEN,
    SIZE,
    answered,
    check,
    drawn,
    fetched,
    made,
    pixels,
    settled,
)


@pytest.fixture(scope="module")
def widget():
    """The shipped network, whose maps are sharp, on the digits of the first test images."""
    return made(shipped.load("repaired")[0])


def at(sheet, kind, x, y, **options):
    """A pointer's event at a pixel of the sheet."""
    box = sheet.bounding_box()
    place = {
        "clientX": box["x"] + x / SIZE * box["width"],
        "clientY": box["y"] + y / SIZE * box["height"],
    }
    sheet.dispatch_event(kind, {"pointerId": 1, "bubbles": True, **place, **options})


@pytest.mark.parametrize("end", ["lostpointercapture", "pointermove"])
def test_a_pointer_that_is_lost_has_lifted_the_pen(page, show_widget, widget, end):
    shown = show_widget(widget)
    sheet = shown.locator(".course-sheet canvas")
    sheet.scroll_into_view_if_needed()
    page.evaluate("Element.prototype.setPointerCapture = () => {}")  # these pointers are nobody's
    at(sheet, "pointerdown", 10, 10, buttons=1)
    at(sheet, "pointermove", 10, 30, buttons=1)
    at(sheet, end, 50, 30, buttons=0)
    settled(page)
    answered(shown)
    before = pixels(shown)
    at(sheet, "pointermove", 50, 50, buttons=0)
    settled(page)
    assert torch.equal(pixels(shown), before)
    at(sheet, "pointerdown", 40, 40, buttons=1, pointerId=2)
    at(sheet, "pointermove", 40, 60, buttons=1, pointerId=2)
    settled(page)
    assert (pixels(shown) > before)[..., 55, 38:42].any()


def test_two_on_a_page_fetch_the_network_once_and_do_not_mix(page, show_states, widget):
    other = made(shipped.load("repaired")[0])
    show_states(one_page.states_of(widget, other), widget.model_id, other.model_id)
    one, two = page.locator(".course-widget").all()
    drawn(one, SEVEN)
    answered(one)
    check(one, widget)
    assert "Draw a digit" in two.locator(".course-status").inner_text()
    drawn(two, [(10, 10), (10, 40)])
    answered(two)
    check(two, other)
    check(one, widget)
    assert len(fetched(page)) == 1


def test_a_notebook_has_the_weights_at_hand(page, widget):
    """The model is like anywidget's, without `load`."""
    page.goto("about:blank")
    page.evaluate(
        """async ([source, state, buffers]) => {
             const read = (text) =>
               new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
             const values = { ...state };
             for (const [name, text] of Object.entries(buffers)) values[name] = read(text);
             const model = { get: (name) => values[name],
                             set: (name, value) => { values[name] = value; },
                             on() {}, off() {}, save_changes() {}, send() {} };
             const blob = new Blob([source], { type: "text/javascript" });
             const module = await import(URL.createObjectURL(blob));
             module.default.render({ model, el: document.body });
           }""",
        [
            widget._esm,
            {
                n: getattr(widget, n)
                for n in (
                    "pen",
                    "opacity",
                    "background",
                    "size",
                    "classes",
                    "examples",
                    "labels",
                    "digit_sides",
                    "readable_sides",
                    "shapes",
                )
            },
            {
                n: base64.b64encode(getattr(widget, n)).decode()
                for n in ("weights", "backgrounds", "palette")
            },
        ],
    )
    shown = page.locator(".course-widget")
    drawn(shown, SEVEN)
    answered(shown)
    check(shown, widget)


def test_in_the_chapter(page, open_chapter):
    """The chapter's own page: nothing is loaded at first, then one file, and there is an answer."""
    open_chapter("00_start_here")
    data = "[...document.scripts].filter((s) => s.src.includes('widget-data')).length"
    assert page.evaluate(data) == 0
    shown = page.get_by_role("group", name="Draw a digit for the network")
    drawn(shown, SEVEN)
    answered(shown)
    assert page.evaluate(data) == 1
    model, image = shipped.load("repaired")[0], pixels(shown)
    with torch.no_grad():
        probabilities = model(image).logits[0].exp()
    meters = [
        float(meter.get_attribute("aria-valuenow")) for meter in shown.get_by_role("meter").all()
    ]
    assert_close(torch.tensor(meters), probabilities, rtol=0, atol=0.01)


def test_the_page_is_written_with_its_files(tmp_path, widget):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "old.js").write_text("")
    page = one_page.write(tmp_path, one_page.states_of(widget), widget.model_id)
    (file,) = (tmp_path / "data").iterdir()  # what an earlier build left is gone
    assert base64.b64encode(widget.weights).decode() in file.read_text()
    assert page.stat().st_size < 100_000


def test_the_benchmark_measures_bytes_and_time(chromium):
    found = bench_live_model.cost(chromium, made(), repetitions=1, runs=2)
    assert min(found.values()) > 0
    assert found["kB before"] < 100
    assert found["kB at the first stroke, gz"] < found["kB at the first stroke"]
