"""How well predictions fit the truth, each number with the interval that the choice of test images leaves open."""

from __future__ import annotations

import warnings

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_average_precision,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_precision,
    multiclass_recall,
)

RESAMPLES = 200


def classification_report(
    logits: Float[Tensor, "N classes"],
    labels: Int[Tensor, " N"],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """The usual scores of a classifier; precision, recall, AP and AUC are means over the classes that occur.

    The intervals are percentile bootstrap intervals (Efron 1979): the same scores of 200 test sets drawn from this one
    with replacement. They say what other test images might have given, and nothing of other training runs: for that,
    train with other seeds.

    Args:
        logits: of N images.
        labels: the truth.
        level: of the intervals.
        seed: of the draws.

    Returns:
        A row each for ``accuracy``, ``precision``, ``recall``, ``AP`` (average precision), ``AUC`` (area under the ROC
        curve, one class against the rest), ``loss`` (cross-entropy) and ``calibration error`` (expected, 15 bins); the
        columns are ``value``, ``low`` and ``high``.

    Raises:
        ValueError: nothing to score, labels that do not fit, logits that are no numbers, or a level outside (0, 1).
    """
    _check(logits, labels)
    if not 0 < level < 1:
        raise ValueError(f"expected a level between 0 and 1, got {level}")
    draws = torch.randint(
        len(labels), (RESAMPLES, len(labels)), generator=torch.Generator().manual_seed(seed)
    )
    resampled = pd.DataFrame([_scores(logits[draw], labels[draw]) for draw in draws])
    low, high = resampled.quantile((1 - level) / 2), resampled.quantile((1 + level) / 2)
    return pd.DataFrame({"value": pd.Series(_scores(logits, labels)), "low": low, "high": high})


def confusion(
    logits: Float[Tensor, "N classes"], labels: Int[Tensor, " N"]
) -> Int[Tensor, "classes classes"]:
    """How many images of each class (row) were taken for each class (column).

    Raises:
        ValueError: see `classification`.
    """
    _check(logits, labels)
    return multiclass_confusion_matrix(logits, labels, logits.shape[1])


def _scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    classes, p, occur = logits.shape[1], logits.softmax(dim=1), labels.unique()
    each = {"num_classes": classes, "average": "none"}
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "No (positive|negative) samples"
        )  # of a class that is left out below
        scores = {
            "accuracy": multiclass_accuracy(logits, labels, classes, average="micro"),
            "precision": multiclass_precision(logits, labels, **each)[occur].mean(),
            "recall": multiclass_recall(logits, labels, **each)[occur].mean(),
            "AP": multiclass_average_precision(p, labels, **each)[occur].mean(),
            "AUC": multiclass_auroc(p, labels, **each)[occur].mean(),
            "loss": F.cross_entropy(logits, labels),
            "calibration error": multiclass_calibration_error(p, labels, classes),
        }
    return {name: value.item() for name, value in scores.items()}


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        given = f"{tuple(logits.shape)} and {tuple(labels.shape)}"
        raise ValueError(
            f"expected logits (N, classes) and labels (N,) of at least one image, got {given}"
        )
    if not ((labels >= 0) & (labels < logits.shape[1])).all():
        raise ValueError(
            f"expected labels from 0 to {logits.shape[1] - 1}, got {labels.min().item()} to {labels.max().item()}"
        )
    if not logits.isfinite().all():
        raise ValueError("expected logits that are numbers, got NaN or an infinity among them")


def average_precision(
    scores: Float[Tensor, "N classes"], targets: Float[Tensor, "N classes"]
) -> Float[Tensor, " classes"]:
    """The average precision (AP) of each class: how well its score ranks the images that have it above the others.

    For each image that has the class, take all images that score at least as high, and the share of them that have it:
    the precision at that image. AP is the mean of these. Equal scores count together, as no threshold parts them.
    Scores that know nothing get about the share of images that have the class, which is the level of chance.

    Args:
        scores: logits or probabilities; only their order in a column matters.
        targets: 1 where the image has the class, else 0.

    Returns:
        AP of each class in [0, 1]; NaN for a class that no image has, of which nothing can be said.

    Raises:
        ValueError: shapes that do not fit, targets other than 0 and 1, or scores that are no numbers.
    """
    if scores.ndim != 2 or scores.shape != targets.shape:
        given = f"{tuple(scores.shape)} and {tuple(targets.shape)}"
        raise ValueError(f"expected scores and targets of one shape (N, classes), got {given}")
    if not ((targets == 0) | (targets == 1)).all():
        raise ValueError(
            f"expected targets of 0 and 1, got values from {targets.min():.3g} to {targets.max():.3g}"
        )
    if scores.isnan().any():
        raise ValueError("expected scores that are numbers, got NaN among them")
    return torch.stack([_one(score, target > 0) for score, target in zip(scores.T, targets.T)])


def mean_average_precision(
    scores: Float[Tensor, "N classes"], targets: Float[Tensor, "N classes"]
) -> float:
    """mAP: the mean of `average_precision` over the classes that occur; NaN if none does.

    Raises:
        ValueError: see `average_precision`.
    """
    return average_precision(scores, targets).nanmean().item()


def _one(score: Float[Tensor, " N"], has: Bool[Tensor, " N"]) -> Float[Tensor, ""]:
    as_high = score >= score[has][:, None]  # (positives, N)
    return ((as_high & has).sum(dim=1) / as_high.sum(dim=1)).mean()
