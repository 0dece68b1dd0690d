"""Quiz: multiple-choice questions that explain every answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import anywidget
import traitlets

from course_utils.widgets._source import HERE


class Question(NamedTuple):
    """A question with one right answer. Text between `backticks` is shown as code.

    Attributes:
        text: The question.
        right: The right answer.
        why: Why it is right.
        wrong: The wrong answers, each with the reason why it is wrong.
    """

    text: str
    right: str
    why: str
    wrong: Mapping[str, str]


class Quiz(anywidget.AnyWidget):
    """Questions whose answers are judged at once, with a reason; the reader may choose again.

    Answers are listed alphabetically, so their order gives nothing away.
    """

    _esm = (HERE / "quiz.js").read_text(encoding="utf-8")
    _css = (HERE / "quiz.css").read_text(encoding="utf-8")

    questions = traitlets.List(traitlets.Dict()).tag(sync=True)
    # for each question the chosen answers, in the order in which they were chosen
    chosen = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)

    def __init__(self, *questions: Question):
        """Ask these questions.

        Raises:
            ValueError: If there is no question, or if a question has no wrong answer, an answer
                that occurs twice, or an empty text.
        """
        if not questions:
            raise ValueError("expected at least one question, got none")
        for question in questions:
            _check(question)
        super().__init__(
            questions=[_listed(question) for question in questions],
            chosen=[[] for _ in questions],
        )


def _check(question: Question) -> None:
    """Raise if a question lacks a wrong answer or a text, or has the same answer twice."""
    reasons = question.wrong
    texts = [question.text, question.right, question.why, *reasons.keys(), *reasons.values()]
    if not reasons or question.right in reasons or not all(text.strip() for text in texts):
        raise ValueError(
            "expected one right answer, one or more other wrong answers, and a reason for each, "
            f"got {question}"
        )


def _listed(question: Question) -> dict:
    """Return a question as the page reads it, with its answers in alphabetical order."""
    answers: list[dict[str, Any]]
    answers = [{"text": question.right, "why": question.why, "right": True}]
    answers += [{"text": text, "why": why, "right": False} for text, why in question.wrong.items()]
    answers.sort(key=lambda answer: answer["text"].replace("`", "").casefold())
    return {"text": question.text, "answers": answers}
