"""The batches of each epoch, which several processes can share."""

from __future__ import annotations

import os
from typing import cast

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from course_utils.core.seeds import epoch_seed
from course_utils.data.splits import Splits, on
from course_utils.training.evaluation import EVALUATION_BATCH


def processes() -> tuple[int, int]:
    """Return the number of processes per machine that train together, and the number of machines.

    ``torchrun --nproc-per-node 4`` starts the same program four times and sets the environment
    variables that are read here. Without torchrun there is one process on one machine.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return here, int(os.environ.get("WORLD_SIZE", here)) // here


def share_of_batch(images: int, batch_size: int, world: int) -> int:
    """Return how many images of each training batch one of ``world`` processes gets.

    A training set that is smaller than the batch is a single batch.
    """
    return min(images, batch_size) // world


class SplitsDataModule(L.LightningDataModule):
    """Data loaders for Lightning whose order depends on the seed and the epoch alone.

    A training set with a method ``fresh`` composes new images for every epoch. Several processes
    share each training batch: together they see the same images as one process would. A process
    cuts its share into parts, which the network sees one after the other.

    Args:
        data: The training and validation images.
        batch_size: Images per training step, over all processes and parts.
        seed: Seed of the order of the training images.
        parts: Number of parts of a share.
    """

    def __init__(self, data: Splits, batch_size: int, seed: int, parts: int = 1):
        super().__init__()
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.parts = parts
        if torch.cuda.is_available() and not hasattr(data.train, "fresh"):
            # One copy to the GPU for the whole training instead of one per batch.
            self.data = data._replace(train=on(data.train, "cuda"))

    @property
    def share(self) -> int:
        """Images of each training batch that a process gets."""
        assert self.trainer is not None  # Lightning sets it before training
        return share_of_batch(len(self.data.train), self.batch_size, self.trainer.world_size)

    def train_dataloader(self) -> DataLoader:
        assert self.trainer is not None  # Lightning sets it before it asks for a loader
        epoch = self.trainer.current_epoch
        rank, world = self.trainer.global_rank, self.trainer.world_size
        train = self.data.train
        if hasattr(train, "fresh"):
            train = train.fresh(epoch)
        if torch.cuda.is_available():
            train = on(train, "cuda")
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, epoch))
        order = torch.randperm(len(train), generator=generator)
        # Every world-th image, and the same number in every process: DDP would wait for ever for
        # a process that has run out of batches. Images that don't fill a batch are left out.
        batch = self.share * world
        whole = len(order) // batch * batch
        shares = [images[rank::world] for images in order[:whole].split(batch)]
        # A list and not a generator, because a resumed run may read the order more than once.
        parts = [part.tolist() for share in shares for part in share.tensor_split(self.parts)]
        return DataLoader(cast(Dataset, train), batch_sampler=parts)

    def val_dataloader(self) -> DataLoader:
        # Every process validates on all images, so that their mean is exact.
        return DataLoader(cast(Dataset, self.data.val), EVALUATION_BATCH)
