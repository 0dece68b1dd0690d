"""Scenes of two digits, and small models that are trained on them.

The chapter Kinds of attention and the gallery beside it read the same frozen features, on a grid of
8 × 8 positions per image. A *scene* is two images with different digits side by side. It has 128
positions, and each carries its row and its column as two more features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from course_utils.attention.general import Attended, to_sequence
from course_utils.studies.probes import GRID, Features

SIDE = 8  # positions on each side of an image
SIZE = 32  # features of a position, without its row and column
PLACED = SIZE + 2  # with them
Draw = Callable[[torch.Generator], tuple[tuple[Tensor, ...], Tensor]]


def halved(features: Features) -> Features:
    """Average the local features over 2 × 2 positions: (N, 256, 32) → (N, 64, 32)."""
    grid = features.local.mT.unflatten(2, (GRID, GRID))  # (N, 32, 16, 16)
    return features._replace(local=to_sequence(F.avg_pool2d(grid, 2)))


def scaled(train: Features, *others: Features) -> list[Features]:
    """Divide local and global features by twice their standard deviation in the first ones."""
    by_local, by_g = 2 * train.local.std(), 2 * train.g.std()
    return [f._replace(local=f.local / by_local, g=f.g / by_g) for f in (train, *others)]


def draw_pairs(labels: Int[Tensor, " N"], n: int, generator: torch.Generator) -> Int[Tensor, "n 2"]:
    """Draw n pairs of images with different digits.

    Args:
        labels: The digits of all images, with at least two different ones.
        n: Number of pairs.
        generator: Source of the random numbers.
    """
    i = torch.randint(len(labels), (2 * n + 20, 2), generator=generator)
    return i[labels[i[:, 0]] != labels[i[:, 1]]][:n]


def positions(columns: int = 2 * SIDE) -> Float[Tensor, "K 2"]:
    """Return row and column of each position, from −2 to 2 over the side of an image."""
    across = torch.linspace(-columns / 4, columns / 4, columns)
    return torch.cartesian_prod(torch.linspace(-2, 2, SIDE), across)


def join(local: Float[Tensor, "N 64 32"], i: Int[Tensor, "n 2"]) -> Float[Tensor, "n 128 34"]:
    """Put two images side by side, and append row and column to each position."""
    left, right = (local[j].unflatten(1, (SIDE, SIDE)) for j in i.T)
    both = torch.cat([left, right], dim=2).flatten(1, 2)  # (n, 128, 32), row by row
    return torch.cat([both, positions().expand(len(i), -1, -1)], dim=-1)


def regions(
    boxes: Bool[Tensor, "N 1 H W"], i: Int[Tensor, "n 2"]
) -> tuple[Bool[Tensor, "n 1 H 2*W"], Bool[Tensor, "n 1 H 2*W"]]:
    """Return the filled box of the left digit and that of the right one, on the whole scene."""
    left, right = boxes[i[:, 0]], boxes[i[:, 1]]
    nothing = torch.zeros_like(left)
    return torch.cat([left, nothing], dim=-1), torch.cat([nothing, right], dim=-1)


class PlainAverage(nn.Module):
    """The control of many kinds: all positions have the same weight."""

    def forward(self, x: Float[Tensor, "B K d"], *others: Tensor) -> Attended:
        """Return the mean, and uniform weights."""
        weights = x.new_full((len(x), 1, x.shape[1]), 1 / x.shape[1])
        return Attended(weights @ x, weights)


def classifier(size: int, answers: int, hidden: int | None = None) -> nn.Module:
    """Return a linear classifier, or one with a hidden layer and ReLU."""
    if hidden is None:
        return nn.Linear(size, answers)
    return nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, answers))


class Reader(nn.Module):
    """A pool, and a classifier that reads its context."""

    def __init__(self, pool: nn.Module, size: int, answers: int, *, hidden: int | None = None):
        """Create the classifier.

        Args:
            pool: Returns a context (B, 1, size), as `Attended` has it.
            size: Size of the context.
            answers: Number of logits.
            hidden: Size of a hidden layer with ReLU. If None, the classifier is linear.
        """
        super().__init__()
        self.pool, self.classifier = pool, classifier(size, answers, hidden)

    def forward(self, *inputs: Tensor) -> Float[Tensor, "B answers"]:
        """Return the logits."""
        return self.classifier(self.pool(*inputs).context[:, 0])


def learn(
    make: Callable[[], nn.Module],
    draw: Draw,
    loss: Callable[..., Tensor] = F.cross_entropy,
    *,
    rate: float = 1e-2,
    seed: int = 0,
    steps: int = 400,
) -> Any:
    """Train a new model on fresh draws with AdamW and a one-cycle schedule.

    Args:
        make: Returns the model, freshly initialised.
        draw: Takes a generator and returns one batch: the model's inputs, and the answers.
        loss: Function of logits and answers.
        rate: The highest learning rate of the cycle.
        seed: Seed of the initial weights and of the draws.
        steps: Number of batches.

    Returns:
        The model, in evaluation mode and without gradients.
    """
    with torch.random.fork_rng():  # leaves the random state of the notebook as it was
        torch.manual_seed(seed)
        model = make()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    for _ in range(steps):
        inputs, answers = draw(generator)
        optimizer.zero_grad()
        loss(model(*inputs), answers).backward()
        optimizer.step()
        cycle.step()
    return model.eval().requires_grad_(False)
