"""Networks with attention, and the controls they are to be compared with."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import VGG16_BN_Weights, vgg16_bn
from torchvision.models.vgg import cfgs, make_layers

from course_utils.layers import Alignment, GridAttention

Taps = Literal["before", "after"]
Head = Literal["concat", "independent"]
POOLS = (6, 13, 23, 33, 43)  # where the five max-pools stand in vgg16_bn.features; plain vgg16 has them elsewhere
LEAST_SIZE = 32  # five halvings leave one position


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
        pretrained: bool = False,
    ):
        """Build the network.

        Args:
            num_classes: to tell apart.
            width: factor on every channel count; 1 is VGG16, 1/8 trains on a laptop.
            alignment: ``softmax``, ``sigmoid``, or None for no attention.
            taps: read features ``before`` or ``after`` the max-pool of their block.
            head: ``concat`` (one classifier) or ``independent`` (one a descriptor).
            pretrained: start from torchvision's ImageNet weights (downloaded once; full width only).

        Raises:
            ValueError: an unknown option (the message lists the valid ones), or pretrained weights at another width.
        """
        super().__init__()
        for name, given, valid in (("taps", taps, get_args(Taps)), ("head", head, get_args(Head))):
            if given not in valid:
                raise ValueError(f"unknown {name} {given!r}: choose one of {', '.join(valid)}")
        self.taps, self.head = taps, head
        self.features = _vgg_features(width, pretrained)
        c3, c4, c5 = (self.features[i - 3].out_channels for i in POOLS[2:])
        self.attention = nn.ModuleList(
            [] if alignment is None else [GridAttention(c, c5, max(1, round(256 * width)), alignment) for c in (c3, c4)]
        )
        sizes = (c3, c4, c5)
        self.classifiers = nn.ModuleList(
            nn.Linear(n, num_classes) for n in ([sum(sizes)] if head == "concat" else sizes)
        )
        for linear in self.classifiers:
            nn.init.normal_(linear.weight, std=0.01)
            nn.init.zeros_(linear.bias)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Output:
        """Classify images; grey ones (one channel) are shown to all three input channels.

        Raises:
            ValueError: images smaller than 32 pixels, or neither grey nor RGB.
        """
        if min(images.shape[-2:]) < LEAST_SIZE or images.shape[1] not in (1, 3):
            raise ValueError(
                f"expected grey or RGB images of at least {LEAST_SIZE} × {LEAST_SIZE} pixels, got {tuple(images.shape)}"
            )
        x, taps = images.expand(-1, 3, -1, -1), []
        for i, module in enumerate(self.features):
            if self.taps == "before" and i in POOLS[2:4]:
                taps.append(x)
            x = module(x)
            if self.taps == "after" and i in POOLS[2:4]:
                taps.append(x)

        if self.attention:
            contexts, maps = zip(*(attend(l, x) for attend, l in zip(self.attention, taps)))
        else:
            contexts, maps = [l.mean(dim=(2, 3)) for l in taps], ()
        descriptors = [*contexts, x.mean(dim=(2, 3))]
        if self.head == "concat":
            descriptors = [torch.cat(descriptors, dim=1)]  # (B, C3 + C4 + C5)
        heads = torch.stack([linear(d) for linear, d in zip(self.classifiers, descriptors)], dim=1)  # (B, D, classes)
        mean_probability = heads.log_softmax(dim=-1).logsumexp(dim=1) - math.log(len(self.classifiers))
        return Output(heads[:, 0] if self.head == "concat" else mean_probability, maps, heads)


def _vgg_features(width: float, pretrained: bool) -> nn.Sequential:
    """The convolutional part of vgg16_bn, every channel count multiplied by width."""
    if width == 1 and pretrained:
        return vgg16_bn(weights=VGG16_BN_Weights.IMAGENET1K_V1).features
    if pretrained:
        raise ValueError(f"ImageNet weights exist at width 1 only, got width={width}")
    features = make_layers([c if c == "M" else max(1, round(c * width)) for c in cfgs["D"]], batch_norm=True)
    for module in features:
        if isinstance(module, nn.Conv2d):  # as torchvision does for the full width
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return features
