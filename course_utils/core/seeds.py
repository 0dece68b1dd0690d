"""Seeds that are derived from the seed of a run, so that one number repeats all of it.

A run needs many independent streams of random numbers: one per epoch, per process and per split.
If they were seeded with ``seed + epoch``, epoch 1 of seed 0 would repeat epoch 0 of seed 1, and
runs that are compared as independent would share their random numbers. The prime factors below keep
the streams apart: `epoch_seed` is different for all seeds and up to 1,009 epochs in one process,
and `fresh_seed` for seeds below 100,003.

The shipped results depend on these factors: a different one gives different images and batches.
"""

from __future__ import annotations

from numbers import Integral

SEED_STEP = 1009
RANK_STEP = 7919
FRESH_STEP = 100_003
SPLIT_STEP = 1_000_003


def check_seed(seed: int) -> None:
    """Check the seed of a run, which NumPy limits to 32 bits.

    Raises:
        ValueError: If the seed is not an integer from 0 to 2**32 - 1.
    """
    if not (isinstance(seed, Integral) and 0 <= seed < 2**32):
        raise ValueError(f"expected a seed from 0 to {2**32 - 1}, got {seed!r}")


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Return the seed of all random choices in one training epoch, such as the order of images.

    Args:
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        rank: Index of the process, from 0, if several train together.
    """
    return SEED_STEP * seed + epoch + RANK_STEP * rank


def fresh_seed(seed: int, epoch: int) -> int:
    """Return the seed of the images that a data set composes anew for one epoch.

    Args:
        seed: Seed of the data set; its first images are composed from this seed directly.
        epoch: Number of the epoch, from 0.
    """
    return seed + FRESH_STEP * (epoch + 1)


def split_seed(seed: int, split: int) -> int:
    """Return the seed of the images in one split.

    Args:
        seed: Seed of the data set.
        split: 0 for training, 1 for validation, 2 for test.
    """
    return seed + SPLIT_STEP * split
