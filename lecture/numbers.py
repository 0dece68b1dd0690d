"""The numbers on the slides, by the names in slides.md, and the slides' titles and minutes."""

import re
from pathlib import Path
from typing import NamedTuple

from book.tools.address import colab
from book.tools.chapters import chapters

ROOT = Path(__file__).resolve().parent.parent
SLIDES = ROOT / "lecture" / "slides.md"


class Slide(NamedTuple):
    """One slide: its part of the lecture, its title, the minutes it takes, and its source."""

    part: str
    title: str
    minutes: float
    source: str


def slides() -> list[Slide]:
    """Return the slides in order; a heading of the first level begins a part."""
    found, part = [], ""
    for block in re.split(r"^(?=##? )", SLIDES.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading, _, source = block.partition("\n")
        title = heading.lstrip("# ")
        part = part if heading.startswith("##") else title
        minutes = re.search(r"^:::+\{notes\} (\S+)", source, re.MULTILINE)
        found.append(Slide(part, title, float(minutes[1]) if minutes else 0.0, source))
    return found


def links() -> dict[str, str]:
    """Return the name of each chapter, linked to the notebook in Colab, by the chapter's stem."""
    return {c.stem.partition("_")[2]: f"[{c.name}]({colab(f'{c.stem}.ipynb')})" for c in chapters()}


def compute() -> dict[str, str]:
    """Return every substitution of slides.md as text.

    Raises:
        ValueError: If a chapter's stem is also the name of a number.
    """
    from lecture import measurements

    minutes = sum(slide.minutes for slide in slides())
    texts = {"slides": str(len(slides())), "minutes": f"{minutes:g}"} | measurements.compute()
    if both := texts.keys() & links().keys():
        raise ValueError(f"expected names that are not stems of chapters, got {', '.join(both)}")
    return texts | links()
