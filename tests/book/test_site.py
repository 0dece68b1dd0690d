"""What surrounds the text: policy, descriptions, sitemap, the page for lost readers, search, headings, the keyboard."""

import re
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
import yaml
from docutils import nodes

from book._ext import policy, sharing
from tests.browser import violations
from tests.book.test_pages import PAGES
from tests.paths import ROOT

BASE = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["html"]["baseurl"]


@pytest.fixture(params=["http", "file"])
def root(request, site, html):
    return site if request.param == "http" else html.as_uri()


def metas(text):
    """Names and contents of a page's meta elements."""
    return dict(re.findall(r'<meta (?:name|property|http-equiv)="([^"]+)" content="([^"]*)"', text))


def written_pages(html):
    return [path for path in html.rglob("*.html") if "_static" not in path.relative_to(html).parts]


def test_every_page_has_its_policy_before_any_script(html):
    pages = written_pages(html)
    assert (
        len(pages) > len(PAGES) + 3
    )  # the search, two indices, the root of the site, the lost page, the lecture
    for path in pages:
        text = path.read_text(encoding="utf-8")
        rules = metas(text)["Content-Security-Policy"]
        assert text.index(rules) < re.search(r"<(script|link|style)\b", text).start(), path
        assert "http" not in rules.replace("http-equiv", "")
        assert "unsafe-eval" not in rules
        assert ("'unsafe-inline'" in rules.partition("style-src")[0]) == (
            path.parent.name == "lecture"
        )


def test_a_policy_names_the_scripts_of_a_page_and_no_other():
    rules = policy.policy(
        '<script>let a = 1;</script><script type="application/json">{}</script><script src="b.js"></script>'
    )
    # echo -n "let a = 1;" | openssl dgst -sha256 -binary | base64
    assert "script-src 'self' blob: 'sha256-xY6QKfH9PRsQnLz56nj6MBwiK5oHg+im1Jkpdp1x/Ck=';" in rules
    assert "unsafe-hashes" not in rules
    assert policy.handlers(
        '<button class="a" onclick="go()">x</button><script>"<a onclick=\\"no()\\">"</script>'
    ) == {"go()"}
    assert f"blob: 'unsafe-hashes' {policy.fingerprint('go()')};" in policy.policy("", {"go()"})
    assert policy.policy("", own={"img-src": "'none'"}).count("img-src 'none'") == 1


INJECTED = """async () => {
  const refused = [];
  document.addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
  const add = (tag, properties) => document.body.append(Object.assign(document.createElement(tag), properties));
  add("script", { textContent: "window.injected = true" });
  add("script", { src: "https://example.org/a.js" });
  add("img", { src: "https://example.org/a.png", alt: "" });
  add("iframe", { src: "https://example.org/" });
  await fetch("https://example.org/").catch(() => {});
  await new Promise((done) => setTimeout(done, 300));
  return [window.injected, refused.sort()];
}"""


@pytest.mark.parametrize("name", ["book/index", "notebooks/00_start_here"])
def test_what_does_not_come_from_the_site_is_refused(page, root, name):
    page.goto(f"{root}/{name}.html")
    ran, refused = page.evaluate(INJECTED)
    assert ran is None
    assert refused == ["connect-src", "frame-src", "img-src", "script-src-elem", "script-src-elem"]
    page.errors.clear()  # the console has said so


def test_the_buttons_of_the_theme_still_work(page, root):
    page.goto(f"{root}/book/index.html")
    page.evaluate("window.print = () => { window.printed = true; }")
    page.locator("button[onclick='window.print()']").dispatch_event("click")
    assert page.evaluate("window.printed")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_describes_itself(html, name):
    text = (html / f"{name}.html").read_text(encoding="utf-8")
    found = metas(text)
    assert f'<link rel="canonical" href="{BASE}{name}.html"' in text
    assert found["og:url"] == f"{BASE}{name}.html"
    assert found["og:title"] in text.partition("<title>")[2].partition("</title>")[0].replace(
        "&#39;", "&#x27;"
    )
    assert 20 < len(found["og:description"]) < 260
    assert found["og:description"] == found["description"]
    assert (html / found["og:image"].removeprefix(BASE)).exists()
    assert len(found["og:image:alt"]) > 60


def test_a_description_is_the_first_paragraph_and_ends_with_a_word():
    def described(text):
        document = nodes.document(None, None)
        document += [
            nodes.title("", "Title"),
            nodes.paragraph("", text),
            nodes.paragraph("", "second"),
        ]
        return sharing.description(document)

    assert described("one  paragraph\nof text") == "one paragraph of text"
    cut = described("a sentence, " * 40)
    assert len(cut) <= sharing.LONGEST
    assert cut.endswith("a…")


def test_the_sitemap_lists_every_page(html):
    tree = ElementTree.parse(html / "sitemap.xml")
    found = [
        element.text for element in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")
    ]
    assert sorted(found) == sorted(f"{BASE}{name}.html" for name in PAGES)
    assert f"Sitemap: {BASE}sitemap.xml" in (html / "robots.txt").read_text(encoding="utf-8")


def test_the_root_leads_to_the_first_page_and_describes_it(page, root, html):
    found = metas((html / "index.html").read_text(encoding="utf-8"))
    assert found["og:title"] == "Attention in CNNs"
    page.goto(f"{root}/index.html")
    page.wait_for_url("**/book/index.html")
    assert page.locator("article h1").count() == 1


class AsOnGitHub(SimpleHTTPRequestHandler):
    """The site at the path that its address has, and its own page for what there is not."""

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
def test_a_lost_reader_finds_back(page, as_on_github, lost):
    page.goto(as_on_github + lost)
    assert page.locator("h1").inner_text() == "There is no such page"
    assert violations(page) == []
    page.get_by_label("search").fill("sparsemax")
    page.get_by_role("button", name="Search").click()
    page.wait_for_selector("#search-results li a")
    page.goto(as_on_github + lost)
    page.get_by_role("link").click()
    assert page.locator("article h1").inner_text().startswith("Attention in CNNs")
    page.errors.clear()  # the console says that there was no such page


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
    page.wait_for_selector("#search-results li a")
    assert title in " ".join(page.locator("#search-results li a").all_inner_texts())
    if root.startswith(
        "file"
    ):  # from the disk there are titles, and no excerpts: browsers fetch no files
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


@pytest.mark.parametrize("name", PAGES)
def test_no_level_of_headings_is_left_out(html, name):
    article = (
        (html / f"{name}.html")
        .read_text(encoding="utf-8")
        .partition("<article")[2]
        .partition("</article>")[0]
    )
    levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", article)]
    assert levels[0] == 1
    assert all(now <= before + 1 for before, now in pairwise(levels)), levels


def test_the_first_key_skips_to_the_text(page, site):
    page.goto(f"{site}/notebooks/06_attn_vgg.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to main content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


REACHABLE = """() => {
  const around = ["#pst-primary-sidebar", ".bd-header-article", "#pst-secondary-sidebar"];
  const inside = (part) => [...document.querySelectorAll(`${part} :is(a[href], button, input, summary)`)];
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
