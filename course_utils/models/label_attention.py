"""A small VGG for images with several labels, and six ways to make one vector, or one a class, of its features."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.attention import scores
from course_utils.attention.general import Attention, to_maps, to_sequence
from course_utils.attention.query_related import Capsules
from course_utils.attention.spatial import Alignment, attend
from course_utils.core.checks import check_choice
from course_utils.models.output import as_rgb
from course_utils.models.vgg import scaled, vgg_layers

LabelForm = Literal["average", "sigmoid", "softmax", "average_softmax", "dual", "by_class"]
TRUNK = (
    64,
    "M",
    128,
    "M",
    256,
    256,
    512,
)  # VGG's layers and channels, fewer of them: positions of 4 pixels
LEAST_SIZE = 4
BRANCHES: dict[str, tuple[Alignment | Literal["even"], ...]] = {
    "average": ("even",),
    "sigmoid": ("sigmoid",),
    "softmax": ("softmax",),
    "average_softmax": ("even", "softmax"),
    "dual": ("sigmoid", "softmax"),
    "by_class": (),  # a query a class instead of branches
}


class LabelOutput(NamedTuple):
    """What the network returns.

    Attributes:
        logits: (B, classes); the sigmoid of each is the probability that this class is in the image.
        maps: attention maps, one a branch, each (B, 1, h, w); of variant ``by_class`` a single (B, classes, h, w);
            of variant ``average`` none.
    """

    logits: Float[Tensor, "B classes"]
    maps: tuple[Float[Tensor, "B _ h w"], ...]


class LabelAttention(nn.Module):
    r"""One trunk, one linear classifier, and the weights of the positions in between.

    .. math::
        c = \sum_i a_i l_i, \quad y = W c + b \qquad\text{or, by class,}\qquad
        c_m = \sum_i a_{mi} l_i, \quad y_m = w_m^\top c_m + b_m

    with local features l, the output of the trunk. The variants differ in the weights a only:

    - ``average``: all equal: the control without attention;
    - ``softmax``: one map for all labels, whose positions compete;
    - ``sigmoid``: one map, each position for itself; the context is the mean, as in `layers.attend`;
    - ``dual``: both maps at once, each with a context; the classifier reads the two side by side;
    - ``average_softmax``: the control of ``dual``, with an even map of ones where that has the sigmoid;
    - ``by_class``: a map of its own for each class by a query of its own, with softmax: `queries.Capsules`.
    """

    def __init__(self, num_classes: int, *, variant: LabelForm = "by_class", width: float = 0.125):
        """Build the network.

        Args:
            num_classes: how many labels there are.
            variant: one of the six.
            width: factor on every channel count of VGG.

        Raises:
            ValueError: an unknown variant (the message lists the valid ones), no class, or a width that is not positive.
        """
        super().__init__()
        check_choice("variant", variant, LabelForm)
        if num_classes < 1:
            raise ValueError(f"expected at least one class, got {num_classes}")
        self.variant = variant
        self.features = vgg_layers(TRUNK, width)
        size = scaled(TRUNK[-1], width)
        self.branches = nn.ModuleDict(
            {a: nn.Conv2d(size, 1, 1) for a in BRANCHES[variant] if a != "even"}
        )
        if variant == "by_class":
            self.classifier = Capsules(
                Attention(scores.scaled_multiplicative), num_classes, size, size
            )
        else:
            self.classifier = nn.Linear(size * len(BRANCHES[variant]), num_classes)
        nn.init.normal_(
            self.classifier.weight, std=0.01
        )  # all variants begin alike, with no opinion
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Float[Tensor, "B C H W"]) -> LabelOutput:
        """A logit for each class; see `as_rgb` for what is refused."""
        return self._attend(self.features(as_rgb(images, LEAST_SIZE)))

    def contributions(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B classes h w"]:
        r"""What each position adds to the logit of each class, :math:`a_i\, w_m^\top l_i`, of either sign.

        With the bias :math:`b_m` they sum to the logit, exactly, as all between l and the logits is linear once the
        weights are known. Without attention this is the class activation map of Zhou et al. 2016, over h · w.
        """
        l = self.features(as_rgb(images, LEAST_SIZE))
        positions, maps = l.shape[2] * l.shape[3], iter(self._attend(l).maps)
        if self.variant == "by_class":
            weights = [next(maps)]
        else:  # an even map weighs each position alike, and the context of a sigmoid is a mean
            weights = [
                torch.ones_like(l[:, :1]) / positions
                if a == "even"
                else next(maps) / (positions if a == "sigmoid" else 1)
                for a in BRANCHES[self.variant]
            ]
        parts = self.classifier.weight.split(l.shape[1], dim=1)  # (classes, size) a branch
        return sum(a * torch.einsum("md,bdhw->bmhw", w, l) for a, w in zip(weights, parts))

    def _attend(self, l: Float[Tensor, "B size h w"]) -> LabelOutput:
        if self.variant == "by_class":
            _, weights, logits = self.classifier(to_sequence(l))
            return LabelOutput(logits, (to_maps(weights, l.shape[2]),))
        contexts, maps = [], []
        for alignment in BRANCHES[self.variant]:
            if alignment == "even":
                contexts.append(l.mean(dim=(2, 3)))
            else:
                context, weights = attend(self.branches[alignment](l), l, alignment)
                contexts.append(context)
                maps.append(weights)
        return LabelOutput(self.classifier(torch.cat(contexts, dim=1)), tuple(maps))
