"""A real browser for tests: fixtures that open pages, and helpers that look at widgets.

Every request that leaves the page is refused and recorded, so a page that needs the network fails.
"""

import os
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from book.tools import one_page
from book.tools.browser import find_chromium
from course_utils.widgets._source import module
from tests.paths import ROOT

HTML = ROOT / "_build" / "html"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]  # levels A and AA, up to 2.2
PHONE = {"width": 360, "height": 700}


def unavailable(message):
    """Fail in CI, where everything must be installed; skip the test on other machines."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def html():
    if not (HTML / "index.html").exists():
        unavailable(f"no book at {HTML}: `make book` builds it")
    return HTML


@pytest.fixture(scope="session")
def site(html):
    """The address of the book, served under a sub-path as a project's pages are."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=html.parent))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/html"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["http", "file"])
def root(request, site, html):
    """The address of the book, once on a server and once on the disk."""
    return site if request.param == "http" else html.as_uri()


# Not for the session: while the browser's event loop runs, no notebook's kernel can be reached.
@pytest.fixture(scope="package")
def chromium():
    path = find_chromium()
    if path is None:
        unavailable("no Chromium found: `make browser` installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextmanager
def guarded(chromium):
    """Open a page that can reach only the book; fail if it requested more, or raised an error.

    `page.outside` holds the addresses that it tried, `page.errors` the messages of its errors.
    """
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.outside, page.errors = [], []

    def guard(route):
        if route.request.url.startswith(("http://127.0.0.1", "file:", "data:", "blob:")):
            return route.continue_()
        page.outside.append(route.request.url)
        return route.abort()

    page.route("**/*", guard)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on(
        "console",
        lambda message: page.errors.append(message.text) if message.type == "error" else None,
    )
    yield page
    page.close()
    assert page.outside == []
    assert page.errors == []


@pytest.fixture
def page(chromium):
    """A fresh page for each test."""
    with guarded(chromium) as page:
        yield page


def overhanging(shown):
    """The number of elements of a widget that stick out of it on the left or right."""
    return shown.evaluate(
        """w => { const o = w.getBoundingClientRect();
                  return [...w.querySelectorAll("*")].map(n => n.getBoundingClientRect())
                    .filter(b => b.width && (b.left < o.left || b.right > o.right)).length; }"""
    )


def violations(page, rules=WCAG):
    """The accessibility rules that a page breaks, and where."""
    options = {"runOnly": rules, "resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, options=options).response["violations"]
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]


def pictures(shown):
    """The content of a widget's canvases, as one data URL each."""
    return shown.locator("figure canvas").evaluate_all("all => all.map(c => c.toDataURL())")


def number(text):
    """A number as a page writes it, with a true minus sign."""
    return float(text.replace("−", "-"))


def page_with_module(chromium, *names):
    """Open an empty page in which `own` is a widget's module, to call its functions directly."""
    page = chromium.new_page()
    page.evaluate(
        """async (source) => {
             const blob = new Blob([source], { type: "text/javascript" });
             window.own = await import(URL.createObjectURL(blob));
           }""",
        module(*names),
    )
    return page


def open_widgets(page, folder, states, *ids):
    """Write a static page with widgets as Sphinx would, one mark per id, and open it."""
    page.goto(one_page.write(folder, states, *ids).as_uri())
    page.wait_for_selector("html[data-widgets=ready]")


@pytest.fixture
def show_states(page, tmp_path):
    """Open a page with widgets, from their states and one mark per id; return the elements."""

    def show(states, *ids):
        open_widgets(page, tmp_path, states, *ids)
        return page.locator("body > div")

    return show


@pytest.fixture
def show_widget(page, show_states):
    """Open a static page with one widget and its traits as they are now; return its element."""

    def show(widget):
        show_states(one_page.states_of(widget), widget.model_id)
        return page.locator(".course-widget")

    return show


@pytest.fixture
def open_chapter(page, root):
    """Open a chapter as it was built, on a server and on the disk; return its widget's element."""

    def show(stem):
        page.goto(f"{root}/notebooks/{stem}.html")
        page.wait_for_selector("html[data-widgets=ready]")
        return page.locator(".course-widget")

    return show
