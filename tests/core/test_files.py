from pathlib import Path

import pytest

from course_utils.core.files import cache_dir, replacing


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_cache_folder_is_the_environment_variable_or_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    for value in ("", None):
        monkeypatch.delenv("COURSE_CACHE") if value is None else monkeypatch.setenv(
            "COURSE_CACHE", value
        )
        assert cache_dir().is_absolute()
        assert "attention-in-cnns" in cache_dir().parts


def test_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    with replacing(path) as new:
        assert new.name == path.name
        new.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(path.parent) == ["table.csv"]


def test_file_keeps_the_usual_permissions(tmp_path):
    with replacing(tmp_path / "a") as new:
        new.touch()
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def write_half(path, error):
    with replacing(path) as new:
        new.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_error_leaves_the_old_file_and_no_temporary_one(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error):
        write_half(path, error)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_folder_replaces_a_folder(tmp_path):
    path = tmp_path / "photos"
    for content in ("one", "two"):
        with replacing(str(path)) as new:
            new.mkdir()
            (new / content).touch()
    assert names(path) == ["two"]
    assert names(tmp_path) == ["photos"]


def test_block_that_writes_nothing_keeps_what_was_there(tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert names(tmp_path) == ["photos"]


def test_relative_path_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with replacing(Path("a.txt")) as new:
        new.write_text("new")
    assert names(tmp_path) == ["a.txt"]
