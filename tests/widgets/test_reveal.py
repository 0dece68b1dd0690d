"""The data that `Reveal` passes to the page, and the text where no widget can be shown."""

import re

import pytest

from course_utils.widgets import Question, Reveal
from tests.widgets.quiz import QUESTIONS, ROOT_OF_D_K


def test_the_page_gets_one_question_and_no_choice():
    reveal = Reveal(QUESTIONS[1])
    assert reveal.question == {
        "text": "Which axis?",
        "answers": [
            {"text": "keys", "why": "Each query has its own weights.", "right": True},
            {"text": "queries", "why": "No query competes.", "right": False},
        ],
    }
    assert reveal.chosen == -1


@pytest.mark.parametrize("change", [{"wrong": {}}, {"why": " "}, {"wrong": {"keys": "Yes."}}])
def test_incomplete_questions_are_refused(change):
    with pytest.raises(ValueError, match="expected one right answer"):
        Reveal(QUESTIONS[1]._replace(**change))


def test_without_widgets_the_answer_is_folded_text():
    data, _ = Reveal(QUESTIONS[0])._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    shown, _, folded = data["text/html"].partition("<details>")
    assert "Which &lt;b&gt;sum&lt;/b&gt;?" in shown
    listed = re.findall("<li>(.*?)</li>", shown)
    assert listed == ["0", "B", "<code>weights.sum()</code> is 1"]
    assert "<strong><code>weights.sum()</code> is 1</strong>" in folded
    assert "So it is." in folded
    assert "So it is." not in shown
    assert "Not at all." not in data["text/html"]


def test_formulas_are_typeset_in_that_text():
    data, _ = Reveal(ROOT_OF_D_K)._repr_mimebundle_()
    assert "Why √<i>d</i><sub><i>k</i></sub>?" in data["text/html"]
    assert "<i>w</i><sup>−1</sup> <i>W</i><sub><i>q</i></sub> tanh" in data["text/html"]
    assert "it costs $5" in data["text/html"]


def test_answers_are_sorted_by_what_is_read():
    question = Question("Which?", "$b$", "So.", {"`a`": "No.", "c": "No."})
    texts = [answer["text"] for answer in Reveal(question).question["answers"]]
    assert texts == ["`a`", "$b$", "c"]
