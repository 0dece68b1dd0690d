"""Write what many files repeat: the repository's address and the list of the chapters.

``python -m book.tools.address``, or ``make links``. With ``--check`` nothing is written, and a file
that would change is an error.

The address has one home, ``[project.urls]`` in pyproject.toml, and the previous address is read
from _config.yml. The theme's buttons, the address of the pages, the notebooks' set-up cells and
Colab links, and the citation follow from it. Number, name, question and minutes of a chapter have
their home in the first cell of its notebook. The tables in README.md and on the front page and the
table of contents follow from these.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import nbformat

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


def colab(notebook: str) -> str:
    """Return the address at which Colab opens a notebook of the repository."""
    return f"https://colab.research.google.com/github/{NAME}/blob/main/notebooks/{notebook}"


def pages(repository: str) -> str:
    """Return the address at which GitHub shows the built book of a repository."""
    owner, name = repository.removeprefix("https://github.com/").lower().split("/")
    return f"https://{owner}.github.io/" + (f"{name}/" if name != f"{owner}.github.io" else "")


def with_links(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """Return the notebook with its set-up cell and its Colab link as they should be."""
    for cell in notebook.cells:
        if "setup" in cell.metadata.get("tags", []):
            cell.source = SETUP.rstrip()
        cell.source = re.sub(
            r"https://colab\.research\.google\.com/github/[^)\s]+", colab(name), cell.source
        )
    return notebook


def table(of: Iterable[Chapter], folder: str) -> str:
    """Return the table of the chapters for a page from which `folder` holds the notebooks."""
    rows = ["| No. | Chapter | Question | Minutes | GPU | Colab |", "|---|---|---|---|---|---|"]
    for c in of:
        file = f"{c.stem}.ipynb"
        link = f"[{c.name}]({folder}/{file})"
        opened = f"[Open in Colab]({colab(file)})"
        rows.append(f"| {c.number} | {link} | {c.question} | {c.minutes} | {c.gpu} | {opened} |")
    return "\n".join(rows)


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
        texts[ROOT / name] = text
    return texts


def main(arguments: list[str]) -> int:
    """Write the files, or with ``--check`` name those that are out of date."""
    texts = expected() | {ROOT / "_toc.yml": contents(chapters())}
    stale = [path for path, text in texts.items() if path.read_text(encoding="utf-8") != text]
    for path in stale:
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is out of date: run make links", file=sys.stderr)
        else:
            path.write_text(texts[path], encoding="utf-8")
    return int("--check" in arguments and len(stale) > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
