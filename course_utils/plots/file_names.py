"""Names of picture files that can't overwrite each other, on any file system."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path

MOST_BYTES = 200  # of a name; file systems allow 255, encrypted ones fewer


class PictureFiles:
    """Paths of the pictures that are made from the files in a folder.

    Each picture is in the same sub-folder as its file, and has the file's name with an ending. A
    short hash is added to a name that is too long, or that some file system can't tell from an
    earlier one (macOS and Windows ignore case).
    """

    def __init__(self, root: Path, out: Path):
        """Name pictures in the folder ``out`` after the files in the folder ``root``."""
        self.root, self.out = root, out
        self._owners: dict[str, tuple[str, str]] = {}  # what each path belongs to

    def path(self, file: Path, ending: str) -> Path:
        """Return the path of a file's picture, which is always the same for the same picture.

        Args:
            file: A file in ``root`` or one of its sub-folders.
            ending: Text after the name of the file, such as ``.png``.
        """
        made, source = self.out, self.root
        *folders, name = file.relative_to(self.root).parts
        for folder in folders:
            source /= folder
            made = self._claim(made, folder, "", str(source))
        return self._claim(made, name, ending, str(file))

    def _claim(self, parent: Path, stem: str, ending: str, source: str) -> Path:
        """Return a path that belongs to this picture or folder only."""
        path = parent / f"{stem}{ending}"
        owner = source, ending
        if len(os.fsencode(path.name)) > MOST_BYTES or self._owner(path, owner) != owner:
            digest = hashlib.sha256(os.fsencode(source)).hexdigest()[:8]
            room = MOST_BYTES - len(digest) - len(os.fsencode(ending)) - 1
            short = os.fsencode(stem)[:room].decode(errors="ignore")
            path = parent / f"{short}~{digest}{ending}"
        return path

    def _owner(self, path: Path, owner: tuple[str, str]) -> tuple[str, str]:
        """Return the owner of a path: the given one, if it has none yet."""
        parts = (part.rstrip(". ") for part in path.parts)  # as Windows does
        key = unicodedata.normalize("NFC", "/".join(parts)).casefold()
        return self._owners.setdefault(key, owner)
