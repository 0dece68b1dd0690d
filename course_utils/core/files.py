"""The cache folder of the course, and files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from platformdirs import user_cache_dir


def cache_dir() -> Path:
    """Return the folder for results that are slow to compute.

    The environment variable ``COURSE_CACHE`` names it. If the variable is not set or empty, it is a
    folder in the user's cache.
    """
    return Path(os.environ.get("COURSE_CACHE") or user_cache_dir("attention-in-cnns"))


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path for a file or a folder, and move it to ``path`` when the block ends.

    A reader of ``path`` therefore finds the complete new content or the previous content, never a
    part of either. If the block raises, nothing is moved and the temporary path is deleted.

    Args:
        path: The file or folder to write. Its parent folders are created. The temporary path has
            the same name, because some writers choose a format by the suffix.

    Yields:
        A path that doesn't exist yet, in a hidden temporary folder beside ``path``.

    Raises:
        FileNotFoundError: If the block writes nothing at the temporary path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Moving a file is atomic only within one file system, so the temporary folder is beside it.
    with TemporaryDirectory(prefix=f".{path.name}_", dir=path.parent) as scratch:
        new = Path(scratch, path.name)
        yield new
        if path.is_dir() and new.exists():
            path.rename(Path(scratch, f"{path.name}.old"))  # deleted with the temporary folder
        new.replace(path)
