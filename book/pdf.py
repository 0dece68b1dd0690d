"""Print the built book as one PDF with Chromium: ``python -m book.pdf``, or ``make pdf``.

Every page of the table of contents is printed as a reader would print it, with typeset formulas.
The results are joined, with one bookmark per page. Links between pages lead to pages of the PDF,
other links to the web. The pages that have room for it then link to the PDF.
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
SLOT = re.compile(r'<p class="course-pdf">.*?</p>')
MARGINS = {"top": "18mm", "bottom": "20mm", "left": "16mm", "right": "16mm"}
FOOTER = """
<div style="width: 100%; padding: 0 16mm; font: 8px sans-serif; color: #555; display: flex">
  <span style="flex: 1">TITLE</span><span class="pageNumber"></span>
</div>"""
# Wait until the page is complete: formulas typeset, images decoded, fonts loaded.
TYPESET = """async () => {
  if (window.MathJax) await MathJax.startup.promise;
  for (const image of document.images) image.loading = "eager";
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  await document.fonts.ready;
}"""


def contents() -> list[str]:
    """Return all pages in the order of the table of contents, without file extension."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [
        toc["root"],
        *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"]),
    ]


def printed(page, file: Path) -> tuple[str, PdfReader]:
    """Print a page; return its title and the printed sheets."""
    page.goto(file.as_uri())
    if page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count():
        page.wait_for_selector("html[data-widgets=ready]", state="attached")
    page.evaluate(TYPESET)
    title = page.locator("article h1").first.inner_text().rstrip("#").strip()
    footer = FOOTER.replace("TITLE", html.escape(title))
    sheets = page.pdf(
        format="A4",
        margin=MARGINS,
        print_background=True,
        display_header_footer=True,
        header_template="<span></span>",  # nothing; without it Chromium prints date and title
        footer_template=footer,
    )
    return title, PdfReader(io.BytesIO(sheets))


def relink(writer: PdfWriter, first: dict[str, int]) -> None:
    """Replace links between files by links within the PDF, or by addresses on the web.

    Args:
        writer: The joined sheets.
        first: The number of the first sheet of every page, by the address of the page's file.
    """
    for sheet in writer.pages:
        for annotation in sheet.get("/Annots", ()):
            action = annotation.get_object().get("/A", {})
            address = urldefrag(str(action.get("/URI", "")))[0]
            if not address.startswith("file:"):
                continue
            if address in first:
                target = [writer.pages[first[address]].indirect_reference, NameObject("/Fit")]
                new = {NameObject("/S"): NameObject("/GoTo"), NameObject("/D"): ArrayObject(target)}
            else:
                path = address.removeprefix(HTML.as_uri()).lstrip("/")
                public = TextStringObject(CONFIG["html"]["baseurl"] + path)
                new = {NameObject("/S"): NameObject("/URI"), NameObject("/URI"): public}
            annotation.get_object()[NameObject("/A")] = DictionaryObject(new)


def write(pdf: Path, browser) -> int:
    """Print all pages into one file and return the number of sheets."""
    writer, first = PdfWriter(), {}
    page = browser.new_page(
        viewport={"width": 1000, "height": 1400}, color_scheme="light", reduced_motion="reduce"
    )
    # A machine that executes notebooks at the same time is slow, so the limit is generous.
    page.set_default_timeout(120_000)
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
    """Write a link to the PDF into the pages that have an element for it."""
    sentence = f'The whole course is also <a href="../course.pdf">one PDF</a> of {pages} pages.'
    for file in (HTML / "book").glob("*.html"):
        text = file.read_text(encoding="utf-8")
        if SLOT.search(text):
            file.write_text(
                SLOT.sub(f'<p class="course-pdf">{sentence}</p>', text), encoding="utf-8"
            )


def main() -> int:
    """Print the book, link to the PDF, and return the exit status."""
    if not (HTML / f"{contents()[0]}.html").exists():
        print(f"There is no book at {HTML}; make book builds it.", file=sys.stderr)
        return 1
    chromium = find_chromium() if find_spec("playwright") else None
    if not chromium:
        print(
            "Printing the book requires Playwright and Chromium; make browser installs them.",
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
