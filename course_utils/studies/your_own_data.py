"""The study of the chapter Your own data: photographs of solar cells, with and without attention.

``python -m experiments.your_own_data`` trains and scores the networks. The package ships its
tables, but neither weights nor images, because the licence of the photographs (CC BY-NC-SA 4.0) is
not that of the course.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_average_precision

from course_utils.data.splits import Splits
from course_utils.models import AttnVGG, Output
from course_utils.studies.presets import PRESETS
from course_utils.studies.variants import Variant, check_variant
from course_utils.training.classification import classification_report, confusion_matrix
from course_utils.training.evaluation import predict
from course_utils.training.recipes import Recipe
from course_utils.training.run import Run
from course_utils.training.trainer import fit

SHIPPED = Path(__file__).parents[1] / "shipped" / "your_own_data"
SEEDS = tuple(range(10))
DEGREE_SEEDS = tuple(range(5))  # of the network that tells eight kinds of cells apart
IMAGE_SIZE = 64  # pixels
PRESET = PRESETS["cpu"]  # for the width
RECIPE = Recipe(epochs=9, batch_size=32, lr=3e-3)
_REPAIRED = {"taps": "before", "head": "independent"}
VARIANTS = {
    "attention": Variant(AttnVGG, {"alignment": "softmax", **_REPAIRED}, SEEDS),
    "average": Variant(AttnVGG, {"alignment": None, **_REPAIRED}, SEEDS),
}
GRID = 8  # squares on each side of an image that can be blanked
SHARES = (1 / 16, 1 / 8, 1 / 4)  # of the squares
DRAWS = 3  # of random squares


def build(variant: str, classes: tuple[str, ...], *, seed: int = 0) -> nn.Module:
    """Return the network of a variant, freshly initialised.

    Raises:
        ValueError: If the variant is unknown; the message lists the valid ones.
    """
    check_variant(variant, VARIANTS)
    return VARIANTS[variant].build(len(classes), PRESET, seed=seed)


def train(
    variant: str, data: Splits, folder: Path | str, *, seed: int = 0
) -> tuple[nn.Module, Run]:
    """Train a variant from a seed; a run that was stopped continues from its last epoch."""
    model = build(variant, data.classes, seed=seed)
    return model, fit(model, data, RECIPE, folder=folder, seed=seed, resume=True)


def judge(model: nn.Module, data: Splits) -> dict[str, list]:
    """Return everything that the study keeps of a trained network.

    Args:
        model: The network.
        data: The data set, whose test images are used. If one class is ``defective``, the recall
            and the average precision of defects are scored too, and images are blanked.

    Returns:
        ``scores``, a list with one row; ``confusion``, the confusion matrix; and ``blanks``, the
        rows of `blanking`, empty for a network without maps.
    """
    output, labels, _ = predict(model, data.test)
    matrix = confusion_matrix(output.logits, labels)
    row = classification_report(output.logits, labels).value.to_dict()
    blanks = []
    if "defective" in data.classes:
        defective = data.classes.index("defective")
        p = output.logits.softmax(dim=1)[:, defective]
        row["recall of defects"] = (matrix[defective, defective] / matrix[defective].sum()).item()
        row["AP of defects"] = binary_average_precision(p, (labels == defective).int()).item()
        if output.maps:
            blanks = list(blanking(model, data, output, labels))
    return {"scores": [row], "confusion": matrix.tolist(), "blanks": blanks}


def blanking(
    model: nn.Module, data: Splits, output: Output, labels: Int[Tensor, " N"]
) -> Iterator[dict[str, float | str]]:
    """Measure how much the evidence for a defect falls when squares of the images are blanked.

    Args:
        model: The network, in evaluation mode.
        data: The data set, whose test images are used.
        output: The network's output for these images.
        labels: Their labels.

    Yields:
        One row per choice of squares (``squares``), ``share`` of squares and true ``class``:
        ``fall``, the mean decrease of the log-odds of a defect.
    """
    images = torch.stack([data.test[i][0] for i in range(len(data.test))])
    defective = data.classes.index("defective")
    whole = _log_odds(model, images, defective)
    for name, orders in _orders(images, output.maps).items():
        for share in SHARES:
            falls = [
                whole - _log_odds(model, blanked(images, order, share), defective)
                for order in orders
            ]
            fall = torch.stack(falls).mean(dim=0)
            for label, of in enumerate(data.classes):
                yield {
                    "squares": name,
                    "share": share,
                    "class": of,
                    "fall": fall[labels == label].mean().item(),
                }


def blanked(
    images: Float[Tensor, "N C S S"], order: Float[Tensor, "N 1 G G"], share: float
) -> Float[Tensor, "N C S S"]:
    """Return the images with a share of their squares filled with the mean of the image.

    Args:
        images: The images.
        order: One value per square; the squares with the highest values are filled.
        share: Share of the squares to fill, in (0, 1].
    """
    count = round(share * order[0].numel())
    chosen = torch.zeros_like(order).flatten(1)  # (N, G * G)
    chosen.scatter_(1, order.flatten(1).topk(count).indices, 1.0)
    mask = F.interpolate(chosen.view_as(order), size=images.shape[-2:], mode="nearest")
    return images * (1 - mask) + images.mean(dim=(2, 3), keepdim=True) * mask


def _orders(
    images: Float[Tensor, "N C S S"], maps: tuple[Tensor, ...]
) -> dict[str, list[Float[Tensor, "N 1 G G"]]]:
    """Return the orders in which squares are blanked: by maps, at random, and by brightness."""
    orders: dict[str, list[Tensor]] = {}
    for tap, m in enumerate(maps, 1):
        squares = F.adaptive_avg_pool2d(m, GRID)
        orders |= {f"map {tap}, highest": [squares], f"map {tap}, lowest": [-squares]}
    generator = torch.Generator().manual_seed(0)  # the same squares for every network
    orders["random"] = [
        torch.rand(len(images), 1, GRID, GRID, generator=generator) for _ in range(DRAWS)
    ]
    # The simplest rule needs no network: defects of solar cells are dark.
    orders["darkest"] = [-F.adaptive_avg_pool2d(images.mean(dim=1, keepdim=True), GRID)]
    return orders


@torch.inference_mode()
def _log_odds(
    model: nn.Module, images: Float[Tensor, "N C S S"], label: int
) -> Float[Tensor, " N"]:
    p = torch.cat([model(batch).logits.softmax(dim=1) for batch in images.split(100)])
    return torch.logit(p[:, label].double(), eps=1e-6)


def scores(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the scores of `judge`: one row per variant and seed."""
    return pd.read_csv(home / "scores.csv")


def blanks(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the rows of `blanking` for every seed of the variant with attention."""
    return pd.read_csv(home / "blanked.csv")


def degree_scores(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the scores of the networks with eight classes: one row per seed."""
    return pd.read_csv(home / "degree_scores.csv")


def degree_confusion(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the confusion matrix of the networks with eight classes, summed over the seeds.

    The rows are the true classes, the columns the predicted ones.
    """
    return pd.read_csv(home / "degree_confusion.csv", index_col="truth")
