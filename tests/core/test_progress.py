import pytest
from tqdm.notebook import tqdm as notebook_tqdm

from course_utils.core import progress
from course_utils.core.progress import progress_bar


@pytest.fixture
def shown(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)


@pytest.mark.usefixtures("shown")
def test_bar_counts_items_and_disappears(capsys):
    assert list(progress_bar("abc", "reading", unit="letter")) == list("abc")
    written = capsys.readouterr().err
    assert "reading" in written
    assert written.endswith("\r")  # the line is cleared


@pytest.mark.usefixtures("shown")
def test_bar_is_moved_by_hand_and_starts_where_work_was_resumed(capsys):
    with progress_bar(total=10, initial=4, unit="step") as bar:
        bar.update(2)
        assert bar.n == 6
    assert "4/10" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [progress.tqdm, notebook_tqdm])
def test_environment_variable_hides_the_bar(kind, monkeypatch, capsys):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(progress, "tqdm", kind)
    bar = progress_bar(range(3), "reading")
    assert bar.disable
    assert list(bar) == [0, 1, 2]
    assert capsys.readouterr().err == ""
