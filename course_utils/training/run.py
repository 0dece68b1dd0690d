"""What a training run leaves behind, as small files: log, attention maps by epoch, best weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from safetensors.torch import load_file, save_file
from torch import Tensor

from course_utils.models.weights import halved


@dataclass(frozen=True)
class Run:
    """What a training run leaves behind.

    Attributes:
        history: a row an epoch: ``epoch``, ``train_loss``, ``val_loss``, ``val_accuracy``, ``seconds`` since the start
            (validation included).
        snapshots: for each epoch asked for (0 is before training), the attention maps of the gallery: one tensor
            (N, 1, h, w) a tap.
        weights: the state dict of the epoch with the best validation accuracy.
    """

    history: pd.DataFrame
    snapshots: dict[int, tuple[Tensor, ...]]
    weights: dict[str, Tensor]

    @property
    def seconds(self) -> float:
        """Training time."""
        return float(self.history.seconds.iloc[-1])

    def save(self, folder: Path, *, half: bool = False) -> None:
        """Write the run as three small files that need no trust to be read; half the size in half precision.

        Raises:
            ValueError: a number that half precision can't hold.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.history.to_csv(folder / "history.csv", index=False, float_format="%.5f")
        maps = {
            f"{epoch}/{tap}": m
            for epoch, taps in self.snapshots.items()
            for tap, m in enumerate(taps)
        }
        for name, tensors in (("snapshots", maps), ("weights", self.weights)):
            save_file(halved(tensors) if half else tensors, folder / f"{name}.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Read what `save` wrote."""
        snapshots: dict[int, tuple[Tensor, ...]] = {}
        for name, maps in sorted(
            load_file(folder / "snapshots.safetensors").items()
        ):  # taps come in order
            epoch = int(name.partition("/")[0])
            snapshots[epoch] = (*snapshots.get(epoch, ()), maps.float())
        return cls(
            pd.read_csv(folder / "history.csv"),
            snapshots,
            load_file(folder / "weights.safetensors"),
        )
