"""VGG16 with batch norm: the backbone of AttnVGG, and two plain networks to compare it with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, cast

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import VGG16_BN_Weights, vgg16_bn
from torchvision.models.vgg import cfgs, make_layers

from course_utils.core.checks import check_choice
from course_utils.models.output import Heads, Output, as_rgb

Taps = Literal["before", "after"]
VGGHead = Literal["dense", "average"]
DenseInit = Literal["torchvision", "he"]
# Indices of the five max-pools in vgg16_bn.features; those of vgg16 without batch norm differ.
POOLS = (6, 13, 23, 33, 43)
Network = TypeVar("Network", bound=nn.Module)


class VGG(nn.Module):
    """VGG16 with batch norm (Simonyan and Zisserman 2015), in two variants.

    - ``head="dense"`` is torchvision's network: the last features are pooled to 7 × 7 and followed
      by three dense layers, which hold nine tenths of the parameters.
    - ``head="average"`` has one linear layer on the average of the last features. AttnVGG has no
      dense layers either, so this variant shows how much of its saving is due to attention.
    """

    least_size = 32  # pixels: after five halvings, one position is left

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        head: VGGHead = "average",
        dense_init: DenseInit = "torchvision",
        pretrained: bool = False,
    ):
        """Build the network.

        Args:
            num_classes: Number of classes.
            width: Factor on every channel count.
            head: ``dense`` or ``average``.
            dense_init: Initial weights of the dense layers: ``torchvision`` draws them with a
                standard deviation of 0.01 at every width; ``he`` with √(2 / inputs), which keeps
                the size of the features the same from layer to layer (He et al. 2015). At full
                width the two are nearly the same for the first dense layer.
            pretrained: Start from ImageNet weights; see `vgg16_features`. This includes the dense
                layers, except the last.

        Raises:
            ValueError: If the head or its initialisation is unknown; see also `vgg16_features`.
            OSError: See `with_imagenet_weights`.
        """
        super().__init__()
        check_choice("head", head, VGGHead)
        check_choice("dense_init", dense_init, DenseInit)
        self.features = vgg16_features(width, pretrained)
        channels = channels_before(self.features, POOLS[4])
        self.dense: nn.Sequential | None = None
        if head == "dense":
            hidden = scaled(4096, width)
            self.dense = _dense_layers(channels, hidden, dense_init)
            if pretrained:
                trained = with_imagenet_weights(vgg16_bn, VGG16_BN_Weights.IMAGENET1K_V1).classifier
                self.dense[2].load_state_dict(trained[0].state_dict())
                self.dense[5].load_state_dict(trained[3].state_dict())
            channels = hidden
        self.classifiers = Heads([channels], num_classes)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Output:
        """Classify images.

        Raises:
            ValueError: See `as_rgb`.
        """
        x = self.features(as_rgb(images, self.least_size))
        descriptor = x.mean(dim=(2, 3)) if self.dense is None else self.dense(x)  # (B, channels)
        return self.classifiers([descriptor], ())


def vgg16_features(width: float, pretrained: bool = False) -> nn.Sequential:
    """Return the convolutional part of vgg16_bn, with channel counts multiplied by the width.

    Args:
        width: Factor on every channel count; 1 is VGG16.
        pretrained: Start from torchvision's ImageNet weights, which are downloaded once and exist
            at full width only. They expect images that are normalised as in
            ``VGG16_BN_Weights.IMAGENET1K_V1.transforms()``.

    Raises:
        ValueError: If pretrained weights are requested at a width other than 1, or the width is not
            positive.
        OSError: See `with_imagenet_weights`.
    """
    if pretrained:
        if width != 1:
            raise ValueError(f"ImageNet weights exist at width 1 only, got width={width}")
        trained = with_imagenet_weights(vgg16_bn, VGG16_BN_Weights.IMAGENET1K_V1)
        return cast(nn.Sequential, trained.features)  # torchvision declares any module
    return vgg_layers(cfgs["D"], width)


def vgg_layers(channels: Sequence[int | str], width: float) -> nn.Sequential:
    """Return convolutions with batch norm and ReLU, and max-pools, initialised like torchvision's.

    Args:
        channels: Output channels of each convolution, or "M" for a max-pool.
        width: Factor on every channel count.
    """
    layers = [c if isinstance(c, str) else scaled(c, width) for c in channels]
    features = make_layers(layers, batch_norm=True)
    for module in features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return features


def channels_before(features: nn.Sequential, pool: int) -> int:
    """Return the channel count before the max-pool at an index of `vgg_layers`."""
    # A max-pool follows a convolution, its batch norm and its ReLU.
    convolution = cast(nn.Conv2d, features[pool - 3])
    return convolution.out_channels


def tapped(
    features: nn.Sequential, images: Tensor, pools: Sequence[int], taps: Taps
) -> tuple[list[Tensor], Float[Tensor, "B C H W"]]:
    """Run a VGG and keep the features before or after some of its max-pools.

    Args:
        features: Layers of a VGG.
        images: Their input.
        pools: Indices of the max-pools among the layers.
        taps: Keep the features ``before`` or ``after`` each of these max-pools.

    Returns:
        The features at the taps, in order, and the last features.

    Raises:
        ValueError: If there is no max-pool at one of the indices, as in VGG16 without batch norm,
            or `taps` is unknown.
    """
    check_choice("taps", taps, Taps)
    if any(not isinstance(features[i], nn.MaxPool2d) for i in pools):
        actual = [i for i, module in enumerate(features) if isinstance(module, nn.MaxPool2d)]
        raise ValueError(
            f"expected max-pools at {list(pools)}, as in vgg16_bn, got layers with max-pools at "
            f"{actual}"
        )
    x = images
    kept = []
    for i, module in enumerate(features):
        before = x
        x = module(x)
        if i in pools:
            kept.append(before if taps == "before" else x)
    return kept, x


def scaled(channels: int, width: float) -> int:
    """Return a channel count multiplied by the width, rounded, and at least 1.

    Raises:
        ValueError: If the width is not positive.
    """
    if not width > 0:
        raise ValueError(f"expected a positive width, got {width}")
    return max(1, round(channels * width))


def with_imagenet_weights(build: Callable[..., Network], weights: Any) -> Network:
    """Build a torchvision network with its ImageNet weights, which are downloaded once.

    Raises:
        OSError: If the weights can't be downloaded.
    """
    try:
        return build(weights=weights)
    except (OSError, RuntimeError) as error:  # no network, or a file with the wrong checksum
        raise OSError(
            f"could not download the ImageNet weights ({error}); check your network connection "
            "and try again, or build the network with pretrained=False and train it from scratch"
        ) from error


def _dense_layers(channels: int, hidden: int, init: DenseInit) -> nn.Sequential:
    """Return the first two dense layers of VGG16, freshly initialised."""
    first = nn.Linear(49 * channels, hidden)
    second = nn.Linear(hidden, hidden)
    for linear in (first, second):
        std = 0.01 if init == "torchvision" else (2 / linear.in_features) ** 0.5
        nn.init.normal_(linear.weight, std=std)
        nn.init.zeros_(linear.bias)
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(7),
        nn.Flatten(),
        first,
        nn.ReLU(),
        nn.Dropout(),
        second,
        nn.ReLU(),
        nn.Dropout(),
    )
