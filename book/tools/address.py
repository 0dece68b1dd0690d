"""Write what many files repeat: the repository's address, the chapters and their minutes.

``python -m book.tools.address``, or ``make links``. With ``--check`` nothing is written, and a file
that would change is an error.

The address has one home, ``[project.urls]`` in pyproject.toml, and the previous address is read
from _config.yml. The theme's buttons, the address of the pages, the notebooks' set-up cells and
Colab links, and the citation follow from it. Number, name and question of a chapter have their home
in the first cell of its notebook, and its minutes are computed from all its cells (minutes.py). The
tables in README.md and on the front page, the table of contents, the minutes in each first cell and
those in the guide for instructors follow from these.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import nbformat

from book.tools import minutes
from book.tools.chapters import Chapter, chapters

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "urls"
]["Repository"]
NAME = REPOSITORY.removeprefix("https://github.com/")
BEFORE = re.search(
    r"^  url: (\S+)", (ROOT / "_config.yml").read_text(encoding="utf-8"), re.MULTILINE
)[1]

SETUP = f"""\
try:
    import course_utils
except ImportError:  # on Colab; its own PyTorch stays
    %pip install -q "course-utils @ git+{REPOSITORY}"
"""

# The folder of the notebooks as seen from each page with a table of the chapters.
TABLES = {"README.md": "notebooks", "book/index.md": "../notebooks"}
TABLE = re.compile(r"^\| No\. \| Chapter \|.*(?:\n\|.*)*", re.MULTILINE)
CONTENTS = re.compile(r"(?:^ +- file: notebooks/\w+\n)+", re.MULTILINE)
# "**Minutes:** 40 (60 with exercises) · ", in the first cell of a notebook.
IN_FIRST_CELL = re.compile(r"^\*\*Minutes:\*\* .*? · (?=\*\*GPU:\*\*)", re.MULTILINE)
# "All chapters together take about 15 hours.", on the front page.
IN_TOTAL = re.compile(r"^All chapters together take about [^.]+\.", re.MULTILINE)
# "[Results](../notebooks/11_results.ipynb) (70 minutes)", in the instructor guide, or of a section:
# "*Many comparisons* of [Results](../notebooks/11_results.ipynb) (5 minutes)".
IN_GUIDE = re.compile(
    r"(?P<what>(?:\*(?P<section>[^*\n]+)\*\s+of\s+)?"
    r"\[[^\]]+\]\(\.\./notebooks/(?P<stem>\w+)\.ipynb\)) \(\d+ minutes\)"
)


def colab(notebook: str) -> str:
    """Return the address at which Colab opens a notebook of the repository."""
    return f"https://colab.research.google.com/github/{NAME}/blob/main/notebooks/{notebook}"


def pages(repository: str) -> str:
    """Return the address at which GitHub shows the built book of a repository."""
    owner, name = repository.removeprefix("https://github.com/").lower().split("/")
    return f"https://{owner}.github.io/" + (f"{name}/" if name != f"{owner}.github.io" else "")


def with_links(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """Return the notebook with its set-up cell, Colab link and minutes as they should be."""
    first, line = notebook.cells[0], minutes.line(minutes.of(notebook.cells))
    first.source = IN_FIRST_CELL.sub(line, first.source)
    for cell in notebook.cells:
        if "setup" in cell.metadata.get("tags", []):
            cell.source = SETUP.rstrip()
        cell.source = re.sub(
            r"https://colab\.research\.google\.com/github/[^)\s]+", colab(name), cell.source
        )
    return notebook


def table(of: Iterable[Chapter], folder: str) -> str:
    """Return the table of the chapters for a page from which `folder` holds the notebooks."""
    columns = ("No.", "Chapter", "Question", "Minutes", "With everything", "GPU", "Colab")
    rows = [columns, ["---"] * len(columns)]
    for c in of:
        file = f"{c.stem}.ipynb"
        link = f"[{c.name}]({folder}/{file})"
        opened = f"[Open in Colab]({colab(file)})"
        both = str(c.minutes.core), str(c.minutes.everything)
        rows.append((c.number, link, c.question, *both, c.gpu, opened))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def total(of: list[Chapter]) -> str:
    """Return the sentence about the time that all chapters take together."""
    core = round(sum(c.minutes.core for c in of) / 60)
    everything = round(sum(c.minutes.everything for c in of) / 60)
    return (
        f"All chapters together take about {core} hours, or {everything} with all exercises and "
        "folded parts."
    )


def with_minutes(guide: str) -> str:
    """Return the guide for instructors with the minutes of the chapters that it recommends."""

    def written(found: re.Match) -> str:
        cells = minutes.read(ROOT / "notebooks" / f"{found['stem']}.ipynb")
        return f"{found['what']} ({minutes.of(cells, found['section'] or '').core} minutes)"

    return IN_GUIDE.sub(written, guide)


def contents(of: Iterable[Chapter]) -> str:
    """Return the table of contents, with the chapters in order."""
    text = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    files = "".join(f"      - file: notebooks/{c.stem}\n" for c in of)
    return CONTENTS.sub(lambda _: files, text, count=1)


def expected() -> dict[Path, str]:
    """Return the text that each file with the address should have."""
    texts = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = with_links(nbformat.read(path, as_version=4), path.name)
        texts[path] = nbformat.writes(notebook) + "\n"
    course = chapters()
    for name in ("_config.yml", "CITATION.cff", "README.md", "book/index.md"):
        text = (ROOT / name).read_text(encoding="utf-8").replace(BEFORE, REPOSITORY)
        text = text.replace(pages(BEFORE), pages(REPOSITORY))
        if name in TABLES:
            rows = table(course, TABLES[name])
            text = TABLE.sub(lambda _, rows=rows: rows, text)
            text = IN_TOTAL.sub(total(course), text)
        texts[ROOT / name] = text
    return texts


def main(arguments: list[str]) -> int:
    """Write the files, or with ``--check`` name those that are out of date."""
    guide = ROOT / "book" / "instructor_guide.md"
    texts = expected() | {
        ROOT / "_toc.yml": contents(chapters()),
        guide: with_minutes(guide.read_text(encoding="utf-8")),
    }
    stale = [path for path, text in texts.items() if path.read_text(encoding="utf-8") != text]
    for path in stale:
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is out of date: run make links", file=sys.stderr)
        else:
            path.write_text(texts[path], encoding="utf-8")
    return int("--check" in arguments and len(stale) > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
