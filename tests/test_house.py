"""Rules for the structure of the package that no linter checks."""

import ast
from collections import defaultdict

import pytest

from tests.paths import ROOT

PACKAGE = ROOT / "course_utils"
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 40  # lines of a function's body, its docstring not counted


def public_names(tree):
    """Functions, classes and constants that a module defines for others."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def body_length(function):
    """Lines from the first statement after the docstring to the end."""
    documented = ast.get_docstring(function) is not None
    statements = function.body[documented:]
    return statements[-1].end_lineno - statements[0].lineno + 1 if statements else 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_functions_stay_short(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    long = {f.name: body_length(f) for f in functions if body_length(f) >= LONGEST}
    assert long == {}


def test_no_function_is_named_like_its_module():
    for path in FILES:
        names = set(public_names(ast.parse(path.read_text(encoding="utf-8"))))
        assert path.stem not in names, path


def test_no_two_public_things_share_a_name():
    """The modules of chapters share their verbs, and commands are named for the shell; elsewhere a
    name means one thing."""
    homes = defaultdict(list)
    for path in FILES:
        room = path.relative_to(PACKAGE).parts[0]
        if room in ("exercises", "studies", "cli.py"):
            continue
        for name in public_names(ast.parse(path.read_text(encoding="utf-8"))):
            if not name.startswith("_"):
                homes[name].append(path.relative_to(PACKAGE).as_posix())
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}
