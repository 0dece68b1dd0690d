"""What goes into every network and what comes out of it."""

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
    """What a network returns.

    Attributes:
        logits: (B, classes), the prediction.
        maps: attention maps, each (B, 1, H, W), from the first tap to the last; empty without attention.
        heads: (B, heads, classes), the logits that each get a loss of their own; a single classifier is one head.
    """

    logits: Float[Tensor, "B classes"]
    maps: tuple[Float[Tensor, "B 1 _ _"], ...]
    heads: Float[Tensor, "B heads classes"]


class Heads(nn.ModuleList):
    """Linear classifiers on one or more descriptors of an image, and the prediction they make together.

    ``concat`` reads the descriptors as one long vector. ``independent`` gives each a classifier of its own and averages
    their probabilities, as Jetley et al. 2018 do (their published code adds the logits). Weights start from
    N(0, 0.01), as those of Yan et al. 2019.
    """

    def __init__(
        self, sizes: list[int], num_classes: int, head: Head = "concat", dropout: float = 0.0
    ):
        """Make the classifiers.

        Args:
            sizes: of the descriptors.
            num_classes: to tell apart.
            head: ``concat`` or ``independent``.
            dropout: share of the numbers of a descriptor set to 0 in training.

        Raises:
            ValueError: an unknown head, fewer classes than two, or a dropout outside [0, 1).
        """
        check_choice("head", head, Head)
        if num_classes < 2 or not 0 <= dropout < 1:
            raise ValueError(
                f"expected at least 2 classes and a dropout in [0, 1), got {num_classes} and {dropout}"
            )
        super().__init__(
            nn.Linear(n, num_classes) for n in ([sum(sizes)] if head == "concat" else sizes)
        )
        self.head, self.dropout = head, dropout
        for linear in self:
            nn.init.normal_(linear.weight, std=0.01)
            nn.init.zeros_(linear.bias)

    def forward(self, descriptors: list[Tensor], maps: tuple[Tensor, ...]) -> Output:
        """Classify descriptors, each (B, C), and pass the maps on."""
        if self.head == "concat":
            descriptors = [torch.cat(descriptors, dim=1)]
        descriptors = [F.dropout(d, self.dropout, self.training) for d in descriptors]
        heads = torch.stack(
            [linear(d) for linear, d in zip(self, descriptors)], dim=1
        )  # (B, heads, classes)
        if self.head == "concat":
            return Output(heads[:, 0], maps, heads)
        mean_probability = heads.log_softmax(dim=-1).logsumexp(dim=1) - math.log(len(self))
        return Output(mean_probability, maps, heads)


def as_rgb(images: Float[Tensor, "B C H W"], least: int) -> Float[Tensor, "B 3 H W"]:
    """The images, grey ones shown to all three input channels.

    Raises:
        ValueError: images with a side under the least one, or neither grey nor RGB.
    """
    if images.ndim != 4 or min(images.shape[-2:]) < least or images.shape[1] not in (1, 3):
        raise ValueError(
            f"expected grey or RGB images (B, 1 or 3, H, W) of at least {least} × {least} pixels, "
            f"got {tuple(images.shape)}"
        )
    return images.expand(-1, 3, -1, -1)
