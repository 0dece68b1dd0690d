"""Tests that only look at pages. Every page is loaded once for all of them."""

import re
from itertools import pairwise

import pytest
from bs4 import BeautifulSoup
from PIL import Image

from book import stills
from tests.book.pages import CHAPTERS, PAGES, READY, check_that_widgets_answer
from tests.browser import PHONE, guarded, violations
from tests.paths import ROOT

LAPTOP = {"width": 1280, "height": 900}
PAPER = {"width": 720, "height": 1000}  # A4 without its margins


@pytest.fixture(scope="module")
def loaded(request, chromium, site):
    """A page, loaded once for all tests of this module."""
    with guarded(chromium) as page:
        page.name = request.param
        # While a colour changes from light to dark, its contrast can't be measured.
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        page.goto(f"{site}/{page.name}.html")
        page.wait_for_selector("html[data-theme]")
        if page.name in CHAPTERS:
            page.wait_for_selector(READY)
        yield page


@pytest.fixture
def opened(loaded):
    """The page on a laptop's screen, reset after whatever the previous test did with it."""
    loaded.set_viewport_size(LAPTOP)
    loaded.emulate_media(media="screen")
    return loaded


each_page = pytest.mark.parametrize("loaded", PAGES, indirect=True)
each_chapter = pytest.mark.parametrize("loaded", CHAPTERS, indirect=True)


def test_the_book_has_the_pages_of_its_contents(html):
    built = {
        path.relative_to(html).with_suffix("").as_posix() for path in html.glob("[bn]*ook*/*.html")
    }
    assert built == set(PAGES)
    assert len(PAGES) == len(set(PAGES))


@each_page
def test_pages_are_complete_and_fit_the_window(opened):
    assert opened.locator("article h1").count() == 1
    assert opened.evaluate(
        "[...document.querySelectorAll('article img')]"
        ".every(image => image.complete && image.naturalWidth > 0)"
    )
    for size in (PHONE, LAPTOP):
        opened.set_viewport_size(size)
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth"), size


@each_page
def test_pages_are_accessible_in_light_and_in_dark(opened):
    theme = opened.locator("html")
    assert theme.get_attribute("data-theme") == "light"
    assert violations(opened) == []
    opened.evaluate("document.documentElement.dataset.theme = 'dark'")
    try:
        # No other rule depends on colours.
        assert violations(opened, ["color-contrast"]) == []
    finally:
        opened.evaluate("document.documentElement.dataset.theme = 'light'")


@each_page
def test_no_level_of_headings_is_skipped(opened):
    headings = "[...document.querySelectorAll('article :is(h1, h2, h3, h4, h5, h6)')]"
    levels = opened.evaluate(f"{headings}.map(heading => Number(heading.tagName[1]))")
    assert levels[0] == 1
    assert all(now <= before + 1 for before, now in pairwise(levels)), levels


@each_page
def test_the_text_of_a_page_brings_no_code(html, loaded):
    """Scripts belong to the theme and the course; texts and outputs may contain only data."""
    source = (html / f"{loaded.name}.html").read_text(encoding="utf-8")
    # The theme adds scripts to the article, but after the section with the text.
    text = BeautifulSoup(source, "html.parser").find("article").find("section")
    assert text.find("h1") is not None
    for script in text.find_all("script"):
        assert script["type"].startswith("application/vnd.jupyter.widget-")
    assert text.find_all(["iframe", "object", "embed"]) == []
    handlers = [tag for tag in text.find_all(True) if any(a.startswith("on") for a in tag.attrs)]
    assert handlers == []


@each_page
def test_print_leaves_out_what_is_useful_only_on_a_screen(opened):
    opened.set_viewport_size(PAPER)
    opened.emulate_media(media="print")
    around = "#pst-primary-sidebar, #pst-secondary-sidebar, .bd-header-article, .prev-next-footer"
    controls = ":is(button, .headerlink, .course-controls):not(.course-quiz *)"
    assert opened.locator(f":is({around}):visible").count() == 0
    assert opened.locator(f"{controls}:visible").count() == 0
    assert opened.locator("article h1:visible").count() == 1
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = "[...document.querySelectorAll('article :is(pre, img)')]"
    right = f"Math.max(0, ...{wide}.map(element => element.getBoundingClientRect().right))"
    # A slow machine needs a moment for the layout of a page that was open at another size.
    opened.wait_for_function(f"{right} <= innerWidth")
    assert opened.locator("article details[open]").count() == 0
    shown = opened.locator("article details.hide summary:visible").all()  # not in a closed part
    assert shown or not opened.locator("article details.hide").count()
    for summary in shown:
        assert summary.inner_text().startswith("Show ")


@each_chapter
def test_widgets_are_printed_and_their_stills_are_not(opened):
    opened.emulate_media(media="print")
    assert opened.locator(".course-widget").first.bounding_box()["height"] > 100
    assert opened.locator(".course-still:visible").count() == 0


@each_chapter
def test_code_and_text_outputs_fit_the_column(opened):
    blocks = "[...document.querySelectorAll('article pre')]"
    wide = f"{blocks}.filter(block => block.scrollWidth > block.clientWidth + 1)"
    assert opened.evaluate(f"{wide}.map(block => block.textContent)") == []


@each_chapter
def test_every_figure_has_alt_text(opened):
    alts = opened.locator("article .cell_output img").evaluate_all("all => all.map(i => i.alt)")
    assert len(alts) >= 2
    assert all(len(alt) > 60 for alt in alts)


@each_chapter
def test_chapters_show_their_results_and_hide_solutions(opened):
    text = opened.locator("article").inner_text()
    assert "Traceback" not in text
    assert "needs a running notebook" not in text
    assert re.search(r"preset (smoke|cpu|gpu)\b", text)
    solutions = opened.locator("details.hide:has-text('Show a solution')")
    assert solutions.count() >= 2
    assert solutions.evaluate_all("all => all.some(details => details.open)") is False
    outputs = solutions.locator(".cell_output").all_text_contents()
    assert sum("Right" in output for output in outputs) >= 2


@each_chapter
def test_chapters_open_in_colab_and_binder(opened):
    links = opened.evaluate("[...document.querySelectorAll('a')].map(a => a.href)")
    repository = "attention-in-cnns/attention-in-cnns"
    notebook = f"colab.research.google.com/github/{repository}/blob/main/{opened.name}.ipynb"
    assert any(notebook in link for link in links)
    assert any(f"mybinder.org/v2/gh/{repository}/main" in link for link in links)


@each_chapter
def test_widgets_fit_a_phone(opened):
    opened.set_viewport_size(PHONE)
    for widget in opened.locator(".course-widget").all():
        box = widget.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]


@each_chapter
def test_every_widget_has_a_still_picture_that_names_it(opened, html):
    """Readers without JavaScript see these pictures; `test_stills` opens a page as they do."""
    widgets = opened.locator(".course-widget, .course-quiz")
    labels = widgets.evaluate_all("all => all.map(w => w.getAttribute('aria-label'))")
    written = opened.locator("noscript.course-still").all_text_contents()
    assert len(written) == len(labels) > 0
    for label, text in zip(labels, written):
        still = BeautifulSoup(text, "html.parser")
        assert still.figcaption.text == stills.SENTENCE
        assert still.img["alt"].startswith(label)
        if label != "Your prediction":  # its answers are words
            assert re.search(r"\d", still.img["alt"])
        with Image.open(html / "notebooks" / still.img["src"]) as picture:
            assert picture.width > 250
            assert picture.height > 100


@each_chapter
def test_widgets_answer_on_a_server(opened):
    check_that_widgets_answer(opened)


def test_the_search_page_is_accessible(page, site):
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.goto(f"{site}/search.html")
    page.wait_for_selector("html[data-theme]")
    assert violations(page) == []
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert violations(page, ["color-contrast"]) == []


def test_the_check_of_accessibility_finds_violations(page):
    page.set_content(
        '<html lang="en"><title>t</title><main><p style="color: #aaa">pale</p>'
        '<img src="data:,"></main>'
    )
    assert {rule for rule, _ in violations(page)} == {"color-contrast", "image-alt"}


def test_formulas_are_typeset_offline(page, site):
    page.goto(f"{site}/notebooks/06_attn_vgg.html")
    page.wait_for_selector("mjx-container")
    assert page.locator("mjx-container").count() >= 5
    assert page.locator("mjx-merror").count() == 0
    fonts = page.evaluate(
        "document.fonts.ready.then(() => [...document.fonts].map(f => [f.family, f.status]))"
    )
    assert any("MJX" in family and status == "loaded" for family, status in fonts)


def test_internal_links_and_anchors_resolve(html):
    texts, missing = {}, []
    for name in PAGES:
        source = html / f"{name}.html"
        for link in re.findall(r'<a[^>]*href="([^"]+)"', source.read_text(encoding="utf-8")):
            path, _, anchor = link.partition("#")
            if re.match(r"\w+:", path):  # leaves the book
                continue
            target = (source.parent / path).resolve() if path else source
            if not target.exists():
                missing.append((name, link))
            elif anchor:
                text = texts.setdefault(target, target.read_text(encoding="utf-8"))
                if f'id="{anchor}"' not in text:
                    missing.append((name, link))
    assert missing == []


def test_external_links_are_well_formed():
    """The weekly `jupyter-book build --builder linkcheck .` checks that they lead to a page."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("book/*.md"), *ROOT.glob("lecture/*.md")]
    files += [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("course_utils/**/*.py")]
    links = {
        link.rstrip(".,;:")
        for path in files
        for link in re.findall(r"""https?:[^\s<>"'`\\)\]}{]*+(?!{)""", path.read_text("utf-8"))
    }
    links.discard("http://www.w3.org/2000/svg")  # the name of a namespace
    here = r"http://(localhost|127\.0\.0\.1):\d+/?"
    good = r"https://([a-z0-9-]+\.)+[a-z]{2,}(/([\w.~:/?#@!$&*+,;=-]|%[0-9A-Fa-f]{2})*)?"
    assert len(links) > 10
    assert [link for link in links if not re.fullmatch(f"{here}|{good}", link, re.ASCII)] == []
