"""Folders for the cache and for outputs, and files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, mkdtemp

from platformdirs import user_cache_dir

DRIVE = Path("/content/drive/MyDrive")  # where Colab mounts the user's Google Drive
LEFTOVER_SUFFIX = ".partial"
LEFTOVER = re.compile(r"\.(.+)\.\w{8}" + re.escape(LEFTOVER_SUFFIX))  # a temporary folder's name


def cache_dir() -> Path:
    """Return the folder for results that are slow to compute.

    The environment variable ``COURSE_CACHE`` names it. If the variable is not set or empty, it is a
    folder in the user's cache.
    """
    return Path(os.environ.get("COURSE_CACHE") or user_cache_dir("attention-in-cnns"))


def checkout() -> Path:
    """Return the checkout of the course that contains the working folder.

    Raises:
        FileNotFoundError: If the working folder isn't inside a checkout of the course.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        project = folder / "pyproject.toml"
        if project.is_file() and b'name = "course-utils"' in project.read_bytes():
            return folder
    raise FileNotFoundError(
        f"this needs the course's repository, but {here} isn't inside a checkout of it: clone the "
        "repository and open the notebook from its notebooks/ folder"
    )


def output_dir(*parts: str) -> Path:
    """Create and return the folder for what a chapter writes, such as checkpoints and pictures.

    It is inside ``runs/`` if the working folder is in a checkout of the course, and otherwise
    inside ``attention-in-cnns/`` in the working folder. On Colab, where a reset deletes both, it is
    inside ``attention-in-cnns/`` in your Google Drive, if the drive is mounted. If nothing can be
    written there, results go to a temporary folder, with a warning.

    Args:
        parts: Names of the folder and its parents, such as ``"training", "smoke"``.

    Returns:
        The path, relative to the working folder unless it is temporary or in the drive.
    """
    home = _outputs()
    folder = home.joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):  # permission bits don't tell on every system
            return folder
    except OSError as error:
        folder = _temporary_dir().joinpath(*parts)
        warnings.warn(
            f"{home} can't be written ({error.strerror}), so results go to {folder}, where your "
            "system may delete them; to keep them, start the notebook in a folder of your own",
            stacklevel=2,
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _outputs() -> Path:
    """Return the folder of all outputs, which may not exist yet."""
    if DRIVE.is_dir():
        return DRIVE / "attention-in-cnns"
    try:
        return Path(os.path.relpath(checkout() / "runs"))
    except FileNotFoundError:
        return Path("attention-in-cnns")


@cache
def _temporary_dir() -> Path:
    """Return the same folder for the whole process, so a cell that is run again finds its files."""
    return Path(mkdtemp(prefix="attention-in-cnns-"))


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path for a file or a folder, and move it to ``path`` when the block ends.

    A reader of ``path`` therefore finds the complete new content or the previous content, never a
    part of either, even if the process is killed, the disk is full or the power fails. If the block
    raises, nothing is moved and the temporary path is deleted.

    Args:
        path: The file or folder to write. Its parent folders are created. The temporary path has
            the same name, because some writers choose a format by the suffix.

    Yields:
        A path that doesn't exist yet, in a hidden temporary folder beside ``path``. A process that
        is killed leaves this folder behind; see `delete_leftovers`.

    Raises:
        FileNotFoundError: If the block writes nothing at the temporary path.
        IsADirectoryError: If the block writes a file, and ``path`` is a folder. The folder stays as
            it is.
        NotADirectoryError: If the block writes a folder, and ``path`` is a file.
        OSError: If the disk is full, or the file can't be written for another reason.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Moving a file is atomic only within one file system, so the temporary folder is beside it.
    with TemporaryDirectory(
        prefix=f".{path.name}.", suffix=LEFTOVER_SUFFIX, dir=path.parent
    ) as scratch:
        new = Path(scratch, path.name)
        try:
            yield new
            if new.is_file():
                _wait_for_disk(new)
        except OSError as error:
            # None for "No space left on device"; the other is a name that the user never gave
            if error.filename in (None, str(new)):
                error.filename = str(path)
            raise
        if new.is_file() and path.is_dir():
            raise IsADirectoryError(f"expected the name of a file to write, but {path} is a folder")
        if new.is_dir() and path.is_file():
            raise NotADirectoryError(
                f"expected the name of a folder to write, but {path} is a file"
            )
        if new.is_dir() and path.is_dir():
            path.rename(Path(scratch, f"{path.name}.old"))  # deleted with the temporary folder
        _move(new, path)


def delete_leftovers(folder: Path) -> None:
    """Delete the temporary folders that `replacing` left in a folder when its process was killed.

    Other files and folders are not touched. Don't call it while another process writes there.
    """
    for scratch in folder.glob(f".*{LEFTOVER_SUFFIX}"):
        name = LEFTOVER.fullmatch(scratch.name)
        if name is None or scratch.is_symlink() or not scratch.is_dir():
            continue
        if {path.name for path in scratch.iterdir()} <= {name[1], f"{name[1]}.old"}:
            shutil.rmtree(scratch)


def _wait_for_disk(file: Path) -> None:
    """Wait until the content of a file is on the disk.

    Otherwise a power failure might keep the new name but lose the content, and a network drive
    might report only later that it is full.
    """
    with file.open("rb+") as opened:
        try:
            os.fsync(opened.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some drives can't do it
                raise


def _move(new: Path, path: Path) -> None:
    try:
        new.replace(path)
    except (FileExistsError, PermissionError):
        # Some network drives rename a file only if its new name is free.
        path.unlink()
        new.rename(path)
