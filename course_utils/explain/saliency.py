"""Gradients of a target with respect to the pixels: finer than Grad-CAM, but noisier."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.explain.networks import (
    batches,
    check_input,
    gradients_of,
    running,
    unwrapped,
)
from course_utils.explain.targets import Score, Target, as_score, number_per_image


def input_gradient(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    target: Target = None,
    *,
    guided: bool = False,
) -> Float[Tensor, "B 1 H W"]:
    """Return the largest absolute gradient of a target over the colours of each pixel.

    Source: Simonyan et al. 2014, "Deep Inside Convolutional Networks", section 3.1. Guided
    back-propagation is from Springenberg et al. 2015, "Striving for Simplicity": on the way back,
    every ReLU also blocks negative gradients. Its maps are sharp, and Adebayo et al. 2018 show that
    they hardly depend on the learned weights.

    Args:
        model: Any network of Python modules. Its mode and its parameters stay as they are.
        images: Input of the network. They run in batches, so the memory stays bounded.
        target: What to explain: one class for all images, one per image, or a function from the
            network's output to one number per image; see `targets`. If None, the predicted class
            (for a single logit, the predicted answer).
        guided: Use guided back-propagation. It affects modules of type ``nn.ReLU``, but not ReLUs
            that are called as functions.

    Raises:
        ValueError: If the target does not fit the output of the network; if no gradient leads from
            the target to the pixels; or if ``guided`` is set and no ``nn.ReLU`` runs.
    """
    model = unwrapped(model)
    check_input(model, images)
    gradients = [
        _gradient(model, images[which], score, guided)
        for which, score in batches(images, as_score(target))
    ]
    return torch.cat(gradients).abs().amax(dim=1, keepdim=True)  # (B, C, H, W) to (B, 1, H, W)


def _gradient(model: nn.Module, images: Tensor, score: Score, guided: bool) -> Tensor:
    with running(model), torch.enable_grad(), ExitStack() as hooks:
        pixels = images.detach().clone().requires_grad_()
        blocked: list[nn.Module] = []
        if guided:
            hook = partial(_block_negative, blocked)
            for relu in (module for module in model.modules() if isinstance(module, nn.ReLU)):
                hooks.callback(relu.register_forward_hook(hook).remove)
        output = model(pixels.clone())  # a copy, because the network may change its input
        if guided and not blocked:
            raise ValueError(
                "guided back-propagation changes modules of type nn.ReLU, and none runs in this "
                f"{type(model).__name__}: ReLUs that are called as functions have no module"
            )
        torch.set_grad_enabled(True)
        numbers = number_per_image(score.settled(output), output, len(images))
        (gradient,) = gradients_of(numbers, [pixels], f"the pixels of this {type(model).__name__}")
    assert gradient is not None  # otherwise `gradients_of` has raised an error
    return gradient


def _block_negative(blocked: list[nn.Module], relu: nn.Module, _, output: Tensor) -> Tensor:
    blocked.append(relu)
    return _PositiveGradient.apply(output)


class _PositiveGradient(torch.autograd.Function):
    """The identity, except that negative gradients become 0 on the way back."""

    @staticmethod
    def forward(_, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(_, gradient: Tensor) -> Tensor:
        return gradient.relu()
