"""The run at the preset of readers with a GPU; `make gpu-path` and the nightly workflow do it."""

import re

import nbformat
import pytest
import torch

from book import gpu_path
from tests.paths import ROOT


def notebook(*cells):
    return nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))


def written(path, *cells):
    nbformat.write(notebook(*cells), path)
    return str(path)


ASK_FOR_THE_PRESET = """
from course_utils.studies import presets
preset = presets.current()
assert (preset.name, preset.width, preset.image_size) == ("gpu", 1, 224)
"""


@pytest.mark.slow
def test_notebooks_run_at_the_gpu_preset_and_a_cell_that_fails_is_shown(tmp_path, capfd):
    good = written(tmp_path / "good.ipynb", ASK_FOR_THE_PRESET)
    bad = written(tmp_path / "bad.ipynb", "x = 1", "assert x == 2")
    assert gpu_path.main([good, bad]) == 1
    shown = capfd.readouterr().out
    assert re.search(r"^good +ran in", shown, re.MULTILINE)
    assert re.search(r"^bad +failed in", shown, re.MULTILINE)
    assert "AssertionError" in shown


@pytest.mark.slow
def test_a_notebook_is_shortened_unless_there_is_a_gpu(tmp_path, capsys, monkeypatch):
    path = written(tmp_path / "a.ipynb", "epochs = 9", "assert epochs == 1")
    monkeypatch.setitem(gpu_path.CUTS, "a", {"epochs = 9": "epochs = 1"})
    assert gpu_path.main([path]) == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # then nothing is cut
    assert gpu_path.main([path]) == 1
    assert "epochs == 1" in capsys.readouterr().out


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"nothing\.ipynb"):
        gpu_path.main([str(tmp_path / "nothing.ipynb")])


@pytest.mark.parametrize("stem", gpu_path.CUTS)
def test_what_is_cut_is_in_the_notebook(stem):
    chapter = nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
    before = [cell.source for cell in chapter.cells]
    gpu_path.shorten(chapter, gpu_path.CUTS[stem])
    changed = [cell.source for cell in chapter.cells if cell.source not in before]
    assert all(any(new in source for source in changed) for new in gpu_path.CUTS[stem].values())


@pytest.mark.parametrize("cells", [["x = 1"], ["x = 2", "x = 2"]])
def test_a_piece_that_is_missing_or_ambiguous_is_named(cells):
    with pytest.raises(ValueError, match=r"'x = 2' .* got [02]"):
        gpu_path.shorten(notebook(*cells), {"x = 2": "x = 3"})
