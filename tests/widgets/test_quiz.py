"""The data that `Quiz` passes to the page, and the input that it refuses."""

import re

import pytest

from course_utils.widgets import Question, Quiz

ONE = Question("How many?", "two", "Count them.", {"Three": "One too many.", "one": "One more."})


def test_the_page_gets_the_answers_in_alphabetical_order():
    quiz = Quiz(ONE, Question("Why?", "a", "b", {"c": "d"}))
    assert [question["text"] for question in quiz.questions] == ["How many?", "Why?"]
    assert quiz.questions[0]["answers"] == [
        {"text": "one", "why": "One more.", "right": False},
        {"text": "Three", "why": "One too many.", "right": False},
        {"text": "two", "why": "Count them.", "right": True},
    ]
    assert quiz.chosen == [[], []]


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ((), "expected at least one question, got none"),
        (
            (ONE, ONE._replace(wrong={})),
            "wrong={}",
        ),
        ((ONE._replace(wrong={"two": "the same"}),), "wrong={'two'"),
        ((ONE._replace(why=" "),), "why=' '"),
        ((ONE._replace(wrong={"one": ""}),), "'one': ''"),
        ((ONE._replace(text=""),), "text=''"),
    ],
)
def test_incomplete_questions_are_refused(questions, message):
    with pytest.raises(ValueError, match=message):
        Quiz(*questions)


def test_the_module_needs_no_other():
    assert "export default { render }" in Quiz(ONE)._esm
    assert not re.search(r"^\s*import ", Quiz(ONE)._esm, re.MULTILINE)
