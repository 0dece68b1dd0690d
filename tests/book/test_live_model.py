"""The widget of chapter 00: its network is PyTorch's, its pen the package's, and nothing is fetched before a stroke."""

import base64
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from benchmarks import bench_live_model
from book import one_page
from course_utils import digits, forms, metrics, strokes
from course_utils.widgets import LiveModel
from tests.book.conftest import page_with_module
from tests.test_live_model_widget import forward, network, unpacked

SIZE = 64
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def made(model=None, count=3):
    images, labels = digits.digit_pool("test")
    first = digits.ClutteredDigits("test", count).sources
    return LiveModel.from_network(model or network(), digits.clutter(3), images[first], labels[first])


@pytest.fixture(scope="module")
def widget():
    """The shipped network, whose maps are sharp, on the digits of the first test images."""
    return made(forms.shipped("repaired")[0])


@pytest.fixture(scope="module")
def own(chromium):
    """Call what the modules export, in full precision."""
    page = page_with_module(chromium, "_attn_vgg", "_pen", "live_model")
    page.evaluate(
        """() => {
             window.tensor = ([values, shape]) => ({ values: Float32Array.from(values), shape });
             window.grid = ([values, [channels, rows, columns]]) =>
               ({ values: Float32Array.from(values), channels, rows, columns });
           }"""
    )
    yield lambda code, *given: page.evaluate(f"(given) => {{ {code} }}", list(given))
    page.close()


def sent(tensor):
    return [tensor.flatten().tolist(), list(tensor.shape)]


def read(found):
    values = list(found["values"].values()) if isinstance(found["values"], dict) else found["values"]
    return torch.tensor(values).view(found.get("channels", 1), found["rows"], found["columns"])


shapes = st.tuples(st.integers(1, 9), st.integers(1, 6), *[st.sampled_from([2, 4, 6, 10])] * 2, st.integers(0, 99))
in_browser = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@in_browser
@given(shapes)
def test_each_layer_is_torchs(own, shape):
    outputs, channels, rows, columns, seed = shape
    torch.manual_seed(seed)
    x, w, b = torch.randn(channels, rows, columns), torch.randn(outputs, channels, 3, 3), torch.randn(outputs)
    plain = "const [x, w, b] = [window.grid(given[0]), ...given.slice(1).map(window.tensor)]; "
    found = own(plain + "const m = own.conv3(x, w, b); return {...m, values: [...m.values]};", *map(sent, (x, w, b)))
    assert_close(read(found), F.conv2d(x[None], w, b, padding=1).relu()[0], rtol=1e-5, atol=2e-6)
    found = own(plain + "const m = own.pool(x); return {...m, values: [...m.values]};", sent(x))
    assert torch.equal(read(found), F.max_pool2d(x[None], 2)[0])
    found = own(plain + "const m = own.conv1(x, w); return {...m, values: [...m.values]};", sent(x), sent(w[..., 0, 0]))
    assert_close(read(found), F.conv2d(x[None], w[..., :1, :1])[0], rtol=1e-5, atol=2e-6)


@in_browser
@given(shapes)
def test_attention_is_torchs(own, shape):
    hidden, channels, rows, columns, seed = shape
    torch.manual_seed(seed)
    l, g = torch.randn(channels, 2 * rows, 2 * columns), torch.randn(channels + 1, rows, columns)
    of_l, of_g, score, bias = (torch.randn(*s) for s in ([hidden, channels], [hidden, channels + 1], [1, hidden], [1]))
    found = own(
        """const [l, g] = given.slice(0, 2).map(window.grid);
           const { map, context } = own.attention(l, g, given.slice(2).map(window.tensor));
           return [{ ...map, values: [...map.values] }, context];""",
        *map(sent, (l, g, of_l, of_g, score, bias)),
    )
    up = F.interpolate(torch.einsum("hc,cyx->hyx", of_g, g)[None], scale_factor=2, mode="bilinear")[0]
    hidden_sum = (torch.einsum("hc,cyx->hyx", of_l, l) + up).relu()
    weights = (torch.einsum("oh,hyx->oyx", score, hidden_sum) + bias).flatten().softmax(0).view(1, *l.shape[1:])
    assert_close(read(found[0]), weights, rtol=1e-4, atol=1e-6)
    assert_close(torch.tensor(found[1]), (weights * l).sum(dim=(1, 2)), rtol=1e-4, atol=1e-5)


def test_bilinear_upsampling_is_torchs(own):
    torch.manual_seed(0)
    for small, large in (
        ([2, 2], [16, 16]),
        ([2, 2], [8, 8]),
        ([8, 8], [64, 64]),
        ([16, 16], [64, 64]),
        ([3, 5], [7, 9]),
    ):
        map = torch.randn(small)
        found = own("return [...own.enlarge(...given)];", map.flatten().tolist(), small, large)
        expected = F.interpolate(map[None, None], size=large, mode="bilinear").flatten()
        assert_close(torch.tensor(found), expected, **CLOSE)


def test_every_number_of_half_precision_is_read(own):
    bits = np.arange(2**16, dtype=np.uint16)
    values = bits.view(np.float16).astype(np.float64)
    finite = np.isfinite(values)
    found = own("return given[0].map(own.half);", bits[finite].tolist())
    np.testing.assert_array_equal(found, values[finite])


def test_packed_tensors_come_out_as_they_went_in(own):
    widget = made()
    found = own(
        """const bytes = Uint8Array.from(atob(given[0]), (c) => c.charCodeAt(0));
           const tensors = own.unpacked(new DataView(bytes.buffer), given[1]);
           return tensors.map(({ values, shape }) => [[...values], shape]);""",
        base64.b64encode(widget.weights).decode(),
        widget.shapes,
    )
    for (values, shape), tensor in zip(found, unpacked(widget), strict=True):
        assert torch.equal(torch.tensor(values).view(shape), tensor)


def forward_in_page(own, widget, images):
    """Logits and maps of some images, in JavaScript."""
    found = own(
        """const bytes = Uint8Array.from(atob(given[0]), (c) => c.charCodeAt(0));
           const tensors = own.unpacked(new DataView(bytes.buffer), given[1]);
           return given[2].map((image) => {
             const { logits, maps } = own.forward(tensors, Float32Array.from(image), given[3]);
             return [logits, maps.map((m) => ({ ...m, values: [...m.values] }))];
           });""",
        base64.b64encode(widget.weights).decode(),
        widget.shapes,
        images.flatten(1).tolist(),
        images.shape[-1],
    )
    logits = torch.tensor([logits for logits, _ in found])
    return logits, [torch.stack([read(m) for m in maps]) for maps in zip(*(maps for _, maps in found))]


@pytest.mark.parametrize("size", [32, 64, 96])
def test_the_network_in_the_page_is_torchs_on_noise(own, size):
    widget, images = made(), torch.rand(3, 1, size, size)
    logits, maps = forward_in_page(own, widget, images)
    expected, expected_maps = forward(unpacked(widget), images)
    assert_close(logits, expected, rtol=1e-3, atol=1e-4)
    for a, b in zip(maps, expected_maps, strict=True):
        assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_the_network_in_the_page_is_torchs_on_test_images(own, widget):
    """Once with the weights as they were sent, and once as they were trained: half precision is in between."""
    images = digits.ClutteredDigits("test", 8).images / 255
    logits, maps = forward_in_page(own, widget, images)
    with torch.no_grad():
        sent_logits, sent_maps = forward(unpacked(widget), images)
        trained, trained_maps, _ = forms.shipped("repaired")[0](images)
    largest = sent_logits.abs().max().item()
    assert_close(logits, sent_logits, rtol=1e-4, atol=1e-5 * largest)
    assert_close(logits, trained, rtol=0, atol=1e-3 * largest)
    for a, b, c in zip(maps, sent_maps, trained_maps, strict=True):
        assert_close(a, b, rtol=0, atol=1e-5)
        assert_close(a, c, rtol=0, atol=2e-3)


ends = st.tuples(*[st.floats(-2, 34)] * 4)


@in_browser
@given(st.lists(ends, max_size=3), st.sampled_from([1.0, 2.5, 4.0, 6.0]))
def test_the_pen_is_the_packages(own, lines, width):
    code = """const sheet = new Float32Array(1024);
              for (const [a, b, c, d] of given[0]) own.ink(sheet, 32, [a, b], [c, d], given[1]);
              return [[...sheet], own.boxAround(sheet, 32) ?? null];"""
    values, box = own(code, lines, width)
    expected = strokes.inked([[[a, b], [c, d]] for a, b, c, d in lines], 32, width)
    assert_close(torch.tensor(values, dtype=torch.float32).view(32, 32), expected, rtol=0, atol=1e-5)
    inky = torch.tensor(values).view(1, 1, 32, 32) > 0.1
    assert box == (digits.mask_boxes(inky)[0].tolist() if inky.any() else None)


def fetched(page):
    """The scripts that the page has asked for."""
    return page.evaluate("[...document.scripts].map((s) => s.src).filter(Boolean)")


def pixels(shown):
    """What the sheet shows, which is what the network sees: (1, 1, S, S) in [0, 1]."""
    values = shown.locator(".course-sheet canvas").evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 === 0)"
    )
    return torch.tensor(values).view(1, 1, SIZE, SIZE) / 255


def drawn(shown, points):
    """Draw with the mouse, through points in pixels of the sheet."""
    sheet, mouse = shown.locator(".course-sheet canvas"), shown.page.mouse
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    places = [(box["x"] + x / SIZE * box["width"], box["y"] + y / SIZE * box["height"]) for x, y in points]
    mouse.move(*places[0])
    mouse.down()
    for place in places[1:]:
        mouse.move(*place, steps=3)
    mouse.up()


def settled(page):
    """Wait until the next picture of the screen is there."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


SEVEN = [(40, 8), (56, 8), (46, 30)]


def answered(shown):
    """Wait for an answer, and for the picture that goes with the last stroke; returns what is said."""
    status = shown.locator(".course-status")
    status.filter(has_text="The network says").wait_for()
    settled(shown.page)
    return status.inner_text()


def check(shown, widget):
    """All that the page says is what PyTorch makes of the very pixels that it shows."""
    image = pixels(shown)
    logits, maps = forward(unpacked(widget), image)
    background = np.frombuffer(widget.backgrounds, np.uint8).reshape(-1, 1, SIZE, SIZE)
    said = shown.locator(".course-status").inner_text()
    chosen = int(shown.get_by_role("combobox", name="Clutter").input_value())
    ink = image > torch.tensor(background[chosen] / 255, dtype=torch.float32)[None] + 1e-6
    meters = [float(meter.get_attribute("aria-valuenow")) for meter in shown.get_by_role("meter").all()]
    assert_close(torch.tensor(meters), logits[0].exp(), rtol=1e-3, atol=1e-5)
    assert f"The network says {logits.argmax()}, with a probability of {100 * logits.exp().max():.0f} %" in said
    captions = shown.locator(".course-pair figcaption").all_inner_texts()
    for caption, map, name in zip(captions, maps, ("first", "second"), strict=True):
        low, high = (float(value) for value in re.search(r":\s*(\S+) to (\S+)$", caption).groups())
        assert caption.startswith(f"{name} map, {map.shape[2]} × {map.shape[3]}:")
        assert [low, high] == pytest.approx([map.min().item(), map.max().item()], rel=0.06)
    most = max(map.max().item() for map in maps)
    scale = shown.locator(".course-scale").inner_text()
    assert float(scale.removeprefix("both maps from 0 to ")) == pytest.approx(most, rel=0.06)
    return (
        ink,
        maps,
        [int(n) for n in re.findall(r"(\d+) % of its", said)] + [int(re.search(r"chance is (\d+)", said)[1])],
    )


def test_what_is_drawn_by_mouse_is_answered_as_torch_does(page, show_widget, widget):
    shown = show_widget(widget)
    assert re.search(r"Draw a digit, 0 to 9", shown.locator(".course-status").inner_text())
    drawn(shown, SEVEN)
    answered(shown)
    _, maps, (first, second, chance) = check(shown, widget)
    ink = strokes.inked([[[float(x), float(y)] for x, y in SEVEN]], SIZE, widget.pen)
    region = digits.box_regions(digits.mask_boxes(ink[None, None] > 0.1), SIZE)
    shares = [100 * metrics.energy_inside(map, region).item() for map in maps]
    # a mouse stands on whole pixels of the screen: the box may be one pixel of the sheet larger
    assert chance == pytest.approx(100 * metrics.area_share(region).item(), abs=2)
    assert [first, second] == pytest.approx(shares, abs=8)


def test_the_answer_follows_the_pen(page, show_widget, widget):
    """While the button is down: more ink, another answer, and still PyTorch's."""
    shown = show_widget(widget)
    sheet, said = shown.locator(".course-sheet canvas"), []
    box = sheet.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    for step in range(1, 5):
        page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + (0.3 + 0.1 * step) * box["height"])
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


def test_one_can_draw_with_the_keys(page, show_widget, widget):
    shown = show_widget(widget)
    sheet, pen = shown.locator(".course-sheet canvas"), shown.locator(".course-sheet + figcaption")
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
    for example, label in zip([*widget.examples, widget.examples[0]], [*widget.labels, widget.labels[0]]):
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
    page.wait_for_function("(text) => document.querySelector('.course-status').textContent === text", arg=prompt)
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


def test_a_network_that_does_not_come_is_said_and_asked_for_again(page, show_widget, widget):
    shown = show_widget(widget)
    page.route("**/data/*.js", lambda route: route.abort())
    drawn(shown, SEVEN)
    page.wait_for_function("document.querySelector('.course-status').textContent.includes('could not be loaded')")
    assert re.search(r"no answer from file:.*\.js\)\. Draw again", shown.locator(".course-status").inner_text())
    assert len(page.errors) == 1  # the browser's own line on the request
    page.errors.clear()
    page.unroute("**/data/*.js")
    drawn(shown, [(10, 10), (10, 40)])
    answered(shown)
    check(shown, widget)


def test_an_answer_that_is_no_network_is_as_good_as_none(page, show_widget, widget):
    """Some servers answer every address with a page."""
    shown = show_widget(widget)
    page.route("**/data/*.js", lambda route: route.fulfill(body="0;", content_type="text/javascript"))
    drawn(shown, SEVEN)
    page.wait_for_function("document.querySelector('.course-status').textContent.includes('could not be loaded')")
    page.unroute("**/data/*.js")
    drawn(shown, [(10, 10), (10, 40)])
    answered(shown)
    check(shown, widget)


def at(sheet, kind, x, y, **options):
    """A pointer's event at a pixel of the sheet."""
    box = sheet.bounding_box()
    place = {"clientX": box["x"] + x / SIZE * box["width"], "clientY": box["y"] + y / SIZE * box["height"]}
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
    other = made(forms.shipped("repaired")[0])
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
    """A model as anywidget gives it, without `load`."""
    page.goto("about:blank")
    page.evaluate(
        """async ([source, state, buffers]) => {
             const read = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
             const values = { ...state, ...Object.fromEntries(Object.entries(buffers).map(([k, v]) => [k, read(v)])) };
             const model = { get: (name) => values[name], set: (name, value) => { values[name] = value; },
                             on() {}, off() {}, save_changes() {}, send() {} };
             const module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
             module.default.render({ model, el: document.body });
           }""",
        [
            widget._esm,
            {
                n: getattr(widget, n)
                for n in ("pen", "opacity", "background", "size", "classes", "examples", "labels", "shapes")
            },
            {n: base64.b64encode(getattr(widget, n)).decode() for n in ("weights", "backgrounds", "palette")},
        ],
    )
    shown = page.locator(".course-widget")
    drawn(shown, SEVEN)
    answered(shown)
    check(shown, widget)


@pytest.mark.parametrize("colors", ["light", "dark"])
def test_it_fits_a_phone(page, show_widget, widget, colors):
    page.set_viewport_size({"width": 360, "height": 700})
    page.emulate_media(color_scheme=colors)
    shown = show_widget(widget)
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        outside = shown.evaluate(
            """w => { const o = w.getBoundingClientRect();
                      return [...w.querySelectorAll("*")].map(n => n.getBoundingClientRect())
                        .filter(b => b.width && (b.left < o.left || b.right > o.right)).length; }"""
        )
        assert outside == 0
        drawn(shown, SEVEN)
        answered(shown)


@pytest.mark.parametrize("over", ["http", "file"])
def test_in_the_chapter(page, site, html, over):
    """The page of the chapter itself, as it was built: nothing fetched at first, then one file, and an answer."""
    root = site if over == "http" else html.as_uri()
    page.goto(f"{root}/notebooks/00_start_here.html")
    page.wait_for_selector("html[data-widgets=ready]")
    data = "[...document.scripts].filter((s) => s.src.includes('widget-data')).length"
    assert page.evaluate(data) == 0
    shown = page.get_by_role("group", name="Draw a digit for the network")
    drawn(shown, SEVEN)
    answered(shown)
    assert page.evaluate(data) == 1
    model, image = forms.shipped("repaired")[0], pixels(shown)
    with torch.no_grad():
        probabilities = model(image).logits[0].exp()
    meters = [float(meter.get_attribute("aria-valuenow")) for meter in shown.get_by_role("meter").all()]
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
