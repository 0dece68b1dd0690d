"""Gradients of a class's logit with respect to the pixels: finer than Grad-CAM, but noisier."""

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
    """Return the largest absolute gradient of a class's logit over the colours of each pixel.

    Source: Simonyan et al. 2014, "Deep Inside Convolutional Networks", section 3.1. Guided
    back-propagation is from Springenberg et al. 2015, "Striving for Simplicity": on the way back,
    every ReLU also blocks negative gradients. Its maps are sharp, and Adebayo et al. 2018 show that
    they hardly depend on the learned weights.

    Args:
        model: Any network that returns logits; see `grad_cam.logits_of`. Its mode and its
            parameters stay as they are.
        images: Input of the network.
        classes: One class for all images, or one per image. If None, the predicted class.
        guided: Use guided back-propagation. It affects modules of type ``nn.ReLU``, but not ReLUs
            that are called as functions.

    Raises:
        ValueError: If the classes do not fit, the output has no logits, or no gradient leads from
            the logits to the pixels.
    """
    model = unwrapped(model)
    # Inference mode would leave tensors that autograd refuses, so it is switched off here.
    with torch.inference_mode(False), evaluating(model), torch.enable_grad(), ExitStack() as hooks:
        pixels = images.detach().clone().requires_grad_()
        if guided:
            for relu in model.modules():
                if isinstance(relu, nn.ReLU):
                    hooks.callback(relu.register_forward_hook(_block_negative).remove)
        logits = logits_of(model(pixels))
        # No logit depends on another image, so one backward pass of the sum serves them all.
        logit_per_image = logits.gather(1, target_classes(classes, logits)[:, None])
        if not logit_per_image.requires_grad:
            raise ValueError(
                f"no gradient leads from the logits of this {type(model).__name__} to the pixels"
            )
        (gradient,) = torch.autograd.grad(logit_per_image.sum(), pixels)
    return gradient.abs().amax(dim=1, keepdim=True)  # (B, C, H, W) to (B, 1, H, W)


def _block_negative(_, __, output: Tensor) -> Tensor:
    return _PositiveGradient.apply(output)


class _PositiveGradient(torch.autograd.Function):
    """The identity, except that negative gradients become 0 on the way back."""

    @staticmethod
    def forward(_, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(_, gradient: Tensor) -> Tensor:
        return gradient.relu()
