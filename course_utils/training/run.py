"""The results of a training run: its log, attention maps per epoch, and the best weights."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import Tensor

from course_utils.core.files import replacing
from course_utils.core.tensor_files import read_tensors, write_tensors
from course_utils.models.weights import halved

HISTORY_COLUMNS = ["epoch", "train_loss", "val_loss", "val_accuracy", "seconds"]


@dataclass(frozen=True)
class Run:
    """The results of a training run.

    Attributes:
        history: One row per epoch, with the columns ``epoch``, ``train_loss``, ``val_loss``,
            ``val_accuracy`` and ``seconds`` since the start (validation included).
        snapshots: The attention maps of the gallery, by epoch (0 is before training): one tensor
            (N, 1, h, w) per attention block.
        weights: The state dict of the epoch with the best validation accuracy.
    """

    history: pd.DataFrame
    snapshots: dict[int, tuple[Tensor, ...]]
    weights: dict[str, Tensor]

    @property
    def seconds(self) -> float:
        """Training time in seconds."""
        return float(self.history.seconds.iloc[-1])

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Write the run as three small files that are safe to load: none of them can execute code.

        All three are written before the first takes its place, so a full disk leaves an earlier run
        in this folder as it was.

        Args:
            folder: Folder to write to; it is created.
            half: Store tensors in half precision, which takes half the space.

        Raises:
            OSError: If the disk is full, or a file can't be written for another reason.
            ValueError: If half precision can't represent a value.
        """
        maps = {
            f"{epoch}/{tap}": m
            for epoch, taps in self.snapshots.items()
            for tap, m in enumerate(taps)
        }
        files = {"snapshots": maps, "weights": self.weights}
        if half:  # convert them all before the first is written
            files = {name: halved(tensors) for name, tensors in files.items()}
        folder = Path(folder)
        with ExitStack() as written:  # leaves the blocks, and so moves the files, last one first
            new = written.enter_context(replacing(folder / "history.csv"))
            self.history.to_csv(new, index=False, float_format="%.5f")
            for name, tensors in files.items():
                new = written.enter_context(replacing(folder / f"{name}.safetensors"))
                write_tensors(new, tensors)

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Read what `save` wrote.

        Raises:
            OSError: If a file is missing or can't be opened.
            ValueError: If a file is damaged, or another version of the course wrote it.
        """
        folder = Path(folder)
        kept, _ = read_tensors(folder / "snapshots.safetensors")
        weights, _ = read_tensors(folder / "weights.safetensors")
        snapshots: dict[int, tuple[Tensor, ...]] = {}
        # Sorted, so that the maps of an epoch are appended in the order of their blocks.
        for name, maps in sorted(kept.items()):
            epoch, _, tap = name.partition("/")
            if not (epoch.isdecimal() and tap.isdecimal()):
                raise ValueError(
                    f"another version of the course wrote {folder}: it has snapshots named {name!r}"
                )
            snapshots[int(epoch)] = (*snapshots.get(int(epoch), ()), maps.float())
        return cls(_read_history(folder / "history.csv"), snapshots, weights)


def _read_history(path: Path) -> pd.DataFrame:
    try:
        history = pd.read_csv(path)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if lacking := [name for name in HISTORY_COLUMNS if name not in history]:
        raise ValueError(
            f"{path} is damaged, or another version of the course wrote it: "
            f"it has no column {', '.join(lacking)}"
        )
    return history
