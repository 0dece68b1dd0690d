"""Train a network with Lightning, on CPUs or GPUs.

`fit` writes a log and two checkpoints: one of the best epoch and one of the last. It keeps
attention maps of chosen epochs, and it can resume a run that was interrupted.
"""

from __future__ import annotations

import logging
import shutil
import signal
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch
from jaxtyping import Float
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchmetrics.functional import accuracy

from course_utils.core.allocator import keeping_freed_memory
from course_utils.core.eval_mode import evaluating
from course_utils.core.files import delete_leftovers
from course_utils.core.seeds import check_seed, epoch_seed
from course_utils.data.fingerprint import fingerprints
from course_utils.data.splits import Splits
from course_utils.models import Output
from course_utils.models.checkpoints import MODEL, PREVIOUS
from course_utils.training.augmentation import mirror_and_shift
from course_utils.training.callbacks import History, Progress, Snapshots
from course_utils.training.checkpointing import (
    BEST,
    LAST,
    LOG,
    ModelCheckpoint,
    WholeFiles,
    check_run_folder,
)
from course_utils.training.datamodule import SplitsDataModule, processes, share_of_batch
from course_utils.training.losses import heads_loss, maps_loss
from course_utils.training.precision import LightningPrecision, Precision, lightning_precision
from course_utils.training.recipes import Recipe
from course_utils.training.resuming import ResumePoint, best_weights, log_files, resume_point
from course_utils.training.run import HISTORY_COLUMNS, Run


class Classifier(L.LightningModule):
    """A network with its loss and its optimiser, as Lightning trains it.

    Args:
        model: A network of `models`.
        recipe: How to train it.
        seed: Seed of dropout and augmentation.
        settings: Values that are written into every checkpoint, so that a run can be resumed only
            with the settings it was started with.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, seed: int, settings: dict[str, Any]):
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.seed = seed
        self.settings = settings
        self.is_first_epoch = True  # of this fit, which may resume a run

    def on_train_epoch_start(self) -> None:
        # Each epoch has its own seed, so that a resumed run draws the same dropout and augmentation
        # as a run that was never interrupted.
        torch.manual_seed(epoch_seed(self.seed, self.current_epoch, self.global_rank))
        # Lightning makes a new iterator of the loader between this hook and the first step, except
        # in the first epoch of a fit, and an iterator draws one random number. The first epoch of a
        # resumed run has to draw it too.
        if self.current_epoch > 0 and self.is_first_epoch:
            torch.empty((), dtype=torch.int64).random_()
        self.is_first_epoch = False

    def on_train_epoch_end(self) -> None:
        if not self.trainer.callback_metrics["train_loss"].isfinite():
            raise ValueError(
                f"the training loss is NaN or infinite after epoch {self.current_epoch + 1}; "
                f"try a smaller learning rate"
            )

    def training_step(self, batch: Sequence[Tensor], _: int) -> Tensor:
        images, labels, *regions = batch
        if self.recipe.augment:
            images = mirror_and_shift(images)
        output = self.model(images)
        loss = self._loss(output, labels)
        if self.recipe.map_weights:  # if not, training never sees where the object is
            loss = loss + maps_loss(output.maps, regions[0], self.recipe.map_weights)
        self.log(
            "train_loss",
            loss,
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            batch_size=len(labels),
            sync_dist=True,
        )
        # Lightning divides by the number of parts, as if all were of the same size.
        share = self.trainer.datamodule.share  # type: ignore[attr-defined]  # Lightning sets it
        return loss * (len(labels) * self.recipe.accumulate / share)

    def validation_step(self, batch: Sequence[Tensor], _: int) -> None:
        images, labels, *_regions = batch
        output = self.model(images)
        classes = output.logits.shape[1]
        values = {
            "val_loss": self._loss(output, labels),
            "val_accuracy": accuracy(output.logits, labels, "multiclass", num_classes=classes),
        }
        self.log_dict(values, batch_size=len(labels), sync_dist=True)

    def _loss(self, output: Output, labels: Tensor) -> Tensor:
        return heads_loss(output, labels, self.recipe.gamma, loss=self.recipe.loss)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(self.settings)

    def configure_optimizers(self) -> Any:
        epochs = self.trainer.max_epochs or self.recipe.epochs
        steps = int(self.trainer.estimated_stepping_batches)
        return self.recipe.optimizers(self.parameters(), epochs, steps)


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
    precision: Precision | None = None,
) -> Run:
    """Train a model on the training split, and choose its best epoch on the validation split.

    Afterwards the model holds the weights of the epoch with the best validation accuracy; it is on
    the CPU and in evaluation mode. A model that is given in evaluation mode is trained in training
    mode; modules that you have frozen one by one stay as they are.

    Training uses a GPU if there is one, in mixed precision: bfloat16, or float16 on cards without
    it. On a CPU it uses float32 unless you ask for bfloat16, which is faster on processors that
    have instructions for it (see `has_fast_bfloat16`). If torchrun starts the program, training
    uses as many GPUs (or processes, without a GPU) as torchrun asks for, and they share the
    recipe's batch. All processes, on every machine, must see the same folder.

    Args:
        model: A network of `models`. Training starts from its current weights.
        data: Images to train and validate on. The test split is not used.
        recipe: Epochs, learning rate, loss and so on.
        folder: Folder for the log and the checkpoints. An earlier run in this folder is
            replaced, unless it is resumed; a network in its ``model.safetensors`` becomes
            ``previous.safetensors``. Each run needs a folder of its own.
        seed: Seed of the order of the images, of dropout and of augmentation, from 0 to 2**32 - 1.
        gallery: Images whose attention maps are kept. If None, no maps are kept.
        snapshot_epochs: Epochs after which the maps are kept; 0 is before training.
        resume: Continue from the newest checkpoint in the folder, if there is one, with the same
            model, data and settings. Images in memory are compared; those that a data set reads
            from files one by one are only counted. To train further with other settings, call `fit`
            without ``resume`` on a model that has the trained weights.
        about: Plain values that describe what is trained. They are stored in the checkpoint, and a
            resumed run must be given the same.
        precision: Number format of convolutions and matrix products; the weights, batch norm and
            the optimiser stay in float32. If None, the format that suits the device.

    Returns:
        The log, the attention maps and the weights of the best epoch.

    Raises:
        KeyboardInterrupt: If you press Ctrl-C. The log and the last checkpoint are kept.
        OSError: If the disk is full, or a file can't be written for another reason. The log and the
            last checkpoint are kept.
        NotADirectoryError, IsADirectoryError: If there is a file in the place of a folder, or the
            reverse.
        ValueError: If the seed is out of range; if another run wrote into the folder at the same
            time; if there are no images to train or to validate on; if the processes and the parts
            of the recipe can't share a batch evenly; if a network with batch norm gets a single
            image at a time; if the precision is unknown, or is float16 on a CPU; if the recipe has
            map weights and the network has another number of maps, or the images have no regions;
            if the training loss is NaN or infinite; or if the run can't be resumed, because both
            checkpoints are damaged, a later version of the course wrote them, or the recipe, the
            seed, ``about``, the images or the network have changed.

    Warns:
        UserWarning: If a checkpoint to resume from is damaged or missing, so the other one is used.
    """
    folder = Path(folder)
    check_seed(seed)
    seed = int(seed)  # an integer of NumPy could not be read from the checkpoint
    check_run_folder(folder)
    _check_sizes(data, recipe)
    numbers = lightning_precision(precision)
    if not model.training:  # Lightning trains it in the mode it finds it in
        model.train()
    _check_batch_norm(model, len(data.train), recipe)
    L.seed_everything(seed, verbose=False)
    _check_model(model, data, recipe)  # first, so that a mistake deletes no earlier run
    settings = dict(recipe=asdict(recipe), seed=seed, about=about, data=fingerprints(data))
    start = resume_point(folder, settings, model) if resume else ResumePoint()
    rank_zero_only(delete_leftovers)(folder)
    if start.checkpoint is None:
        _set_aside_network(folder)
    if not resume:
        _delete_run(folder)
    model.to(memory_format=torch.channels_last)  # about a tenth faster on two CPU cores
    history, snapshots = History(start.rows), Snapshots(gallery, snapshot_epochs)
    with _quiet_lightning(), keeping_freed_memory():  # which saves another tenth of each step
        # A run that ran out of patience is over. If asked for the epochs that it already has,
        # Lightning loads the checkpoint and stops at once.
        epochs = start.ended_after or recipe.epochs
        trainer = _lightning_trainer(folder, recipe, epochs, [history, snapshots], numbers)
        module = Classifier(model, recipe, seed, settings)
        interrupted = _train(trainer, module, data, start.checkpoint, folder)
    if interrupted:
        raise KeyboardInterrupt(f"training stopped{_kept(folder)}")
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # the first process may still be writing the checkpoints
    rows = pd.DataFrame(history.rows, columns=HISTORY_COLUMNS)
    run = Run(rows, snapshots.maps, best_weights(folder, settings))
    model.cpu().to(memory_format=torch.contiguous_format).eval().load_state_dict(run.weights)
    return run


def _check_sizes(data: Splits, recipe: Recipe) -> None:
    """Check that there are images, and that the processes and parts can share a batch."""
    if not (len(data.train) and len(data.val)):
        raise ValueError(
            f"expected images to train on and to validate on, "
            f"got {len(data.train)} and {len(data.val)}"
        )
    here, machines = processes()
    shares = here * machines * recipe.accumulate
    if recipe.batch_size % shares:
        raise ValueError(
            f"expected a batch size that is a multiple of {shares} ({here * machines} processes, "
            f"accumulate={recipe.accumulate}), got {recipe.batch_size}"
        )


def _check_batch_norm(model: nn.Module, images: int, recipe: Recipe) -> None:
    """Check that batch norm, if there is any, gets several images to take a mean over."""
    here, machines = processes()
    share = share_of_batch(images, recipe.batch_size, here * machines)
    per_step = share // recipe.accumulate
    normed = any(module.training and isinstance(module, _BatchNorm) for module in model.modules())
    if per_step < 1 + normed:
        needs = "batch norm needs at least two images" if normed else "expected at least one image"
        raise ValueError(
            f"{needs} per step in each process, got {per_step} ({images} images, batch size "
            f"{recipe.batch_size}, {here * machines} processes, accumulate={recipe.accumulate})"
        )


def _check_model(model: nn.Module, data: Splits, recipe: Recipe) -> None:
    """Run the model on one image, which raises an error if the two don't fit together."""
    image, *_ = data.val[0]
    with evaluating(model):
        output = model(image[None].to(next(model.parameters()).device))
    if not recipe.map_weights:
        return
    _, _, *regions = data.train[0]
    if len(output.maps) != len(recipe.map_weights) or not regions:
        raise ValueError(
            f"map_weights {recipe.map_weights} expects {len(recipe.map_weights)} attention maps "
            f"and images with regions, got {len(output.maps)} maps "
            f"and images {'with' if regions else 'without'} regions"
        )


def _lightning_trainer(
    folder: Path,
    recipe: Recipe,
    epochs: int,
    records: list[Callback],
    precision: LightningPrecision,
) -> L.Trainer:
    here, machines = processes()
    cuda, several = torch.cuda.is_available(), here * machines > 1
    return L.Trainer(
        max_epochs=epochs,
        accelerator="cuda" if cuda else "cpu",
        devices=here,
        num_nodes=machines,
        # Not every network uses all of its weights in every step.
        strategy="ddp_find_unused_parameters_true" if several else "auto",
        use_distributed_sampler=False,  # SplitsDataModule shares the images itself
        sync_batchnorm=cuda and several,  # PyTorch can't do it on CPUs
        precision=precision,
        logger=CSVLogger(folder, name=LOG),
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,  # the order, and perhaps the images, are new
        enable_progress_bar=False,  # Progress is shorter
        enable_model_summary=False,
        gradient_clip_val=recipe.clip,
        accumulate_grad_batches=recipe.accumulate,
        callbacks=_callbacks(folder, recipe, records),
        plugins=WholeFiles(),
    )


def _callbacks(folder: Path, recipe: Recipe, records: list[Callback]) -> list[Callback]:
    callbacks: list[Callback] = [Progress(), *records]
    if recipe.patience is not None:
        callbacks.append(
            EarlyStopping(
                "val_accuracy",
                mode="max",
                patience=recipe.patience,
                check_on_train_epoch_end=True,
            )
        )
    # The checkpoints come last because they save what the other callbacks know.
    callbacks.append(ModelCheckpoint(folder, BEST, monitor="val_accuracy", mode="max"))
    callbacks.append(ModelCheckpoint(folder, LAST))
    return callbacks


def _train(
    trainer: L.Trainer, module: Classifier, data: Splits, checkpoint: Path | None, folder: Path
) -> bool:
    """Train to the end, and return whether Ctrl-C interrupted it.

    Raises:
        OSError: If a file can't be written; the message says what the folder keeps.
    """
    try:
        with _restoring_ctrl_c():
            recipe = module.recipe
            batches = SplitsDataModule(data, recipe.batch_size, module.seed, recipe.accumulate)
            trainer.fit(module, batches, ckpt_path=checkpoint)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C into an exit
        return True
    except OSError as error:  # such as a full disk
        raise OSError(
            f"training stopped: {error}{_kept(folder)}. "
            "If the disk is full, make room and resume the run"
        ) from error
    return trainer.interrupted


@contextmanager
def _restoring_ctrl_c() -> Iterator[None]:
    """Restore what Ctrl-C does: after an interruption, Lightning leaves it ignored."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Hide Lightning's hints about hardware, workers and products."""
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
def _delete_run(folder: Path) -> None:
    """Delete the files that an earlier `fit` wrote into a folder, and nothing else."""
    for log in log_files(folder):
        shutil.rmtree(log.parent)
    for name in (BEST, LAST):
        (folder / name).unlink(missing_ok=True)


@rank_zero_only
def _set_aside_network(folder: Path) -> None:
    """Rename the network of an earlier run, so that nobody takes it for the new run's.

    It isn't deleted, because the new run may have started from it and may fail.
    """
    if (folder / MODEL).exists():
        (folder / MODEL).replace(folder / PREVIOUS)


def _kept(folder: Path) -> str:
    """Say which files of a run that has stopped are there, as the end of a sentence."""
    kept = [name for name in (LOG, LAST) if (folder / name).exists()]
    return f"; {folder} keeps {' and '.join(kept)}" * bool(kept)
