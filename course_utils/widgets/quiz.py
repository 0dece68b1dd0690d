"""Quiz: a few questions with answers to choose from, each answer with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import anywidget
import traitlets

from course_utils.widgets._source import HERE


class Question(NamedTuple):
    """A question with one right answer; what stands between `backticks` is shown as code.

    Attributes:
        text: the question.
        right: the right answer.
        why: the reason why it is right.
        wrong: every wrong answer with the reason why it is wrong.
    """

    text: str
    right: str
    why: str
    wrong: Mapping[str, str]


class Quiz(anywidget.AnyWidget):
    """Questions that answer back: a choice is judged at once, with a reason, and another may follow.

    The answers stand in alphabetical order, so that their order tells nothing.
    """

    _esm = (HERE / "quiz.js").read_text(encoding="utf-8")
    _css = (HERE / "quiz.css").read_text(encoding="utf-8")

    questions = traitlets.List(traitlets.Dict()).tag(sync=True)
    chosen = traitlets.List(traitlets.List(traitlets.Int())).tag(
        sync=True
    )  # by question, in the order of choosing

    def __init__(self, *questions: Question):
        """Ask these questions.

        Raises:
            ValueError: no question at all, or one without a wrong answer, with an answer twice, or with an empty text.
        """
        if not questions:
            raise ValueError("expected at least one question, got none")
        for question in questions:
            texts = [
                question.text,
                question.right,
                question.why,
                *question.wrong.keys(),
                *question.wrong.values(),
            ]
            if (
                not question.wrong
                or question.right in question.wrong
                or not all(text.strip() for text in texts)
            ):
                needs = "one right answer, others that are wrong, and a reason for each"
                raise ValueError(f"expected {needs}, got {question}")
        super().__init__(
            questions=[_listed(question) for question in questions], chosen=[[] for _ in questions]
        )


def _listed(question: Question) -> dict:
    answers = [
        (question.right, question.why, True),
        *((text, why, False) for text, why in question.wrong.items()),
    ]
    answers.sort(key=lambda answer: answer[0].replace("`", "").casefold())
    keys = "text", "why", "right"
    return {"text": question.text, "answers": [dict(zip(keys, answer)) for answer in answers]}
