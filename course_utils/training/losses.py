"""What training makes small."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from course_utils.models import Output
from course_utils.training.recipes import Loss


def heads_loss(
    output: Output, labels: Int[Tensor, " B"], gamma: float = 0.0, *, loss: Loss = "cross_entropy"
) -> Float[Tensor, ""]:
    r"""Focal loss, averaged over images and over the classifiers of the network: one, or one a descriptor.

    .. math:: -(1 - p)^\gamma \log p

    with p the probability of what is true: of the true class; with binary cross-entropy, where each class is a question
    of its own, of each right yes or no, averaged over the classes. With γ = 0 it is the loss of that name; the larger
    γ, the less counts what is answered well already. Source: Lin et al. 2017, "Focal Loss for Dense Object Detection",
    eq. 4; Yan et al. 2019 take γ = 2.
    """
    logits = output.heads.flatten(0, 1)  # (B · heads, classes)
    truth = labels.repeat_interleave(output.heads.shape[1])
    if loss == "binary_cross_entropy":
        yes = F.one_hot(truth, logits.shape[1]).to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, yes, reduction="none")
    else:
        losses = F.cross_entropy(logits, truth, reduction="none")
    if gamma == 0:
        return losses.mean()
    missing = (-torch.expm1(-losses)).clamp(
        min=torch.finfo(losses.dtype).tiny
    )  # 1 − p; at 0 its power has no slope
    return (missing**gamma * losses).mean()
