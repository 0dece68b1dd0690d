"""Print the deck: a page a slide, with what is said to it below."""

from pathlib import Path

from pypdf import PdfReader

from book.tools.browser import find_chromium, until

NOTES_HEIGHT = 300  # pixels, below the slide
MARGIN = 40
PRINTED = f"?print-pdf&showNotes=true&pdfPageHeightOffset={NOTES_HEIGHT}"
READY = "Reveal.isReady() && document.querySelectorAll('.pdf-page').length > 0"


def write(index: Path, pdf: Path) -> int:
    """Write the PDF and return how many pages it has, or 0 where there is no Chromium.

    Raises:
        RuntimeError: another number of pages than slides, or a page whose notes do not fit.
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
        until(page, READY)
        page.wait_for_selector("html[data-widgets=ready]")
        page.evaluate("MathJax.startup.promise.then(() => document.fonts.ready).then(() => true)")
        slides, height, width, too_long = page.evaluate(
            """() => {
                 const pages = [...document.querySelectorAll(".pdf-page")], [first] = pages;
                 const bottom = (page) => page.querySelector(".speaker-notes-pdf").getBoundingClientRect().bottom;
                 const cut = pages.filter((page) => bottom(page) > page.getBoundingClientRect().bottom);
                 const titles = cut.map((page) => page.querySelector("h1, h2").textContent);
                 return [Reveal.getTotalSlides(), first.offsetHeight, first.offsetWidth, titles];
               }"""
        )
        # Reveal has set the page to a slide's size, which wins over the arguments of `pdf`
        size = f"{width + 2 * MARGIN}px {height + 2 * MARGIN}px"
        page.add_style_tag(content=f"@page {{ size: {size}; margin: {MARGIN}px }}")
        page.pdf(path=pdf, prefer_css_page_size=True, print_background=True)
        browser.close()
    if too_long:
        raise RuntimeError(
            f"the notes of these slides do not fit on their page: {', '.join(too_long)}"
        )
    pages = len(PdfReader(pdf).pages)
    if pages != slides:
        raise RuntimeError(f"expected a page a slide, got {pages} pages of {slides} slides")
    return pages
