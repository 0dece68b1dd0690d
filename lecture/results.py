"""Numbers of the slides that are results: read from what the package ships, or computed with its networks."""

import torch

from course_utils import scoreboard


def compute() -> dict[str, str]:
    """All of them, as text."""
    scores = scoreboard.scores()
    return {"chance": f"{scores.chance.mean():.3f}"}
