"""The chapters of the book: what their first cells say, and the minutes that they take."""

import re
from pathlib import Path
from typing import NamedTuple

from book.tools import minutes
from book.tools.minutes import Minutes

NOTEBOOKS = minutes.NOTEBOOKS

# "# 06 · AttnVGG: does the network look at the digit?" A name that is a question itself ends there.
# An optional page that goes with a chapter has its number and a letter: "05b".
HEADING = re.compile(
    r"# (?P<number>\d\d[a-z]?) · (?P<name>.+?)(?:: |(?<=\?) )(?P<question>[^?]+\?)"
)
FACTS = re.compile(r"^\*\*Minutes:\*\* \d+.* · \*\*GPU:\*\* (?P<gpu>\w+)", re.MULTILINE)


class Chapter(NamedTuple):
    """A notebook of the course.

    Attributes:
        number: The two digits that its file name and its heading start with, and a letter if there
            is one.
        stem: The file name without its ending.
        name: Its name everywhere in the course: the heading up to the colon.
        question: The rest of the heading, starting with a capital letter.
        minutes: The minutes that it takes, computed from its cells. `make links` writes them into
            its first cell.
        gpu: Whether it needs a GPU, from its first cell.
    """

    number: str
    stem: str
    name: str
    question: str
    minutes: Minutes
    gpu: str


def chapter(path: Path) -> Chapter:
    """Read the first cell of a notebook.

    Raises:
        ValueError: If the cell does not have the form of a chapter's first cell.
    """
    cells = minutes.read(path)
    text = "".join(cells[0]["source"])
    first_line = text.partition("\n")[0]
    heading, facts = HEADING.fullmatch(first_line), FACTS.search(text)
    if heading is None or facts is None:
        raise ValueError(
            f"expected a heading like '# 06 · AttnVGG: does it?' and a line with **Minutes:** and "
            f"**GPU:** in the first cell of {path.name}, got {first_line!r}"
        )
    question = heading["question"][0].upper() + heading["question"][1:]
    return Chapter(
        heading["number"],
        path.stem,
        heading["name"],
        question,
        minutes.of(cells),
        facts["gpu"],
    )


def chapters() -> list[Chapter]:
    """Return all chapters in the order of their numbers."""
    return [chapter(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
