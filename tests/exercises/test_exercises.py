"""Every exercise: its stub is said to be one, its solution is right, and what learners tend to write is told apart."""

import importlib
import pkgutil
import re

import nbformat
import pytest

from course_utils import exercises
from tests.paths import ROOT

CHAPTERS = {path.stem[3:]: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
CHAPTERS |= dict.fromkeys(
    ["bugs_in_tensors", "bugs_in_training"], CHAPTERS["source_audit"]
)  # its bug hunt
CHAPTERS = {
    stem: path for stem, path in CHAPTERS.items() if (ROOT / f"tests/exercises/{stem}.py").exists()
}
CELLS = {
    stem: [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    for stem, path in CHAPTERS.items()
}
CALL = re.compile(r'exercises\.(check|confirm)\(\s*"(\w+)\.(\w+)"')
CASES = {
    (stem, name): case
    for stem in CHAPTERS
    for name, case in importlib.import_module(f"tests.exercises.{stem}").CASES.items()
}
EXERCISES = pytest.mark.parametrize(("stem", "name"), CASES)
STUBS = pytest.mark.parametrize(
    ("stem", "name"), [key for key in CASES if not key[0].startswith("bugs_")]
)


def cell_of(stem, name, how):
    (cell,) = (cell for cell in CELLS[stem] if (how, stem, name) in CALL.findall(cell.source))
    return cell


def test_each_exercise_of_the_package_stands_in_its_chapter_and_is_tried_here():
    package = {
        module.name for module in pkgutil.iter_modules(exercises.__path__) if module.name[0] != "_"
    }
    assert package == set(CHAPTERS)
    for stem, cells in CELLS.items():
        calls = [call for cell in cells for call in CALL.findall(cell.source)]
        for how in ("check", "confirm"):
            found = [(chapter, name) for kind, chapter, name in calls if kind == how]
            assert sorted(found) == sorted(
                key for key in CASES if CHAPTERS[key[0]] == CHAPTERS[stem]
            )
        with pytest.raises(ValueError, match="unknown exercise") as error:
            exercises.check(f"{stem}.nothing", 0)
        assert set(str(error.value).rpartition("of ")[2].split(", ")) == {
            name for s, name in CASES if s == stem
        }


@STUBS
def test_the_stub_is_open_and_there_is_a_hint(stem, name):
    check = cell_of(stem, name, "check")
    stub = CELLS[stem][CELLS[stem].index(check) - 1].source
    assert "..." in stub
    assert "hint" in previous_markdown(stem, check).lower()


@EXERCISES
def test_the_check_is_open_and_the_solution_is_folded(stem, name):
    check, solution = (cell_of(stem, name, how) for how in ("check", "confirm"))
    assert "tags" not in check.metadata
    assert solution.source.startswith("# @title Solution\n")
    assert solution.metadata.tags == ["hide-cell"]
    assert solution.metadata.cellView == "form"  # Colab
    assert solution.metadata.jupyter.source_hidden  # JupyterLab


def previous_markdown(stem, cell):
    cells = nbformat.read(CHAPTERS[stem], as_version=4).cells
    at = next(i for i, other in enumerate(cells) if other.source == cell.source)
    return next(c.source for c in reversed(cells[:at]) if c.cell_type == "markdown")


@STUBS
def test_an_untouched_stub_is_said_to_be_one(stem, name):
    case = CASES[stem, name]
    stubs = [..., lambda *_: None, lambda *_: ...] if callable(case.wrong[0][0]) else [...]
    for stub in stubs:
        said = exercises.check(f"{stem}.{name}", stub, **case.given())
        assert not said.solved
        assert said.sentence.startswith("Nothing to check yet")


@EXERCISES
def test_typical_wrong_answers_are_told_apart(stem, name):
    case = CASES[stem, name]
    assert len(case.wrong) >= 3
    for _ in range(3):  # the inputs are others each time
        for answer, pattern in case.wrong:
            said = exercises.check(f"{stem}.{name}", answer, **case.given())
            assert not said.solved, answer
            assert re.search(pattern, said.sentence), said.sentence
            assert len(said.sentence) < 200


@EXERCISES
def test_right_answers_are_taken(stem, name):
    case = CASES[stem, name]
    for _ in range(3):
        for answer in case.right:
            assert exercises.confirm(f"{stem}.{name}", answer, **case.given()).sentence.startswith(
                "Right"
            )
