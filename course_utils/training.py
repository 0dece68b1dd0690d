"""Fit on Lightning: CPU or GPU, a CSV log, the best validation weights, attention maps kept by epoch."""

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

import lightning as L
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.functional import accuracy

from course_utils.callbacks import Progress, Snapshots
from course_utils.data import Splits
from course_utils.evaluation import EVALUATION_BATCH
from course_utils.models import Output
from course_utils.recipes import Recipe
from course_utils.runs import Run


def heads_loss(output: Output, labels: Int[Tensor, " B"], gamma: float = 0.0) -> Float[Tensor, ""]:
    r"""Focal loss, averaged over images and over the classifiers of the network: one, or one a descriptor.

    .. math:: -(1 - p)^\gamma \log p

    with p the probability of the true class. With γ = 0 it is cross-entropy; the larger γ, the less an image counts
    that is classified well already. Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", eq. 4; Yan et al.
    2019 take γ = 2.
    """
    losses = F.cross_entropy(
        output.heads.flatten(0, 1), labels.repeat_interleave(output.heads.shape[1]), reduction="none"
    )
    if gamma == 0:
        return losses.mean()
    missing = (-torch.expm1(-losses)).clamp(min=torch.finfo(losses.dtype).tiny)  # 1 − p; at 0 its power has no slope
    return (missing**gamma * losses).mean()


class Classifier(L.LightningModule):
    """A network of `models` with its loss and optimiser."""

    def __init__(self, model: nn.Module, recipe: Recipe):
        super().__init__()
        self.model, self.recipe = model, recipe

    def training_step(self, batch, _):
        images, labels, *_ = batch
        loss = heads_loss(self.model(images), labels, self.recipe.gamma)
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(labels))
        return loss

    def validation_step(self, batch, _):
        images, labels, *_ = batch
        output = self.model(images)
        values = {
            "val_loss": heads_loss(output, labels, self.recipe.gamma),
            "val_accuracy": accuracy(output.logits, labels, "multiclass", num_classes=output.logits.shape[1]),
        }
        self.log_dict(values, prog_bar=True, batch_size=len(labels), sync_dist=True)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["recipe"] = asdict(self.recipe)

    def configure_optimizers(self):
        steps = int(self.trainer.estimated_stepping_batches)
        return self.recipe.optimizers(self.parameters(), self.trainer.max_epochs, steps)


class Batches(L.LightningDataModule):
    """Loaders whose order depends on seed and epoch alone, and new training images each epoch where a set has them."""

    def __init__(self, data: Splits, batch_size: int, seed: int):
        super().__init__()
        self.data, self.batch_size, self.seed = data, batch_size, seed

    def train_dataloader(self) -> DataLoader:
        epoch = self.trainer.current_epoch
        train = self.data.train.fresh(epoch) if hasattr(self.data.train, "fresh") else self.data.train
        # a list, not a generator: a resumption may ask for the order more than once
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(1009 * self.seed + epoch)).tolist()
        drop = len(train) > self.batch_size  # a last batch of one image has no batch statistics
        return DataLoader(train, self.batch_size, sampler=order, drop_last=drop)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.data.val, EVALUATION_BATCH)


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
) -> Run:
    """Train a model; afterwards it holds the weights of its best validation epoch, on the CPU, in evaluation mode.

    Args:
        model: a network of `models`; its initial weights are taken as they are.
        data: what to train and validate on; the test split is not touched.
        recipe: how.
        folder: where log and checkpoints go. A run that is there already is replaced, unless resumed.
        seed: of the order of the images and of dropout.
        gallery: images whose attention maps are kept.
        snapshot_epochs: after which epochs to keep them; 0 is before training.
        resume: go on from the folder's last checkpoint, where there is one.

    Raises:
        KeyboardInterrupt: on Ctrl-C; log and last checkpoint are kept.
        ValueError: no images to train or validate on; a checkpoint that can't be read, or that of another recipe.
    """
    if not (len(data.train) and len(data.val)):
        raise ValueError(
            f"training needs images to train and to validate on, got {len(data.train)} and {len(data.val)}"
        )
    folder = Path(folder)
    last = folder / "last.ckpt"
    if not resume:
        _forget_run(folder)
    elif last.exists() and (begun := _recipe_of(last)) != asdict(recipe):
        raise ValueError(f"the run in {folder} was begun with {begun}: resume it with the same, got {asdict(recipe)}")
    cuda = torch.cuda.is_available()
    with _quiet_lightning():
        L.seed_everything(seed, verbose=False)
        trainer = L.Trainer(
            max_epochs=recipe.epochs,
            accelerator="cuda" if cuda else "cpu",
            devices=1,
            precision="16-mixed" if cuda else "32-true",
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
            batches = Batches(data, recipe.batch_size, seed)
            model.to(memory_format=torch.channels_last)  # a third less time a step on two CPU cores
            trainer.fit(Classifier(model, recipe), batches, ckpt_path=last if resume and last.exists() else None)
            stopped = trainer.interrupted
        except (KeyboardInterrupt, SystemExit):  # Lightning turns the one into the other
            stopped = True
        finally:
            signal.signal(signal.SIGINT, on_interrupt)  # and leaves Ctrl-C ignored
    if stopped:
        raise KeyboardInterrupt(f"training stopped; {folder} keeps its log and, once an epoch is over, last.ckpt")
    run = _read_run(folder)
    model.cpu().to(memory_format=torch.contiguous_format).eval().load_state_dict(run.weights)
    return run


def _recipe_of(checkpoint: Path) -> dict:
    """What a run was begun with. The checkpoint is read as numbers only: nothing in it can run."""
    try:
        return torch.load(checkpoint, weights_only=True)["recipe"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, OSError) as error:
        raise ValueError(f"{checkpoint} is no checkpoint to resume from: damaged, or not written by fit") from error


def _checkpoint(folder: Path, name: str, **which: str) -> ModelCheckpoint:
    """Keep one checkpoint of that name, after the other callbacks have seen the end of the epoch."""
    return ModelCheckpoint(folder, name, save_on_train_epoch_end=True, enable_version_counter=False, **which)


def _stop_after(patience: int) -> EarlyStopping:
    """End the training once so many epochs have brought nothing better."""
    return EarlyStopping("val_accuracy", mode="max", patience=patience, check_on_train_epoch_end=True)


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


def _forget_run(folder: Path) -> None:
    """Delete what an earlier `fit` wrote into a folder, and nothing else."""
    for version in (folder / "log").glob("version_*"):
        shutil.rmtree(version)
    for name in ("best.ckpt", "last.ckpt"):
        (folder / name).unlink(missing_ok=True)


def _read_run(folder: Path) -> Run:
    """Put a run together from the log and the checkpoints of its folder."""
    logs = sorted((folder / "log").glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name[8:]))
    history = pd.concat(map(pd.read_csv, logs)).groupby("epoch", as_index=False).last()  # a resumption's rows win
    columns = ["epoch", "train_loss", "val_loss", "val_accuracy", "seconds"]
    best = torch.load(folder / "best.ckpt", weights_only=True, map_location="cpu")
    last = torch.load(folder / "last.ckpt", weights_only=True, map_location="cpu")
    return Run(
        history=history[columns].assign(epoch=history.epoch + 1),
        snapshots=last["callbacks"].get("Snapshots", {"maps": {}})["maps"],
        weights={name.removeprefix("model."): value.contiguous() for name, value in best["state_dict"].items()},
    )
