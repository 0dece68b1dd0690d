"""Gradients of a class's logit at the pixels: the contrast to Grad-CAM, finer and not always what it seems."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.core.eval_mode import evaluating
from course_utils.core.targets import Targets, target_classes
from course_utils.explain.grad_cam import logits_of, unwrapped


def input_gradient(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    classes: Targets = None,
    *,
    guided: bool = False,
) -> Float[Tensor, "B 1 H W"]:
    """How much the logit of a class changes with each pixel: the largest absolute gradient of its colours.

    Source: Simonyan et al. 2014, "Deep Inside Convolutional Networks", section 3.1. Guided back-propagation is from
    Springenberg et al. 2015, "Striving for Simplicity": on the way back every ReLU also stops what is negative. Its
    maps are sharp, and Adebayo et al. 2018 show that they hardly depend on what the network has learned.

    Args:
        model: any network that returns logits; see `gradcam.logits_of`. It is left as it was.
        images: as the network takes them.
        classes: one for all images, or one an image; without, the class that the network predicts.
        guided: guided back-propagation. It reaches the modules ``nn.ReLU``, not ReLUs that are called as functions.

    Raises:
        ValueError: classes that do not fit, an output without logits, or one that no gradient leads back from.
    """
    model = unwrapped(model)
    with torch.inference_mode(False), evaluating(model), torch.enable_grad(), ExitStack() as hooks:
        pixels = images.detach().clone().requires_grad_()
        for relu in [m for m in model.modules() if guided and isinstance(m, nn.ReLU)]:
            hooks.callback(
                relu.register_forward_hook(
                    lambda _, __, output: _PositiveGradient.apply(output)
                ).remove
            )
        logits = logits_of(model(pixels))
        of_each = logits.gather(1, target_classes(classes, logits)[:, None])
        if not of_each.requires_grad:
            raise ValueError(
                f"no gradient leads from the logits of this {type(model).__name__} to the pixels"
            )
        (gradient,) = torch.autograd.grad(of_each.sum(), pixels)
    return gradient.abs().amax(dim=1, keepdim=True)


class _PositiveGradient(torch.autograd.Function):
    """Passes values on as they are, and of a gradient only what is above 0."""

    @staticmethod
    def forward(_, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(_, gradient: Tensor) -> Tensor:
        return gradient.relu()
