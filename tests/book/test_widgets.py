"""The widgets of the static page: alive without a kernel, over http and from the disk."""

import re

import numpy as np
import pytest

from tests.book.test_pages import CHAPTERS

PLAYERS = ["notebooks/00_start_here", "notebooks/06_attn_vgg"]
MORE_THAN_ONE = {"notebooks/00_start_here": 2}
READY = "html[data-widgets=ready]"


def pictures(page):
    """What the canvases show, as one string each: equal strings are equal pixels."""
    return page.evaluate(
        "[...document.querySelectorAll('.course-gallery canvas')].map(c => c.toDataURL())"
    )


def pixels(page):
    """The first canvas, (rows × columns, RGBA)."""
    values = page.evaluate(
        """() => { const c = document.querySelector('.course-gallery canvas');
                   return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }"""
    )
    return np.array(values).reshape(-1, 4)


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_widget_of_a_chapter_says_something_and_answers(page, root, name):
    page.goto(f"{root}/{name}.html")
    page.wait_for_selector(READY)
    widgets = page.locator(".course-widget").all()
    assert len(widgets) == MORE_THAN_ONE.get(name, 1)
    for widget in widgets:
        assert len(widget.get_attribute("aria-label")) > 5
        before = widget.inner_text(), widget.screenshot()
        assert re.search(r"\d", widget.locator(".course-status").inner_text())
        slider = widget.locator("input[type=range]:visible").first
        slider.focus()
        at_home = slider.input_value() == slider.get_attribute("min")
        slider.press("End" if at_home else "Home")
        assert (widget.inner_text(), widget.screenshot()) != before
    assert len({widget.get_attribute("aria-label") for widget in widgets}) == len(widgets)


@pytest.mark.parametrize("name", PLAYERS)
def test_the_keyboard_moves_the_maps(page, root, name):
    page.goto(f"{root}/{name}.html")
    page.wait_for_selector(READY)
    widget = page.get_by_role("group", name="Attention player")
    assert widget.count() == 1
    status, before = widget.locator(".course-status"), pictures(page)
    assert len(before) == 8
    last = status.inner_text()
    epoch = widget.get_by_label("Epoch")
    epoch.focus()
    epoch.press("Home")
    assert status.inner_text().startswith("After epoch 0,")
    assert status.inner_text() != last
    assert all(now != then for now, then in zip(pictures(page), before))
    epoch.press("End")
    assert status.inner_text() == last
    assert pictures(page) == before


def test_controls_change_what_they_say(page, site):
    page.goto(f"{site}/notebooks/06_attn_vgg.html")
    page.wait_for_selector(READY)
    widget, before = page.locator(".course-widget"), pictures(page)
    widget.get_by_role("combobox", name="Map").select_option("1")
    assert "second map" in widget.locator(".course-status").inner_text()
    assert pictures(page) != before
    widget.get_by_role("combobox", name="Map").select_option("0")
    assert pictures(page) == before
    widget.get_by_label("a colour scale for each map").check()
    assert "own minimum" in widget.locator(".course-scale").inner_text()
    assert pictures(page) != before
    widget.get_by_label("a colour scale for each map").uncheck()
    widget.get_by_label("Opacity").press("Home")
    assert (
        np.median(np.ptp(pixels(page)[:, :3], axis=1)) == 0
    )  # grey again: only the box has a colour


def test_play_runs_through_the_epochs_and_stops(page, site):
    page.clock.install()
    page.goto(f"{site}/notebooks/00_start_here.html")
    page.wait_for_selector(READY)
    widget = page.get_by_role("group", name="Attention player")
    epochs = int(widget.get_by_label("Epoch").get_attribute("max"))
    widget.get_by_role("button", name="Play").click()
    assert "After epoch 0," in widget.locator(".course-status").inner_text()
    page.clock.run_for(700 * (epochs + 1))
    assert f"After epoch {epochs}," in widget.locator(".course-status").inner_text()
    assert widget.get_by_role("button", name="Play").count() == 1


def test_numbers_and_pictures_are_those_of_the_traits(page, site):
    """Recompute in numpy, from the state in the page, what the widget says and paints."""
    page.goto(f"{site}/notebooks/06_attn_vgg.html")
    page.wait_for_selector(READY)
    state = page.evaluate(
        """() => { const s = JSON.parse(document.querySelector('script[type*="widget-state"]').textContent);
                   const m = Object.values(s.state).find((m) => 'epochs' in m.state);
                   return {...m.state, ...Object.fromEntries(m.buffers.map(b => [b.path[0],
                     [...Uint8Array.from(atob(b.data), c => c.charCodeAt(0))]]))}; }"""
    )
    read = lambda name: np.frombuffer(bytes(state[name]), np.float32)  # noqa: E731
    epochs, count = len(state["epochs"]), len(state["labels"])
    energy = read("energy").reshape(2, epochs, count)
    widget = page.locator(".course-widget")
    for epoch in (0, epochs - 1):
        widget.get_by_label("Epoch").fill(str(epoch))
        assert (
            f"{100 * energy[0, epoch].mean():.0f} % of the first map"
            in widget.locator(".course-status").inner_text()
        )
        captions = widget.locator("figcaption").all_inner_texts()
        (h, w), n = state["shapes"][0], count - 1
        last = read("maps")[: epochs * count * h * w].reshape(epochs, count, h, w)[epoch, n]
        assert f"{100 * energy[0, epoch, n]:.0f} % inside" in captions[n]
        assert float(captions[n].split()[-1]) == pytest.approx(last.max(), rel=0.06)


@pytest.mark.parametrize("name", CHAPTERS)
def test_it_fits_a_phone(page, site, name):
    page.set_viewport_size({"width": 360, "height": 700})
    page.goto(f"{site}/{name}.html")
    page.wait_for_selector(READY)
    for widget in page.locator(".course-widget").all():
        box = widget.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
