"""Every exercise: stubs are unfinished, right answers pass, typical mistakes are told apart."""

import inspect
import pkgutil
import re

import pytest

from course_utils import exercises
from tests.exercises.chapters import (
    CALL,
    CASES,
    CELLS,
    CHAPTERS,
    cell_of,
    exercise,
    previous_markdown,
)

EXERCISES = pytest.mark.parametrize(("stem", "name"), CASES)
STUBS = pytest.mark.parametrize(
    ("stem", "name"), [key for key in CASES if not key[0].startswith("bugs_")]
)


def public_functions(module):
    return {
        name
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }


def test_every_chapter_has_a_module_of_exercises():
    modules = {
        module.name for module in pkgutil.iter_modules(exercises.__path__) if module.name[0] != "_"
    }
    assert modules == set(CHAPTERS)
    assert modules <= set(exercises.__all__)


@pytest.mark.parametrize("stem", CHAPTERS)
def test_every_exercise_is_used_in_its_chapter_and_has_cases(stem):
    names = {name for s, name in CASES if s == stem}
    assert public_functions(getattr(exercises, stem)) == names
    calls = [call for cell in CELLS[stem] for call in CALL.findall(cell.source)]
    for how in ("check", "confirm"):
        used = [name for kind, s, name in calls if (kind, s) == (how, stem)]
        assert sorted(used) == sorted(names)


@STUBS
def test_the_stub_is_open_and_has_a_hint(stem, name):
    check = cell_of(stem, name, "check")
    stub = CELLS[stem][CELLS[stem].index(check) - 1].source
    assert "..." in stub
    assert "hint" in previous_markdown(stem, check).lower()


@EXERCISES
def test_the_check_is_visible_and_the_solution_is_folded(stem, name):
    check, solution = (cell_of(stem, name, how) for how in ("check", "confirm"))
    assert "tags" not in check.metadata
    assert solution.source.startswith("# @title Solution\n")
    assert solution.metadata.tags == ["hide-cell"]
    assert solution.metadata.cellView == "form"  # Colab
    assert solution.metadata.jupyter.source_hidden  # JupyterLab


@STUBS
def test_an_untouched_stub_is_unfinished(stem, name):
    case = CASES[stem, name]
    stubs = [..., lambda *_: None, lambda *_: ...] if callable(case.wrong[0][0]) else [...]
    for stub in stubs:
        answer = exercises.check(exercise(stem, name), stub, **case.given())
        assert not answer.solved
        assert answer.sentence.startswith("Nothing to check yet")


@EXERCISES
def test_typical_wrong_answers_are_told_apart(stem, name):
    case = CASES[stem, name]
    assert len(case.wrong) >= 3
    for _ in range(3):  # with new inputs each time
        for wrong, pattern in case.wrong:
            answer = exercises.check(exercise(stem, name), wrong, **case.given())
            assert not answer.solved, wrong
            assert re.search(pattern, answer.sentence), answer.sentence
            assert len(answer.sentence) < 200, answer.sentence


@EXERCISES
def test_right_answers_are_accepted(stem, name):
    case = CASES[stem, name]
    for _ in range(3):
        for right in case.right:
            answer = exercises.confirm(exercise(stem, name), right, **case.given())
            assert answer.sentence.startswith("Right")
