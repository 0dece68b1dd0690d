"""Every number on a slide, under the name by which slides.md calls it; and what can be read off slides.md itself."""

import re
from pathlib import Path
from typing import NamedTuple

import nbformat

ROOT = Path(__file__).resolve().parent.parent
SLIDES = ROOT / "lecture" / "slides.md"


class Slide(NamedTuple):
    """One slide: the part of the lecture in which it stands, its title, and how many minutes it takes."""

    part: str
    title: str
    minutes: float
    source: str


class Chapter(NamedTuple):
    """A notebook, and where Colab opens it."""

    number: str
    stem: str
    title: str
    address: str


def slides() -> list[Slide]:
    """The slides in order; a heading of the first level begins a part."""
    found, part = [], ""
    for block in re.split(r"^(?=##? )", SLIDES.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading, _, source = block.partition("\n")
        title = heading.lstrip("# ")
        part = part if heading.startswith("##") else title
        minutes = re.search(r"^:::+\{notes\} (\S+)", source, re.MULTILINE)
        found.append(Slide(part, title, float(minutes[1]) if minutes else 0.0, source))
    return found


def chapters() -> list[Chapter]:
    """All notebooks, in order."""
    from book.tools.address import colab

    found = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        title = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0].removeprefix("# ")
        found.append(Chapter(path.name[:2], path.stem, title, colab(path.name)))
    return found


def compute() -> dict[str, str]:
    """All of them, as text."""
    from lecture import measurements

    minutes = sum(slide.minutes for slide in slides())
    links = {f"ch{c.number}": f"[chapter {c.number}]({c.address})" for c in chapters()}
    return (
        {"slides": str(len(slides())), "minutes": f"{minutes:g}"} | links | measurements.compute()
    )
