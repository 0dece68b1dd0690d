"""Give each widget of the built book a still picture and a sentence, for readers whose scripts are off.

``python -m book.stills``. The picture is the widget as Chromium shows it, its alternative text what the widget says of
itself, numbers included. Without Chromium there is the sentence alone. Pages that have been seen to are left alone.
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
SENTENCE = "This figure can be moved where scripts are on. Here it stands still."


def still(picture: str | None = None, alt: str = "") -> str:
    """What takes the place of a widget."""
    image = f'<img src="{picture}" alt="{html.escape(alt)}">' if picture else ""
    return f"{DONE}<figure>{image}<figcaption>{SENTENCE}</figcaption></figure></noscript>"


def write(file: Path, stills: list[str]) -> None:
    """Put each behind the mark of its widget."""
    rest = iter(stills)
    text = MARK.sub(lambda mark: mark[0] + next(rest), file.read_text(encoding="utf-8"))
    file.write_text(text, encoding="utf-8")


def photograph(page, file: Path, folder: Path) -> list[str]:
    """Open a page and take a picture of each of its widgets."""
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-widgets=ready]")
    stills = []
    for n, widget in enumerate(page.locator(".course-widget, .course-quiz").all()):
        if (
            example := widget.get_by_role("button", name="Draw an example")
        ).count():  # its sheet is empty
            example.click()
            widget.get_by_text("The network says").wait_for()
        picture = folder / f"{file.stem}_{n}.png"
        widget.screenshot(path=picture, animations="disabled")
        status = widget.locator(".course-status")
        said = (
            status.first if status.count() else widget
        ).inner_text()  # a quiz is nothing but text
        alt = " ".join(f"{widget.get_attribute('aria-label')}. {said}".split())
        stills.append(still(f"../_static/stills/{picture.name}", alt))
    return stills


def main() -> int:
    """See to all pages that have been written since the last time."""
    texts = {
        file: file.read_text(encoding="utf-8")
        for file in sorted((HTML / "notebooks").glob("*.html"))
    }
    marks = {file: len(MARK.findall(text)) for file, text in texts.items() if DONE not in text}
    pending = {file: n for file, n in marks.items() if n}
    chromium = None
    if pending and find_spec("playwright"):
        from book.tools.browser import find_chromium

        chromium = find_chromium()
    if not chromium:
        for file, n in pending.items():
            write(file, [still()] * n)
        return 0
    from playwright.sync_api import sync_playwright

    (folder := HTML / "_static" / "stills").mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(
            viewport={"width": 1000, "height": 900}, color_scheme="light", reduced_motion="reduce"
        )
        for file, n in pending.items():
            stills = photograph(page, file, folder)
            write(
                file, stills if len(stills) == n else [still()] * n
            )  # a widget that did not start has no picture
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
