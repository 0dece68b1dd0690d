"""Folded sections, in a small book of one notebook, in Sphinx and in a browser."""

import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat import v4

from book._ext import going_deeper
from tests.browser import PHONE, violations
from tests.paths import ROOT

TITLE = "Going deeper: why it works"
CONF = """
extensions = ["myst_nb", "book._ext.going_deeper", "book._ext.lean_theme"]
master_doc = "chapter"
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
html_theme = "sphinx_book_theme"
html_context = {"default_mode": "auto"}
html_static_path = ["assets"]
html_css_files = ["course.css"]
html_js_files = ["print.js"]
"""
CELLS = [
    v4.new_markdown_cell("# A chapter\n\nIt has [a figure](#fig-inside)."),
    v4.new_markdown_cell(f"## Above\n\nPlain.\n\n### {TITLE}\n\n" + "Some words. " * 150),
    v4.new_code_cell(
        "picture",
        outputs=[v4.new_output("display_data", {"text/html": "<b>executed</b>"})],
        metadata={"mystnb": {"figure": {"caption": "What you *see*.", "name": "fig-inside"}}},
    ),
    v4.new_markdown_cell("#### A part of it\n\nFolded, too."),
    v4.new_markdown_cell("### Beside\n\nNot folded.\n\n## Below\n\nNot folded."),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the built pages."""
    source = tmp_path_factory.mktemp("source")
    (source / "conf.py").write_text(CONF, encoding="utf-8")
    (source / "assets").symlink_to(ROOT / "book" / "assets")
    metadata = {"language_info": {"name": "python"}}
    nbformat.write(v4.new_notebook(cells=CELLS, metadata=metadata), source / "chapter.ipynb")
    out = source / "out"
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", source, out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def soup(built):
    return BeautifulSoup((built / "chapter.html").read_text(encoding="utf-8"), "html.parser")


def test_the_heading_stays_and_the_rest_is_folded(soup):
    (folded,) = soup.find_all("details", class_="course-deeper")
    assert not folded.has_attr("open")
    assert folded.find_previous_sibling("h3").get_text().startswith(TITLE)
    assert folded.parent["id"] == "going-deeper-why-it-works"
    assert folded.find("b").get_text() == "executed"
    assert folded.find(class_="caption-text").get_text() == "What you see."
    assert folded.find("h4") is not None
    assert "Not folded" not in folded.get_text()


def test_the_summary_tells_the_minutes(soup):
    # 300 words and those of the headings, one figure
    (folded,) = soup.find_all("details", class_="course-deeper")
    assert folded.summary.get_text() == "Open this part (about 3 minutes)"


def test_headings_in_a_folded_section_are_in_the_contents(soup):
    contents = soup.find(class_="bd-sidebar-secondary").get_text()
    assert TITLE in contents
    assert "A part of it" in contents


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        ({TITLE: 1}, "Open this part (about 1 minute)"),
        ({TITLE: 6}, "Open this part (about 6 minutes)"),
        ({}, "Open this part"),
    ],
)
def test_a_summary_knows_singular_plural_and_unknown(minutes, text):
    assert going_deeper.summary(TITLE, minutes) == text


def test_other_sections_stay_as_they_are():
    app = SimpleNamespace(env=SimpleNamespace(doc2path=lambda _: "page.md"))
    title = going_deeper.nodes.title("", "Going further")
    section = going_deeper.nodes.section("", title, going_deeper.nodes.paragraph("", "text"))
    going_deeper.fold(app, going_deeper.nodes.section("", section), "page")
    assert section[1].astext() == "text"


def test_a_link_to_an_anchor_inside_opens_the_part(page, built):
    page.goto((built / "chapter.html").as_uri())
    figure = page.locator("#fig-inside")
    assert not figure.is_visible()
    page.get_by_role("link", name="a figure").click()
    figure.wait_for(state="visible")


def test_print_shows_the_part_and_closes_it_again(page, built):
    page.goto((built / "chapter.html").as_uri())
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#fig-inside").is_visible()
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert not page.locator("#fig-inside").is_visible()


def test_an_open_part_is_accessible_in_light_and_in_dark_and_fits_a_phone(page, built):
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.goto((built / "chapter.html").as_uri())
    page.locator(".course-deeper > summary").click()
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        assert violations(page) == []
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
