"""Print the built book as one PDF, through Chromium: ``python -m book.pdf``, or ``make pdf``.

Each page of the contents is printed as a reader would print it, formulas typeset; the parts are put together with a
bookmark a page. Links between pages lead to pages of the PDF, others to the web. The pages that have a place for it
then link to the result.
"""

import html
import io
import re
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urldefrag

import yaml
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, NameObject, TextStringObject

from book.tools.browser import find_chromium

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
PLACE = re.compile(r'<p class="course-pdf">.*?</p>')
MARGINS = {"top": "18mm", "bottom": "20mm", "left": "16mm", "right": "16mm"}
FOOTER = """<div style="width: 100%; padding: 0 16mm; font: 8px sans-serif; color: #555; display: flex">
  <span style="flex: 1">TITLE</span><span class="pageNumber"></span></div>"""
TYPESET = """async () => {
  if (window.MathJax) await MathJax.startup.promise;
  for (const image of document.images) image.loading = "eager";
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  await document.fonts.ready;
}"""


def contents() -> list[str]:
    """All pages, in the order of the contents."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [
        toc["root"],
        *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"]),
    ]


def printed(page, file: Path) -> tuple[str, PdfReader]:
    """A page's title, and the page on paper."""
    page.goto(file.as_uri())
    if page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count():
        page.wait_for_selector("html[data-widgets=ready]", state="attached")
    page.evaluate(TYPESET)
    title = page.locator("article h1").first.inner_text().rstrip("#").strip()
    footer = FOOTER.replace("TITLE", html.escape(title))
    options = {
        "format": "A4",
        "margin": MARGINS,
        "print_background": True,
        "display_header_footer": True,
    }
    return title, PdfReader(
        io.BytesIO(page.pdf(**options, header_template="<span></span>", footer_template=footer))
    )


def relink(writer: PdfWriter, first: dict[str, int]) -> None:
    """Lead links between files to the pages of the PDF, or where these are on the web."""
    for sheet in writer.pages:
        for annotation in sheet.get("/Annots", ()):
            action = annotation.get_object().get("/A", {})
            address = urldefrag(str(action.get("/URI", "")))[0]
            if not address.startswith("file:"):
                continue
            if address in first:
                target = ArrayObject(
                    [writer.pages[first[address]].indirect_reference, NameObject("/Fit")]
                )
                new = {NameObject("/S"): NameObject("/GoTo"), NameObject("/D"): target}
            else:
                there = CONFIG["html"]["baseurl"] + address.removeprefix(HTML.as_uri()).lstrip("/")
                new = {
                    NameObject("/S"): NameObject("/URI"),
                    NameObject("/URI"): TextStringObject(there),
                }
            annotation.get_object()[NameObject("/A")] = DictionaryObject(new)


def write(pdf: Path, browser) -> int:
    """Print all pages into one file; returns how many sheets it has."""
    writer, first = PdfWriter(), {}
    page = browser.new_page(
        viewport={"width": 1000, "height": 1400}, color_scheme="light", reduced_motion="reduce"
    )
    page.set_default_timeout(
        120_000
    )  # a machine that executes notebooks at the same time is slow, not broken
    for name in contents():
        file = HTML / f"{name}.html"
        title, sheets = printed(page, file)
        first[file.as_uri()] = len(writer.pages)
        writer.append(sheets, import_outline=False)
        writer.add_outline_item(title=title, page_number=first[file.as_uri()])
    page.close()
    relink(writer, first)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    writer.add_metadata({"/Title": CONFIG["title"], "/Author": project["authors"][0]["name"]})
    writer.root_object[NameObject("/Lang")] = TextStringObject(
        CONFIG["sphinx"]["config"]["language"]
    )
    writer.compress_identical_objects()
    writer.write(pdf)
    return len(writer.pages)


def link(pages: int) -> None:
    """Name the PDF where there is a place for it."""
    sentence = f'The whole course is also <a href="../course.pdf">one PDF</a> of {pages} pages.'
    for file in (HTML / "book").glob("*.html"):
        text = file.read_text(encoding="utf-8")
        if PLACE.search(text):
            file.write_text(
                PLACE.sub(f'<p class="course-pdf">{sentence}</p>', text), encoding="utf-8"
            )


def main() -> int:
    """Print, link, and say where it is."""
    if not (HTML / f"{contents()[0]}.html").exists():
        print(f"There is no book at {HTML}: make book builds it.", file=sys.stderr)
        return 1
    chromium = find_chromium() if find_spec("playwright") else None
    if not chromium:
        print(
            "Printing the book needs Playwright and a Chromium, which make browser installs.",
            file=sys.stderr,
        )
        return 1
    from playwright.sync_api import sync_playwright

    pdf = HTML / "course.pdf"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        pages = write(pdf, browser)
        browser.close()
    link(pages)
    print(f"The book, {pages} pages, is at {pdf}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
