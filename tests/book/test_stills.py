"""What is left of a widget without scripts, and on paper."""

import re

import pytest

from book import stills
from tests.book.test_pages import CHAPTERS
from tests.book.test_widgets import READY


@pytest.fixture
def without_scripts(chromium):
    context = chromium.new_context(
        java_script_enabled=False, viewport={"width": 1000, "height": 900}
    )
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", CHAPTERS)
def test_without_scripts_there_is_a_picture_and_a_sentence(without_scripts, page, site, html, name):
    page.goto(f"{site}/{name}.html")
    page.wait_for_selector(READY)
    widgets = page.locator(".course-widget, .course-quiz")
    assert page.locator(".course-still").count() == widgets.count()
    assert page.locator(".course-still img:visible").count() == 0  # scripts are on
    still = without_scripts
    still.goto(f"{site}/{name}.html")
    pictures = still.locator(".course-still img")
    assert pictures.count() == widgets.count()
    for i in range(widgets.count()):
        box = pictures.nth(i).bounding_box()
        assert box["width"] > 250
        assert box["height"] > 100
        alt = pictures.nth(i).get_attribute("alt")
        assert alt.startswith(widgets.nth(i).get_attribute("aria-label"))
        assert re.search(r"\d", alt)
        assert still.locator(".course-still figcaption").nth(i).inner_text() == stills.SENTENCE
        assert (html / "notebooks" / pictures.nth(i).get_attribute("src")).exists()


@pytest.mark.parametrize("name", CHAPTERS)
def test_on_paper_there_is_the_widget(page, site, name):
    page.goto(f"{site}/{name}.html")
    page.wait_for_selector(READY)
    page.emulate_media(media="print")
    box = page.locator(".course-widget").first.bounding_box()
    assert box["height"] > 100
    assert page.locator(".course-still:visible").count() == 0


def test_a_page_that_has_its_stills_is_left_alone_and_another_gets_a_sentence(
    tmp_path, monkeypatch
):
    mark = '<p><script type="application/vnd.jupyter.widget-view+json">\n{"model_id": "a"}\n</script></p>'
    (tmp_path / "notebooks").mkdir()
    one, other = tmp_path / "notebooks" / "one.html", tmp_path / "notebooks" / "other.html"
    one.write_text(mark + mark)
    other.write_text(mark + stills.still("x.png", 'he says "1 < 2"'))
    kept = other.read_text()
    monkeypatch.setattr(stills, "HTML", tmp_path)
    monkeypatch.setattr(stills, "find_spec", lambda _: None)  # no Playwright
    assert stills.main() == 0
    assert one.read_text().count(stills.still()) == 2
    assert one.read_text().replace(stills.still(), "") == mark + mark
    assert other.read_text() == kept
    assert "&quot;1 &lt; 2&quot;" in kept
    stills.main()
    assert one.read_text().count(stills.still()) == 2


def test_the_sheet_to_draw_on_is_not_left_empty(html):
    text = (html / "notebooks" / "00_start_here.html").read_text(encoding="utf-8")
    assert re.search(
        r'alt="Draw a digit for the network\. The example is a \d\. The network says \d', text
    )
