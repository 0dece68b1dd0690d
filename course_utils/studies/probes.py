"""Probes: small classifiers with attention, trained on frozen features.

The chapters on scores, alignments and kinds of attention compare many ways to attend. To train a
whole network for each would take hours, and its features would adapt to the attention. So all
probes read the *same* features, those of a shipped network that was trained without attention.
A probe trains in seconds, and only its attention differs from that of the others.

One caveat: the network was trained to classify the plain average of these features, so average
pooling has an advantage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, cast

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

GRID = 16  # positions on each side of block 3 before its max-pool, for images of 64 pixels


class Features(NamedTuple):
    """Frozen features of N images, with the labels and boxes that a probe is scored against.

    Attributes:
        local: Features of block 3 before its max-pool, (N, 256, 32): one vector per position.
        g: Average of the last features, (N, 64).
        labels: The digits, (N,).
        regions: The filled boxes, (N, 1, 64, 64).
    """

    local: Float[Tensor, "N K C"]
    g: Float[Tensor, "N D"]
    labels: Int[Tensor, " N"]
    regions: Bool[Tensor, "N 1 H W"]


@torch.no_grad()  # not inference mode: autograd refuses to train on inference tensors
def frozen(dataset: Dataset) -> Features:
    """Return the features of cluttered digits of 64 pixels in the network without attention."""
    model, _ = shipped.load("no_attention_losses")
    layers = cast(nn.Sequential, model.features)
    to_block_3, to_the_end = layers[: POOLS[2]], layers[POOLS[2] :]
    parts = []
    for images, labels, regions in DataLoader(dataset, 100):
        block_3 = to_block_3(images.expand(-1, 3, -1, -1))  # (B, 32, 16, 16)
        g = to_the_end(block_3).mean(dim=(2, 3))  # (B, 64)
        parts.append((to_sequence(block_3), g, labels, regions))
    return Features(*(torch.cat(column) for column in zip(*parts)))


class Probe(nn.Module):
    """Attention that pools the local features into one vector, and a linear classifier."""

    def __init__(self, pool: nn.Module):
        """Initialise the classifier.

        Args:
            pool: Maps local features (B, K, 32) and g (B, 64) to `Attended`, with one query.
        """
        super().__init__()
        self.pool = pool
        self.classifier = nn.Linear(32, 10)

    def forward(
        self, local: Float[Tensor, "B K C"], g: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B classes"], Float[Tensor, "B 1 K"]]:
        """Return the logits, and the attention weights of the positions."""
        context, weights = self.pool(local, g)  # (B, 1, C), (B, 1, K)
        return self.classifier(context[:, 0]), weights


class Average(nn.Module):
    """The control: all positions have the same weight."""

    def forward(self, local: Float[Tensor, "B K C"], g: Float[Tensor, "B D"]) -> Attended:
        """Return the mean of the local features."""
        weights = local.new_full((len(local), 1, local.shape[1]), 1 / local.shape[1])
        return Attended(weights @ local, weights)


class Guided(nn.Module):
    """Attention with g as the query, projected to the size of the local features.

    The local features are both keys and values.
    """

    def __init__(self, attention: nn.Module, d_g: int = 64, d_l: int = 32):
        """Wrap an `Attention`, given the sizes of g and of the local features."""
        super().__init__()
        self.project = nn.Linear(d_g, d_l)
        self.attention = attention

    def forward(self, local: Float[Tensor, "B K C"], g: Float[Tensor, "B D"]) -> Attended:
        """Attend with the query that g is projected to."""
        return self.attention(self.project(g)[:, None], local, local)  # one query: (B, 1, C)


def fit(
    probe: nn.Module,
    features: Features,
    *,
    epochs: int = 12,
    lr: float = 1e-2,
    seed: int = 0,
    factors: Mapping[nn.Module, float] | None = None,
) -> nn.Module:
    """Train a probe with AdamW and a one-cycle schedule, and return it in evaluation mode.

    Args:
        probe: A `Probe`, or a module with the same inputs and outputs.
        features: The features to train on.
        epochs: Passes over all images.
        lr: The highest learning rate of the cycle.
        seed: Seed of the order of the images; the initial weights are those of ``probe``.
        factors: Parts of the probe whose learning rate is multiplied by a positive factor. Their
            weight decay in each step stays the same.
    """
    order = torch.Generator().manual_seed(seed)
    batch, n = 128, len(features.labels)
    steps = epochs * math.ceil(n / batch)
    groups = _groups(probe, lr, factors or {})
    optimizer = torch.optim.AdamW(groups)
    rates = [group["lr"] for group in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, steps)
    probe.train()
    for _ in range(epochs):
        for chosen in torch.randperm(n, generator=order).split(batch):
            logits, _ = probe(features.local[chosen], features.g[chosen])
            optimizer.zero_grad()
            F.cross_entropy(logits, features.labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    return probe.eval()


def _groups(probe: nn.Module, lr: float, factors: Mapping[nn.Module, float]) -> list[dict]:
    """Return the parameter groups for AdamW: one per part with a factor, and one for the rest."""
    own = {parameter for part in factors for parameter in part.parameters()}
    rest = [parameter for parameter in probe.parameters() if parameter not in own]
    parts = [(rest, 1.0), *((list(part.parameters()), by) for part, by in factors.items())]
    # AdamW multiplies the decay by the learning rate, so dividing it by the factor leaves it alone.
    return [{"params": own, "lr": by * lr, "weight_decay": 1e-2 / by} for own, by in parts if own]


@torch.inference_mode()
def score(probe: nn.Module, features: Features) -> pd.Series:
    """Score a probe: ``accuracy``, and ``pointing`` and ``energy`` of its map, in [0, 1]."""
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
    """Train a probe with every pool from every seed, and score it on the test features.

    Args:
        pools: For each name, a function that returns a fresh pool. It is called once per seed.
        train: Features to train on.
        test: Features to score on.
        seeds: Seeds of the initial weights and of the order of the images.
        epochs: Passes over the training images.

    Returns:
        One row per name and seed, with the columns of `score`.
    """
    rows = {}
    for name, make in pools.items():
        for seed in seeds:
            with torch.random.fork_rng():  # leaves the random state of the notebook as it was
                torch.manual_seed(seed)
                rows[name, seed] = score(fit(Probe(make()), train, epochs=epochs, seed=seed), test)
    return pd.DataFrame(rows).T.rename_axis(["pool", "seed"])
