"""The study of the chapter Start here: did a network learn to look where it looks?

``python -m experiments.start_here`` scores maps of trained networks and of freshly initialised
ones; the package ships the table. Digits in a scan's ink and in a pen's ink are made here as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from course_utils.core.eval_mode import evaluating
from course_utils.data import cluttered_digits, strokes
from course_utils.data.parts import SizedDataset
from course_utils.explain import metrics
from course_utils.models import POOLS
from course_utils.studies import shipped
from course_utils.studies.presets import PRESETS
from course_utils.training.evaluation import predict

SHIPPED = Path(__file__).parents[1] / "shipped" / "start_here"
SEEDS = {  # of the networks by their training, each with the seeds of its initial weights
    "untrained": tuple(range(5)),
    "trained": (0, 1, 2),
    "trained without attention": (0, 1, 2),
}
CANVAS = 64  # pixels
PEN = 2.5  # width in pixels, as in the drawing widget at first


def network(training: str, seed: int) -> nn.Module:
    """Return a network of the cpu preset, in evaluation mode.

    Args:
        training: One of `SEEDS`. The network is AttnVGG as the chapter of that name repairs it;
            without attention, its taps are averaged with equal weights.
        seed: Seed of the initial weights and of the order of the images.

    Raises:
        ValueError: If the training is unknown; the message lists the valid names.
    """
    if training not in SEEDS:
        raise ValueError(f"unknown training {training!r}: choose one of {', '.join(SEEDS)}")
    if training == "untrained":
        return shipped.build("repaired", PRESETS["cpu"], seed=seed).eval()
    variant = "repaired" if training == "trained" else "no_attention_losses"
    return shipped.load(variant, seed=seed)[0]


@torch.inference_mode()
def feature_lengths(
    model: nn.Module, images: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, "B 1 H/4 W/4"]:
    """Return the length of the feature vector at each position of block 3, before its max-pool.

    These are the features that the first map of `AttnVGG` weights.

    Args:
        model: An `AttnVGG`.
        images: Grey images in [0, 1].
    """
    to_block_3 = cast(nn.Sequential, model.features)[: POOLS[2]]
    with evaluating(model):
        features = to_block_3(images.expand(-1, 3, -1, -1))  # (B, 32, H/4, W/4)
    return features.norm(dim=1, keepdim=True)


def judge(model: nn.Module, test: SizedDataset) -> pd.DataFrame:
    """Score what a network offers as a map: its first attention map, and its feature lengths.

    Args:
        model: An `AttnVGG`, with attention or without.
        test: Items ``(image, label, region)``.

    Returns:
        ``pointing`` and ``energy``, each the mean over the images, by ``map``: attention map (if
        the network has one) and feature length.
    """
    output, _, regions = predict(model, test)
    batches = DataLoader(cast(Dataset, test), 100)
    lengths = [feature_lengths(model, images) for images, *_ in batches]
    maps = {"feature length": torch.cat(lengths)}
    if output.maps:
        maps["attention map"] = output.maps[0]
    rows = {name: score(m, cast(Tensor, regions)) for name, m in sorted(maps.items())}
    return pd.DataFrame(rows).T.rename_axis("map")


def score(maps: Float[Tensor, "N 1 h w"], regions: Tensor) -> pd.Series:
    """Return the mean ``pointing`` and the mean ``energy`` of maps, both in [0, 1]."""
    return pd.Series(
        {
            "pointing": metrics.pointing_game(maps, regions).double().mean().item(),
            "energy": metrics.energy_inside(maps, regions).double().mean().item(),
        }
    )


def scores(folder: Path = SHIPPED) -> pd.DataFrame:
    """Return the results of `judge` for all networks, on the 4,000 test images of the cpu preset.

    Returns:
        One row per ``training``, ``seed`` and ``map``, with ``pointing`` and ``energy``.
    """
    return pd.read_csv(folder / "scores.csv")


class Pairs(NamedTuple):
    """The same digits twice, with the same clutter at the same place and size.

    Attributes:
        scanned: With the ink of MNIST's scans, as in the test images, (N, 1, 64, 64).
        drawn: With the ink of a pen along the lines that `strokes.traced` finds, (N, 1, 64, 64).
        labels: The digits, (N,).
    """

    scanned: Float[Tensor, "N 1 H W"]
    drawn: Float[Tensor, "N 1 H W"]
    labels: Int[Tensor, " N"]


def pairs(digits: Sequence[int], *, seed: int = 0) -> Pairs:
    """Compose digits as in the test images, in two kinds of ink.

    Args:
        digits: Indices into the 600 source digits of the test images.
        seed: Seed of the sizes, the places and the clutter.
    """
    pool, labels = cluttered_digits.digit_pool("test")
    chosen, n = pool[list(digits)], len(digits)
    rng = torch.Generator().manual_seed(seed)
    sizes = torch.empty(n).uniform_(*cluttered_digits.DIGIT_SCALES, generator=rng)
    place = torch.rand(n, 2, generator=rng)  # share of the free space, x and y
    sides = sizes * cluttered_digits.FRAME
    corners = place * (CANVAS - sides)[:, None]
    scans = cluttered_digits.draw_digits(chosen, CANVAS, sides, corners) / 255
    inks = [
        strokes.inked(_placed(strokes.traced(digit), *at), CANVAS, PEN)
        for digit, *at in zip(chosen, sizes.tolist(), corners.tolist())
    ]
    clutter = cluttered_digits.clutter(n, CANVAS, seed=seed) / 255
    return Pairs(
        torch.maximum(scans[:, None], clutter),
        torch.maximum(torch.stack(inks)[:, None], clutter),
        labels[list(digits)],
    )


def _placed(paths: list[strokes.Path], size: float, corner: Sequence[float]) -> list[strokes.Path]:
    """Enlarge lines, and move them from the origin to the corner of their frame."""
    return [[[size * x + corner[0], size * y + corner[1]] for x, y in path] for path in paths]
