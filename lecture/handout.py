"""Print the deck: one page per slide, with the speaker notes below the slide."""

from pathlib import Path

from pypdf import PdfReader

from book.tools.browser import find_chromium

NOTES_HEIGHT = 300  # pixels, below the slide
MARGIN = 40  # pixels
PRINTED = f"?print-pdf&showNotes=true&pdfPageHeightOffset={NOTES_HEIGHT}"
READY = "window.Reveal?.isReady() && document.querySelectorAll('.pdf-page').length > 0"
# Number of slides, height and width of a page, and titles of the slides whose notes are too long.
MEASURE = """() => {
  const pages = [...document.querySelectorAll(".pdf-page")], [first] = pages;
  const bottom = (element) => element.getBoundingClientRect().bottom;
  const notes = (page) => page.querySelector(".speaker-notes-pdf");
  const cut = pages.filter((page) => bottom(notes(page)) > bottom(page));
  const titles = cut.map((page) => page.querySelector("h1, h2").textContent);
  return [Reveal.getTotalSlides(), first.offsetHeight, first.offsetWidth, titles];
}"""


def write(index: Path, pdf: Path) -> int:
    """Print a deck.

    Args:
        index: The page of the deck.
        pdf: Path of the handout.

    Returns:
        The number of pages, or 0 if there is no Chromium.

    Raises:
        RuntimeError: If some notes don't fit on their page, or if the number of pages is not the
            number of slides.
    """
    chromium = find_chromium()
    if chromium is None:
        return 0
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(index.as_uri() + PRINTED)
        page.wait_for_function(READY)
        page.wait_for_selector("html[data-widgets=ready]")
        page.evaluate("MathJax.startup.promise.then(() => document.fonts.ready).then(() => true)")
        slides, height, width, too_long = page.evaluate(MEASURE)
        # Reveal has set the page to the size of a slide, which wins over the arguments of `pdf`.
        size = f"{width + 2 * MARGIN}px {height + 2 * MARGIN}px"
        page.add_style_tag(content=f"@page {{ size: {size}; margin: {MARGIN}px }}")
        page.pdf(path=pdf, prefer_css_page_size=True, print_background=True)
        browser.close()
    if too_long:
        raise RuntimeError(f"expected notes that fit on their page, got {', '.join(too_long)}")
    pages = len(PdfReader(pdf).pages)
    if pages != slides:
        raise RuntimeError(f"expected one page for each of {slides} slides, got {pages} pages")
    return pages
