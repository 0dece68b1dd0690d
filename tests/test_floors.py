"""Lower floors never import upper ones, and importing the package has no side effects."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "course_utils"
FLOORS = [
    {"digits", "layers", "metrics", "runs"},
    {"data", "models"},
    {"callbacks"},
    {"training"},
    {"presets"},
    {"forms"},
    {"plots", "widgets"},
]
FLOOR = {module: level for level, modules in enumerate(FLOORS) for module in modules}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("course_utils."):
            yield node.module.split(".")[1]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_down(path):
    module = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if module == "__init__":
        assert not list(imported(path))
        return
    assert all(name == module or FLOOR[name] < FLOOR[module] for name in imported(path))


def test_files_stay_short():
    assert {path.name for path in PACKAGE.rglob("*.*") if path.suffix in {".py", ".js"} and lines(path) > 250} == set()


def lines(path):
    return path.read_text(encoding="utf-8").count("\n")


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, course_utils; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
