"""A chapter's number is in its heading alone, and its name is the same everywhere."""

import importlib
import json
import re

import nbformat
import pytest

from book.tools import chapters
from tests.paths import ROOT

COURSE = chapters.chapters()
NAMES = {chapter.stem: chapter.name for chapter in COURSE}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [
    *sorted((ROOT / "book").glob("*.md")),
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "lecture/slides.md")
    ),
]
FOLDERS = ("course_utils", "book", "lecture", "experiments", "benchmarks")
CODE = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".js") and "_build" not in path.parts
)
TYPED_NUMBER = re.compile(r"\bchapters?[\s#*]+\d+", re.IGNORECASE)
LINK = re.compile(r"\[([^\]]*)\]\((?:(?:\.\./)?notebooks/)?(\d\d[a-z]?_\w+)\.ipynb(?:#[^)]*)?\)")


def text_of(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return text


def title(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("chapter", COURSE, ids=lambda chapter: chapter.stem)
def test_the_number_in_the_heading_is_that_of_the_file(chapter):
    assert chapter.stem.startswith(f"{chapter.number}_")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=title)
def test_no_line_of_prose_begins_with_a_percent_sign(path):
    """The book takes such a line for a comment and leaves it out."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    prose = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    lines = [line for text in prose for line in text.splitlines()]
    assert [line for line in lines if line.lstrip().startswith("%")] == []


def test_names_and_numbers_are_unique():
    assert len({chapter.name for chapter in COURSE}) == len(COURSE)
    assert len({chapter.number for chapter in COURSE}) == len(COURSE)


@pytest.mark.parametrize("path", [*NOTEBOOKS, *PAGES], ids=title)
def test_no_text_types_the_number_of_a_chapter(path):
    assert TYPED_NUMBER.findall(text_of(path)) == []


def test_no_code_types_the_number_of_a_chapter():
    typed = {title(path): TYPED_NUMBER.findall(text_of(path)) for path in CODE}
    assert {path: numbers for path, numbers in typed.items() if numbers} == {}


@pytest.mark.parametrize("path", [*NOTEBOOKS, *PAGES], ids=title)
def test_a_link_to_a_chapter_says_its_name(path):
    links = LINK.findall(text_of(path))
    assert links == [(NAMES[stem], stem) for _, stem in links]


@pytest.mark.parametrize(
    ("heading", "name", "question"),
    [
        ("06 · AttnVGG: does it look?", "AttnVGG", "Does it look?"),
        ("01 · What is attention? How does it weigh?", "What is attention?", "How does it weigh?"),
        ("13 · Grad-CAM: is it right: yes or no?", "Grad-CAM", "Is it right: yes or no?"),
        ("05b · Gallery: what else?", "Gallery", "What else?"),
    ],
)
def test_a_heading_has_a_number_a_name_and_a_question(tmp_path, heading, name, question):
    path = written(tmp_path, f"# {heading}\n\n**Minutes:** 45 · **GPU:** no · **Before:** nothing")
    chapter = chapters.chapter(path)
    assert (chapter.name, chapter.question) == (name, question)
    assert chapter.minutes.core == 5  # computed: what the cell says may be out of date
    assert chapter.gpu == "no"


@pytest.mark.parametrize(
    "first_cell",
    [
        "# AttnVGG: does it look?\n\n**Minutes:** 45 · **GPU:** no",
        "# 06 · AttnVGG\n\n**Minutes:** 45 · **GPU:** no",
        "# 06 · AttnVGG: it looks.\n\n**Minutes:** 45 · **GPU:** no",
        "# 06 · AttnVGG: does it look?\n\n**GPU:** no",
    ],
)
def test_any_other_first_cell_is_an_error(tmp_path, first_cell):
    with pytest.raises(ValueError, match=r"06_attn_vgg\.ipynb"):
        chapters.chapter(written(tmp_path, first_cell))


def written(folder, first_cell):
    path = folder / "06_attn_vgg.ipynb"
    cell = {"cell_type": "markdown", "metadata": {}, "source": [first_cell]}
    path.write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    return path


def test_code_that_prose_names_is_in_the_package():
    """`module.name` in a chapter's text is a module of the package that has this name."""
    rooms = ROOT / "course_utils"
    modules = {p.stem: p.relative_to(ROOT).with_suffix("").as_posix() for p in rooms.rglob("*.py")}
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        for module, name in re.findall(r"`(\w+)\.(\w+)(?:\([^`]*)?`", text):
            if module in modules:
                found = importlib.import_module(modules[module].replace("/", "."))
                assert hasattr(found, name), f"{path.name} names {module}.{name}"
