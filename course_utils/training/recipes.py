"""How to train: optimiser, schedule, loss and patience as plain numbers, and the recipes of the sources by name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import lr_scheduler

from course_utils.core.checks import check_choice

Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["one_cycle", "cosine", "step", "constant"]
Loss = Literal["cross_entropy", "binary_cross_entropy"]


@dataclass(frozen=True)
class Recipe:
    """How to train. The default is the course's own: AdamW under one cycle of the learning rate.

    Attributes:
        epochs: passes over the training images, at most.
        batch_size: images a step.
        lr: the learning rate; with one cycle, its peak.
        weight_decay: the optimiser's.
        warmup: with one cycle, share of the steps over which the rate rises to its peak.
        gamma: of the focal loss, see `heads_loss`; 0 leaves the loss as it is.
        optimizer: ``adamw``, ``adam``, or ``sgd`` with a momentum of 0.9.
        nesterov: whether that momentum looks ahead.
        schedule: ``one_cycle``; ``cosine``, down to 0; ``step``; or ``constant``.
        every: with steps, the epochs from one to the next.
        factor: with steps, what each multiplies the rate by.
        clip: the largest norm of the gradient; None for any.
        patience: stop after so many epochs without a better validation accuracy; None for never.
        loss: ``cross_entropy`` (one class is right) or ``binary_cross_entropy`` (a yes or no for each class).
        augment: whether to mirror and shift the training images, see `mirror_and_shift`.

    Raises:
        ValueError: a number out of its range, or an unknown name; the message says which.
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
    loss: Loss = "cross_entropy"
    augment: bool = False

    def __post_init__(self):
        check_choice("optimizer", self.optimizer, Optimizer)
        check_choice("schedule", self.schedule, Schedule)
        check_choice("loss", self.loss, Loss)
        for name, good, expected in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("lr", 0 < self.lr < math.inf, "a positive number"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("warmup", 0 < self.warmup < 1, "between 0 and 1"),
            ("gamma", 0 <= self.gamma < math.inf, "at least 0"),
            ("every", self.every >= 1, "at least 1"),
            ("factor", self.factor > 0, "a positive number"),
            ("clip", self.clip is None or self.clip > 0, "a positive number or None"),
            ("patience", self.patience is None or self.patience >= 1, "at least 1 or None"),
        ):
            if not good:
                raise ValueError(f"a recipe's {name} is {expected}, got {getattr(self, name)}")

    def optimizers(
        self, parameters: Iterable[nn.Parameter], epochs: int, steps: int
    ) -> dict[str, Any]:
        """The optimiser, and the schedule that goes with it, as Lightning takes them.

        Args:
            parameters: to be learned.
            epochs: that will be trained.
            steps: of the optimiser in all of them.
        """
        # fused: for a network this small the plain loop over parameters takes a fifth of a step
        # (a fused step would undo the scaling of mixed precision by itself, which leaves no moment to clip)
        options = {"lr": self.lr, "weight_decay": self.weight_decay, "fused": self.clip is None}
        match self.optimizer:
            case "adamw":
                optimizer = torch.optim.AdamW(parameters, **options)
            case "adam":
                optimizer = torch.optim.Adam(parameters, **options)
            case "sgd":
                optimizer = torch.optim.SGD(
                    parameters, momentum=0.9, nesterov=self.nesterov, **options
                )
        match self.schedule:
            case "one_cycle":
                schedule = lr_scheduler.OneCycleLR(optimizer, self.lr, steps, pct_start=self.warmup)
                return {
                    "optimizer": optimizer,
                    "lr_scheduler": {"scheduler": schedule, "interval": "step"},
                }
            case "cosine":
                schedule = lr_scheduler.CosineAnnealingLR(optimizer, epochs)
            case "step":
                schedule = lr_scheduler.StepLR(optimizer, self.every, self.factor)
            case "constant":
                return {"optimizer": optimizer}
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "epoch"},
        }


# What the sources say of theirs. They train from ImageNet's weights (yan2019, streamlined, beginner) or from scratch,
# on photographs; on small images and networks the course's own is quicker by far.
RECIPES = {
    "course": Recipe(),
    # Ugenteraan/Attention-CNN-Visualization: the defaults of its command line; dropout 0.5, images of 128 pixels
    "soft_gate": Recipe(50, 10, 1e-4, 0.0, optimizer="adam", schedule="constant"),
    # Jetley et al. 2018 on CIFAR: the rate is halved every 25 epochs; on SVHN it starts from 0.1
    "jetley2018": Recipe(
        300, 128, 1.0, 5e-4, optimizer="sgd", schedule="step", every=25, factor=0.5, augment=True
    ),
    # Yan et al. 2019
    "yan2019": Recipe(
        50, 32, 0.01, 1e-4, gamma=2.0, optimizer="sgd", nesterov=True, schedule="step"
    ),
    # "How attention improves a CNN's performance" names the loss, Adam and 20 epochs; the rate and the batch are ours
    "beginner": Recipe(
        20, 32, 1e-4, 0.0, optimizer="adam", schedule="constant", loss="binary_cross_entropy"
    ),
    # myspace-img/streamlined-attention
    "streamlined": Recipe(45, 128, 1e-4, 0.0, optimizer="adam", schedule="constant", patience=12),
}
