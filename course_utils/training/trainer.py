"""Fit on Lightning: on CPUs or GPUs, a CSV log, the best validation weights, attention maps kept by epoch."""

from __future__ import annotations

import logging
import pickle
import shutil
import signal
import warnings
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch
from jaxtyping import Float
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torchmetrics.functional import accuracy

from course_utils.core.eval_mode import evaluating
from course_utils.data.splits import Splits
from course_utils.models import Output
from course_utils.training.augmentation import mirror_and_shift
from course_utils.training.callbacks import Progress, Snapshots
from course_utils.training.datamodule import EpochData, processes
from course_utils.training.losses import heads_loss
from course_utils.training.recipes import Recipe
from course_utils.training.run import Run


class Classifier(L.LightningModule):
    """A network of `models` with its loss and optimiser."""

    def __init__(self, model: nn.Module, recipe: Recipe, seed: int, begun_with: dict[str, Any]):
        super().__init__()
        self.model, self.recipe, self.seed, self.begun_with = model, recipe, seed, begun_with

    def on_train_epoch_start(self):
        # what is drawn in an epoch depends on nothing before it: a resumed training draws the same
        torch.manual_seed(1009 * self.seed + self.current_epoch + 7919 * self.global_rank)

    def on_train_epoch_end(self):
        if not self.trainer.callback_metrics["train_loss"].isfinite():
            raise ValueError(
                f"the loss of epoch {self.current_epoch + 1} is no number any more: try a smaller lr"
            )

    def training_step(self, batch, _):
        images, labels, *_ = batch
        images = mirror_and_shift(images) if self.recipe.augment else images
        loss = self._loss(self.model(images), labels)
        self.log(
            "train_loss",
            loss,
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            batch_size=len(labels),
            sync_dist=True,
        )
        return loss

    def validation_step(self, batch, _):
        images, labels, *_ = batch
        output = self.model(images)
        values = {
            "val_loss": self._loss(output, labels),
            "val_accuracy": accuracy(
                output.logits, labels, "multiclass", num_classes=output.logits.shape[1]
            ),
        }
        self.log_dict(values, batch_size=len(labels), sync_dist=True)

    def _loss(self, output: Output, labels: Tensor) -> Tensor:
        return heads_loss(output, labels, self.recipe.gamma, loss=self.recipe.loss)

    def on_save_checkpoint(self, checkpoint):
        checkpoint.update(self.begun_with)

    def configure_optimizers(self):
        steps = int(self.trainer.estimated_stepping_batches)
        return self.recipe.optimizers(self.parameters(), self.trainer.max_epochs, steps)


def fit(
    model: nn.Module,
    data: Splits,
    recipe: Recipe,
    *,
    folder: str | Path,
    seed: int = 0,
    gallery: Float[Tensor, "N C H W"] | None = None,
    snapshot_epochs: Iterable[int] = (),
    resume: bool = False,
    about: dict[str, Any] | None = None,
) -> Run:
    """Train a model; afterwards it holds the weights of its best validation epoch, on the CPU, in evaluation mode.

    On a GPU where there is one, in mixed precision: bfloat16, or float16 on cards without it. Started by torchrun, on
    as many GPUs (or, without one, processes) as that asks for; the recipe's batch is shared among them. All of them, on
    whatever machine, must see the same folder.

    Args:
        model: a network of `models`; its initial weights are taken as they are.
        data: what to train and validate on; the test split is not touched.
        recipe: how.
        folder: where log and checkpoints go. A run that is there already is replaced, unless resumed.
        seed: of the order of the images and of dropout.
        gallery: images whose attention maps are kept.
        snapshot_epochs: after which epochs to keep them; 0 is before training.
        resume: go on from the folder's last checkpoint, where there is one.
        about: what is trained, in plain values, for the checkpoint; a resumption must say the same.

    Raises:
        KeyboardInterrupt: on Ctrl-C; log and last checkpoint are kept.
        ValueError: no images to train or validate on; a batch that the processes can't share evenly; a checkpoint
            that can't be read, or that of another recipe or seed, or about something else.
    """
    if not (len(data.train) and len(data.val)):
        raise ValueError(
            f"training needs images to train and to validate on, got {len(data.train)} and {len(data.val)}"
        )
    here, machines = processes()
    if recipe.batch_size % (here * machines):
        raise ValueError(
            f"a batch of {recipe.batch_size} images can't be shared evenly by {here * machines} processes"
        )
    L.seed_everything(seed, verbose=False)
    with evaluating(model):  # what does not fit is said before anything is replaced
        model(data.val[0][0][None].to(next(model.parameters()).device))
    folder = Path(folder)
    last = folder / "last.ckpt"
    if not resume:
        _forget_run(folder)
    epochs, begun_with = recipe.epochs, {"recipe": asdict(recipe), "seed": seed, "about": about}
    if resume and last.exists():
        begun, ended = _begun(last)
        if begun != begun_with:
            raise ValueError(
                f"the run in {folder} was begun with {begun}: resume it with the same, got {begun_with}"
            )
        epochs = ended or epochs
    cuda = torch.cuda.is_available()
    with _quiet_lightning():
        trainer = L.Trainer(
            max_epochs=epochs,
            accelerator="cuda" if cuda else "cpu",
            devices=here,
            num_nodes=machines,
            strategy="ddp_find_unused_parameters_true" if here * machines > 1 else "auto",
            use_distributed_sampler=False,  # Batches shares the images
            sync_batchnorm=cuda and here * machines > 1,  # which PyTorch has for GPUs only
            precision=_precision() if cuda else "32-true",
            logger=CSVLogger(folder, name="log"),
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            gradient_clip_val=recipe.clip,
            callbacks=[
                Progress(),
                *([] if gallery is None else [Snapshots(gallery, snapshot_epochs)]),
                *([] if recipe.patience is None else [_stop_after(recipe.patience)]),
                _checkpoint(folder, "best", monitor="val_accuracy", mode="max"),
                _checkpoint(folder, "last"),
            ],
        )
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            batches = EpochData(data, recipe.batch_size, seed)
            model.to(memory_format=torch.channels_last)  # a third less time a step on two CPU cores
            trainer.fit(
                Classifier(model, recipe, seed, begun_with),
                batches,
                ckpt_path=last if resume and last.exists() else None,
            )
            stopped = trainer.interrupted
        except (KeyboardInterrupt, SystemExit):  # Lightning turns the one into the other
            stopped = True
        finally:
            signal.signal(signal.SIGINT, on_interrupt)  # and leaves Ctrl-C ignored
    if stopped:
        raise KeyboardInterrupt(
            f"training stopped; {folder} keeps its log and, once an epoch is over, last.ckpt"
        )
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # the first process may still be writing
    run = _read_run(folder)
    model.cpu().to(memory_format=torch.contiguous_format).eval().load_state_dict(run.weights)
    return run


def _precision() -> str:
    """Half the bytes; float16 needs its losses scaled, which Lightning does."""
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def _begun(checkpoint: Path) -> tuple[dict[str, Any], int | None]:
    """What a run was begun with, and after how many epochs its patience has ended it, if it has.

    The checkpoint is read as numbers only: nothing in it can run.
    """
    try:
        kept = torch.load(checkpoint, weights_only=True)
        begun = {
            "recipe": asdict(Recipe(**kept["recipe"])),
            "seed": kept["seed"],
            "about": kept["about"],
        }
        stopping = [
            state for name, state in kept["callbacks"].items() if name.startswith("EarlyStopping")
        ]
        over = any(state["wait_count"] >= state["patience"] for state in stopping)
        return begun, kept["epoch"] + 1 if over else None
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(
            f"{checkpoint} is no checkpoint to resume from: damaged, or not written by fit"
        ) from error


def _checkpoint(folder: Path, name: str, **which: str) -> ModelCheckpoint:
    """Keep one checkpoint of that name, after the other callbacks have seen the end of the epoch."""
    return ModelCheckpoint(
        folder, name, save_on_train_epoch_end=True, enable_version_counter=False, **which
    )


def _stop_after(patience: int) -> EarlyStopping:
    """End the training once so many epochs have brought nothing better."""
    return EarlyStopping(
        "val_accuracy", mode="max", patience=patience, check_on_train_epoch_end=True
    )


@contextmanager
def _quiet_lightning():
    """Without the hints about hardware, workers and products."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        log.setLevel(level)


@rank_zero_only
def _forget_run(folder: Path) -> None:
    """Delete what an earlier `fit` wrote into a folder, and nothing else."""
    for version in (folder / "log").glob("version_*"):
        shutil.rmtree(version)
    for name in ("best.ckpt", "last.ckpt"):
        (folder / name).unlink(missing_ok=True)


def _read_run(folder: Path) -> Run:
    """Put a run together from the log and the checkpoints of its folder."""
    logs = sorted(
        (folder / "log").glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name[8:])
    )
    history = (
        pd.concat(map(pd.read_csv, logs)).groupby("epoch", as_index=False).last()
    )  # a resumption's rows win
    columns = ["epoch", "train_loss", "val_loss", "val_accuracy", "seconds"]
    best = torch.load(folder / "best.ckpt", weights_only=True, map_location="cpu")
    last = torch.load(folder / "last.ckpt", weights_only=True, map_location="cpu")
    return Run(
        history=history[columns].assign(epoch=history.epoch + 1),
        snapshots=last["callbacks"].get("Snapshots", {"maps": {}})["maps"],
        weights={
            name.removeprefix("model."): value.contiguous()
            for name, value in best["state_dict"].items()
        },
    )
