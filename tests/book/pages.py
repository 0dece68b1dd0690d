"""The pages of the book, by the table of contents, and checks that several test modules share."""

import re

from book.pdf import contents

# Chapters come first. pytest shares a page between tests that are parametrised over different lists
# only if the page has the same position in both.
CHAPTERS = [page for page in contents() if page.startswith("notebooks")]
PAGES = CHAPTERS + [page for page in contents() if page not in CHAPTERS]
READY = "html[data-widgets=ready]"


def check_that_widgets_answer(page):
    """Move a slider of every widget of a chapter: text or picture must change."""
    # As a reader does, who sees a widget in a folded section only then.
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    widgets = page.locator(".course-widget").all()
    quizzes = page.locator(".course-quiz").count()
    marks = page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count()
    assert widgets
    assert len(widgets) + quizzes == marks
    for widget in widgets:
        assert len(widget.get_attribute("aria-label")) > 5
        assert re.search(r"\d", widget.locator(".course-status").inner_text())
        before = widget.inner_text(), widget.screenshot()
        slider = widget.locator("input[type=range]:visible").first
        slider.focus()
        is_first = slider.input_value() == slider.get_attribute("min")
        slider.press("End" if is_first else "Home")
        assert (widget.inner_text(), widget.screenshot()) != before
    assert len({widget.get_attribute("aria-label") for widget in widgets}) == len(widgets)
