"""The check that every cell can be run twice; `make rerun` and the nightly workflow run it."""

import re

import nbformat
import pytest

from book import rerun
from tests.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WRITE_MOST = ("10_training", "16_your_own_data")  # the nightly workflow runs all chapters


def written(folder, *cells):
    path = folder / "a.ipynb"
    nbformat.write(
        nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells))), path
    )
    return path


@pytest.mark.slow
def test_cells_that_change_what_they_read_are_reported_and_others_are_not(tmp_path):
    path = written(
        tmp_path,
        "import torch, pandas as pd, warnings\nwarnings.warn('only once')",
        "rows, numbers, x = {'a': {'b': 1}}, iter([1, 2]), torch.ones(2)",
        "print(torch.rand(3), id(x) > 0, object())\npd.DataFrame(rows).style",
        "rows = pd.DataFrame(rows).T\nrows",  # transposed, and back
        "print(sum(numbers))",
        "x /= 255",  # shows nothing, but what follows differs
        "print(x)",
        "open('../beside.txt', 'w').close()",
    )
    table, total, tensor, outside = rerun.problems(path)
    assert table.startswith("rows =")
    assert "run 2" in table
    assert total.endswith("run 2 of the cell, '3' becomes '0'")
    assert tensor.startswith("print(x)")
    assert "In run 1 of the cell, 'tensor([0.0039, 0.0039])' becomes" in tensor
    assert outside.endswith("above/beside.txt")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cells", "error"),
    [
        (["from pathlib import Path", "Path('new').mkdir()"], "FileExistsError"),
        (["x = 1", "del x"], "NameError"),
        (["print(len(open('../pyproject.toml').read()))"], "FileNotFoundError"),
    ],
)
def test_a_cell_that_fails_is_shown(tmp_path, cells, error):
    (found,) = rerun.problems(written(tmp_path, *cells))
    assert cells[-1] in found
    assert error in found


@pytest.mark.slow
@pytest.mark.parametrize("stem", WRITE_MOST)
def test_a_chapter_that_writes_files_runs_twice_in_an_empty_home_folder(stem):
    assert rerun.problems(ROOT / "notebooks" / f"{stem}.ipynb") == []


def cell(*outputs, tags=()):
    new = nbformat.v4.new_output
    made = [new(kind, **content) for kind, content in outputs]
    return nbformat.v4.new_code_cell(outputs=made, metadata={"tags": list(tags)})


def printed(text, name="stdout"):
    return "stream", {"name": name, "text": text}


def displayed(**data):
    return "display_data", {"data": {kind.replace("_", "/"): text for kind, text in data.items()}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (printed("<object at 0x7f01>"), printed("<object at 0x7f02>")),
        (printed("epoch  1/4   loss 2.3   1 s\ndone\n"), printed("done\n")),
        (
            displayed(text_html='<td id="T_1a2b3_row0">'),
            displayed(text_html='<td id="T_4c5d6_row0">'),
        ),
        (printed("a warning", "stderr"), printed("", "stderr")),
    ],
)
def test_what_varies_from_run_to_run_is_not_compared(one, other):
    assert rerun.shown(cell(one)) == rerun.shown(cell(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (printed("0.95"), printed("0.94")),
        (displayed(text_html="<td>1</td>"), displayed(text_html="<td>2</td>")),
        (displayed(image_png="aGVsbG8="), displayed(image_png="aGFsbG8=")),
        (displayed(text_plain="1"), printed("1")),
    ],
)
def test_everything_else_is_compared_unless_the_cell_is_tagged(one, other):
    assert rerun.shown(cell(one)) != rerun.shown(cell(other))
    assert rerun.shown(cell(one, tags=["timing"])) == rerun.shown(cell(other, tags=["timing"]))


def test_the_users_caches_are_not_seen(tmp_path, monkeypatch):
    for name in ("COURSE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "elsewhere")
    variables = rerun.variables(tmp_path)
    assert "elsewhere" not in variables.values()
    assert variables["HOME"] == str(tmp_path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_cell_names_a_path_above_the_notebook(path):
    cells = nbformat.read(path, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert re.findall(r"""["'\s]\.\./|cwd=["']\.\.|(?:Path|chdir)\(["']\.\.""", code) == []
