"""Helpers that the tests of Quiz share."""

from course_utils.widgets import Question

QUESTIONS = [
    Question(
        "Which <b>sum</b>?",
        "`weights.sum()` is 1",
        "So it is.",
        {"0": "Not at all.", "B": "`K` of them."},
    ),
    Question(
        "Which axis?", "keys", "Each query has its own weights.", {"queries": "No query competes."}
    ),
]
ROOT_OF_D_K = Question(
    "Why $√d_k$?", "$w^{−1} W_q tanh$", "It has that variance.", {"it costs $5": "It doesn't."}
)
