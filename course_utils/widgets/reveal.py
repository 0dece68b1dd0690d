"""Reveal: a prediction to commit to before the result is shown."""

from __future__ import annotations

import html
import re
from typing import Any

import anywidget
import traitlets

from course_utils.widgets._source import HERE, joined
from course_utils.widgets.quiz import Question, question_state


class Reveal(anywidget.AnyWidget):
    """A question before an experiment: the reader commits to one answer, then learns the right one.

    In the static book, the choice also opens the next output that is folded (tag ``hide-output``)
    before the next heading. Where no widget can be shown, the question and its answers are text,
    and the right answer is folded.
    """

    _esm = joined("_questions", "reveal")
    _css = (HERE / "quiz.css").read_text(encoding="utf-8")

    question = traitlets.Dict().tag(sync=True)
    chosen = traitlets.Int(-1, help="index of the chosen answer; -1: none yet").tag(sync=True)

    def __init__(self, question: Question):
        """Ask this question.

        Raises:
            ValueError: If it has no wrong answer, an answer that occurs twice, or an empty text.
        """
        super().__init__(question=question_state(question))

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict] | None:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        return data | {"text/html": _as_text(self.question)}, metadata


def _as_text(question: dict[str, Any]) -> str:
    """Return HTML with a question and its answers, the right one with its reason folded."""
    answers = question["answers"]
    choices = "".join(f"<li>{_written(answer['text'])}</li>" for answer in answers)
    (best,) = (answer for answer in answers if answer["right"])
    return (
        f"<p><strong>Your prediction:</strong> {_written(question['text'])}</p><ul>{choices}</ul>"
        "<details><summary>The answer</summary>"
        f"<p><strong>{_written(best['text'])}</strong></p><p>{_written(best['why'])}</p></details>"
    )


def _written(text: str) -> str:
    """Return HTML for a text of a question, as `_questions.js` writes it."""
    parts = re.split(r"(`[^`]*`|\$[^$]*\$)", text)
    for i in range(1, len(parts), 2):
        inner = html.escape(parts[i][1:-1])
        parts[i] = f"<code>{inner}</code>" if parts[i][0] == "`" else _formula(inner)
    parts[::2] = [html.escape(part) for part in parts[::2]]
    return "".join(parts)


def _formula(text: str) -> str:
    """Return HTML with lowered and raised parts, and single letters in italics."""
    for mark, tag in (("_", "sub"), (r"\^", "sup")):
        text = re.sub(rf"{mark}(?:{{([^}}]*)}}|(.))", rf"<{tag}>\1\2</{tag}>", text)
    return re.sub(r"(?<![^\W\d_])[^\W\d_](?![^\W\d_])", r"<i>\g<0></i>", text)
