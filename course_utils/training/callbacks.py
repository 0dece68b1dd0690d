"""What happens beside training: maps of a fixed gallery are kept, progress is shown."""

from __future__ import annotations

import os
from collections.abc import Iterable

from jaxtyping import Float
from lightning.pytorch.callbacks import Callback, Timer
from torch import Tensor
from tqdm.auto import tqdm

from course_utils.core.eval_mode import evaluating


class Snapshots(Callback):
    """Keeps the attention maps of a few images at chosen epochs; they travel in the checkpoint."""

    def __init__(self, images: Float[Tensor, "N C H W"], epochs: Iterable[int]):
        self.images, self.epochs = images, set(epochs)
        self.maps: dict[int, tuple[Tensor, ...]] = {}

    def take(self, module, epoch: int) -> None:
        """Keep the maps of now under an epoch's number, if they are wanted and not there yet."""
        if epoch not in self.epochs or epoch in self.maps:
            return
        with evaluating(module):
            self.maps[epoch] = tuple(
                m.float().cpu() for m in module.model(self.images.to(module.device)).maps
            )

    def on_train_start(self, trainer, module):
        self.take(module, 0) if trainer.current_epoch == 0 else None

    def on_train_epoch_end(self, trainer, module):
        self.take(module, trainer.current_epoch + 1)

    def state_dict(self):
        return {"maps": self.maps}

    def load_state_dict(self, state):
        self.maps = state["maps"]


class Progress(Timer):
    """A bar over all steps and a line an epoch; ``TQDM_DISABLE=1`` leaves the lines only."""

    def on_train_start(self, trainer, module):
        super().on_train_start(trainer, module)
        total = int(trainer.estimated_stepping_batches)
        disable = "TQDM_DISABLE" in os.environ  # which tqdm's notebook bar overlooks
        self.bar = tqdm(
            total=total, initial=trainer.global_step, unit="step", leave=False, disable=disable
        )

    def on_train_batch_end(self, trainer, module, *args):
        super().on_train_batch_end(trainer, module, *args)
        self.bar.update()

    def on_train_epoch_end(self, trainer, module):
        super().on_train_epoch_end(trainer, module)
        module.log("seconds", self.time_elapsed("train"))
        if trainer.is_global_zero:
            values = {name: float(value) for name, value in trainer.callback_metrics.items()}
            self.bar.write(
                f"epoch {trainer.current_epoch + 1:2d}/{trainer.max_epochs}   loss {values['train_loss']:.3f}   "
                f"validation accuracy {values['val_accuracy']:.3f}   {self.time_elapsed('train'):.0f} s"
            )

    def on_train_end(self, trainer, module):
        super().on_train_end(trainer, module)
        self.bar.close()

    def on_exception(self, trainer, module, exception):
        self.bar.close() if hasattr(self, "bar") else None
