"""Still pictures of widgets, for readers without JavaScript. See also `test_pages`."""

import re

from book import stills


def test_without_javascript_there_are_pictures_and_a_sentence(chromium, site):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}/notebooks/00_start_here.html")
    boxes = page.locator(".course-still").all()
    assert len(boxes) > 1
    for box in boxes:
        picture = box.locator("img").bounding_box()
        assert picture["width"] > 250
        assert picture["height"] > 100
        assert box.locator("figcaption").inner_text() == stills.SENTENCE
    context.close()


def test_without_a_browser_a_page_gets_sentences_and_existing_stills_are_kept(
    tmp_path, monkeypatch
):
    view = 'type="application/vnd.jupyter.widget-view+json"'
    mark = f'<p><script {view}>\n{{"model_id": "a"}}\n</script></p>'
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


def test_the_still_of_a_drawing_widget_has_a_drawing(html):
    text = (html / "notebooks" / "00_start_here.html").read_text(encoding="utf-8")
    example = r"Draw a digit for the network\. The example is a \d\. The network says \d"
    assert re.search(f'alt="{example}', text)
