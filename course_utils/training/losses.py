"""Loss functions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from course_utils.core.checks import check_choice
from course_utils.models import Output
from course_utils.training.recipes import Loss

# PyTorch ignores images with the label -100. Here every wrong label is an error, so this number,
# which no data set uses as a label, replaces -100.
NO_LABEL = torch.iinfo(torch.int64).min


def heads_loss(
    output: Output, labels: Int[Tensor, " B"], gamma: float = 0.0, *, loss: Loss = "cross_entropy"
) -> Float[Tensor, ""]:
    r"""Return the focal loss, averaged over the images and the classifiers of the network.

    A network has one classifier, or one per descriptor. The loss of a prediction is

    .. math:: -(1 - p)^\gamma \log p

    With cross-entropy, p is the probability of the true class. With binary cross-entropy, each
    class is a separate yes-or-no question: p is the probability of the right answer, and the loss
    is averaged over the classes.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", eq. 4; Yan et al. 2019 use
    γ = 2.

    Args:
        output: The output of a network of `models`.
        labels: The true classes.
        gamma: γ, at least 0. With 0 the loss is plain cross-entropy; a larger γ gives less weight
            to predictions that are already good.
        loss: ``cross_entropy`` or ``binary_cross_entropy``.

    Raises:
        ValueError: If the loss is unknown, γ is negative or not finite, or a label is not a class
            of the network. For labels on a CUDA device, it is PyTorch's own error instead: if they
            were checked here, every step of training would wait for the device.
    """
    check_choice("loss", loss, Loss)
    if not 0 <= gamma < math.inf:
        raise ValueError(f"expected a finite gamma of at least 0, got {gamma}")
    _check_labels(labels, classes=output.heads.shape[-1])
    logits = output.heads.flatten(0, 1)  # (B · heads, classes)
    truth = labels.repeat_interleave(output.heads.shape[1])  # (B · heads)
    if loss == "binary_cross_entropy":
        yes = F.one_hot(truth, logits.shape[1]).to(logits.dtype)  # (B · heads, classes)
        losses = F.binary_cross_entropy_with_logits(logits, yes, reduction="none")
    else:
        losses = F.cross_entropy(  # (B · heads)
            logits, truth, ignore_index=NO_LABEL, reduction="none"
        )
    if gamma == 0:
        return losses.mean()
    # Every loss is -log p, so 1 - p is -expm1(-loss), which stays exact for p close to 1. At 0 the
    # derivative of a power below 1 is infinite, so the smallest positive value stands in for it.
    missing = (-torch.expm1(-losses)).clamp(min=torch.finfo(losses.dtype).tiny)
    return (missing**gamma * losses).mean()


def _check_labels(labels: Tensor, *, classes: int) -> None:
    """Check that labels name one of the classes, unless the check would have to wait for a GPU."""
    if not labels.is_cuda and not ((labels >= 0) & (labels < classes)).all():
        low, high = labels.min().item(), labels.max().item()
        raise ValueError(
            f"expected labels from 0 to {classes - 1}, got labels from {low} to {high}"
        )
