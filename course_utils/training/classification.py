"""Scores of a classifier, with intervals that reflect the choice of the test images."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_average_precision,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_precision,
    multiclass_recall,
    multilabel_average_precision,
)

from course_utils.core.resampling import bootstrap_interval
from course_utils.core.tensor_checks import as_masks

RESAMPLES = 200  # of the test set; each is scored anew, which takes milliseconds


def classification_report(
    logits: Float[Tensor, "N classes"], labels: Int[Tensor, " N"]
) -> pd.DataFrame:
    """Return the usual scores of a classifier, with 95 % bootstrap intervals.

    Precision, recall, AP and AUC are means over the classes that occur among the labels. A class
    that is never predicted has a precision of 0, as in scikit-learn. AUC compares the images of a
    class with the others, so it is undefined, and NaN, if all images have the same class.

    The intervals show which values other test images might have given; see `bootstrap_interval`.
    Resamples for which a score is undefined are left out. The intervals don't cover other training
    runs: train with several seeds for that.

    Args:
        logits: Logits of N images.
        labels: Their true classes.

    Returns:
        One row each for ``accuracy``, ``precision``, ``recall``, ``AP`` (average precision),
        ``AUC`` (area under the ROC curve, one class against the rest), ``loss`` (cross-entropy) and
        ``calibration error`` (expected calibration error, 15 bins), with the columns ``value``,
        ``low`` and ``high``.

    Raises:
        ValueError: If there is nothing to score, there are fewer than two classes, the shapes or
            labels don't fit, or a logit is NaN or infinite.
    """
    _check(logits, labels)

    def scores_of(drawn: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(drawn)
        return np.array([*_scores(logits[images], labels[images]).values()])

    value = pd.Series(_scores(logits, labels))
    low = high = value.to_numpy()  # every resample of a single image is that image
    if len(labels) > 1:
        low, high = bootstrap_interval(scores_of, len(labels), resamples=RESAMPLES)
    return pd.DataFrame({"value": value, "low": low, "high": high})


def confusion_matrix(
    logits: Float[Tensor, "N classes"], labels: Int[Tensor, " N"]
) -> Int[Tensor, "classes classes"]:
    """Count the images of each true class (row) that are predicted as each class (column).

    Raises:
        ValueError: See `classification_report`.
    """
    _check(logits, labels)
    return multiclass_confusion_matrix(logits, labels, logits.shape[1])


def average_precision(
    scores: Float[Tensor, "N classes"], targets: Shaped[Tensor, "N classes"]
) -> Float[Tensor, " classes"]:
    """Return the average precision (AP) of each class, where an image can have several classes.

    AP measures how well a class's scores rank the images with that class above the others. For each
    image with the class, take all images that score at least as high: the precision is the share of
    them that have the class, and AP is the mean of these precisions. Images with equal scores count
    together, because no threshold separates them. The chance level is about the share of images
    that have the class.

    Args:
        scores: Logits or probabilities; only their order within a column matters.
        targets: 1 or true where the image has the class, else 0 or false.

    Returns:
        AP of each class in [0, 1]; NaN for a class that no image has.

    Raises:
        ValueError: If the shapes don't fit, a target isn't 0 or 1, or a score is NaN.
    """
    if scores.ndim != 2 or scores.shape != targets.shape:
        given = f"{tuple(scores.shape)} and {tuple(targets.shape)}"
        raise ValueError(f"expected scores and targets of the same shape (N, classes), got {given}")
    targets = as_masks("targets", targets)
    if scores.isnan().any():
        raise ValueError("expected scores without NaN, got NaN")
    occurs = targets.any(dim=0)  # (classes)
    if not occurs.any():  # torchmetrics can't rank an empty set of images
        return torch.full(occurs.shape, torch.nan, device=scores.device)
    # torchmetrics takes scores outside [0, 1] for logits, and the sigmoid that it applies rounds
    # large ones to the same value. Ranks from 0 to 1 keep the order and the ties.
    ranks = scores.unique(return_inverse=True)[1].double() / scores.numel()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No positive samples")  # such a class is NaN below
        each = multilabel_average_precision(
            ranks, targets.long(), scores.shape[1], average=None, validate_args=False
        )
    return each.where(occurs, torch.nan)


def mean_average_precision(
    scores: Float[Tensor, "N classes"], targets: Shaped[Tensor, "N classes"]
) -> float:
    """Return mAP: the mean of `average_precision` over the classes that occur, or NaN if none does.

    Raises:
        ValueError: See `average_precision`.
    """
    return average_precision(scores, targets).nanmean().item()


def _scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    classes = logits.shape[1]
    p = logits.softmax(dim=1)
    occur = labels.unique()
    compared = occur if len(occur) > 1 else occur[:0]  # a mean of no values is NaN
    each: dict[str, Any] = {"num_classes": classes, "average": "none"}
    with warnings.catch_warnings():
        # torchmetrics warns of classes without images, which are left out of the means.
        warnings.filterwarnings("ignore", "No (positive|negative) samples")
        scores = {
            "accuracy": multiclass_accuracy(logits, labels, classes, average="micro"),
            "precision": multiclass_precision(logits, labels, **each)[occur].mean(),
            "recall": multiclass_recall(logits, labels, **each)[occur].mean(),
            "AP": multiclass_average_precision(p, labels, **each)[occur].mean(),
            "AUC": multiclass_auroc(p, labels, **each)[compared].mean(),
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
    if logits.shape[1] < 2:
        raise ValueError(
            f"expected logits of at least two classes, got {tuple(logits.shape)}; if the network "
            "has one sigmoid output z, use torch.cat([torch.zeros_like(z), z], dim=1)"
        )
    if not ((labels >= 0) & (labels < logits.shape[1])).all():
        low, high = labels.min().item(), labels.max().item()
        raise ValueError(
            f"expected labels from 0 to {logits.shape[1] - 1}, got labels from {low} to {high}"
        )
    if not logits.isfinite().all():
        raise ValueError("expected finite logits, got NaN or infinite values")
