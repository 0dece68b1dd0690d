"""The class of each image that a method is asked to explain."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

Targets = Int[Tensor, " B"] | int | None  # one an image, one for all, or the one that is predicted


def target_classes(classes: Targets, logits: Float[Tensor, "B classes"]) -> Int[Tensor, " B"]:
    """The class to look at for each image: as given, one for all, or else the one with the highest logit.

    Raises:
        ValueError: classes that do not fit the logits.
    """
    if classes is None:
        return logits.argmax(dim=1)
    given = torch.as_tensor(classes, device=logits.device)
    n, last = len(logits), logits.shape[1] - 1
    good = given.shape in ((), (n,)) and not given.is_floating_point() and given.dtype != torch.bool
    if not good or not ((given >= 0) & (given <= last)).all():
        raise ValueError(
            f"expected a class from 0 to {last} for each of {n} images, got {given.tolist()}"
        )
    return given.long().expand(n)
