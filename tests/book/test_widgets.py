"""Widgets in the pages of the book, which have no kernel. See also `test_pages`."""

import numpy as np
import pytest

from tests.book.pages import CHAPTERS, READY, check_that_widgets_answer

PLAYERS = ["notebooks/00_start_here", "notebooks/06_attn_vgg"]


def pictures(page):
    """What the canvases show, as one data URL each."""
    return page.evaluate(
        "[...document.querySelectorAll('.course-gallery canvas')].map(c => c.toDataURL())"
    )


def pixels(page):
    """The pixels of the first canvas, as an array (rows × columns, 4)."""
    values = page.evaluate(
        """() => { const c = document.querySelector('.course-gallery canvas');
                   return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }"""
    )
    return np.array(values).reshape(-1, 4)


@pytest.mark.parametrize("name", CHAPTERS)
def test_widgets_answer_on_the_disk(page, html, name):
    page.goto(f"{html.as_uri()}/{name}.html")
    page.wait_for_selector(READY)
    check_that_widgets_answer(page)


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


def test_controls_change_what_their_labels_promise(page, site):
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
    # The image is grey again; only the box has a colour.
    assert np.median(np.ptp(pixels(page)[:, :3], axis=1)) == 0


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
    """Recompute texts and pictures with NumPy from the state in the page."""
    page.goto(f"{site}/notebooks/06_attn_vgg.html")
    page.wait_for_selector(READY)
    state = page.evaluate(
        """() => { const script = document.querySelector('script[type*="widget-state"]');
                   const s = JSON.parse(script.textContent);
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
