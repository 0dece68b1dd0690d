"""Class activation maps: where a network that averages its last features saw evidence for a class."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.core.eval_mode import evaluating
from course_utils.core.targets import Targets, target_classes
from course_utils.models.output import as_rgb


@torch.no_grad()
def class_activation_map(
    model: nn.Module, images: Float[Tensor, "B C H W"], classes: Targets = None
) -> Float[Tensor, "B 1 h w"]:
    r"""The class activation map :math:`M_i = w_c^\top f_i` of the features f at each position i.

    It is exact, not an estimate: the mean of the map over the positions, plus the bias of the class, is its logit.
    Values have either sign; what is below 0 speaks against the class.

    Source: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", eq. 1 and 2.

    Args:
        model: a network whose logits are one linear layer on the average of its last features: `ResNet`, or `VGG` with
            ``head="average"``. It is left as it was.
        images: grey or RGB.
        classes: one for all images, or one an image; without, the class that the network predicts.

    Raises:
        ValueError: a network with another head, images that it refuses, or classes that do not fit.
    """
    heads = getattr(model, "classifiers", ())
    if (
        not hasattr(model, "features")
        or len(heads) != 1
        or getattr(model, "dense", None) is not None
    ):
        raise ValueError(
            f"CAM needs one linear layer on the average of the last features, got {_named(model)}"
        )
    linear = heads[0]
    with evaluating(model):
        features = model.features(as_rgb(images, getattr(model, "least_size", 1)))  # (B, D, h, w)
        if linear.in_features != features.shape[1]:  # other descriptors beside that average
            raise ValueError(
                f"CAM needs one linear layer on the average of the last features, got {_named(model)}"
            )
        classes = target_classes(classes, linear(features.mean(dim=(2, 3))))
    return torch.einsum("bdhw,bd->bhw", features, linear.weight[classes])[:, None]


def _named(model: nn.Module) -> str:
    inputs = [linear.in_features for linear in getattr(model, "classifiers", ())]
    return f"{type(model).__name__} with classifiers on {inputs or 'no'} features"
