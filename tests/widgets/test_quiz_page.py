"""The quiz in a static page: by mouse, by keyboard, and in every chapter."""

import json

import pytest

from book.tools import one_page
from course_utils.widgets import Quiz
from tests.browser import violations
from tests.paths import ROOT
from tests.widgets.quiz import QUESTIONS

CHAPTERS = sorted(f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def quiz(page, show_states):
    widget = Quiz(*QUESTIONS)
    show_states(one_page.states_of(widget), widget.model_id)
    return page.locator(".course-quiz")


def test_a_choice_is_judged_with_its_reason_and_another_may_follow(quiz):
    first = quiz.get_by_role("group", name="1. Which <b>sum</b>?")
    said, score = first.get_by_role("status"), quiz.locator("> [role=status]")
    assert score.inner_text() == "2 questions, none answered yet."
    assert said.is_hidden()
    first.get_by_role("button", name="B").click()
    assert said.inner_text() == "✗ Not this one. K of them."
    assert said.locator("code").inner_text() == "K"
    assert score.inner_text() == "1 of 2 answered, 0 right at the first try."
    first.get_by_role("button", name="weights.sum() is 1").click()
    assert said.inner_text() == "✓ Right. So it is."
    assert score.inner_text() == "1 of 2 answered, 0 right at the first try."
    pressed = [b.get_attribute("aria-pressed") for b in first.get_by_role("button").all()]
    assert pressed == ["false", "false", "true"]  # in the order 0, B, `weights…`
    marks = first.get_by_role("button").evaluate_all(
        "all => all.map(b => getComputedStyle(b, '::after').content)"
    )
    assert sorted(marks) == sorted(["none", '" ✓"', '" ✗"'])


def test_the_keyboard_is_enough_and_moving_chooses_nothing(page, quiz):
    second = quiz.get_by_role("group", name="2. Which axis?")
    page.keyboard.press("Tab")
    for _ in range(3):  # over the first question's answers
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Tab")
    assert quiz.locator("> [role=status]").inner_text() == "2 questions, none answered yet."
    assert page.evaluate("document.activeElement.textContent") == "keys"
    page.keyboard.press("Enter")
    assert second.get_by_role("status").inner_text() == "✓ Right. Each query has its own weights."
    assert (
        quiz.locator("> [role=status]").inner_text() == "1 of 2 answered, 1 right at the first try."
    )


def test_answers_that_a_notebook_has_kept_are_shown(page, show_states):
    widget = Quiz(*QUESTIONS)
    widget.chosen = [[2, 1], []]
    show_states(one_page.states_of(widget), widget.model_id)
    shown = page.locator(".course-quiz")
    assert shown.get_by_text("✓ Right").count() + shown.get_by_text("✗ Not this one").count() == 1
    assert "1 of 2 answered" in shown.inner_text()


def test_it_keeps_the_accessibility_rules_when_answered(page, quiz):
    for button in quiz.get_by_role("button").all():
        button.click()
    of_whole_pages = {"html-has-lang", "document-title"}
    assert [rule for rule in violations(page) if rule[0] not in of_whole_pages] == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_chapter_has_one_that_can_be_solved_without_a_kernel(page, site, name):
    page.goto(f"{site}/{name}.html")
    page.wait_for_selector("html[data-widgets=ready]")
    quiz = page.get_by_role("group", name="Quiz", exact=True)
    assert quiz.count() == 1
    state = json.loads(page.locator('script[type*="widget-state"]').first.text_content())["state"]
    (questions,) = (
        model["state"]["questions"] for model in state.values() if "questions" in model["state"]
    )
    assert 3 <= len(questions) <= 4
    groups = quiz.get_by_role("group").all()
    for question, group in zip(questions, groups, strict=True):
        at = [answer["right"] for answer in question["answers"]].index(True)
        group.get_by_role("button").nth(at).click()
        assert group.get_by_role("status").inner_text().startswith("✓ Right.")
    n = len(questions)
    assert f"{n} of {n} answered, {n} right at the first try." in quiz.inner_text()


def test_the_longest_answer_is_not_always_the_right_one(html):
    """Readers who always choose the longest answer should score about as well as by chance."""
    taken, chance = [], []
    for name in CHAPTERS:
        text = (html / f"{name}.html").read_text(encoding="utf-8")
        document = text.partition('type="application/vnd.jupyter.widget-state+json">')[2].partition(
            "</script>"
        )[0]
        for model in json.loads(document)["state"].values():
            for question in model["state"].get("questions", []):
                answers = question["answers"]
                taken.append(max(answers, key=lambda answer: len(answer["text"]))["right"])
                chance.append(1 / len(answers))
    assert len(taken) >= 45
    assert sum(taken) < 1.5 * sum(chance)
