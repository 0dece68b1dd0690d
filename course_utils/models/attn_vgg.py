"""AttnVGG: two attention maps inside a VGG16."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from course_utils.attention.spatial import Alignment, GridAttention
from course_utils.core.checks import check_choice
from course_utils.models.output import Head, Heads, Output, as_rgb
from course_utils.models.vgg import POOLS, Taps, channels_before, scaled, tapped, vgg16_features


class AttnVGG(nn.Module):
    """VGG16 with batch norm, no dense layers, and attention at two depths.

    Blocks 3 (first map) and 4 (second map) are tapped, and the deepest features guide the attention
    in both. The descriptors are the two contexts and the average of the last pool. With
    ``width=1``, sigmoid or softmax, ``taps="after"`` and ``head="concat"``, this is the network of
    Yan, Kawahara and Hamarneh 2019. Two options differ from it:

    - ``taps="before"`` taps the blocks before their max-pool, as Jetley et al. 2018 do, which
      doubles the height and width of the maps.
    - ``head="independent"`` gives each descriptor its own classifier and averages their
      probabilities (Jetley et al. 2018). `training.heads_loss` adds a loss on each. This is our own
      addition; it keeps a block from leaving the classification to another.

    ``alignment=None`` is the control: the same taps, averaged with equal weights.
    """

    least_size = 32  # pixels: after five halvings, one position is left

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
            num_classes: Number of classes.
            width: Factor on every channel count; 1 is VGG16, 1/8 trains on a laptop.
            alignment: Alignment of `GridAttention`, or None for no attention.
            taps: Tap the blocks ``before`` or ``after`` their max-pool.
            head: ``concat`` (one classifier) or ``independent`` (one per descriptor).
            dropout: Fraction of a descriptor's entries that is set to 0 in training.
            pretrained: Start from ImageNet weights; see `vgg16_features`.

        Raises:
            ValueError: If an option is unknown; the message lists the valid ones. See also
                `vgg16_features` and `Heads`.
            OSError: See `with_imagenet_weights`.
        """
        super().__init__()
        check_choice("taps", taps, Taps)
        self.taps = taps
        self.features = vgg16_features(width, pretrained)
        c3, c4, c5 = (channels_before(self.features, pool) for pool in POOLS[2:])
        self.attention = nn.ModuleList()
        if alignment is not None:
            hidden = scaled(256, width)
            self.attention.extend(GridAttention(c, c5, hidden, alignment) for c in (c3, c4))
        self.classifiers = Heads([c3, c4, c5], num_classes, head, dropout)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Output:
        """Classify images.

        Raises:
            ValueError: See `as_rgb`.
        """
        rgb = as_rgb(images, self.least_size)
        local, x = tapped(self.features, rgb, POOLS[2:4], self.taps)
        contexts: Sequence[Tensor]  # each (B, C)
        maps: tuple[Tensor, ...] = ()
        if self.attention:
            contexts, maps = zip(*(attend(l, x) for attend, l in zip(self.attention, local)))
        else:
            contexts = [l.mean(dim=(2, 3)) for l in local]
        return self.classifiers([*contexts, x.mean(dim=(2, 3))], maps)
