"""Files of tensors in the safetensors format, which holds no code and is therefore safe to load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from course_utils.core.files import replacing


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors into one file, whole or not at all.

    Args:
        path: The file to write. Its parent folders are created.
        tensors: Contiguous tensors, by name.
        metadata: Text to keep beside them, by name.

    Raises:
        OSError: If the disk is full, or the file can't be written for another reason.
    """
    content = save(dict(tensors), dict(metadata) if metadata else None)
    with replacing(path) as new:
        # safetensors' own `save_file` makes a file that only its owner can read.
        new.write_bytes(content)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `write_tensors` wrote: the tensors and the metadata.

    Raises:
        OSError: If there is no such file, or it can't be opened.
        ValueError: If the file is damaged or has a different format.
    """
    path = Path(path)
    with path.open("rb"):  # raises an error that names the file
        pass
    try:
        with safe_open(path, "pt") as file:
            # Not a dict: its iterator does not list the keys.
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except SafetensorError as error:
        size = path.stat().st_size
        what = "is damaged, or not a safetensors file" if size else "is empty"
        raise ValueError(f"{path} {what}") from error
