import errno
import subprocess
import sys
from pathlib import Path

import pytest

from course_utils.core import files
from course_utils.core.files import cache_dir, checkout, delete_leftovers, output_dir, replacing
from tests.paths import ROOT


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


@pytest.fixture
def repository(tmp_path):
    project = tmp_path / "repository" / "pyproject.toml"
    project.parent.mkdir()
    project.write_text('[project]\nname = "course-utils"\n')
    return project.parent


@pytest.mark.parametrize("inside", [".", "notebooks", "notebooks/mine"])
def test_a_checkout_keeps_outputs_in_its_runs(repository, inside, monkeypatch):
    (repository / inside).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(repository / inside)
    assert checkout() == repository
    folder = output_dir("training", "smoke")
    assert folder.is_dir()
    assert not folder.is_absolute()  # a chapter prints it, and a command line takes it
    assert folder.resolve() == repository / "runs" / "training" / "smoke"


def test_this_repository_is_a_checkout(monkeypatch):
    monkeypatch.chdir(ROOT / "notebooks")
    assert checkout() == ROOT


@pytest.mark.parametrize("project", [None, '[project]\nname = "something-else"', "no TOML: é["])
def test_elsewhere_outputs_stay_below_the_working_folder(project, tmp_path, monkeypatch):
    if project:
        (tmp_path / "pyproject.toml").write_text(project, encoding="latin-1")
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    assert output_dir("training") == output_dir("training") == Path("attention-in-cnns/training")
    assert names(tmp_path / "home") == ["attention-in-cnns"]
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "home").replace("\\", ".")):
        checkout()


@pytest.mark.parametrize("inside", ["repository", "."])
def test_on_colab_outputs_go_to_the_google_drive_once_it_is_mounted(
    inside, repository, tmp_path, monkeypatch
):
    """Colab deletes everything else when it resets; a checkout there is no exception."""
    drive = tmp_path / "drive" / "MyDrive"
    monkeypatch.setattr(files, "DRIVE", drive)
    monkeypatch.chdir(tmp_path / inside)
    assert not output_dir("training").is_absolute()
    drive.mkdir(parents=True)
    folder = output_dir("training", "gpu")
    assert folder == drive / "attention-in-cnns" / "training" / "gpu"
    assert folder.is_dir()


@pytest.mark.parametrize("obstacle", ["attention-in-cnns", "attention-in-cnns/training"])
def test_outputs_that_cannot_be_written_go_to_one_temporary_folder(obstacle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "mkdtemp", lambda prefix: str(tmp_path / prefix))
    files._temporary_dir.cache_clear()
    Path(obstacle).parent.mkdir(exist_ok=True)
    Path(obstacle).touch()  # even root can't make a folder where a file is
    for _ in range(2):
        with pytest.warns(UserWarning, match="can't be written.*attention-in-cnns-.*training"):
            folder = output_dir("training")
        assert folder == tmp_path / "attention-in-cnns-" / "training"
        assert folder.is_dir()
    files._temporary_dir.cache_clear()


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


@pytest.mark.parametrize("content", ["file", "empty"])
def test_a_folder_of_the_user_is_not_replaced_by_a_file(content, tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    if content == "file":
        (path / "kept").write_text("mine")
    with pytest.raises(IsADirectoryError, match="photos is a folder"), replacing(path) as new:
        new.write_text("new")
    assert names(tmp_path) == ["photos"]
    assert names(path) == (["kept"] if content == "file" else [])


def test_a_file_of_the_user_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with (
        pytest.raises(NotADirectoryError, match="notes is a file"),
        replacing(tmp_path / "notes") as new,
    ):
        new.mkdir()
    assert (tmp_path / "notes").read_text() == "mine"


def test_relative_path_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with replacing(Path("a.txt")) as new:
        new.write_text("new")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [FileExistsError, PermissionError])
def test_drive_that_renames_only_to_a_free_name_gets_the_new_content(error, tmp_path, monkeypatch):
    def refuse(new, path):
        raise error(path)

    monkeypatch.setattr(Path, "replace", refuse)
    (tmp_path / "a.txt").write_text("old")
    with replacing(tmp_path / "a.txt") as new:
        new.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_names_the_file_and_keeps_the_old_one(reason, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match=r"a\.txt") as full:
        write_half(path, OSError(reason, "full"))
    assert full.value.errno == reason
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_file_beyond_the_limit_of_the_process_is_not_written(tmp_path):
    """The limit stands for a full disk: the operating system itself refuses the bytes."""
    program = """
import resource, signal, sys
from pathlib import Path
from course_utils.core.files import replacing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with replacing(sys.argv[1]) as new:
        new.write_bytes(bytes(5000))
except OSError as error:
    print(error)
"""
    (tmp_path / "a").write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a"], capture_output=True, text=True
    )
    assert f"File too large: '{tmp_path / 'a'}'" in done.stdout
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


KILLED = """
import os, signal, sys
from course_utils.core.files import replacing
with replacing(sys.argv[1]) as new:
    new.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_leftover_of_a_killed_process_is_deleted_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    others = [
        ".a.txt_backup",
        ".a.txt.12345678.partial.old",
        ".notes.abcdefgh.partial",
        "b.partial",
    ]
    for other in others:
        (tmp_path / other).mkdir()
        (tmp_path / other / "kept").touch()
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / "a.txt"], check=False)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert len(names(tmp_path)) == len(others) + 2
    delete_leftovers(tmp_path)
    assert names(tmp_path) == sorted(["a.txt", *others])


def test_no_leftovers_in_a_folder_that_does_not_exist(tmp_path):
    delete_leftovers(tmp_path / "new")
    assert names(tmp_path) == []
