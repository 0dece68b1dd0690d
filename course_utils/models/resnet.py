"""Residual networks with a gate in every block, before the residual addition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import resnet50, resnet101, resnet152
from torchvision.models.resnet import BasicBlock, Bottleneck

from course_utils.core.checks import check_choice
from course_utils.models.output import Heads, Output, as_rgb
from course_utils.models.vgg import pretrained_or_say, scaled

Depth = Literal[8, 14, 20, 50, 101, 152]
TORCHVISION = {50: resnet50, 101: resnet101, 152: resnet152}


class ResNet(nn.Module):
    """A residual network (He et al. 2016) with a gate of `gates` at the end of every block's inner path.

    There the streamlined module (myspace-img/streamlined-attention), squeeze-and-excitation (Hu et al. 2018) and CBAM
    (Woo et al. 2018) have it: the sum of the block is x + gate(F(x)). Depths 50, 101 and 152 are torchvision's. Depths
    8, 14 and 20 are for laptops: three stages of 16, 32 and 64 channels with two-layer blocks, as He et al. have them
    for CIFAR (section 4.2), but with a stem that halves the image, for canvases of 64 pixels, and with a 1 × 1
    convolution where a shortcut changes size. The classifier is one linear layer; the streamlined repository has three.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        depth: Depth = 8,
        gate: Callable[[int], nn.Module] | None = None,
        width: float = 1.0,
        pretrained: bool = False,
    ):
        """Build the network.

        Args:
            num_classes: to tell apart.
            depth: 8, 14, 20, 50, 101 or 152 layers.
            gate: makes the gate for so many channels, such as `SqueezeExcitation`; None for the plain network.
            width: factor on every channel count, at depths 8, 14 and 20.
            pretrained: start from torchvision's ImageNet weights, at depths 50, 101 and 152. The gates are fresh. The
                weights expect images normalised as their ``transforms()`` does it.

        Raises:
            ValueError: an unknown depth, or one that has no other width or no weights.
            OSError: see `pretrained_or_say`.
        """
        super().__init__()
        check_choice("depth", depth, Depth)
        if depth in TORCHVISION:
            if width != 1:
                raise ValueError(f"a ResNet-{depth} has width 1 only, got width={width}")
            build = TORCHVISION[depth]
            network = pretrained_or_say(build, "IMAGENET1K_V1") if pretrained else build()
            channels, stages = (
                network.fc.in_features,
                [network.layer1, network.layer2, network.layer3, network.layer4],
            )
            stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        else:
            if pretrained:
                raise ValueError(
                    f"ImageNet weights exist for depths 50, 101 and 152, got depth={depth}"
                )
            stem, stages = _small(depth, width)
            channels = scaled(64, width)
        if gate is not None:
            insert(nn.ModuleList(stages), gate)
        self.features = nn.Sequential(stem, *stages)
        self.least_size = (
            32 if depth in TORCHVISION else 8
        )  # five halvings, or three, leave one position
        self.classifiers = Heads([channels], num_classes)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Output:
        """Classify images; see `as_rgb` for what is refused."""
        return self.classifiers(
            [self.features(as_rgb(images, self.least_size)).mean(dim=(2, 3))], ()
        )


def insert(network: nn.Module, gate: Callable[[int], nn.Module]) -> None:
    """Put a gate into every residual block of a torchvision network, after its last batch norm; in place.

    The names of that norm's weights change: load pretrained weights first.

    Raises:
        ValueError: no residual block, or a gate in it already.
    """
    blocks = [module for module in network.modules() if isinstance(module, BasicBlock | Bottleneck)]
    last = ["bn3" if isinstance(block, Bottleneck) else "bn2" for block in blocks]
    norms = [getattr(block, name) for block, name in zip(blocks, last)]
    if not blocks or not all(isinstance(norm, nn.BatchNorm2d) for norm in norms):
        raise ValueError(
            f"expected residual blocks of torchvision without a gate, got {type(network).__name__}"
        )
    for block, name, norm in zip(blocks, last, norms):
        setattr(block, name, nn.Sequential(norm, gate(norm.num_features)))


def _small(depth: int, width: float) -> tuple[nn.Sequential, list[nn.Sequential]]:
    """Stem and three stages of (depth − 2) / 6 blocks each."""
    channels = [scaled(c, width) for c in (16, 32, 64)]
    stem = nn.Sequential(
        nn.Conv2d(3, channels[0], 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels[0]),
        nn.ReLU(),
    )
    stages = []
    for i, outputs in enumerate(channels):
        inputs = channels[max(0, i - 1)]
        first = (
            BasicBlock(inputs, outputs)
            if i == 0
            else BasicBlock(inputs, outputs, 2, _shortcut(inputs, outputs))
        )
        stages.append(
            nn.Sequential(
                first, *(BasicBlock(outputs, outputs) for _ in range((depth - 2) // 6 - 1))
            )
        )
    for module in nn.ModuleList([stem, *stages]).modules():
        if isinstance(module, nn.Conv2d):  # as torchvision's
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return stem, stages


def _shortcut(inputs: int, outputs: int) -> nn.Sequential:
    """Takes the input of a block to the size of its output."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride=2, bias=False), nn.BatchNorm2d(outputs)
    )
