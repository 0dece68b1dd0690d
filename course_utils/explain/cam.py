"""Class activation maps: exact maps of networks that classify the average of their features."""

from __future__ import annotations

from typing import TypeGuard, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.core.eval_mode import evaluating
from course_utils.core.targets import Targets, target_classes
from course_utils.models.output import as_rgb
from course_utils.models.resnet import ResNet
from course_utils.models.vgg import VGG


@torch.no_grad()
def class_activation_map(
    model: nn.Module, images: Float[Tensor, "B C H W"], classes: Targets = None
) -> Float[Tensor, "B 1 h w"]:
    r"""Return class activation maps :math:`M_i = w_c^\top f_i` of the features f at position i.

    The map is exact, not an estimate: its mean over the positions, plus the bias of the class, is
    the logit of the class. Negative values are evidence against the class.

    Source: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", eq. 1 and 2.

    Args:
        model: A `ResNet`, or a `VGG` with ``head="average"``; see `allows_cam`. Its mode and its
            parameters stay as they are.
        images: Grey or RGB.
        classes: One class for all images, or one per image. If None, the predicted class.

    Raises:
        ValueError: If the network has another head, refuses the images, or the classes do not fit.
    """
    if not allows_cam(model):
        raise ValueError(
            "CAM needs a ResNet or a VGG with head='average', whose logits are one linear layer "
            f"on the average of the last features, got {_described(model)}"
        )
    linear = cast(nn.Linear, model.classifiers[0])
    with evaluating(model):
        features = model.features(as_rgb(images, model.least_size))  # (B, D, h, w)
        chosen = target_classes(classes, linear(features.mean(dim=(2, 3))))
    return torch.einsum("bdhw,bd->bhw", features, linear.weight[chosen])[:, None]


def allows_cam(model: nn.Module) -> TypeGuard[ResNet | VGG]:
    """Return whether the logits are one linear layer on the average of the last features."""
    return isinstance(model, ResNet) or (isinstance(model, VGG) and model.dense is None)


def _described(model: nn.Module) -> str:
    return "VGG with head='dense'" if isinstance(model, VGG) else type(model).__name__
