"""Recipes: the epochs, learning rate, schedule and loss of a training, and those of the sources.

This module doesn't load PyTorch until an optimiser is made, so that the command line can list the
recipes at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from course_utils.core.checks import check_choice

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer
    from torch.optim.lr_scheduler import LRScheduler

Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["one_cycle", "cosine", "step", "constant"]
Loss = Literal["cross_entropy", "binary_cross_entropy"]


@dataclass(frozen=True)
class Recipe:
    """The settings of a training. The default is the course's own: AdamW with one cycle.

    Attributes:
        epochs: Largest number of passes over the training images.
        batch_size: Images per step, over all parts of the batch and all processes.
        lr: Learning rate; with one cycle, its peak.
        weight_decay: Weight decay of the optimiser.
        warmup: With one cycle, the share of the steps in which the rate rises to its peak.
        gamma: γ of the focal loss, see `heads_loss`; 0 for the plain loss.
        optimizer: ``adamw``, ``adam``, or ``sgd`` with momentum 0.9.
        nesterov: Use Nesterov momentum (``sgd`` only).
        schedule: ``one_cycle``; ``cosine``, which ends at 0; ``step``; or ``constant``.
        every: With ``step``, the number of epochs between two changes of the rate.
        factor: With ``step``, the factor by which each change multiplies the rate.
        clip: Largest norm of the gradient. If None, the gradient is not clipped.
        patience: Stop after this many epochs without a better validation accuracy. If None, train
            all epochs.
        accumulate: Number of parts into which a batch is cut if it doesn't fit into memory. The
            network sees one part after the other, and their gradients add up to the gradient of
            the batch. Batch norm still takes its statistics from each part alone.
        loss: ``cross_entropy`` (one class is right) or ``binary_cross_entropy`` (yes or no for each
            class).
        augment: Mirror and shift the training images, see `mirror_and_shift`.
        map_weights: Weight of the `maps_loss` of each attention map, in the order of the maps. If
            empty, training never sees where the object is.

    Raises:
        ValueError: If a value is out of its range or a name is unknown; the message says which.
    """

    epochs: int = 14
    batch_size: int = 64
    lr: float = 8e-3
    weight_decay: float = 1e-2
    warmup: float = 0.35
    gamma: float = 0.0
    optimizer: Optimizer = "adamw"
    nesterov: bool = False
    schedule: Schedule = "one_cycle"
    every: int = 10
    factor: float = 0.1
    clip: float | None = None
    patience: int | None = None
    accumulate: int = 1
    loss: Loss = "cross_entropy"
    augment: bool = False
    map_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for part in fields(self):  # a number of NumPy, as from a table, could not be read again
            if callable(item := getattr(getattr(self, part.name), "item", None)):
                object.__setattr__(self, part.name, item())
        check_choice("optimizer", self.optimizer, Optimizer)
        check_choice("schedule", self.schedule, Schedule)
        check_choice("loss", self.loss, Loss)
        for name, good, expected in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("lr", 0 < self.lr < math.inf, "positive and finite"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("warmup", 0 < self.warmup < 1, "between 0 and 1"),
            ("gamma", 0 <= self.gamma < math.inf, "at least 0 and finite"),
            ("every", self.every >= 1, "at least 1"),
            ("factor", self.factor > 0, "positive"),
            ("clip", self.clip is None or self.clip > 0, "positive or None"),
            ("accumulate", self.accumulate >= 1, "at least 1"),
            ("patience", self.patience is None or self.patience >= 1, "at least 1 or None"),
            ("map_weights", all(0 <= w < math.inf for w in self.map_weights), "at least 0"),
        ):
            if not good:
                raise ValueError(f"{name} must be {expected}, got {getattr(self, name)}")
        if self.augment and self.map_weights:
            raise ValueError(
                f"map_weights {self.map_weights} can't be combined with augment: the images are "
                "shifted and the regions aren't"
            )

    def optimizers(
        self, parameters: Iterable[nn.Parameter], epochs: int, steps: int
    ) -> dict[str, Any]:
        """Return the optimiser and its learning-rate schedule, in the form that Lightning expects.

        Args:
            parameters: Parameters to train.
            epochs: Epochs of the whole training.
            steps: Optimiser steps of the whole training.

        Returns:
            ``optimizer`` and, unless the rate is constant, ``lr_scheduler``: a dictionary of the
            ``scheduler`` and the ``interval`` (``step`` or ``epoch``) at which it changes the rate.
        """
        optimizer = self._optimizer(parameters)
        schedule = self._schedule(optimizer, epochs, steps)
        if schedule is None:
            return {"optimizer": optimizer}
        interval = "step" if self.schedule == "one_cycle" else "epoch"
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": interval},
        }

    def _optimizer(self, parameters: Iterable[nn.Parameter]) -> TorchOptimizer:
        from torch import optim

        options: dict[str, Any] = {
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            # A fused step updates all parameters at once; for a network this small, looping over
            # them takes a fifth of the time. With mixed precision a fused step also undoes the
            # scaling of the gradients itself, so they can't be clipped in between.
            "fused": self.clip is None,
        }
        match self.optimizer:
            case "adamw":
                return optim.AdamW(parameters, **options)
            case "adam":
                return optim.Adam(parameters, **options)
            case "sgd":
                return optim.SGD(parameters, momentum=0.9, nesterov=self.nesterov, **options)

    def _schedule(self, optimizer: TorchOptimizer, epochs: int, steps: int) -> LRScheduler | None:
        from torch.optim import lr_scheduler

        match self.schedule:
            case "one_cycle":
                return lr_scheduler.OneCycleLR(optimizer, self.lr, steps, pct_start=self.warmup)
            case "cosine":
                return lr_scheduler.CosineAnnealingLR(optimizer, epochs)
            case "step":
                return lr_scheduler.StepLR(optimizer, self.every, self.factor)
            case "constant":
                return None


# What the sources report of their own training. They start from ImageNet weights (yan2019,
# streamlined, beginner) or from scratch, and train on photographs; on small images and networks the
# course's own recipe is much faster.
RECIPES = {
    "course": Recipe(),
    # Ugenteraan/Attention-CNN-Visualization: the defaults of its command line. It also uses dropout
    # 0.5 and images of 128 pixels.
    "soft_gate": Recipe(
        epochs=50,
        batch_size=10,
        lr=1e-4,
        weight_decay=0.0,
        optimizer="adam",
        schedule="constant",
    ),
    # Jetley et al. 2018 on CIFAR: the rate is halved every 25 epochs. On SVHN it starts from 0.1.
    "jetley2018": Recipe(
        epochs=300,
        batch_size=128,
        lr=1.0,
        weight_decay=5e-4,
        optimizer="sgd",
        schedule="step",
        every=25,
        factor=0.5,
        augment=True,
    ),
    # Yan et al. 2019.
    "yan2019": Recipe(
        epochs=50,
        batch_size=32,
        lr=0.01,
        weight_decay=1e-4,
        gamma=2.0,
        optimizer="sgd",
        nesterov=True,
        schedule="step",
    ),
    # "How attention improves a CNN's performance" names the loss, Adam and 20 epochs. The learning
    # rate and the batch size are the course's choice.
    "beginner": Recipe(
        epochs=20,
        batch_size=32,
        lr=1e-4,
        weight_decay=0.0,
        optimizer="adam",
        schedule="constant",
        loss="binary_cross_entropy",
    ),
    # myspace-img/streamlined-attention.
    "streamlined": Recipe(
        epochs=45,
        batch_size=128,
        lr=1e-4,
        weight_decay=0.0,
        optimizer="adam",
        schedule="constant",
        patience=12,
    ),
}
