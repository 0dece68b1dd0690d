"""The results of a training run: its log, attention maps per epoch, and the best weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from safetensors.torch import load_file, save_file
from torch import Tensor

from course_utils.models.weights import halved


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

    def save(self, folder: Path, *, half: bool = False) -> None:
        """Write the run as three small files that are safe to load: none of them can execute code.

        Args:
            folder: Folder to write to; it is created.
            half: Store tensors in half precision, which takes half the space.

        Raises:
            ValueError: If half precision can't represent a value.
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
        # Sorted, so that the maps of an epoch are appended in the order of their blocks.
        for name, maps in sorted(load_file(folder / "snapshots.safetensors").items()):
            epoch = int(name.partition("/")[0])
            snapshots[epoch] = (*snapshots.get(epoch, ()), maps.float())
        return cls(
            pd.read_csv(folder / "history.csv"),
            snapshots,
            load_file(folder / "weights.safetensors"),
        )
