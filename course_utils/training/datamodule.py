"""The images of each epoch, in batches, and shared among processes where there are several."""

from __future__ import annotations

import os

import lightning as L
import torch
from torch.utils.data import DataLoader

from course_utils.data.splits import Splits, on
from course_utils.training.evaluation import EVALUATION_BATCH


def processes() -> tuple[int, int]:
    """How many processes train together: on each machine, and on how many machines.

    ``torchrun --nproc-per-node 4`` starts four of the same program and says so in their environment; without it there
    is one.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return here, int(os.environ.get("WORLD_SIZE", here)) // here


class EpochData(L.LightningDataModule):
    """Loaders whose order depends on seed and epoch alone, and new training images each epoch where a set has them.

    Several processes share each batch of training: together they see the images that one would.
    """

    def __init__(self, data: Splits, batch_size: int, seed: int):
        super().__init__()
        self.data, self.batch_size, self.seed = data, batch_size, seed
        if torch.cuda.is_available() and not hasattr(data.train, "fresh"):
            self.data = data._replace(train=on(data.train, "cuda"))  # one copy, not one a batch

    def train_dataloader(self) -> DataLoader:
        epoch, rank, world = (
            self.trainer.current_epoch,
            self.trainer.global_rank,
            self.trainer.world_size,
        )
        train = (
            self.data.train.fresh(epoch) if hasattr(self.data.train, "fresh") else self.data.train
        )
        train = on(train, "cuda") if torch.cuda.is_available() else train
        # a list, not a generator: a resumption may ask for the order more than once
        order = torch.randperm(
            len(train), generator=torch.Generator().manual_seed(1009 * self.seed + epoch)
        ).tolist()
        drop = len(train) > self.batch_size  # a last batch of one image has no batch statistics
        share = order[: len(order) - len(order) % world][
            rank::world
        ]  # of the same length in every process
        return DataLoader(train, self.batch_size // world, sampler=share, drop_last=drop)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(
            self.data.val, EVALUATION_BATCH
        )  # all of it in every process: its mean is then exact
