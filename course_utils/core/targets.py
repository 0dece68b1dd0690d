"""Target classes: the class of each image whose logit a method explains."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

# One class per image, one class for all images, or None for the predicted class.
Targets = Int[Tensor, " B"] | int | None


def target_classes(classes: Targets, logits: Float[Tensor, "B classes"]) -> Int[Tensor, " B"]:
    """Return the target class of each image.

    Args:
        classes: One class per image, or one for all images. If None, the class with the highest
            logit.
        logits: Output of the network for these images.

    Raises:
        ValueError: If the classes aren't integers from 0 to the number of classes − 1, or if there
            is neither a single class nor one class per image.
    """
    if classes is None:
        return logits.argmax(dim=1)
    given = torch.as_tensor(classes, device=logits.device)
    n, last = len(logits), logits.shape[1] - 1
    # A boolean or a float would pass the comparison below, but as a class it is a mistake.
    integers = not given.is_floating_point() and given.dtype != torch.bool
    if given.shape not in ((), (n,)) or not integers or not ((given >= 0) & (given <= last)).all():
        raise ValueError(
            f"expected a class from 0 to {last} for each of {n} images, got {given.tolist()}"
        )
    return given.long().expand(n)  # a single class () → (B,)
