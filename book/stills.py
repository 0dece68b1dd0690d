"""Add a still picture of every widget to the built book: ``python -m book.stills``.

Readers without JavaScript see the picture and a sentence. The picture is a screenshot from
Chromium, and its alternative text is the widget's own name and status, values included. If there
is no Chromium, the sentence stands alone. Pages that already have their pictures are left as they
are.
"""

import html
import re
import sys
from importlib.util import find_spec
from pathlib import Path

HTML = Path(__file__).resolve().parent.parent / "_build" / "html"
MARK = re.compile(
    r'<script type="application/vnd\.jupyter\.widget-view\+json">.*?</script>', re.DOTALL
)
DONE = '<noscript class="course-still">'
SENTENCE = "This figure is interactive if JavaScript is on. Here it is a still picture."


def still(picture: str | None = None, alt: str = "") -> str:
    """Return the element that readers without JavaScript see instead of a widget."""
    image = f'<img src="{picture}" alt="{html.escape(alt)}">' if picture else ""
    return f"{DONE}<figure>{image}<figcaption>{SENTENCE}</figcaption></figure></noscript>"


def write(file: Path, stills: list[str]) -> None:
    """Insert one element of `still` after each widget's mark in a page."""
    rest = iter(stills)
    text = MARK.sub(lambda mark: mark[0] + next(rest), file.read_text(encoding="utf-8"))
    file.write_text(text, encoding="utf-8")


def photograph(page, file: Path, folder: Path) -> list[str]:
    """Open a page, save a screenshot of each widget, and return the elements to insert."""
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-widgets=ready]")
    # A widget in a folded section has no picture until the section is open.
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    stills = []
    for n, widget in enumerate(page.locator(".course-widget, .course-quiz").all()):
        # A sheet to draw on is empty at first, so an example is drawn for the picture.
        example = widget.get_by_role("button", name="Draw an example")
        if example.count():
            example.click()
            widget.get_by_text("The network says").wait_for()
        picture = folder / f"{file.stem}_{n}.png"
        widget.screenshot(path=picture, animations="disabled")
        status = widget.locator(".course-status")
        # A quiz has no status; all of it is text.
        text = (status.first if status.count() else widget).inner_text()
        alt = " ".join(f"{widget.get_attribute('aria-label')}. {text}".split())
        stills.append(still(f"../_static/stills/{picture.name}", alt))
    return stills


def photograph_all(pending: dict[Path, int], chromium: str) -> None:
    """Add pictures to all given pages.

    Args:
        pending: The pages, and how many widgets each has.
        chromium: The path of the browser.
    """
    from playwright.sync_api import sync_playwright

    folder = HTML / "_static" / "stills"
    folder.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(
            viewport={"width": 1000, "height": 900}, color_scheme="light", reduced_motion="reduce"
        )
        for file, count in pending.items():
            stills = photograph(page, file, folder)
            # If a widget did not start, it is unknown which picture belongs to which mark.
            write(file, stills if len(stills) == count else [still()] * count)
        browser.close()


def main() -> int:
    """Add pictures to all pages that were written since the last time."""
    pending = {}
    for file in sorted((HTML / "notebooks").glob("*.html")):
        text = file.read_text(encoding="utf-8")
        count = len(MARK.findall(text))
        if count and DONE not in text:
            pending[file] = count
    if pending and find_spec("playwright"):
        from book.tools.browser import find_chromium

        if chromium := find_chromium():
            photograph_all(pending, chromium)
            return 0
    for file, count in pending.items():
        write(file, [still()] * count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
