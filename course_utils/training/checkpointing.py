"""Checkpoints of a run: written whole or not at all, and checked when they are read."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from lightning.pytorch import callbacks
from lightning.pytorch.plugins import TorchCheckpointIO

from course_utils.core.files import replacing
from course_utils.models.checkpoints import MODEL

LAST, BEST, LOG = "last.ckpt", "best.ckpt", "log"  # names in the folder of a run


class DamagedCheckpointError(ValueError):
    """A file is not a whole checkpoint, or another program wrote it."""


class WholeFiles(TorchCheckpointIO):
    """Write a checkpoint beside the old one and rename it, so it is never half written.

    Lightning itself writes to the system's temporary folder and copies the file from there, unless
    both are on one file system.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        content = io.BytesIO()  # PyTorch's own errors don't say that a disk is full
        torch.save(checkpoint, content)
        with replacing(path) as new:
            new.write_bytes(content.getbuffer())

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        return read_checkpoint(Path(path))


class ModelCheckpoint(callbacks.ModelCheckpoint):
    """Write a checkpoint after each epoch, or after each epoch that is the best so far.

    It has the name of Lightning's class, because its state is stored under that name.

    Args:
        folder: Folder of the run.
        name: Name of the file.
        options: Options of Lightning's ``ModelCheckpoint``.
    """

    def __init__(self, folder: Path, name: str, **options: Any):
        super().__init__(
            folder,
            Path(name).stem,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
            **options,
        )
        self.name = name

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # If the folder was moved, Lightning forgets the best score, and would then replace the best
        # epoch by a worse one. So the state gets the current paths.
        file = str(Path(self.dirpath or "", self.name))
        if self.monitor is not None and not Path(file).exists():
            return  # the best epoch is lost, so the next one is the best
        score = state["best_model_score"]
        moved = {
            "dirpath": self.dirpath,
            "best_model_path": file,
            "kth_best_model_path": file,
            "best_k_models": {file: score} if score is not None else {},
        }
        super().load_state_dict(state | moved)


def check_run_folder(folder: Path) -> None:
    """Check that a run can write into a folder, which need not exist yet; nothing is created.

    Raises:
        IsADirectoryError: If a checkpoint is a folder.
        NotADirectoryError: If the folder, a folder that contains it or its log is a file.
        OSError: If nothing can be written there.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    for path in (existing, folder / LOG):
        if path.is_file():
            raise NotADirectoryError(
                f"expected a folder for the run, but {path} is a file, not a folder"
            )
    for path in (folder / name for name in (LAST, BEST, MODEL)):
        if path.is_dir():
            raise IsADirectoryError(f"the run writes a file {path}, but that is a folder")
    try:
        with TemporaryFile(dir=existing):  # permission bits don't tell on every system
            pass
    except OSError as error:
        raise OSError(f"nothing can be written in {existing}: {error.strerror}") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU, wherever it was written; nothing in the file is executed.

    Raises:
        OSError: If the file can't be opened or read.
        MemoryError: If there isn't enough memory.
        DamagedCheckpointError: If the file is not a whole checkpoint.
    """
    with path.open("rb") as file:
        try:
            # PyTorch doesn't compare checksums, so it would read zeros where a disk lost data.
            with zipfile.ZipFile(file) as archive:
                if (bad := archive.testzip()) is not None:
                    raise zipfile.BadZipFile(f"{bad} has another checksum")
            file.seek(0)
            return torch.load(file, weights_only=True, map_location="cpu")
        except (OSError, MemoryError):
            raise
        except Exception as error:  # readers may raise anything on damaged data
            if "allocate memory" in str(error):
                raise MemoryError(f"not enough memory to read {path}") from error
            raise DamagedCheckpointError(
                f"{path} is {'damaged' if path.stat().st_size else 'empty'}"
            ) from error
