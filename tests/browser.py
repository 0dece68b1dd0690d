"""The built book in a real browser, every request that leaves the page recorded and refused."""

import os
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import sync_playwright

from book.tools import one_page
from book.tools.browser import find_chromium
from course_utils.widgets._source import module
from tests.paths import ROOT

HTML = ROOT / "_build" / "html"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def html():
    if not (HTML / "index.html").exists():
        message = f"no book at {HTML}: make book builds it"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return HTML


@pytest.fixture(scope="session")
def site(html):
    """The book served under a sub-path, as a project's pages are."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=html.parent))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/html"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["http", "file"])
def root(request, site, html):
    """Where the book begins: on a server, and on the disk."""
    return site if request.param == "http" else html.as_uri()


@pytest.fixture(
    scope="package"
)  # not the session: while its event loop runs, no notebook's kernel can be reached
def chromium():
    path = find_chromium()
    if path is None:
        message = "no Chromium found: make browser installs one"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextmanager
def guarded(chromium):
    """A page that can reach the book only; `page.outside` and `page.errors` hold what went wrong."""
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
    """A page of its own for a test."""
    with guarded(chromium) as page:
        yield page


def overhanging(shown):
    """How many parts of a widget stand out of it at the sides."""
    return shown.evaluate(
        """w => { const o = w.getBoundingClientRect();
                  return [...w.querySelectorAll("*")].map(n => n.getBoundingClientRect())
                    .filter(b => b.width && (b.left < o.left || b.right > o.right)).length; }"""
    )


def page_with_module(chromium, *names):
    """An empty page in which `own` is a widget's module, to call its functions in full precision."""
    page = chromium.new_page()
    page.evaluate(
        """async (source) => {
             const blob = new Blob([source], { type: "text/javascript" });
             window.own = await import(URL.createObjectURL(blob));
           }""",
        module(*names),
    )
    return page


@pytest.fixture
def show_states(page, tmp_path):
    """Open a page with widgets as Sphinx would write it, from their states and one mark an id."""

    def show(states, *ids):
        page.goto(one_page.write(tmp_path, states, *ids).as_uri())
        page.wait_for_selector("html[data-widgets=ready]")
        return page.locator("body > div")

    return show


@pytest.fixture
def show_widget(page, show_states):
    """Open a static page with one widget, its traits as they are now; returns the widget's own element."""

    def show(widget):
        show_states(one_page.states_of(widget), widget.model_id)
        return page.locator(".course-widget")

    return show


@pytest.fixture
def open_chapter(page, root):
    """Open a chapter as it was built, from a server and from the disk; returns the element of its widget."""

    def show(stem):
        page.goto(f"{root}/notebooks/{stem}.html")
        page.wait_for_selector("html[data-widgets=ready]")
        return page.locator(".course-widget")

    return show
