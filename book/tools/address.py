"""Write the repository's address wherever it is needed. ``python -m book.tools.address``, or ``make links``.

The address stands once, in pyproject.toml under ``[project.urls]``; the one before it is found in _config.yml. From it
come the theme's buttons, the address of the pages, the notebooks' set-up cell and Colab link, the tables of README and
front page, and the citation; with ``--check`` nothing is written and a difference is an error.
"""

import re
import sys
import tomllib
from pathlib import Path

import nbformat

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


def colab(notebook: str) -> str:
    """Where Colab opens a notebook of the repository."""
    return f"https://colab.research.google.com/github/{NAME}/blob/main/notebooks/{notebook}"


def pages(repository: str) -> str:
    """Where GitHub shows the built book of a repository."""
    owner, name = repository.removeprefix("https://github.com/").lower().split("/")
    return f"https://{owner}.github.io/" + (f"{name}/" if name != f"{owner}.github.io" else "")


def with_links(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """The notebook with its set-up cell and its Colab link as they should be."""
    for cell in notebook.cells:
        if "setup" in cell.metadata.get("tags", []):
            cell.source = SETUP.rstrip()
        cell.source = re.sub(
            r"https://colab\.research\.google\.com/github/[^)\s]+", colab(name), cell.source
        )
    return notebook


def expected() -> dict[Path, str]:
    """Each file that names the repository, with the text it should have."""
    texts = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        texts[path] = (
            nbformat.writes(with_links(nbformat.read(path, as_version=4), path.name)) + "\n"
        )
    for name in ("_config.yml", "CITATION.cff", "README.md", "book/index.md"):
        text = (ROOT / name).read_text(encoding="utf-8").replace(BEFORE, REPOSITORY)
        text = text.replace(pages(BEFORE), pages(REPOSITORY))
        text = re.sub(
            r"https://colab\.research\.google\.com/github/[^)\s]+/(\w+\.ipynb)",
            lambda m: colab(m[1]),
            text,
        )
        texts[ROOT / name] = text
    return texts


def main(arguments: list[str]) -> int:
    """Write the texts, or with ``--check`` name the files that differ."""
    stale = [path for path, text in expected().items() if path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            print(
                f"{path.relative_to(ROOT)} names another repository: run make links",
                file=sys.stderr,
            )
        return len(stale) > 0
    for path in stale:
        path.write_text(expected()[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
