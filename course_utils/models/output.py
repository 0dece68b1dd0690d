"""The output of every network, its classifiers, and the check of its input."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.core.checks import check_choice

Head = Literal["concat", "independent"]


class Output(NamedTuple):
    """The output of a network.

    Attributes:
        logits: (B, classes), the prediction.
        maps: Attention maps, each (B, 1, H, W), from the first tap to the last; empty if the
            network has no attention.
        heads: (B, heads, classes), the logits of each classifier, for a loss on each; a single
            classifier counts as one head.
    """

    logits: Float[Tensor, "B classes"]
    maps: tuple[Float[Tensor, "B 1 _ _"], ...]
    heads: Float[Tensor, "B heads classes"]


class Heads(nn.ModuleList):
    """Linear classifiers on one or more descriptors of an image, and their joint prediction.

    ``concat`` has one classifier, which reads the descriptors as one long vector. ``independent``
    has one classifier per descriptor and averages their probabilities, as Jetley et al. 2018 do
    (their published code adds the logits). Weights start from N(0, 0.01), as in Yan et al. 2019.
    """

    def __init__(
        self, sizes: list[int], num_classes: int, head: Head = "concat", dropout: float = 0.0
    ):
        """Create the classifiers.

        Args:
            sizes: Length of each descriptor.
            num_classes: Number of classes, at least 2.
            head: ``concat`` or ``independent``.
            dropout: Fraction of a descriptor's entries that is set to 0 in training, in [0, 1).

        Raises:
            ValueError: If the head is unknown, there are fewer than two classes, or the dropout is
                outside [0, 1).
        """
        check_choice("head", head, Head)
        if num_classes < 2 or not 0 <= dropout < 1:
            raise ValueError(
                "expected at least 2 classes and a dropout in [0, 1), "
                f"got {num_classes} and {dropout}"
            )
        inputs = [sum(sizes)] if head == "concat" else sizes
        linears = [nn.Linear(n, num_classes) for n in inputs]
        super().__init__(linears)
        self.head = head
        self.dropout = dropout
        for linear in linears:
            nn.init.normal_(linear.weight, std=0.01)
            nn.init.zeros_(linear.bias)

    def forward(self, descriptors: list[Tensor], maps: tuple[Tensor, ...]) -> Output:
        """Classify descriptors, each (B, C), and pass the maps on."""
        if self.head == "concat":
            descriptors = [torch.cat(descriptors, dim=1)]
        descriptors = [F.dropout(d, self.dropout, self.training) for d in descriptors]
        logits = [linear(d) for linear, d in zip(self, descriptors)]
        heads = torch.stack(logits, dim=1)  # (B, heads, classes)
        if self.head == "concat":
            return Output(heads[:, 0], maps, heads)
        # The logarithm of the mean of the heads' probabilities, computed without underflow.
        log_mean = heads.log_softmax(dim=-1).logsumexp(dim=1) - math.log(len(self))
        return Output(log_mean, maps, heads)


def as_rgb(images: Float[Tensor, "B C H W"], least: int) -> Float[Tensor, "B 3 H W"]:
    """Check images, and repeat grey ones in all three input channels.

    Args:
        images: Grey or RGB.
        least: Smallest side that the network accepts, in pixels.

    Raises:
        ValueError: If the images are neither grey nor RGB, or a side is shorter than `least`.
    """
    if images.ndim != 4 or min(images.shape[-2:]) < least or images.shape[1] not in (1, 3):
        raise ValueError(
            f"expected grey or RGB images (B, 1 or 3, H, W) of at least {least} × {least} pixels, "
            f"got {tuple(images.shape)}"
        )
    return images.expand(-1, 3, -1, -1)
