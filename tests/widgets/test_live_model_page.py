"""Drawing on LiveModel by mouse, keys and example: it answers as PyTorch does."""

import base64
import re

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from course_utils.core.boxes import box_regions, mask_boxes
from course_utils.data import strokes
from course_utils.explain import metrics
from course_utils.studies import shipped
from tests.browser import overhanging
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


def test_what_is_drawn_by_mouse_is_answered_as_torch_does(page, show_widget, widget):
    shown = show_widget(widget)
    assert re.search(r"Draw a digit, 0 to 9", shown.locator(".course-status").inner_text())
    drawn(shown, SEVEN)
    answered(shown)
    _, maps, (first, second, chance) = check(shown, widget)
    ink = strokes.inked([[[float(x), float(y)] for x, y in SEVEN]], SIZE, widget.pen)
    region = box_regions(mask_boxes(ink[None, None] > 0.1), SIZE)
    shares = [100 * metrics.energy_inside(map, region).item() for map in maps]
    # a mouse stands on whole pixels of the screen: the box may be one pixel of the sheet larger
    assert chance == pytest.approx(100 * metrics.area_share(region).item(), abs=2)
    assert [first, second] == pytest.approx(shares, abs=8)


def test_the_answer_follows_the_pen(page, show_widget, widget):
    """While the button is down, more ink changes the answer, which is still PyTorch's."""
    shown = show_widget(widget)
    sheet, said = shown.locator(".course-sheet canvas"), []
    box = sheet.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    for step in range(1, 5):
        page.mouse.move(
            box["x"] + 0.3 * box["width"], box["y"] + (0.3 + 0.1 * step) * box["height"]
        )
        said.append(answered(shown))
        check(shown, widget)
    assert len(set(said)) > 1
    page.mouse.up()


def test_nothing_is_fetched_before_the_first_stroke(page, show_widget, widget):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    shown = show_widget(widget)
    begin = [url for url in asked if not url.startswith("blob:")]
    assert [url.rsplit("/", 1)[1] for url in begin] == ["page.html"]
    shown.get_by_role("slider", name="Pen").press("End")
    shown.get_by_role("combobox", name="Clutter").select_option(index=2)
    shown.get_by_role("button", name="Clear").click()
    shown.get_by_role("button", name="Undo").click()
    sheet = shown.locator(".course-sheet canvas")
    sheet.focus()
    sheet.press("ArrowLeft")
    sheet.hover()
    assert fetched(page) == []
    assert page.content().count(base64.b64encode(widget.weights[:300]).decode()) == 0
    drawn(shown, SEVEN)
    answered(shown)
    assert len(fetched(page)) == 1
    drawn(shown, [(10, 10), (10, 40)])
    answered(shown)
    assert len(fetched(page)) == 1
    assert len([url for url in asked if not url.startswith("blob:")]) == 2


def test_readers_can_draw_with_the_keys(page, show_widget, widget):
    shown = show_widget(widget)
    sheet = shown.locator(".course-sheet canvas")
    pen = shown.locator(".course-sheet + figcaption > :first-child")
    sheet.focus()
    for _ in range(5):
        sheet.press("ArrowUp")
    assert pen.inner_text() == "pen up at 32, 22"
    assert shown.locator(".course-cursor").is_visible()
    sheet.press("Space")
    assert pen.inner_text() == "pen down at 32, 22"
    for key in ["ArrowDown"] * 8 + ["Shift+ArrowRight"]:
        sheet.press(key)
    sheet.press("Space")
    assert pen.inner_text() == "pen up at 33, 38"
    said = answered(shown)
    check(shown, widget)
    background = np.frombuffer(widget.backgrounds, np.uint8).reshape(-1, SIZE, SIZE)[0] / 255
    ink = strokes.inked([[[32.0, 22.0], [32.0, 38.0], [33.0, 38.0]]], SIZE, widget.pen)
    expected = torch.maximum(ink, torch.tensor(background, dtype=torch.float32))
    assert_close(pixels(shown)[0, 0], expected, rtol=0, atol=1.01 / 255)
    sheet.press("ArrowLeft")  # the pen is up
    assert shown.locator(".course-status").inner_text() == said
    page.keyboard.press("Tab")
    assert not shown.locator(".course-cursor").is_visible()


def test_leaving_the_sheet_lifts_the_pen(page, show_widget, widget):
    shown = show_widget(widget)
    sheet = shown.locator(".course-sheet canvas")
    sheet.focus()
    sheet.press("Space")
    answered(shown)
    page.keyboard.press("Tab")
    before = pixels(shown)
    sheet.focus()
    for _ in range(4):
        sheet.press("ArrowUp")
    assert torch.equal(pixels(shown), before)
    assert shown.locator(".course-sheet + figcaption").inner_text().startswith("pen up")


def test_examples_are_drawn_one_after_the_other(page, show_widget, widget):
    page.emulate_media(reduced_motion="reduce")
    shown = show_widget(widget)
    button, said = shown.get_by_role("button", name="Draw an example"), []
    background = np.frombuffer(widget.backgrounds, np.uint8).reshape(-1, SIZE, SIZE)[0] / 255
    for example, label in zip(
        [*widget.examples, widget.examples[0]], [*widget.labels, widget.labels[0]]
    ):
        button.click()
        said.append(answered(shown))
        assert said[-1].startswith(f"The example is a {label}. The network says ")
        check(shown, widget)
        ink = strokes.inked(example, SIZE, widget.pen)
        expected = torch.maximum(ink, torch.tensor(background, dtype=torch.float32))
        assert_close(pixels(shown)[0, 0], expected, rtol=0, atol=1.01 / 255)
    assert said[-1] == said[0]
    drawn(shown, SEVEN)
    assert answered(shown).startswith("The network says ")  # no longer the example alone


def test_an_example_comes_point_by_point_and_ends_where_it_would_at_once(page, show_widget, widget):
    shown = show_widget(widget)
    shown.get_by_role("button", name="Draw an example").click()
    points = sum(map(len, widget.examples[0]))
    live = "document.querySelector('.course-status').getAttribute('aria-live')"
    page.wait_for_function(f"{live} === 'off'")
    page.wait_for_function(f"{live} === 'polite'")
    answered(shown)
    check(shown, widget)
    assert points > 20
    ink = strokes.inked(widget.examples[0], SIZE, widget.pen)
    background = np.frombuffer(widget.backgrounds, np.uint8).reshape(-1, SIZE, SIZE)[0] / 255
    expected = torch.maximum(ink, torch.tensor(background, dtype=torch.float32))
    assert_close(pixels(shown)[0, 0], expected, rtol=0, atol=1.01 / 255)


def test_an_example_can_be_stopped(page, show_widget, widget):
    page.clock.install()
    shown = show_widget(widget)
    empty, status = pixels(shown), shown.locator(".course-status")
    shown.get_by_role("button", name="Draw an example").click()
    page.clock.run_for(100)
    assert status.get_attribute("aria-live") == "off"
    assert not torch.equal(pixels(shown), empty)
    shown.get_by_role("button", name="Clear").click()
    page.clock.run_for(2000)
    assert torch.equal(pixels(shown), empty)
    assert status.get_attribute("aria-live") == "polite"


def test_pen_clutter_undo_and_clear(page, show_widget, widget):
    shown = show_widget(widget)
    status, empty = shown.locator(".course-status"), pixels(shown)
    prompt = status.inner_text()
    drawn(shown, SEVEN)
    said = [answered(shown)]
    one = pixels(shown)
    drawn(shown, [(10, 10), (10, 40)])
    said.append(answered(shown))
    assert (pixels(shown) >= one).all()
    shown.get_by_role("button", name="Undo").click()
    assert answered(shown) == said[0]
    assert torch.equal(pixels(shown), one)
    shown.get_by_role("slider", name="Pen").press("End")  # the strokes that are there get wider too
    said.append(answered(shown))
    assert (pixels(shown) > 0.5).sum() > (one > 0.5).sum()
    check(shown, widget)
    wide = pixels(shown)
    shown.get_by_role("combobox", name="Clutter").select_option(index=1)
    answered(shown)
    assert not torch.equal(pixels(shown), wide)
    check(shown, widget)
    shown.get_by_role("combobox", name="Clutter").select_option(index=0)
    answered(shown)
    assert torch.equal(pixels(shown), wide)
    shown.get_by_role("button", name="Clear").click()
    page.wait_for_function(
        "(text) => document.querySelector('.course-status').textContent === text", arg=prompt
    )
    assert torch.equal(pixels(shown), empty)
    assert set(shown.locator(".course-bars .course-row > :last-child").all_inner_texts()) == {"–"}


def test_opacity_shows_the_drawing_through_the_maps(page, show_widget, widget):
    shown = show_widget(widget)
    drawn(shown, SEVEN)
    said = answered(shown)
    grey = """c => { const d = c.getContext('2d').getImageData(0, 0, c.width, 20).data;
                      return d.every((v, i) => i % 4 === 3 || v === d[i - (i % 4)]); }"""
    canvases = shown.locator(".course-pair canvas")
    assert [canvases.nth(i).evaluate(grey) for i in range(2)] == [False, False]
    shown.get_by_role("slider", name="Opacity of the maps").press("Home")
    settled(page)
    assert [canvases.nth(i).evaluate(grey) for i in range(2)] == [True, True]
    assert shown.locator(".course-status").inner_text() == said


def test_a_network_that_fails_to_load_is_reported_and_loaded_again(page, show_widget, widget):
    shown = show_widget(widget)
    page.route("**/data/*.js", lambda route: route.abort())
    drawn(shown, SEVEN)
    page.wait_for_function(
        "document.querySelector('.course-status').textContent.includes('could not be loaded')"
    )
    assert re.search(
        r"no answer from file:.*\.js\)\. Draw again", shown.locator(".course-status").inner_text()
    )
    assert len(page.errors) == 1  # the browser's own line on the request
    page.errors.clear()
    page.unroute("**/data/*.js")
    drawn(shown, [(10, 10), (10, 40)])
    answered(shown)
    check(shown, widget)


def test_a_script_without_the_network_counts_as_a_failure(page, show_widget, widget):
    """Some servers answer every address with a page."""
    shown = show_widget(widget)
    page.route(
        "**/data/*.js", lambda route: route.fulfill(body="0;", content_type="text/javascript")
    )
    drawn(shown, SEVEN)
    page.wait_for_function(
        "document.querySelector('.course-status').textContent.includes('could not be loaded')"
    )
    page.unroute("**/data/*.js")
    drawn(shown, [(10, 10), (10, 40)])
    answered(shown)
    check(shown, widget)


@pytest.mark.parametrize(
    ("points", "size"),
    [
        ([(30, 20), (30, 38)], ""),
        ([(30, 20), (36, 38)], ""),
        ([(30, 10), (30, 50)], "44 pixels tall"),
        ([(10, 30), (44, 32)], "38 pixels wide"),
        ([(30, 30), (30, 36)], "10 pixels tall"),
    ],
)
def test_a_drawing_of_another_size_than_in_training_is_pointed_out(
    page, show_widget, widget, points, size
):
    shown = show_widget(widget)
    hint = shown.locator(".course-sheet + figcaption > :last-child")
    frame = shown.locator(".course-size")
    assert hint.inner_text() == "draw anywhere, about as large as the frame"
    drawn(shown, points)
    settled(page)
    said = answered(shown)
    at = re.search(
        r"Your drawing is (\d+) (pixels \w+), and the digits in training were 15 to 20", said
    )
    assert bool(at) == bool(size) == ("course-unfit" in frame.get_attribute("class"))
    if size:
        # the mouse stands on whole pixels of the screen
        assert int(at[1]) == pytest.approx(int(size.split()[0]), abs=1)
        assert at[2] == size.split(" ", 1)[1]
        assert hint.inner_text().startswith(f"{at[1]} {at[2]}, and the digits")
    check(shown, widget)
    shown.get_by_role("button", name="Clear").click()
    hint.filter(has_text="draw anywhere").wait_for()


def test_a_small_drawing_is_not_pointed_out_while_the_pen_is_down(page, show_widget, widget):
    shown = show_widget(widget)
    box = shown.locator(".course-sheet canvas").bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.down()
    assert "Your drawing" not in answered(shown)
    page.mouse.up()
    shown.locator(".course-status").filter(has_text="Your drawing is").wait_for()


def test_the_frame_is_as_large_as_a_digit_and_no_part_of_the_image(show_widget, widget):
    shown = show_widget(widget)
    sheet, frame = (shown.locator(f".course-{part}").bounding_box() for part in ("sheet", "size"))
    side = 20 / SIZE * sheet["width"]
    assert [frame["width"], frame["height"]] == pytest.approx([side, side], abs=1)
    assert frame["x"] + side / 2 == pytest.approx(sheet["x"] + sheet["width"] / 2, abs=1)
    background = np.frombuffer(widget.backgrounds, np.uint8).reshape(-1, SIZE, SIZE)[0] / 255
    assert_close(pixels(shown)[0, 0], torch.tensor(background, dtype=torch.float32))


def test_on_a_phone_the_sheet_and_the_answer_fit_on_one_screen(page, show_widget, widget):
    page.set_viewport_size({"width": 390, "height": 664})
    shown = show_widget(widget)
    drawn(shown, SEVEN)
    answered(shown)
    top = shown.locator(".course-sheet").bounding_box()["y"]
    answer = shown.locator(".course-answer").bounding_box()
    assert answer["y"] + answer["height"] - top < 664 - 100  # a page has a header, too
    canvases = shown.locator(".course-answer canvas")
    assert all(canvas.bounding_box()["width"] >= 90 for canvas in canvases.all())
    assert shown.get_by_role("meter").count() == 10
    assert overhanging(shown) == 0
