"""Class activation maps: exact maps of networks that classify the average of their features."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from course_utils.explain.networks import batches, check_input, running, unwrapped
from course_utils.explain.targets import (
    Class,
    Classes,
    logits_of,
    target_classes,
    two_sided,
)


class _Averaged(NamedTuple):
    """The last steps of a network whose logits are a linear function of averaged features."""

    features: Float[Tensor, "B D h w"]
    weight: Float[Tensor, "classes D"]
    logits: Float[Tensor, "B classes"]


@torch.no_grad()
def class_activation_map(
    model: nn.Module, images: Float[Tensor, "B C H W"], classes: Classes | Class | None = None
) -> Float[Tensor, "B 1 h w"]:
    r"""Return class activation maps :math:`M_i = w_c^\top f_i` of the features f at position i.

    The map is exact, not an estimate: its mean over the positions, plus the bias of the class, is
    the logit of the class. Negative values are evidence against the class.

    Source: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", eq. 1 and 2.

    Args:
        model: A network whose logits are one linear layer on the average of its last features, such
            as the `ResNet` and the `VGG` with ``head="average"`` of this course, or torchvision's
            ResNets; see `allows_cam`. Its mode and its parameters stay as they are.
        images: Input of the network. They run in batches, so the memory stays bounded.
        classes: One class for all images, or one per image; if the network has several outputs, a
            `Class` that names one. If None, the predicted class (for a single logit, the predicted
            answer).

    Raises:
        ValueError: If the network has a different head or refuses the images, or if the classes do
            not fit.
    """
    model = unwrapped(model)
    check_input(model, images)
    target = classes if isinstance(classes, Class) else Class(classes)
    maps = []
    for which, score in batches(images, target):
        assert isinstance(score, Class)  # a part of a `Class` is a `Class` too
        found = _averaged(model, images[which], score.output)
        if found is None:
            raise ValueError(
                "CAM needs a network whose logits are one linear layer on the average of its last "
                "features, with several positions to average over; for this "
                f"{type(model).__name__}, use gradcam"
            )
        chosen = target_classes(score.classes, two_sided(found.logits))
        weights = two_sided(found.weight.T).T[chosen]  # (B, D)
        # Sums in half precision would be too coarse.
        precise = torch.promote_types(weights.dtype, torch.float32)
        features = found.features.to(precise)
        maps.append(torch.einsum("bdhw,bd->bhw", features, weights.to(precise)))
    return torch.cat(maps)[:, None]


def allows_cam(model: nn.Module, images: Float[Tensor, "B C H W"]) -> bool:
    """Return whether the logits are one linear layer on the average of the last features.

    The network is run on these images, because its layers alone don't say how it connects them.
    """
    return _averaged(unwrapped(model), images[:1]) is not None


def _averaged(
    model: nn.Module, images: Tensor, output: str | int | None = None
) -> _Averaged | None:
    """Run a network, and find the features whose average its last linear layer reads."""
    with running(model), _Recording(model) as record:
        logits = logits_of(model(images.clone()), output)
    for read, weight, returned in reversed(record.linears):
        if returned.shape != logits.shape or not torch.equal(returned, logits):
            continue
        errors = [_relative_error(features, read) for features in record.maps]
        # A mean that is rounded differs by about the precision of the network.
        if errors and min(errors) <= 4 * max(torch.finfo(read.dtype).eps, 1e-6):
            return _Averaged(record.maps[errors.index(min(errors))], weight, logits)
    return None


def _relative_error(features: Float[Tensor, "B D h w"], read: Tensor) -> float:
    """Return the relative error of averaged features against the input of a linear layer."""
    mean = features.float().mean(dim=(2, 3))
    if mean.shape != read.shape:
        return math.inf
    return ((mean - read).norm() / read.norm().clamp(min=1e-30)).item()


class _Recording(TorchFunctionMode):
    """Record feature maps and linear layers, including those that are functions, not modules.

    Attributes:
        maps: Feature maps (B, D, h, w) of several positions that a linear layer could read.
        linears: Input, weight and output of each linear layer.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.widths = {p.shape[1] for p in model.parameters() if p.ndim == 2}
        self.maps: list[Tensor] = []
        self.linears: list[tuple[Tensor, Tensor, Tensor]] = []

    def __torch_function__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is F.linear:
            self.linears.append((args[0], args[1], result))
        elif isinstance(result, Tensor) and result.ndim == 4 and result.shape[1] in self.widths:
            # A copy, because the network may change the tensor afterwards.
            self.maps += [result.clone()] if result.shape[2:].numel() > 1 else []
        return result
