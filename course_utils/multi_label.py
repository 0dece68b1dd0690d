"""Scores where an image may have several labels: each label is a yes or no of its own."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


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
        raise ValueError(f"expected targets of 0 and 1, got values from {targets.min():.3g} to {targets.max():.3g}")
    if scores.isnan().any():
        raise ValueError("expected scores that are numbers, got NaN among them")
    return torch.stack([_one(score, target > 0) for score, target in zip(scores.T, targets.T)])


def mean_average_precision(scores: Float[Tensor, "N classes"], targets: Float[Tensor, "N classes"]) -> float:
    """mAP: the mean of `average_precision` over the classes that occur; NaN if none does.

    Raises:
        ValueError: see `average_precision`.
    """
    return average_precision(scores, targets).nanmean().item()


def _one(score: Float[Tensor, " N"], has: Bool[Tensor, " N"]) -> Float[Tensor, ""]:
    as_high = score >= score[has][:, None]  # (positives, N)
    return ((as_high & has).sum(dim=1) / as_high.sum(dim=1)).mean()
