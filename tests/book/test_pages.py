import re

import pytest

from tests.browser import guarded

PAGES = [
    "book/index",
    "notebooks/00_start_here",
    "notebooks/01_what_is_attention",
    "notebooks/02_score_functions",
    "notebooks/03_alignment_functions",
    "notebooks/05_kinds_of_attention",
    "notebooks/08_channel_and_spatial_attention",
    "notebooks/06_attn_vgg",
    "notebooks/07_learn_to_pay_attention",
    "notebooks/10_training",
    "notebooks/11_results",
    "notebooks/13_grad_cam",
    "notebooks/14_attention_vs_grad_cam",
    "notebooks/15_beyond_one_label",
    "notebooks/16_your_own_data",
    "notebooks/17_source_audit",
    "book/how_to_use",
    "book/instructor_guide",
    "book/notation",
    "book/glossary",
    "book/troubleshooting",
    "book/api",
    "book/api_core",
    "book/api_plots",
    "book/api_attention",
    "book/api_data",
    "book/api_models",
    "book/api_explain",
    "book/api_training",
    "book/api_studies",
    "book/api_widgets",
    "book/api_exercises",
    "book/references",
    "book/credits",
    "book/changelog",
]
CHAPTERS = [page for page in PAGES if page.startswith("notebooks")]


def test_every_page_of_the_book_is_listed_here(html):
    built = {
        path.relative_to(html).with_suffix("").as_posix() for path in html.glob("[bn]*ook*/*.html")
    }
    assert built == set(PAGES)


@pytest.fixture(scope="module")
def opened(request, chromium, site):
    """A page, loaded once for all the tests that only look at it."""
    with guarded(chromium) as page:
        page.goto(f"{site}/{request.param}.html")
        yield page


each_page = pytest.mark.parametrize("opened", PAGES, indirect=True)
each_chapter = pytest.mark.parametrize("opened", CHAPTERS, indirect=True)


@each_page
def test_pages_open_complete_and_fit(opened):
    assert opened.locator("article h1").count() == 1
    complete = (
        "[...document.querySelectorAll('article img')].every(i => i.complete && i.naturalWidth > 0)"
    )
    assert opened.evaluate(complete)
    for width in (360, 1280):
        opened.set_viewport_size({"width": width, "height": 900})
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth"), width


@each_chapter
def test_code_and_text_outputs_fit_the_column_of_a_laptop(opened):
    wide = "[...document.querySelectorAll('article pre')].filter(p => p.scrollWidth > p.clientWidth + 1)"
    assert opened.evaluate(f"{wide}.map(p => p.textContent)") == []


@each_chapter
def test_every_figure_has_alt_text(opened):
    alts = opened.locator("article .cell_output img").evaluate_all("all => all.map(i => i.alt)")
    assert len(alts) >= 2
    assert all(len(alt) > 60 for alt in alts)


@each_chapter
def test_chapters_show_what_they_computed_and_hide_solutions(opened):
    text = opened.locator("article").inner_text()
    assert "Traceback" not in text
    assert "needs a running notebook" not in text
    assert "preset cpu" in text
    solutions = opened.locator("details.hide:has-text('Show a solution')")
    assert solutions.count() >= 2
    assert solutions.evaluate_all("all => all.some(details => details.open)") is False
    said = solutions.locator(".cell_output").all_text_contents()
    assert sum("Right" in output for output in said) >= 2


@each_chapter
def test_chapters_open_in_colab_and_binder(opened):
    links = opened.evaluate("[...document.querySelectorAll('a')].map(a => a.href)")
    path, name = (
        "attention-in-cnns/attention-in-cnns",
        opened.url.partition("/html/")[2].removesuffix(".html"),
    )
    assert any(
        f"colab.research.google.com/github/{path}/blob/main/{name}.ipynb" in link for link in links
    )
    assert any(f"mybinder.org/v2/gh/{path}/main" in link for link in links)


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
    missing = []
    for name in PAGES:
        source = html / f"{name}.html"
        for link in re.findall(r'<a[^>]*href="([^"]+)"', source.read_text(encoding="utf-8")):
            path, _, anchor = link.partition("#")
            if re.match(r"\w+:", path):
                continue
            target = (source.parent / path).resolve() if path else source
            if not target.exists() or (
                anchor and f'id="{anchor}"' not in target.read_text(encoding="utf-8")
            ):
                missing.append((name, link))
    assert missing == []


def test_search_finds_a_word_of_a_chapter(page, site):
    page.goto(f"{site}/search.html?q=competition")
    page.wait_for_selector("#search-results li a")
    assert "AttnVGG" in page.locator("#search-results").inner_text()
