"""A trained network as a backbone: feature maps from several depths for one image.

Any network will do whose modules return feature maps (B, C, H, W). `imagenet_backbone` knows the
modules of three networks by the stride of their maps; for another one, give `Backbone` the names
yourself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, VGG16_BN_Weights, resnet50, vgg16_bn

from course_utils.core.eval_mode import evaluating
from course_utils.models import efficientnet_lite
from course_utils.models.output import as_rgb

LEAST_SIZE = 32  # pixels: the deepest map of these networks has one position there
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """The feature maps of some modules of a network.

    The network stays in evaluation mode, also in training: its batch norms keep the statistics of
    the images that it was trained on.
    """

    def __init__(
        self,
        network: nn.Module,
        taps: Sequence[str],
        *,
        size: int = 160,
        prepare: Callable[[Tensor], Tensor] | None = None,
    ):
        """Find the modules, and measure their maps.

        Args:
            network: The network.
            taps: Names of modules, as in ``network.named_modules()``, whose outputs are wanted.
            size: Images are resized to this many pixels.
            prepare: Function from images in [0, 1] to the network's input. If None, they are used
                as they are.

        Raises:
            ValueError: If there is no tap, the network has no module of a name, a module isn't run
                or returns no map, or the size is below 32 pixels.
        """
        super().__init__()
        if size < LEAST_SIZE:
            raise ValueError(f"expected a size of at least {LEAST_SIZE} pixels, got {size}")
        modules = dict(network.named_modules())
        if not taps:
            raise ValueError("expected the name of at least one module, got no taps")
        if missing := [name for name in taps if name not in modules]:
            raise ValueError(f"the network has no module {missing[0]!r}; print its named_modules()")
        self.network, self.taps, self.size, self.prepare = network, tuple(taps), size, prepare
        self._found: dict[str, Any] = {}
        self.network.eval()  # torchvision's networks start in training mode
        for name in self.taps:
            modules[name].register_forward_hook(partial(self._keep, name))
        with evaluating(self):
            maps = self(torch.zeros(1, 3, size, size))
        self.channels = tuple(m.shape[1] for m in maps)
        self.sides = tuple(m.shape[-1] for m in maps)

    def _keep(self, name: str, module: nn.Module, inputs: object, output: Any) -> None:
        self._found[name] = output

    def train(self, mode: bool = True) -> Backbone:
        """Leave the network in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return one map per tap, in the order of the taps.

        Args:
            images: Grey or RGB, in [0, 1], of any size.

        Raises:
            ValueError: If the images are neither grey nor RGB, or a module isn't run or returns no
                map.
        """
        x = as_rgb(images, 1)
        if x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        self._found.clear()
        self.network(x if self.prepare is None else self.prepare(x))
        for name in self.taps:
            if name not in self._found:
                raise ValueError(f"the network has a module {name!r}, but doesn't run it")
            found = self._found[name]
            if not isinstance(found, Tensor) or found.ndim != 4:
                what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise ValueError(f"expected a map (B, C, H, W) from module {name!r}, got {what}")
        maps = [self._found[name] for name in self.taps]
        self._found.clear()  # a module that holds a graph of gradients can't be copied
        return maps


def normalised(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Normalise images in [0, 1] as torchvision's ImageNet weights expect them."""
    mean, std = (images.new_tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
    return (images - mean) / std


def _trained(build: Callable[..., nn.Module], weights: Any) -> nn.Module:
    """Return a network of torchvision with its weights, which are downloaded once."""
    try:
        return build(weights=weights)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise OSError(
            f"the ImageNet weights can't be downloaded or read ({why}): check your network "
            f"connection, delete the file in {torch.hub.get_dir()}/checkpoints if it is damaged, "
            "or use efficientnet_lite0, whose weights come with a package"
        ) from error


class _Known(NamedTuple):
    build: Callable[[], nn.Module]
    prepare: Callable[[Tensor], Tensor]
    by_stride: Mapping[int, str]  # the last module with a map of this stride; 32: the last features


_KNOWN = {
    "efficientnet_lite0": _Known(
        efficientnet_lite.efficientnet_lite0,
        efficientnet_lite.prepared,
        # The outputs of blocks are linear; the last features come after a ReLU6 of their own, which
        # is the same module as the one after the stem, so its last output counts.
        {8: "_blocks.4", 16: "_blocks.10", 32: "_swish"},
    ),
    "vgg16_bn": _Known(
        partial(_trained, vgg16_bn, VGG16_BN_Weights.IMAGENET1K_V1),
        normalised,
        {8: "features.23", 16: "features.33", 32: "features.43"},
    ),
    "resnet50": _Known(
        partial(_trained, resnet50, ResNet50_Weights.IMAGENET1K_V2),
        normalised,
        {8: "layer2", 16: "layer3", 32: "layer4"},
    ),
}


def imagenet_backbone(
    name: str = "efficientnet_lite0", strides: Sequence[int] = (16, 32), *, size: int = 160
) -> Backbone:
    """Return a network with its ImageNet weights as a backbone, with one tap per stride.

    The weights of EfficientNet-Lite0 come with a package; those of the other two are downloaded
    once by torchvision.

    Args:
        name: ``efficientnet_lite0``, ``vgg16_bn`` or ``resnet50``.
        strides: 8, 16 or 32: a map of stride 16 has one position per 16 × 16 pixels.
        size: Images are resized to this many pixels.

    Raises:
        ValueError: If the name is unknown, or the network has no map of a stride.
        ImportError: If the package of EfficientNet-Lite0 isn't installed.
        OSError: If the weights can't be downloaded, or the file is damaged.
    """
    if name not in _KNOWN:
        raise ValueError(f"unknown backbone {name!r}: choose one of {', '.join(_KNOWN)}")
    known = _KNOWN[name]
    if missing := [stride for stride in strides if stride not in known.by_stride]:
        there = ", ".join(map(str, known.by_stride))
        raise ValueError(f"{name} has no map of stride {missing[0]}: choose from {there}")
    taps = [known.by_stride[stride] for stride in strides]
    return Backbone(known.build(), taps, size=size, prepare=known.prepare)
