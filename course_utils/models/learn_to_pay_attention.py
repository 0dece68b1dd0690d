"""Learn to Pay Attention: up to three attention maps in a VGG, compared with one global vector."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.attention.spatial import Alignment, Compatibility, PayAttention, Project
from course_utils.core.checks import check_choice
from course_utils.models.output import Head, Heads, Output, as_rgb
from course_utils.models.vgg import Taps, scaled, tapped, vgg_layers

Levels = Literal[0, 1, 2, 3]
LEAST_SIZE = (
    32  # five halvings leave one position: two pools fewer than VGG16 early on, two more at the end
)
# No pool after the first two blocks; convolutions 14 and 15, each with a pool, after the fifth.
CHANNELS = (
    64,
    64,
    128,
    128,
    256,
    256,
    256,
    "M",
    512,
    512,
    512,
    "M",
    512,
    512,
    512,
    "M",
    512,
    "M",
    512,
    "M",
)
POOLS = (21, 31, 41)  # where the pools of blocks 3 to 5 stand among the layers


class PayAttentionVGG(nn.Module):
    """The network of Jetley, Lord, Lee and Torr 2018, "Learn to Pay Attention" (ICLR), section 3.

    The last convolutions of blocks 3, 4 and 5 (7, 10 and 13 of the network) are the local features. A dense layer on
    top of convolution 15 gives the global vector g, with which they are compared. The classifier reads the contexts
    and *not* g: it acts through the scores alone, if it acts at all. The defaults are the paper's VGG-att3-concat-pc
    with the descriptors of its published code. The paper's images have 32 pixels; for larger ones the features under
    the dense layer are averaged over the positions that remain.

    There are two controls. ``levels=0`` is the plain VGG: the same convolutions, and g is classified (the published
    code's own baseline is a VGG16 with its 13 convolutions). ``alignment=None`` is the fair one: the same taps,
    averaged with equal weights; the layers behind the last tap are then computed for nothing. The published code has
    dropout between its convolutions as well, which we leave out.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        levels: Levels = 3,
        compatibility: Compatibility = "pc",
        project: Project = "down",
        alignment: Alignment | None = "softmax",
        taps: Taps = "before",
        head: Head = "concat",
        normalise: bool = True,
        dropout: float = 0.5,
    ):
        """Build the network.

        Args:
            num_classes: to tell apart.
            width: factor on every channel count; 1 is the paper's.
            levels: how many blocks are attended to, from the deepest; 0 to classify g.
            compatibility: ``dp``, ``scaled_dp`` or ``pc``; see `PayAttention`.
            project: where sizes differ, bring g ``down`` to the size of the local features or these ``up`` to g's.
            alignment: of the scores; the paper has softmax. None for equal weights.
            taps: read features ``before`` (as the paper does) or ``after`` the max-pool of their block.
            head: ``concat`` or ``independent``; see `Heads`.
            normalise: batch norm and ReLU on each descriptor, as the published code has them.
            dropout: in training, of the features under the dense layer and of the descriptors.

        Raises:
            ValueError: an unknown option (the message lists the valid ones); see also `Heads`.
        """
        super().__init__()
        check_choice("levels", levels, Levels)
        check_choice("taps", taps, Taps)
        check_choice("compatibility", compatibility, Compatibility)
        check_choice("project", project, Project)
        if alignment is not None:
            check_choice("alignment", alignment, Alignment)
        self.taps, self.dropout, self.pools = taps, dropout, POOLS[3 - levels :]
        self.features = vgg_layers(CHANNELS, width)
        size = scaled(512, width)
        self.dense = nn.Linear(size, size)
        channels = [self.features[i - 3].out_channels for i in self.pools]
        self.attention = nn.ModuleList(
            []
            if alignment is None
            else [PayAttention(c, size, compatibility, project, alignment) for c in channels]
        )
        sizes = (
            [size if alignment and project == "up" else c for c in channels] if levels else [size]
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(n) for n in sizes) if normalise else None
        self.classifiers = Heads(sizes, num_classes, head, dropout)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Output:
        """Classify images; see `as_rgb` for what is refused."""
        local, x = tapped(self.features, as_rgb(images, LEAST_SIZE), self.pools, self.taps)
        g = self.dense(F.dropout(x.mean(dim=(2, 3)), self.dropout, self.training))
        descriptors, maps = [l.mean(dim=(2, 3)) for l in local] or [g], ()
        if self.attention:
            descriptors, maps = zip(*(attend(l, g) for attend, l in zip(self.attention, local)))
        if self.norms is not None:
            descriptors = [F.relu(norm(d)) for norm, d in zip(self.norms, descriptors)]
        return self.classifiers(list(descriptors), maps)
