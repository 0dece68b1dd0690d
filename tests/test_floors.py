"""Lower floors never import upper ones, and importing the package has no side effects."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "course_utils"
FLOORS = [
    {
        "alignments",
        "augmentation",
        "choices",
        "classification",
        "crops",
        "digits",
        "downloads",
        "imagenet",
        "looking",
        "metrics",
        "multi_label",
        "photos",
        "runs",
        "scores",
        "source_audit",
        "strokes",
    },
    {"archives", "attention", "costs", "elpv", "folders"}
    | {"gates", "layers", "recipes", "sampling", "several_digits"},
    {"callbacks", "data", "kinds", "queries"},
    {"models"},
    {"cam", "checkpoints", "evaluation", "gradcam", "losses", "sanity"},
    {"batches", "diagnosis", "export", "faithfulness", "saliency"},
    {"training"},
    {"presets"},
    {"beyond_one_label", "forms", "scoreboard"},
    {"comparison", "probes"},
    {"plots", "widgets"},
    {"exercises", "pictures"},
    {"cli"},
    {"__main__"},
]
FLOOR = {module: level for level, modules in enumerate(FLOORS) for module in modules}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.level:  # none of them: what is imported should be plain to see
            raise AssertionError(f"{path} has a relative import")
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name}" for name in names]
        yield from (name.split(".")[1] for name in names if name.startswith("course_utils."))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_down(path):
    module = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if module == "__init__":
        assert not list(imported(path))
        return
    assert all(name == module or FLOOR[name] < FLOOR[module] for name in imported(path))


@pytest.mark.parametrize(
    "line", ["import course_utils.plots", "from course_utils import plots", "from course_utils.plots import show_maps"]
)
def test_every_way_to_import_is_seen(line, tmp_path):
    (tmp_path / "module.py").write_text(line)
    assert list(imported(tmp_path / "module.py")) == ["plots"]


def test_files_stay_short():
    assert {path.name for path in PACKAGE.rglob("*.*") if path.suffix in {".py", ".js"} and lines(path) > 250} == set()


def lines(path):
    return path.read_text(encoding="utf-8").count("\n")


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, course_utils; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
