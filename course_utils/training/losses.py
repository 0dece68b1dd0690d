"""Loss functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
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


def dice_loss(maps: Float[Tensor, "B 1 h w"], masks: Float[Tensor, "B 1 h w"]) -> Float[Tensor, ""]:
    r"""Return the Dice loss of attention maps, which is 0 if they equal their masks of 0 and 1.

    .. math:: 1 - \frac{2 \sum_i a_i m_i}{\sum_i a_i + \sum_i m_i}

    The sums run over all positions of all images, as in the published code of Yan et al. 2019
    (``ISIC/loss.py``), so an image counts in proportion to its map and its mask. The maps should
    range to 1, as those of a sigmoid do; softmax maps have a sum of 1, whatever the mask.

    Args:
        maps: Attention weights a, at least 0.
        masks: Share m of each position that belongs to the object, in [0, 1].

    Returns:
        The loss, in [0, 1]; 1 if maps and masks are all zero.
    """
    total = maps.sum() + masks.sum()
    return 1 - 2 * (maps * masks).sum() / total.clamp(min=torch.finfo(total.dtype).tiny)


def maps_loss(
    maps: Sequence[Float[Tensor, "B 1 _ _"]],
    regions: Shaped[Tensor, "B 1 H W"],
    weights: Sequence[float],
) -> Float[Tensor, ""]:
    """Compare attention maps with the regions of the objects: the weighted sum of `dice_loss`.

    Each region is averaged down to the grid of the map. An image whose region is empty is left out,
    which is how a data set says that it has no mask for it.

    Source: Yan, Kawahara and Hamarneh 2019, "Melanoma Recognition via Visual Attention", the
    regularised models. Their code (``ISIC/train_seg.py``) weights the first map by 0.001 and the
    second by 0.01.

    Args:
        maps: The attention maps of a network, one tensor per tap.
        regions: One mask per image, with values 0 and 1.
        weights: One weight per tap.

    Returns:
        The loss; 0 if no image has a region.

    Raises:
        ValueError: If the number of weights isn't that of the maps.
    """
    if len(weights) != len(maps):
        raise ValueError(f"expected one weight per map, got {len(weights)} for {len(maps)} maps")
    has_mask = regions.flatten(1).any(dim=1)  # (B)
    known = regions[has_mask]
    losses = []
    for a, weight in zip(maps, weights):
        masks = F.adaptive_avg_pool2d(known.to(a), (a.shape[-2], a.shape[-1]))
        losses.append(weight * dice_loss(a[has_mask], masks))
    return torch.stack(losses).sum() * has_mask.any()


def _check_labels(labels: Tensor, *, classes: int) -> None:
    """Check that labels name one of the classes, unless the check would have to wait for a GPU."""
    if not labels.is_cuda and not ((labels >= 0) & (labels < classes)).all():
        low, high = labels.min().item(), labels.max().item()
        raise ValueError(
            f"expected labels from 0 to {classes - 1}, got labels from {low} to {high}"
        )
