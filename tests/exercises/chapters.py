"""The exercises as they are in the notebooks, and the cases that test them."""

import importlib
import re

import nbformat

from tests.paths import ROOT

STEMS = {path.stem.partition("_")[2]: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
STEMS |= dict.fromkeys(["bugs_in_tensors", "bugs_in_training"], STEMS["source_audit"])
CHAPTERS = {
    stem: path for stem, path in STEMS.items() if (ROOT / f"tests/exercises/{stem}.py").exists()
}
CELLS = {
    stem: [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    for stem, path in CHAPTERS.items()
}
CALL = re.compile(r"exercises\.(check|confirm)\(\s*exercises\.(\w+)\.(\w+)")
CASES = {
    (stem, name): case
    for stem in CHAPTERS
    for name, case in importlib.import_module(f"tests.exercises.{stem}").CASES.items()
}


def exercise(stem, name):
    """Return the function that checks an exercise."""
    return getattr(importlib.import_module(f"course_utils.exercises.{stem}"), name)


def cell_of(stem, name, how):
    """Return the cell with the call of `check` or `confirm`."""
    (cell,) = (cell for cell in CELLS[stem] if (how, stem, name) in CALL.findall(cell.source))
    return cell


def previous_markdown(stem, cell):
    """Return the text of the last markdown cell before a code cell."""
    cells = nbformat.read(CHAPTERS[stem], as_version=4).cells
    position = next(i for i, other in enumerate(cells) if other.source == cell.source)
    return next(c.source for c in reversed(cells[:position]) if c.cell_type == "markdown")
