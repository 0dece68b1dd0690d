"""Reveal in a static page: one choice, the reasons, and the folded output of the next cell."""

import pytest

from book.tools import one_page
from course_utils.widgets import Quiz, Reveal
from tests.browser import overhanging, violations
from tests.paths import ROOT
from tests.widgets.quiz import QUESTIONS, ROOT_OF_D_K

CHAPTERS = [
    f"notebooks/{path.stem}"
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
    if "Reveal(" in path.read_text(encoding="utf-8")
]


def cell(kind, text):
    """A cell with a folded part, as myst-nb writes it."""
    return (
        f'<div class="cell docutils container"><details class="admonition hide {kind}">'
        f"<summary>Show</summary><div><p>{text}</p></div></details></div>"
    )


SOURCE, FIRST, SECOND = (
    cell("above-input", "code"),
    cell("below-input", "the result"),
    cell("below-input", "a second result"),
)


@pytest.fixture
def show(page, show_states):
    """Open a page with a widget, and what follows it in the chapter."""

    def opened(after="", widget=None):
        widget = widget or Reveal(QUESTIONS[0])
        show_states(one_page.states_of(widget), widget.model_id)
        page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", after)
        return page.locator(".course-reveal")

    return opened


def test_a_wrong_prediction_gets_both_reasons_and_no_second_choice(show):
    shown = show()
    said = shown.get_by_role("status")
    assert said.is_hidden()
    shown.get_by_role("button", name="B").click()
    expected = [
        "✗ That isn't what happens. K of them.",
        "✓ The right answer: weights.sum() is 1",
        "So it is.",
    ]
    assert [part.inner_text() for part in said.locator("p").all()] == expected
    assert said.locator("code").all_inner_texts() == ["K", "weights.sum()"]
    buttons = shown.get_by_role("button")
    assert buttons.count() == 3  # no fold here, so nothing leads to one
    shown.get_by_role("button", name="weights.sum() is 1").click(force=True)
    assert [part.inner_text() for part in said.locator("p").all()] == expected
    pressed = [button.get_attribute("aria-pressed") for button in buttons.all()]
    assert pressed == ["false", "true", "false"]
    assert [button.get_attribute("aria-disabled") for button in buttons.all()] == ["true"] * 3
    assert [button.get_attribute("class") for button in buttons.all()] == [
        None,
        "course-quiz-wrong",
        "course-quiz-right",
    ]


def test_a_right_prediction_gets_its_reason(show):
    shown = show()
    shown.get_by_role("button", name="weights.sum() is 1").click()
    assert shown.get_by_role("status").inner_text().strip() == "✓ You predicted it. So it is."


def test_the_next_folded_output_is_opened_and_nothing_moves(page, show):
    shown = show("<p style='height: 2000px'>text</p>" + SOURCE + FIRST + SECOND)
    folds = page.locator("details")
    button = shown.get_by_role("button", name="B")
    before = button.bounding_box()
    button.click()
    assert folds.evaluate_all("all => all.map(d => d.open)") == [False, True, False]
    assert page.evaluate("scrollY") == 0
    assert button.bounding_box() == before
    assert page.evaluate("document.activeElement.textContent") == "B"


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_a_button_leads_to_the_opened_output(page, show, motion):
    page.emulate_media(reduced_motion=motion)
    shown = show("<p style='height: 3000px'>text</p>" + FIRST)
    shown.get_by_role("button", name="B").click()
    shown.get_by_role("button", name="Go to the result").click()
    if motion == "reduce":
        assert page.evaluate("scrollY") > 2000
    page.wait_for_function("scrollY > 2000")
    assert page.evaluate("document.activeElement.matches('details[open] > summary')")


def test_an_output_behind_the_next_heading_stays_folded(page, show):
    shown = show("<h3>Another topic</h3>" + FIRST)
    shown.get_by_role("button", name="B").click()
    assert page.locator("details").evaluate("d => d.open") is False
    assert shown.get_by_role("button", name="Go to the result").count() == 0


def test_an_output_before_the_widget_stays_folded(page, show):
    shown = show()
    page.evaluate("html => document.body.insertAdjacentHTML('afterbegin', html)", FIRST)
    shown.get_by_role("button", name="B").click()
    assert page.locator("details").evaluate("d => d.open") is False


def test_readers_who_open_the_output_by_hand_can_still_predict(page, show):
    shown = show(FIRST)
    page.locator("summary").click()
    shown.get_by_role("button", name="B").click()
    assert page.locator("details").evaluate("d => d.open") is True
    page.locator("summary").click()
    assert page.locator("details").evaluate("d => d.open") is False


def test_the_keyboard_is_enough(page, show):
    shown = show(FIRST)
    for _ in range(2):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert "K of them." in shown.get_by_role("status").inner_text()
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_a_prediction_that_a_notebook_has_kept_is_shown(show):
    widget = Reveal(QUESTIONS[0])
    widget.chosen = 0
    assert "Not at all." in show(widget=widget).get_by_role("status").inner_text()


def test_formulas_are_typeset(show):
    shown = show(widget=Reveal(ROOT_OF_D_K))
    question = shown.locator(".course-quiz-question")
    assert question.inner_html() == "Why √<i>d</i><sub><i>k</i></sub>?"
    assert shown.get_by_role("button").all_inner_texts() == ["it costs $5", "w−1 Wq tanh"]


def test_it_stands_beside_a_quiz_and_keeps_the_accessibility_rules(page, show_states):
    quiz, reveal = Quiz(*QUESTIONS), Reveal(QUESTIONS[0])
    show_states(one_page.states_of(quiz, reveal), quiz.model_id, reveal.model_id)
    page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", FIRST)
    shown = page.get_by_role("group", name="Your prediction")
    of_whole_pages = {"html-has-lang", "document-title"}
    assert [rule for rule in violations(page) if rule[0] not in of_whole_pages] == []
    shown.get_by_role("button", name="B").click()
    assert [rule for rule in violations(page) if rule[0] not in of_whole_pages] == []
    page.set_viewport_size({"width": 320, "height": 600})
    assert overhanging(shown) == 0
    ids = page.locator("[id]").evaluate_all("all => all.map(n => n.id)")
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", CHAPTERS)
def test_in_its_chapter_it_opens_one_output(page, site, name):
    page.goto(f"{site}/{name}.html")
    page.wait_for_selector("html[data-widgets=ready]")
    shown = page.locator(".course-reveal")
    assert shown.count() == 1
    assert page.locator(".course-reveal ~ details, .text_html details").count() == 0  # no fallback
    folds = page.locator("details.hide[open]")
    before = folds.count()
    shown.get_by_role("button").first.click()
    assert folds.count() == before + 1
