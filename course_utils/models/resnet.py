"""Residual networks with a gate in every block, and self-attention between two blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import resnet50, resnet101, resnet152
from torchvision.models.resnet import BasicBlock, Bottleneck

from course_utils.core.checks import check_choice
from course_utils.models.output import Heads, Output, as_rgb
from course_utils.models.vgg import scaled, with_imagenet_weights

Depth = Literal[8, 14, 20, 50, 101, 152]
TORCHVISION = {50: resnet50, 101: resnet101, 152: resnet152}


class ResNet(nn.Module):
    """A residual network (He et al. 2016) with a gate at the end of each block's inner path.

    The output of a block is x + gate(F(x)). This is the position of the gate in the streamlined
    module (myspace-img/streamlined-attention), in squeeze-and-excitation (Hu et al. 2018) and in
    CBAM (Woo et al. 2018); see `attention.gates`. A global-context block (Cao et al. 2019) has the
    same position, but its authors leave out the first stage when they detect objects. The
    classifier is one linear layer; the streamlined repository has three.

    Self-attention costs more, so it has a place of its own, once in the network: in the last stage
    but one, right before the last residual block (Wang et al. 2018, section 5.1, for a single
    non-local block).
    At depth 8, where a stage has only one residual block, it comes right after that block. It
    always sees the map of that stage, with 1/16 of the image's side at depths 50 and above, and
    1/4 at depths 8, 14 and 20.

    Depths 50, 101 and 152 are torchvision's. Depths 8, 14 and 20 are for laptops: three stages of
    16, 32 and 64 channels with two-layer blocks, as He et al. have them for CIFAR (section 4.2).
    They differ in two ways: the stem halves the image, since our images have 64 pixels, and
    shortcuts that change the size are 1 × 1 convolutions.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        depth: Depth = 8,
        gate: Callable[[int], nn.Module] | None = None,
        between: Callable[[int], nn.Module] | None = None,
        width: float = 1.0,
        pretrained: bool = False,
    ):
        """Build the network.

        Args:
            num_classes: Number of classes.
            depth: Number of layers: 8, 14, 20, 50, 101 or 152.
            gate: Builds the gate for a number of channels, such as `SqueezeExcitation`; None for
                the plain network.
            between: Builds the block between two residual blocks for a number of channels, such as
                `NonLocal`; None for the network without it.
            width: Factor on every channel count, at depths 8, 14 and 20.
            pretrained: Start from torchvision's ImageNet weights, at depths 50, 101 and 152. The
                gates and the block between are freshly initialised. The weights expect images that
                are normalised as in their ``transforms()``.

        Raises:
            ValueError: If the depth is unknown, or does not allow this width or ImageNet weights.
            OSError: See `with_imagenet_weights`.
        """
        super().__init__()
        check_choice("depth", depth, Depth)
        if depth in TORCHVISION:
            if width != 1:
                raise ValueError(f"a ResNet-{depth} has width 1 only, got width={width}")
            stem, stages, channels = _large(depth, pretrained)
        else:
            if pretrained:
                raise ValueError(
                    f"ImageNet weights exist for depths 50, 101 and 152, got depth={depth}"
                )
            stem, stages = _small(depth, width)
            channels = scaled(64, width)
        if gate is not None:
            insert(nn.ModuleList(stages), gate)
        if between is not None:
            _insert_between(stages[-2], between)
        self.features = nn.Sequential(stem, *stages)
        # In pixels: after five or three halvings, one position is left.
        self.least_size = 32 if depth in TORCHVISION else 8
        self.classifiers = Heads([channels], num_classes)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Output:
        """Classify images.

        Raises:
            ValueError: See `as_rgb`.
        """
        x = self.features(as_rgb(images, self.least_size))
        return self.classifiers([x.mean(dim=(2, 3))], ())


def insert(network: nn.Module, gate: Callable[[int], nn.Module]) -> None:
    """Insert a gate into every residual block of a torchvision network, after its last batch norm.

    The network is modified in place, and the names of that batch norm's weights change, so load
    pretrained weights first.

    Raises:
        ValueError: If the network has no residual block, or a block has a gate already.
    """
    blocks = [module for module in network.modules() if isinstance(module, BasicBlock | Bottleneck)]
    last = ["bn3" if isinstance(block, Bottleneck) else "bn2" for block in blocks]
    norms = [getattr(block, name) for block, name in zip(blocks, last)]
    if not blocks or not all(isinstance(norm, nn.BatchNorm2d) for norm in norms):
        raise ValueError(
            f"expected torchvision's residual blocks without a gate, got {type(network).__name__}"
        )
    for block, name, norm in zip(blocks, last, norms):
        setattr(block, name, nn.Sequential(norm, gate(norm.num_features)))


def _insert_between(stage: nn.Sequential, build: Callable[[int], nn.Module]) -> None:
    """Insert a block before the last residual block of a stage, or after its only one.

    The first residual block halves the map and sets the channels, so nothing is inserted before it.
    """
    first = cast(BasicBlock | Bottleneck, stage[0])
    channels = first.conv1.out_channels * first.expansion
    stage.insert(max(1, len(stage) - 1), build(channels))


def _large(depth: int, pretrained: bool) -> tuple[nn.Sequential, list[nn.Sequential], int]:
    """Return the stem, the stages and the channel count of torchvision's network."""
    build = TORCHVISION[depth]
    network = with_imagenet_weights(build, "IMAGENET1K_V1") if pretrained else build()
    stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
    stages = [network.layer1, network.layer2, network.layer3, network.layer4]
    return stem, stages, network.fc.in_features


def _small(depth: int, width: float) -> tuple[nn.Sequential, list[nn.Sequential]]:
    """Return the stem and three stages of (depth − 2) / 6 blocks each."""
    channels = [scaled(c, width) for c in (16, 32, 64)]
    stem = nn.Sequential(
        nn.Conv2d(3, channels[0], 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels[0]),
        nn.ReLU(),
    )
    stages = []
    inputs = channels[0]
    for i, outputs in enumerate(channels):
        if i == 0:
            blocks = [BasicBlock(inputs, outputs)]
        else:
            blocks = [BasicBlock(inputs, outputs, 2, _shortcut(inputs, outputs))]
        blocks += [BasicBlock(outputs, outputs) for _ in range((depth - 2) // 6 - 1)]
        stages.append(nn.Sequential(*blocks))
        inputs = outputs
    for module in nn.ModuleList([stem, *stages]).modules():
        if isinstance(module, nn.Conv2d):  # as in torchvision
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return stem, stages


def _shortcut(inputs: int, outputs: int) -> nn.Sequential:
    """Bring the input of a block to the size of its output."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride=2, bias=False), nn.BatchNorm2d(outputs)
    )
