"""Train a network with Lightning, on CPUs or GPUs.

`fit` writes a log and two checkpoints: one of the best epoch and one of the last. It keeps
attention maps of chosen epochs, and it can resume a run that was interrupted.
"""

from __future__ import annotations

import logging
import pickle
import shutil
import signal
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import lightning as L
import pandas as pd
import torch
from jaxtyping import Float
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torchmetrics.functional import accuracy

from course_utils.core.eval_mode import evaluating
from course_utils.core.seeds import epoch_seed
from course_utils.data.splits import Splits
from course_utils.models import Output
from course_utils.training.augmentation import mirror_and_shift
from course_utils.training.callbacks import Progress, Snapshots
from course_utils.training.datamodule import SplitsDataModule, processes
from course_utils.training.losses import heads_loss
from course_utils.training.recipes import Recipe
from course_utils.training.run import Run

HISTORY_COLUMNS = [
    "epoch",
    "train_loss",
    "val_loss",
    "val_accuracy",
    "seconds",
]  # of a run's history
# Errors from reading a file that is damaged, or that another program wrote.
READ_ERRORS = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
)


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
        images, labels, *_regions = batch  # training never sees where the object is
        if self.recipe.augment:
            images = mirror_and_shift(images)
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
) -> Run:
    """Train a model on the training split, and choose its best epoch on the validation split.

    Afterwards the model holds the weights of the epoch with the best validation accuracy; it is on
    the CPU and in evaluation mode.

    Training uses a GPU if there is one, in mixed precision: bfloat16, or float16 on cards without
    it. If torchrun starts the program, training uses as many GPUs (or processes, without a GPU) as
    torchrun asks for, and they share the recipe's batch. All processes, on every machine, must see
    the same folder.

    Args:
        model: A network of `models`. Training starts from its current weights.
        data: Images to train and validate on. The test split is not used.
        recipe: Epochs, learning rate, loss and so on.
        folder: Folder for the log and the checkpoints. An earlier run in this folder is
            replaced, unless it is resumed.
        seed: Seed of the order of the images, of dropout and of augmentation.
        gallery: Images whose attention maps are kept. If None, no maps are kept.
        snapshot_epochs: Epochs after which the maps are kept; 0 is before training.
        resume: Continue from the last checkpoint in the folder, if there is one.
        about: Plain values that describe what is trained. They are stored in the checkpoint, and a
            resumed run must be given the same.

    Returns:
        The log, the attention maps and the weights of the best epoch.

    Raises:
        KeyboardInterrupt: If you press Ctrl-C. The log and the last checkpoint are kept.
        ValueError: If there are no images to train or to validate on; if the processes can't share
            a batch evenly; if the training loss is NaN or infinite; or if the checkpoint to resume
            from can't be read, or was written with another recipe, seed or ``about``.
    """
    folder = Path(folder)
    _check_sizes(data, recipe)
    L.seed_everything(seed, verbose=False)
    _check_model(model, data)  # first, so that a mistake deletes no earlier run
    settings = {"recipe": asdict(recipe), "seed": seed, "about": about}
    checkpoint, epochs = None, recipe.epochs
    if resume:
        checkpoint, epochs = _resume_point(folder, settings, epochs)
    else:
        _delete_run(folder)
    model.to(memory_format=torch.channels_last)  # saves a third of each step on two CPU cores
    with _quiet_lightning():
        trainer = _lightning_trainer(folder, recipe, epochs, gallery, snapshot_epochs)
        module = Classifier(model, recipe, seed, settings)
        interrupted = _train(trainer, module, data, checkpoint)
    if interrupted:
        raise KeyboardInterrupt(
            f"training stopped; {folder} keeps the log and, after the first epoch, last.ckpt"
        )
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # the first process may still be writing the checkpoints
    run = _read_run(folder)
    model.cpu().to(memory_format=torch.contiguous_format).eval().load_state_dict(run.weights)
    return run


def _check_sizes(data: Splits, recipe: Recipe) -> None:
    """Check that there are images, and that the processes can share a batch."""
    if not (len(data.train) and len(data.val)):
        raise ValueError(
            f"expected images to train on and to validate on, "
            f"got {len(data.train)} and {len(data.val)}"
        )
    here, machines = processes()
    if recipe.batch_size % (here * machines):
        raise ValueError(
            f"expected a batch size that {here * machines} processes can share evenly, "
            f"got {recipe.batch_size}"
        )


def _check_model(model: nn.Module, data: Splits) -> None:
    """Run the model on one image, which raises an error if the two don't fit together."""
    image, *_ = data.val[0]
    with evaluating(model):
        model(image[None].to(next(model.parameters()).device))


def _resume_point(folder: Path, settings: dict[str, Any], epochs: int) -> tuple[Path | None, int]:
    """Return the checkpoint to resume from (None for a new run) and the total number of epochs.

    Raises:
        ValueError: If the checkpoint can't be read, or was written with other settings.
    """
    last = folder / "last.ckpt"
    if not last.exists():
        return None, epochs
    started_with, ended_after = _read_settings(last)
    if started_with != settings:
        raise ValueError(
            f"the run in {folder} was started with {started_with}; "
            f"resume it with the same settings, got {settings}"
        )
    # A run that ran out of patience is over. Asking for the epochs that it has makes Lightning
    # load the checkpoint and stop at once.
    return last, ended_after or epochs


def _read_settings(checkpoint: Path) -> tuple[dict[str, Any], int | None]:
    """Return the settings of a run, and the epoch in which it ran out of patience, if it did."""
    try:
        # weights_only: the file may come from somebody else, and nothing in it may be executed.
        saved = torch.load(checkpoint, weights_only=True)
        # `Recipe` adds the defaults of fields that are newer than the checkpoint.
        recipe = asdict(Recipe(**saved["recipe"]))
        settings = {"recipe": recipe, "seed": saved["seed"], "about": saved["about"]}
        stopping = [
            state for name, state in saved["callbacks"].items() if name.startswith("EarlyStopping")
        ]
        over = any(state["wait_count"] >= state["patience"] for state in stopping)
        return settings, saved["epoch"] + 1 if over else None
    except READ_ERRORS as error:
        raise ValueError(
            f"can't resume from {checkpoint}: the file is damaged, or fit didn't write it"
        ) from error


def _lightning_trainer(
    folder: Path,
    recipe: Recipe,
    epochs: int,
    gallery: Tensor | None,
    snapshot_epochs: Iterable[int],
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
        precision=_precision(),
        logger=CSVLogger(folder, name="log"),
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,  # the order, and perhaps the images, are new
        enable_progress_bar=False,  # Progress is shorter
        enable_model_summary=False,
        gradient_clip_val=recipe.clip,
        callbacks=_callbacks(folder, recipe, gallery, snapshot_epochs),
    )


def _precision() -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    if not torch.cuda.is_available():
        return "32-true"
    # Both take half the memory. Small gradients vanish in float16 unless the loss is scaled up
    # first, which Lightning does.
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def _callbacks(
    folder: Path, recipe: Recipe, gallery: Tensor | None, snapshot_epochs: Iterable[int]
) -> list[Callback]:
    callbacks: list[Callback] = [Progress()]
    if gallery is not None:
        callbacks.append(Snapshots(gallery, snapshot_epochs))
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
    callbacks.append(_checkpoint(folder, "best", monitor="val_accuracy", mode="max"))
    callbacks.append(_checkpoint(folder, "last"))
    return callbacks


def _checkpoint(folder: Path, name: str, **options: Any) -> ModelCheckpoint:
    return ModelCheckpoint(
        folder, name, save_on_train_epoch_end=True, enable_version_counter=False, **options
    )


def _train(trainer: L.Trainer, module: Classifier, data: Splits, checkpoint: Path | None) -> bool:
    """Train to the end, and return whether Ctrl-C interrupted it."""
    try:
        with _restoring_ctrl_c():
            batches = SplitsDataModule(data, module.recipe.batch_size, module.seed)
            trainer.fit(module, batches, ckpt_path=checkpoint)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C into an exit
        return True
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
    for version in (folder / "log").glob("version_*"):
        shutil.rmtree(version)
    for name in ("best.ckpt", "last.ckpt"):
        (folder / name).unlink(missing_ok=True)


def _read_run(folder: Path) -> Run:
    """Read a run from the log and the checkpoints of its folder."""
    best = torch.load(folder / "best.ckpt", weights_only=True, map_location="cpu")
    last = torch.load(folder / "last.ckpt", weights_only=True, map_location="cpu")
    return Run(
        history=_read_history(folder),
        snapshots=last["callbacks"].get("Snapshots", {"maps": {}})["maps"],
        weights={
            name.removeprefix("model."): value.contiguous()
            for name, value in best["state_dict"].items()
        },
    )


def _read_history(folder: Path) -> pd.DataFrame:
    """Read the logs of a run, one row per epoch."""
    logs = sorted((folder / "log").glob("version_*/metrics.csv"), key=_version)
    rows = pd.concat(map(pd.read_csv, logs))
    # An epoch has several rows: Lightning writes one for training and one for validation, and a
    # resumed run repeats an epoch that was interrupted. `last` takes the newest value per column.
    history = rows.groupby("epoch", as_index=False).last()
    return history[HISTORY_COLUMNS].assign(epoch=history.epoch + 1)


def _version(log: Path) -> int:
    """Return n of the folder ``version_n``. Lightning makes a new one when a run is resumed."""
    return int(log.parent.name.removeprefix("version_"))
