"""VGG16 with batch norm: the trunk that AttnVGG taps, and the two plain networks that it is to be compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import VGG16_BN_Weights, vgg16_bn
from torchvision.models.vgg import cfgs, make_layers

from course_utils.core.checks import check_choice
from course_utils.models.output import Heads, Output, as_rgb

Taps = Literal["before", "after"]
VGGHead = Literal["dense", "average"]
POOLS = (
    6,
    13,
    23,
    33,
    43,
)  # where the five max-pools stand in vgg16_bn.features; plain vgg16 has them elsewhere
LEAST_SIZE = 32  # five halvings leave one position


class VGG(nn.Module):
    """VGG16 with batch norm (Simonyan and Zisserman 2015), in two forms.

    - ``head="dense"`` is torchvision's network: the last features pooled to 7 × 7, and three dense layers on them,
      which hold nine of ten parameters.
    - ``head="average"`` has one linear layer on the average of the last features. AttnVGG leaves the dense layers out
      in the same way, so this is what shows how much of its saving has to do with attention.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        head: VGGHead = "average",
        pretrained: bool = False,
    ):
        """Build the network.

        Args:
            num_classes: to tell apart.
            width: factor on every channel count.
            head: ``dense`` or ``average``.
            pretrained: see `vgg16_features`; with dense layers, all but the last of these are pretrained as well.

        Raises:
            ValueError: an unknown head; see also `vgg16_features`.
            OSError: see `pretrained_or_say`.
        """
        super().__init__()
        check_choice("head", head, VGGHead)
        self.features, self.least_size = vgg16_features(width, pretrained), LEAST_SIZE
        channels = self.features[POOLS[4] - 3].out_channels
        self.dense = None
        if head == "dense":
            hidden = scaled(4096, width)
            layers = [
                nn.Linear(49 * channels, hidden),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
            ]
            self.dense = nn.Sequential(nn.AdaptiveAvgPool2d(7), nn.Flatten(), *layers, nn.Dropout())
            for linear in (self.dense[2], self.dense[5]):  # as torchvision has it
                nn.init.normal_(linear.weight, std=0.01)
                nn.init.zeros_(linear.bias)
            if pretrained:
                trained = pretrained_or_say(vgg16_bn, VGG16_BN_Weights.IMAGENET1K_V1).classifier
                self.dense[2].load_state_dict(trained[0].state_dict())
                self.dense[5].load_state_dict(trained[3].state_dict())
            channels = hidden
        self.classifiers = Heads([channels], num_classes)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Output:
        """Classify images; see `as_rgb` for what is refused."""
        x = self.features(as_rgb(images, LEAST_SIZE))
        return self.classifiers([x.mean(dim=(2, 3)) if self.dense is None else self.dense(x)], ())


def vgg16_features(width: float, pretrained: bool = False) -> nn.Sequential:
    """The convolutional part of vgg16_bn, every channel count multiplied by the width.

    Args:
        width: 1 is VGG16.
        pretrained: start from torchvision's ImageNet weights (downloaded once; full width only). They expect images
            normalised as ``VGG16_BN_Weights.IMAGENET1K_V1.transforms()`` does it.

    Raises:
        ValueError: pretrained weights at another width, or a width that is not positive.
        OSError: see `pretrained_or_say`.
    """
    if pretrained:
        if width != 1:
            raise ValueError(f"ImageNet weights exist at width 1 only, got width={width}")
        return pretrained_or_say(vgg16_bn, VGG16_BN_Weights.IMAGENET1K_V1).features
    return vgg_layers(cfgs["D"], width)


def vgg_layers(channels: Sequence[int | str], width: float) -> nn.Sequential:
    """Convolutions with batch norm and ReLU, and a max-pool for each "M"; initialised as torchvision's VGG is."""
    features = make_layers([c if c == "M" else scaled(c, width) for c in channels], batch_norm=True)
    for module in features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return features


def tapped(
    features: nn.Sequential, images: Tensor, pools: Sequence[int], taps: Taps
) -> tuple[list[Tensor], Float[Tensor, "B C H W"]]:
    """Run a VGG and read the features on the way, before or after the max-pools that stand at the given places.

    Returns:
        What was read, in order, and the last features.

    Raises:
        ValueError: layers that have no max-pool there, as those of VGG16 without batch norm; unknown taps.
    """
    check_choice("taps", taps, Taps)
    if any(not isinstance(features[i], nn.MaxPool2d) for i in pools):
        there = [i for i, module in enumerate(features) if isinstance(module, nn.MaxPool2d)]
        raise ValueError(
            f"expected max-pools at {list(pools)}, as vgg16_bn has them, got layers with pools at {there}"
        )
    x, read = images, []
    for i, module in enumerate(features):
        inner, x = x, module(x)
        if i in pools:
            read.append(inner if taps == "before" else x)
    return read, x


def scaled(channels: int, width: float) -> int:
    """A channel count at a width, at least 1.

    Raises:
        ValueError: a width that is not positive.
    """
    if not width > 0:
        raise ValueError(f"expected a positive width, got {width}")
    return max(1, round(channels * width))


def pretrained_or_say(build: Callable[..., nn.Module], weights: Any) -> nn.Module:
    """A torchvision network with its ImageNet weights, which are downloaded once.

    Raises:
        OSError: they can't be had; the message says what to do.
    """
    try:
        return build(weights=weights)
    except (OSError, RuntimeError) as error:  # no network; a file that does not match its checksum
        raise OSError(
            f"the ImageNet weights could not be fetched ({error}): connect to the network and try again, "
            "or build with pretrained=False and train from scratch"
        ) from error
