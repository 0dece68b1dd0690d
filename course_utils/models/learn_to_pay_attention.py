"""Learn to Pay Attention: up to three attention maps in a VGG, scored with one global vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.attention.spatial import Alignment, Compatibility, PayAttention, Project
from course_utils.core.checks import check_choice
from course_utils.models.output import Head, Heads, Output, as_rgb
from course_utils.models.vgg import Taps, channels_before, scaled, tapped, vgg_layers

Levels = Literal[0, 1, 2, 3]
# fmt: off
CHANNELS = (
    64, 64, 128, 128,  # blocks 1 and 2, without a max-pool
    256, 256, 256, "M",
    512, 512, 512, "M",
    512, 512, 512, "M",
    512, "M", 512, "M",  # convolutions 14 and 15
)
# fmt: on
TAP_POOLS = (21, 31, 41)  # indices of the max-pools of blocks 3 to 5 among the layers


class PayAttentionVGG(nn.Module):
    """The network of Jetley, Lord, Lee and Torr 2018, "Learn to Pay Attention" (ICLR), section 3.

    The last convolutions of blocks 3, 4 and 5 (numbers 7, 10 and 13 of the network) give the local
    features. A dense layer on top of convolution 15 gives the global vector g, which scores them.
    The classifier reads the contexts and *not* g, so g can act through the scores only. The
    defaults are the paper's VGG-att3-concat-pc, with the descriptors of its published code. The
    paper's images have 32 pixels; for larger ones, the features below the dense layer are averaged
    over the remaining positions. The published code has dropout between the convolutions as well,
    which we leave out.

    There are two controls:

    - ``levels=0`` is the plain VGG: the same convolutions, and g is classified. (The baseline of
      the published code is a VGG16 with its 13 convolutions.)
    - ``alignment=None`` is the fair control: the same taps, averaged with equal weights. The layers
      behind the last tap are still computed, but nothing uses them.
    """

    least_size = 32  # pixels: after five halvings, one position is left

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
            num_classes: Number of classes.
            width: Factor on every channel count; 1 is the paper's.
            levels: Number of blocks with attention, counted from the deepest; 0 to classify g.
            compatibility: ``dp``, ``scaled_dp`` or ``pc``; see `PayAttention`.
            project: If the sizes differ, project g ``down`` to the size of the local features, or
                the local features ``up`` to the size of g.
            alignment: Alignment of the scores, softmax in the paper; None for equal weights.
            taps: Tap the blocks ``before`` (as in the paper) or ``after`` their max-pool.
            head: ``concat`` or ``independent``; see `Heads`.
            normalise: Apply batch norm and ReLU to each descriptor, as the published code does.
            dropout: In training, the fraction of the features below the dense layer and of the
                descriptors that is set to 0.

        Raises:
            ValueError: If an option is unknown; the message lists the valid ones. See also `Heads`.
        """
        super().__init__()
        check_choice("levels", levels, Levels)
        check_choice("taps", taps, Taps)
        check_choice("compatibility", compatibility, Compatibility)
        check_choice("project", project, Project)
        if alignment is not None:
            check_choice("alignment", alignment, Alignment)
        self.taps = taps
        self.dropout = dropout
        self.pools = TAP_POOLS[3 - levels :]
        self.features = vgg_layers(CHANNELS, width)
        size = scaled(512, width)
        self.dense = nn.Linear(size, size)
        channels = [channels_before(self.features, pool) for pool in self.pools]
        self.attention = nn.ModuleList()
        if alignment is not None:
            self.attention.extend(
                PayAttention(c, size, compatibility, project, alignment) for c in channels
            )
        if levels == 0:
            sizes = [size]  # of g
        elif alignment is not None and project == "up":
            sizes = [size] * levels
        else:
            sizes = channels
        self.norms = nn.ModuleList(nn.BatchNorm1d(n) for n in sizes) if normalise else None
        self.classifiers = Heads(sizes, num_classes, head, dropout)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Output:
        """Classify images.

        Raises:
            ValueError: See `as_rgb`.
        """
        rgb = as_rgb(images, self.least_size)
        local, x = tapped(self.features, rgb, self.pools, self.taps)
        g = self.dense(F.dropout(x.mean(dim=(2, 3)), self.dropout, self.training))  # (B, size)
        descriptors: Sequence[Tensor]  # each (B, C)
        maps: tuple[Tensor, ...] = ()
        if self.attention:
            descriptors, maps = zip(*(attend(l, g) for attend, l in zip(self.attention, local)))
        else:
            descriptors = [l.mean(dim=(2, 3)) for l in local] or [g]
        if self.norms is not None:
            descriptors = [F.relu(norm(d)) for norm, d in zip(self.norms, descriptors)]
        return self.classifiers(list(descriptors), maps)
