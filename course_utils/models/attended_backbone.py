"""Attention on a pretrained backbone: maps at one or two depths, guided by the last features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from course_utils.attention.spatial import Alignment, GridAttention
from course_utils.models.backbone import Backbone
from course_utils.models.output import Head, Heads, Output


class AttendedBackbone(nn.Module):
    """A backbone, pools of its maps, and a classifier on what they return.

    The last tap of the backbone guides the pools of all taps before it. With `GridAttention` as
    pools, this is AttnVGG (Yan et al. 2019) on a backbone of your choice; see `attended`.
    """

    def __init__(
        self,
        backbone: Backbone,
        pools: Sequence[nn.Module],
        sizes: Sequence[int],
        num_classes: int,
        *,
        with_last: bool = True,
        head: Head = "concat",
        frozen: bool = True,
    ):
        """Put the parts together.

        Args:
            backbone: Its taps are one per pool, and the last features.
            pools: Modules that take local and guiding features, see `attention.map_pools`.
            sizes: Length of the vector that each pool returns.
            num_classes: Number of classes.
            with_last: Classify the average of the last features, too. If False, the classifier
                sees the pooled vectors alone.
            head: ``concat`` or ``independent``; see `Heads`.
            frozen: Leave the backbone as it is. If False, it is trained, too, but its batch norms
                keep their statistics.

        Raises:
            ValueError: If there isn't one tap and one size per pool, or `Heads` raises it.
        """
        super().__init__()
        if not len(pools) == len(sizes) == len(backbone.taps) - 1:
            raise ValueError(
                "expected a pool and a size for each tap but the last one, got "
                f"{len(pools)} pools and {len(sizes)} sizes for {len(backbone.taps)} taps"
            )
        self.backbone, self.with_last = backbone.requires_grad_(not frozen), with_last
        self.pools = nn.ModuleList(pools)
        last = [backbone.channels[-1]] if with_last else []
        self.classifiers = Heads([*sizes, *last], num_classes, head)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Output:
        """Classify images.

        Raises:
            ValueError: See `Backbone.forward`.
        """
        return self.on_maps(self.backbone(images))

    def on_maps(self, taps: Sequence[Float[Tensor, "B _ _ _"]]) -> Output:
        """Classify images whose maps are already computed, see `frozen_features`."""
        *local, g = taps
        pooled = [pool(l, g) for pool, l in zip(self.pools, local)]
        maps = tuple(m for _, m in pooled if m is not None)
        last = [g.mean(dim=(2, 3))] if self.with_last else []
        return self.classifiers([*(context for context, _ in pooled), *last], maps)

    def own_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of the pools and the classifiers."""
        yield from self.pools.parameters()
        yield from self.classifiers.parameters()


def attended(
    backbone: Backbone,
    num_classes: int,
    *,
    alignment: Alignment = "softmax",
    hidden: int = 64,
    scale: float = 1.0,
    head: Head = "concat",
    frozen: bool = True,
) -> AttendedBackbone:
    """Return a backbone with `GridAttention` at each tap but the last, which guides it.

    Args:
        backbone: The backbone.
        num_classes: Number of classes.
        alignment: See `GridAttention`.
        hidden: See `GridAttention`.
        scale: Factor on the scores.
        head: ``concat`` or ``independent``; see `Heads`.
        frozen: Leave the backbone as it is.

    Raises:
        ValueError: See `GridAttention` and `AttendedBackbone`.
    """
    *local, last = backbone.channels
    pools = [GridAttention(c, last, hidden, alignment, scale) for c in local]
    return AttendedBackbone(backbone, pools, local, num_classes, head=head, frozen=frozen)
