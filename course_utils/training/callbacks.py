"""Lightning callbacks: attention maps of chosen epochs, the history, and the progress bar."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import lightning as L
from jaxtyping import Float
from lightning.pytorch.callbacks import Callback, Timer
from torch import Tensor

from course_utils.core.eval_mode import evaluating
from course_utils.core.progress import progress_bar


class Snapshots(Callback):
    """Keep the attention maps of a few images at chosen epochs.

    The maps are part of the checkpoint, so a resumed run still has those of its first epochs.

    Args:
        images: The images whose maps are kept. If None, only those of the checkpoint are kept.
        epochs: Epochs after which the maps are kept; 0 is before training.
    """

    def __init__(self, images: Float[Tensor, "N C H W"] | None, epochs: Iterable[int]):
        self.images = images
        self.epochs = set(epochs)
        self.maps: dict[int, tuple[Tensor, ...]] = {}

    def take(self, module: L.LightningModule, epoch: int) -> None:
        """Keep the current maps for an epoch, if it is a chosen one and has no maps yet."""
        if self.images is None or epoch not in self.epochs or epoch in self.maps:
            return
        with evaluating(module):
            output = module.get_submodule("model")(self.images.to(module.device))
        # On the CPU and in float32, so that the checkpoint can be read on any machine.
        self.maps[epoch] = tuple(m.float().cpu() for m in output.maps)

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.current_epoch == 0:  # a resumed run starts later
            self.take(module, 0)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.take(module, trainer.current_epoch + 1)

    def state_dict(self) -> dict[str, Any]:
        return {"maps": self.maps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.maps = state["maps"]


class History(Callback):
    """Keep one row per epoch: the epoch, losses, accuracy and seconds since the start.

    The rows are part of the checkpoint, so a resumed run has them even if its log is lost.
    `Progress` must come first, because it measures the seconds.

    Args:
        rows: The rows of epochs before this run, for a checkpoint that doesn't hold them.
    """

    def __init__(self, rows: Iterable[dict[str, Any]] = ()):
        self.rows = list(rows)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.rows.append({"epoch": trainer.current_epoch + 1, **values})

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = state["rows"]


class Progress(Timer):
    """Show a progress bar over all steps, and print one line per epoch.

    It also logs the seconds since the start. If the environment variable ``TQDM_DISABLE`` is set,
    only the lines are printed.
    """

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        super().on_train_start(trainer, module)
        steps = int(trainer.estimated_stepping_batches)
        self.bar = progress_bar(total=steps, initial=trainer.global_step, unit="step")

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, *arguments: Any
    ) -> None:
        super().on_train_batch_end(trainer, module, *arguments)
        self.bar.update(trainer.global_step - self.bar.n)  # 0 between two parts of a batch

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, module)
        seconds = self.time_elapsed("train")
        module.log("seconds", seconds)
        if trainer.is_global_zero:  # of several processes, only the first prints
            values = {name: float(value) for name, value in trainer.callback_metrics.items()}
            self.bar.write(
                f"epoch {trainer.current_epoch + 1:2d}/{trainer.max_epochs}   "
                f"loss {values['train_loss']:.3f}   "
                f"validation accuracy {values['val_accuracy']:.3f}   {seconds:.0f} s"
            )

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        super().on_train_end(trainer, module)
        self.bar.close()

    def on_exception(
        self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException
    ) -> None:
        if hasattr(self, "bar"):  # the error may come before the first step
            self.bar.close()
