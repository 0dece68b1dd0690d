"""Quiz: multiple-choice questions that explain every answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import anywidget
import traitlets

from course_utils.widgets._source import HERE, joined


class Question(NamedTuple):
    """A question with one right answer.

    In all texts, what is between `backticks` is shown as code, and what is between dollar signs as
    a formula: ``_`` lowers the next character or {group}, ``^`` raises it, and single letters are
    italic, as in ``$w^T W_q q$``.

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

    _esm = joined("_questions", "quiz")
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
        super().__init__(
            questions=[question_state(question) for question in questions],
            chosen=[[] for _ in questions],
        )


def question_state(question: Question) -> dict[str, Any]:
    """Return a question as the page reads it, with its answers in alphabetical order.

    Raises:
        ValueError: If it has no wrong answer, an answer that occurs twice, or an empty text.
    """
    reasons = question.wrong
    texts = [question.text, question.right, question.why, *reasons.keys(), *reasons.values()]
    if not reasons or question.right in reasons or not all(text.strip() for text in texts):
        raise ValueError(
            "expected one right answer, one or more other wrong answers, and a reason for each, "
            f"got {question}"
        )
    answers: list[dict[str, Any]]
    answers = [{"text": question.right, "why": question.why, "right": True}]
    answers += [{"text": text, "why": why, "right": False} for text, why in reasons.items()]
    answers.sort(key=lambda answer: re.sub("[`$]", "", answer["text"]).casefold())
    return {"text": question.text, "answers": answers}
