"""A small VGG for images with several labels, and six ways to pool its features."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.attention import scores
from course_utils.attention.general import Attention, to_maps, to_sequence
from course_utils.attention.query_related import ClassQueries
from course_utils.attention.spatial import Alignment, attend
from course_utils.core.checks import check_choice
from course_utils.models.output import as_rgb
from course_utils.models.vgg import scaled, vgg_layers

LabelVariant = Literal["average", "sigmoid", "softmax", "average_softmax", "dual", "by_class"]
# The first layers of VGG with fewer convolutions; each position covers 4 × 4 pixels.
BACKBONE = (64, "M", 128, "M", 256, 256, 512)
# Each branch pools the features with one map; "uniform" is the plain average.
BRANCHES: dict[str, tuple[Alignment | Literal["uniform"], ...]] = {
    "average": ("uniform",),
    "sigmoid": ("sigmoid",),
    "softmax": ("softmax",),
    "average_softmax": ("uniform", "softmax"),
    "dual": ("sigmoid", "softmax"),
    "by_class": (),  # one query per class instead of branches
}


class LabelOutput(NamedTuple):
    """The output of `LabelAttention`.

    Attributes:
        logits: (B, classes); the sigmoid of each is the probability that the class is in the image.
        maps: Attention maps: one (B, 1, h, w) per branch with attention, so none for ``average``;
            for ``by_class`` a single (B, classes, h, w).
    """

    logits: Float[Tensor, "B classes"]
    maps: tuple[Float[Tensor, "B _ h w"], ...]


class LabelAttention(nn.Module):
    r"""One backbone, one linear classifier, and weights of the positions in between.

    .. math::
        c = \sum_i a_i l_i, \quad y = W c + b \qquad\text{or, by class,}\qquad
        c_m = \sum_i a_{mi} l_i, \quad y_m = w_m^\top c_m + b_m

    with local features l, the output of the backbone. The variants differ in the weights a only:

    - ``average``: all weights are equal, the control without attention;
    - ``softmax``: one map for all labels, whose positions compete;
    - ``sigmoid``: one map whose positions are weighted independently; the context is the mean, as
      in `attention.spatial.attend`;
    - ``dual``: both maps, each with its context; the classifier reads the two side by side;
    - ``average_softmax``: the control of ``dual``, with a uniform map of ones instead of the
      sigmoid;
    - ``by_class``: one map per class, from one query per class, with softmax:
      `query_related.ClassQueries`.
    """

    least_size = 4  # pixels: after two halvings, one position is left

    def __init__(
        self, num_classes: int, *, variant: LabelVariant = "by_class", width: float = 0.125
    ):
        """Build the network.

        Args:
            num_classes: Number of labels.
            variant: One of the six.
            width: Factor on every channel count of VGG.

        Raises:
            ValueError: If the variant is unknown (the message lists the valid ones), there is no
                class, or the width is not positive.
        """
        super().__init__()
        check_choice("variant", variant, LabelVariant)
        if num_classes < 1:
            raise ValueError(f"expected at least one class, got {num_classes}")
        self.variant = variant
        self.features = vgg_layers(BACKBONE, width)
        size = scaled(BACKBONE[-1], width)
        self.branches = nn.ModuleDict(
            {branch: nn.Conv2d(size, 1, 1) for branch in BRANCHES[variant] if branch != "uniform"}
        )
        self.classifier: ClassQueries | nn.Linear
        if variant == "by_class":
            attention = Attention(scores.scaled_multiplicative)
            self.classifier = ClassQueries(attention, num_classes, size, size)
        else:
            self.classifier = nn.Linear(size * len(BRANCHES[variant]), num_classes)
        # All variants start from logits near 0, so that none has a head start.
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Float[Tensor, "B C H W"]) -> LabelOutput:
        """Return one logit per class and the attention maps.

        Raises:
            ValueError: See `as_rgb`.
        """
        return self._attend(self.features(as_rgb(images, self.least_size)))

    def contributions(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B classes h w"]:
        r"""Return the contribution of each position to each logit, :math:`a_i\, w_m^\top l_i`.

        The values can be negative. Together with the bias :math:`b_m` they sum exactly to the
        logit, because everything between l and the logits is linear once the weights are known.
        Without attention, this is the class activation map of Zhou et al. 2016, divided by h · w.
        """
        l = self.features(as_rgb(images, self.least_size))  # (B, size, h, w)
        maps = self._attend(l).maps
        if self.variant == "by_class":
            (weights,) = maps  # (B, classes, h, w)
            return weights * _evidence(self.classifier.weight, l)
        positions = l.shape[2] * l.shape[3]
        by_branch = dict(zip(self.branches, maps))
        if "sigmoid" in by_branch:  # its context is a mean, not a sum
            by_branch["sigmoid"] = by_branch["sigmoid"] / positions
        by_branch["uniform"] = torch.ones_like(l[:, :1]) / positions
        # The classifier reads the contexts of the branches side by side.
        parts = self.classifier.weight.split(l.shape[1], dim=1)  # each (classes, size)
        by_part = [
            by_branch[branch] * _evidence(part, l)
            for branch, part in zip(BRANCHES[self.variant], parts)
        ]
        return sum(by_part, start=torch.zeros_like(by_part[0]))

    def _attend(self, l: Float[Tensor, "B size h w"]) -> LabelOutput:
        if self.variant == "by_class":
            _, weights, logits = self.classifier(to_sequence(l))
            return LabelOutput(logits, (to_maps(weights, l.shape[2]),))
        contexts, maps = [], []
        for branch in BRANCHES[self.variant]:
            if branch == "uniform":
                contexts.append(l.mean(dim=(2, 3)))
            else:
                context, weights = attend(self.branches[branch](l), l, branch)
                contexts.append(context)
                maps.append(weights)
        return LabelOutput(self.classifier(torch.cat(contexts, dim=1)), tuple(maps))


def _evidence(
    weight: Float[Tensor, "classes size"], l: Float[Tensor, "B size h w"]
) -> Float[Tensor, "B classes h w"]:
    """Return the product of each class's weights with the features at each position."""
    return torch.einsum("md,bdhw->bmhw", weight, l)
