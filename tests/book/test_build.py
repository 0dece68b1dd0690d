"""Building the book: the environment, the notebooks that are executed, and the messages."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_cache import get_cache

from book import build, execute
from book.tools import browser
from tests.paths import ROOT

ASK_FOR_THE_PRESET = "import os, sys; sys.exit(os.environ['COURSE_PRESET'] != sys.argv[1])"
# In a separate process, because a kernel can't be reached while a browser's event loop runs.
EXECUTE = """
import sys
from pathlib import Path
from jupyter_cache import get_cache
from book import execute
execute.open_cache = lambda: get_cache(sys.argv[2])
sys.exit(execute.execute(Path(sys.argv[1])))
"""


def test_the_default_preset_is_cpu(monkeypatch):
    monkeypatch.delenv("COURSE_PRESET", raising=False)
    assert build.run(sys.executable, "-c", ASK_FOR_THE_PRESET, "cpu") == 0


def test_a_preset_in_the_environment_wins(monkeypatch):
    monkeypatch.setenv("COURSE_PRESET", "smoke")
    assert build.run(sys.executable, "-c", ASK_FOR_THE_PRESET, "smoke") == 0


def test_a_quiet_command_shows_only_errors(capfd):
    script = "import sys; print('progress'); print('a warning', file=sys.stderr)"
    assert build.run(sys.executable, "-c", script, quiet=True) == 0
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "a warning" in shown.err


def write_notebook(path, code):
    cells = [nbformat.v4.new_markdown_cell("# A title"), nbformat.v4.new_code_cell(code)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


@pytest.mark.slow
def test_an_executed_notebook_is_cached_and_its_kernel_does_not_warn(tmp_path):
    good = write_notebook(tmp_path / "good.ipynb", "6 * 7")
    command = [sys.executable, "-c", EXECUTE, good, tmp_path / "cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, "TCP" in done.stderr) == (0, False), done.stderr
    cache = get_cache(tmp_path / "cache")
    assert execute.is_cached(cache, good)
    _, merged = cache.merge_match_into_file(str(good))
    assert merged.cells[1].outputs[0].data["text/plain"] == "42"
    write_notebook(good, "6 * 8")
    assert not execute.is_cached(cache, good)


@pytest.mark.slow
def test_a_failed_notebook_is_reported_and_not_cached(tmp_path):
    bad = write_notebook(tmp_path / "bad.ipynb", "1 / 0")
    command = [sys.executable, "-c", EXECUTE, bad, tmp_path / "cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "bad.ipynb" in done.stderr
    assert "division by zero" in done.stderr
    assert not execute.is_cached(get_cache(tmp_path / "cache"), bad)


def test_there_is_one_line_for_each_finished_chapter(tmp_path, monkeypatch, capsys):
    notebooks = [write_notebook(tmp_path / f"{i}.ipynb", "") for i in range(3)]
    monkeypatch.setattr(
        execute, "execute_in_a_process", lambda path: (path.stem == "1", 12.3, path.stem)
    )
    execute.execute_all(notebooks, workers=1)
    shown = capsys.readouterr()
    assert sorted(shown.err) == ["0", "1", "2"]  # what the processes wrote
    lines = [line.rpartition(", ") for line in shown.out.splitlines()]
    assert [remaining for _, _, remaining in lines] == ["2 to go", "1 to go", "0 to go"]
    outcomes = sorted(outcome for outcome, _, _ in lines)
    assert outcomes == ["A title: FAILED after 12 s"] + 2 * ["A title: executed in 12 s"]


def test_the_path_of_a_kernels_socket_is_short(tmp_path):
    settings = execute.kernel_settings("/tmp/abcdefgh")
    if sys.platform == "win32":
        assert settings == {}
    else:
        assert settings.KernelManager.transport == "ipc"
        assert len(settings.KernelManager.connection_file) < 40


def test_a_browser_counts_only_if_it_starts(tmp_path):
    assert not browser._starts(str(tmp_path / "missing"))
    assert not browser._starts("false")
    assert browser._starts(sys.executable)


@pytest.mark.parametrize("path", sorted((ROOT / "book").rglob("*.py")), ids=lambda path: path.stem)
def test_the_book_never_imports_the_lecture(path: Path):
    text = path.read_text(encoding="utf-8")
    assert "import lecture" not in text
    assert "from lecture" not in text
