"""Everything around the text: descriptions, sitemap, missing pages, search, keyboard."""

import re
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
import yaml

from tests.book.pages import PAGES
from tests.browser import violations
from tests.paths import ROOT

BASE = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["html"]["baseurl"]


def metas(text):
    """The names and contents of a page's meta elements."""
    return dict(re.findall(r'<meta (?:name|property)="([^"]+)" content="([^"]*)"', text))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_describes_itself(html, name):
    text = (html / f"{name}.html").read_text(encoding="utf-8")
    found = metas(text)
    assert f'<link rel="canonical" href="{BASE}{name}.html"' in text
    assert found["og:url"] == f"{BASE}{name}.html"
    assert len(found["og:title"]) > 3
    assert 20 < len(found["og:description"]) < 260
    assert found["og:description"] == found["description"]
    assert (html / found["og:image"].removeprefix(BASE)).exists()
    assert len(found["og:image:alt"]) > 60


def test_the_sitemap_lists_every_page(html):
    tree = ElementTree.parse(html / "sitemap.xml")
    found = [
        element.text for element in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")
    ]
    assert sorted(found) == sorted(f"{BASE}{name}.html" for name in PAGES)
    assert f"Sitemap: {BASE}sitemap.xml" in (html / "robots.txt").read_text(encoding="utf-8")


def test_the_root_leads_to_the_first_page_and_describes_it(page, root, html):
    text = (html / "index.html").read_text(encoding="utf-8")
    found = metas(text)
    assert found["og:title"] == found["og:site_name"] == "Attention in CNNs"
    assert len(found["description"]) > 20
    assert f'<link rel="canonical" href="{BASE}book/index.html"' in text
    page.goto(f"{root}/index.html")
    page.wait_for_url("**/book/index.html")
    assert page.locator("article h1").count() == 1


class AsOnGitHub(SimpleHTTPRequestHandler):
    """Serves the site at the path of its address, with its own page for missing files."""

    def log_message(self, *args):
        pass

    def translate_path(self, path):
        prefix = urlsplit(BASE).path
        return super().translate_path(
            "/" + path.removeprefix(prefix) if path.startswith(prefix) else "/none"
        )

    def send_error(self, code, *args):
        body = Path(self.directory, "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def as_on_github(html):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(AsOnGitHub, directory=html))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}{urlsplit(BASE).path}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("lost", ["none.html", "notebooks/none", "a/b/c/none.html"])
def test_a_lost_reader_finds_the_way_back(page, as_on_github, lost):
    page.goto(as_on_github + lost)
    page.errors.clear()  # the browser reports the status 404
    page.wait_for_load_state("networkidle")
    assert page.errors == []  # styles and scripts were found
    assert page.locator("article h1").inner_text() == "There is no such page"
    assert violations(page) == []
    page.keyboard.press("Control+k")
    page.locator("#pst-search-dialog input").fill("sparsemax")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    for link in ("article a", "#pst-primary-sidebar a:has-text('Glossary')"):
        page.goto(as_on_github + lost)
        page.errors.clear()
        page.locator(link).first.click()
        page.wait_for_url(f"{as_on_github}book/*")
        assert page.locator("article h1").count() == 1


@pytest.mark.parametrize(
    ("word", "title"),
    [
        ("competition", "AttnVGG"),
        ("pointing_game", "course_utils.explain.metrics.pointing_game"),
        ("sparsemax", "Glossary"),
        ("torchrun", "How to use the course"),
    ],
)
def test_search_finds_chapters_functions_and_words(page, root, word, title):
    page.goto(f"{root}/search.html?q={word}")
    # Results appear one after the other.
    page.locator("#search-results li a", has_text=title).first.wait_for()
    if root.startswith("file"):
        # Browsers don't fetch files from the disk, so there are titles but no excerpts.
        page.goto("about:blank")
        page.errors.clear()


def test_a_key_opens_the_search(page, site):
    page.goto(f"{site}/notebooks/03_alignment_functions.html")
    page.keyboard.press("Control+k")
    field = page.locator("#pst-search-dialog input")
    assert field.evaluate("e => e === document.activeElement")
    field.fill("sparsemax")
    field.press("Enter")
    page.wait_for_selector("#search-results li a")
    assert "Alignment" in page.locator("#search-results").inner_text()


def test_the_first_tab_stop_skips_to_the_text(page, site):
    page.goto(f"{site}/notebooks/06_attn_vgg.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to main content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


REACHABLE = """() => {
  const around = ["#pst-primary-sidebar", ".bd-header-article", "#pst-secondary-sidebar"];
  const controls = ":is(a[href], button, input, summary)";
  const inside = (part) => [...document.querySelectorAll(`${part} ${controls}`)];
  const parts = around.flatMap(inside);
  const shown = parts.filter((part) => part.checkVisibility({ visibilityProperty: true }));
  return shown.filter((part) => !part.dataset.seen).map((part) => part.outerHTML);
}"""


@pytest.mark.parametrize("name", ["book/index", "notebooks/06_attn_vgg"])
def test_the_keyboard_reaches_everything_around_the_text(page, site, name):
    page.goto(f"{site}/{name}.html")
    page.evaluate(
        "document.addEventListener('focusin', (event) => { event.target.dataset.seen = 1; })"
    )
    assert len(page.evaluate(REACHABLE)) > 30
    for _ in range(
        page.locator(":is(a[href], button, input, summary, select, [tabindex])").count()
    ):
        page.keyboard.press("Tab")
    assert page.evaluate(REACHABLE) == []
