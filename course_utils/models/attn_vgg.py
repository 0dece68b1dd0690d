"""AttnVGG: two attention maps inside a VGG16."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from course_utils.attention.spatial import Alignment, GridAttention
from course_utils.core.checks import check_choice
from course_utils.models.output import Head, Heads, Output, as_rgb
from course_utils.models.vgg import LEAST_SIZE, POOLS, Taps, scaled, tapped, vgg16_features


class AttnVGG(nn.Module):
    """VGG16 with batch norm, no dense layers, and attention at two depths guided by the deepest features.

    Block 3 (first map) and block 4 (second map) are tapped; the descriptors are the two contexts and the global
    average of the last pool. ``width=1``, sigmoid or softmax, ``taps="after"``, ``head="concat"`` is the network of
    Yan, Kawahara and Hamarneh 2019. Two things are made different on request:

    - ``taps="before"`` reads the blocks before their max-pool, as Jetley et al. 2018 do: maps twice as fine.
    - ``head="independent"`` gives each descriptor its own classifier and averages their probabilities (Jetley et al.
      2018); `training.heads_loss` gives each its own loss, which is ours: no block can leave the work to another.

    ``alignment=None`` is the control: the same taps, averaged with equal weights.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        alignment: Alignment | None = "softmax",
        taps: Taps = "after",
        head: Head = "concat",
        dropout: float = 0.0,
        pretrained: bool = False,
    ):
        """Build the network.

        Args:
            num_classes: to tell apart.
            width: factor on every channel count; 1 is VGG16, 1/8 trains on a laptop.
            alignment: of `GridAttention`, or None for no attention.
            taps: read features ``before`` or ``after`` the max-pool of their block.
            head: ``concat`` (one classifier) or ``independent`` (one a descriptor).
            dropout: share of the numbers of a descriptor set to 0 in training.
            pretrained: start from ImageNet weights; see `vgg16_features`.

        Raises:
            ValueError: an unknown option (the message lists the valid ones); see also `vgg16_features` and `Heads`.
            OSError: see `pretrained_or_say`.
        """
        super().__init__()
        check_choice("taps", taps, Taps)
        self.taps = taps
        self.features = vgg16_features(width, pretrained)
        c3, c4, c5 = (self.features[i - 3].out_channels for i in POOLS[2:])
        self.attention = nn.ModuleList(
            []
            if alignment is None
            else [GridAttention(c, c5, scaled(256, width), alignment) for c in (c3, c4)]
        )
        self.classifiers = Heads([c3, c4, c5], num_classes, head, dropout)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Output:
        """Classify images; see `as_rgb` for what is refused."""
        local, x = tapped(self.features, as_rgb(images, LEAST_SIZE), POOLS[2:4], self.taps)
        if self.attention:
            contexts, maps = zip(*(attend(l, x) for attend, l in zip(self.attention, local)))
        else:
            contexts, maps = [l.mean(dim=(2, 3)) for l in local], ()
        return self.classifiers([*contexts, x.mean(dim=(2, 3))], maps)
