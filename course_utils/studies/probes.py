"""Attention on frozen features: one small reader a question, all on the same footing.

Chapters 01 to 04 compare many ways to attend. Training a whole network for each would take hours and would mix the
attention with the features that grew around it. So all of them read the *same* features: those of a shipped network
that was trained without any attention. What a probe finds there is its own doing, and takes seconds to train.

The caveat goes with it: the network was trained on the plain average of these features, so the average plays at home.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from course_utils.attention.general import Attended, to_maps, to_sequence
from course_utils.explain import metrics
from course_utils.models import POOLS
from course_utils.studies import shipped

GRID = 16  # positions on a side of block 3, before its pool, at 64 pixels


class Features(NamedTuple):
    """What a probe may read of N images, and what it is scored against.

    Attributes:
        local: (N, 256, 32), the features of block 3 before its max-pool, position by position.
        g: (N, 64), the average of the last features.
        labels: (N,), the digits.
        regions: (N, 1, 64, 64), the filled boxes.
    """

    local: Float[Tensor, "N K C"]
    g: Float[Tensor, "N D"]
    labels: Int[Tensor, " N"]
    regions: Bool[Tensor, "N 1 H W"]


@torch.no_grad()  # not inference mode: what probes train on must be ordinary tensors
def frozen(dataset: Dataset) -> Features:
    """Run cluttered digits of 64 pixels through the shipped network that never attended."""
    model, _ = shipped.load("no_attention_losses")
    to_block_3, to_the_end = model.features[: POOLS[2]], model.features[POOLS[2] :]
    parts = []
    for images, labels, regions in DataLoader(dataset, 100):
        block_3 = to_block_3(images.expand(-1, 3, -1, -1))
        parts.append((to_sequence(block_3), to_the_end(block_3).mean(dim=(2, 3)), labels, regions))
    return Features(*(torch.cat(column) for column in zip(*parts)))


class Probe(nn.Module):
    """A way to pool the local features into one vector, and a linear classifier on that vector."""

    def __init__(self, pool: nn.Module, size: int = 32, classes: int = 10):
        """Make the probe.

        Args:
            pool: local features (B, K, C) and g (B, D) → `Attended` with one query.
            size: of the context that the pool returns.
            classes: to tell apart.
        """
        super().__init__()
        self.pool, self.classifier = pool, nn.Linear(size, classes)

    def forward(
        self, local: Float[Tensor, "B K C"], g: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B classes"], Float[Tensor, "B 1 K"]]:
        """Logits, and the weights that the pool gave to the positions."""
        context, weights = self.pool(local, g)
        return self.classifier(context[:, 0]), weights


class Average(nn.Module):
    """The control: every position with the same weight."""

    def forward(self, local: Float[Tensor, "B K C"], g: Float[Tensor, "B D"]) -> Attended:
        """The mean of the local features."""
        weights = local.new_full((len(local), 1, local.shape[1]), 1 / local.shape[1])
        return Attended(weights @ local, weights)


class Guided(nn.Module):
    """Attention with g as the query, projected to the size of the local features; these are keys and values."""

    def __init__(self, attention: nn.Module, d_g: int = 64, d_l: int = 32):
        """Take any `Attention`, and the sizes of g and of the local features."""
        super().__init__()
        self.project, self.attention = nn.Linear(d_g, d_l), attention

    def forward(self, local: Float[Tensor, "B K C"], g: Float[Tensor, "B D"]) -> Attended:
        """Attend with the one query that g makes."""
        return self.attention(self.project(g)[:, None], local, local)


def fit(
    probe: nn.Module, features: Features, *, epochs: int = 12, lr: float = 1e-2, seed: int = 0
) -> nn.Module:
    """Train a probe with AdamW under one cycle of the learning rate; returned in evaluation mode."""
    order = torch.Generator().manual_seed(seed)
    batch, n = 128, len(features.labels)
    steps = epochs * -(-n // batch)
    optimizer = torch.optim.AdamW(probe.parameters(), lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps)
    probe.train()
    for _ in range(epochs):
        for chosen in torch.randperm(n, generator=order).split(batch):
            logits, _ = probe(features.local[chosen], features.g[chosen])
            optimizer.zero_grad()
            F.cross_entropy(logits, features.labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    return probe.eval()


@torch.inference_mode()
def score(probe: nn.Module, features: Features) -> pd.Series:
    """How well a probe reads, and its weights find, the digit: ``accuracy``, ``pointing``, ``energy``, in [0, 1]."""
    parts = [probe(l, g) for l, g in zip(features.local.split(500), features.g.split(500))]
    logits, weights = (torch.cat(column) for column in zip(*parts))
    maps = to_maps(weights, GRID)
    return pd.Series(
        {
            "accuracy": (logits.argmax(dim=1) == features.labels).double().mean().item(),
            "pointing": metrics.pointing_game(maps, features.regions).double().mean().item(),
            "energy": metrics.energy_inside(maps, features.regions).double().mean().item(),
        }
    )


def compare(
    pools: Mapping[str, Callable[[], nn.Module]],
    train: Features,
    test: Features,
    *,
    seeds: Iterable[int] = (0, 1, 2),
    epochs: int = 12,
) -> pd.DataFrame:
    """Train every pool with every seed and score it on the test features.

    Args:
        pools: for each name, what makes a fresh pool; called under each seed.
        train: features to fit on.
        test: features to score on.
        seeds: of the initial weights and of the order of the images.
        epochs: of `fit`.

    Returns:
        A row a name and seed; the columns are those of `score`.
    """
    rows = {}
    for name, make in pools.items():
        for seed in seeds:
            with torch.random.fork_rng():  # the learner's own random numbers go on as they were
                torch.manual_seed(seed)
                rows[name, seed] = score(fit(Probe(make()), train, epochs=epochs, seed=seed), test)
    return pd.DataFrame(rows).T.rename_axis(["pool", "seed"])
