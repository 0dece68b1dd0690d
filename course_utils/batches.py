"""The images of each epoch, in batches, and shared among processes where there are several."""

from __future__ import annotations

import lightning as L
import torch
from torch.utils.data import DataLoader

from course_utils.data import Splits, on
from course_utils.evaluation import EVALUATION_BATCH


class Batches(L.LightningDataModule):
    """Loaders whose order depends on seed and epoch alone, and new training images each epoch where a set has them.

    Several processes share each batch of training: together they see the images that one would.
    """

    def __init__(self, data: Splits, batch_size: int, seed: int):
        super().__init__()
        self.data, self.batch_size, self.seed = data, batch_size, seed

    def train_dataloader(self) -> DataLoader:
        epoch, rank, world = self.trainer.current_epoch, self.trainer.global_rank, self.trainer.world_size
        train = self.data.train.fresh(epoch) if hasattr(self.data.train, "fresh") else self.data.train
        train = on(train, "cuda") if torch.cuda.is_available() else train  # one copy, not one a batch
        # a list, not a generator: a resumption may ask for the order more than once
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(1009 * self.seed + epoch)).tolist()
        drop = len(train) > self.batch_size  # a last batch of one image has no batch statistics
        share = order[: len(order) - len(order) % world][rank::world]  # of the same length in every process
        return DataLoader(train, self.batch_size // world, sampler=share, drop_last=drop)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.data.val, EVALUATION_BATCH)  # all of it in every process: its mean is then exact
