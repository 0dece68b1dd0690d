"""Grad-CAM and Grad-CAM++: where a trained network's features raised the score of a class.

Both explain a finished network and change nothing in it. The forward pass records no graph until it
reaches the layer in question; the graph starts at the activation of that layer. One short backward
pass is therefore enough, frozen weights don't matter, and no parameter gets a gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.core.eval_mode import evaluating
from course_utils.core.targets import Targets, target_classes


def gradcam(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    layer: nn.Module | str,
    classes: Targets = None,
    *,
    relu: bool = True,
) -> Float[Tensor, "B 1 h w"]:
    r"""Return Grad-CAM maps for a layer of a trained network.

    Each channel of the layer is weighted by how strongly it increases the logit of the class (the
    gradient, averaged over positions); the map is the weighted sum of the channels, with negative
    values clipped to zero:

    .. math::
        \alpha_k = \frac{1}{hw} \sum_i \frac{\partial y_c}{\partial A_{ki}} \qquad\qquad
        M_i = \mathrm{ReLU}\Bigl(\sum_k \alpha_k A_{ki}\Bigr)

    Source: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks", eq. 1 and 2.

    Args:
        model: Any network that returns logits (B, classes), alone or in a tuple; see `logits_of`.
            Its mode and its parameters stay as they are.
        images: Input of the network.
        layer: A module of the network, or its name. Its output must have shape (B, K, h, w).
        classes: One class for all images, or one per image. If None, the predicted class.
        relu: Clip negative values, which are evidence against the class. If False, the map can be
            negative.

    Returns:
        A map of the layer's own size, in single precision or the precision of the weights,
        whichever is higher.

    Raises:
        ValueError: If the layer is not part of the network, does not run, runs more than once or
            has an output of another shape; if the classes do not fit, or the output has no logits.
    """
    activation, gradient = activation_and_gradient(model, images, layer, classes)
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # (B, K, 1, 1)
    maps = _weighted_sum(weights, activation)
    return maps.relu() if relu else maps


def gradcam_plus_plus(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    layer: nn.Module | str,
    classes: Targets = None,
) -> Float[Tensor, "B 1 h w"]:
    r"""Return Grad-CAM++ maps: `gradcam` with a weight for each position of the gradient.

    With :math:`G = \partial y_c / \partial A`,

    .. math::
        \alpha_k = \sum_i w_{ki}\,\mathrm{ReLU}(G_{ki}) \qquad\qquad
        w_{ki} = \frac{G_{ki}^2}{2\,G_{ki}^2 + G_{ki}^3 \sum_j A_{kj}}

    and :math:`w_{ki} = 0` where the gradient is 0. The map is the weighted sum of the channels,
    with negative values clipped to zero, as for `gradcam`; the arguments are the same as well.

    The paper uses :math:`\exp(y_c)` as the score, which multiplies the whole map by one positive
    number; we leave that factor out. Its formula for w replaces second and third derivatives by
    powers of the first. That is exact for a network that is linear behind the layer, apart from
    ReLUs, and an approximation for any other.

    Source: Chattopadhay et al. 2018, "Grad-CAM++", eq. 19.

    Raises:
        ValueError: See `gradcam`.
    """
    activation, gradient = activation_and_gradient(model, images, layer, classes)
    total = activation.sum(dim=(2, 3), keepdim=True)  # (B, K, 1, 1)
    denominator = 2 * gradient**2 + gradient**3 * total
    w = torch.where(denominator != 0, gradient**2 / denominator, 0)  # (B, K, h, w)
    weights = (w * gradient.relu()).sum(dim=(2, 3), keepdim=True)  # (B, K, 1, 1)
    return _weighted_sum(weights, activation).relu()


def activation_and_gradient(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    layer: nn.Module | str,
    classes: Targets = None,
) -> tuple[Float[Tensor, "B K h w"], Float[Tensor, "B K h w"]]:
    """Return the output of a layer, and the gradient of the classes' logits with respect to it.

    The arguments are those of `gradcam`.

    Raises:
        ValueError: See `gradcam`.
    """
    model = unwrapped(model)
    layer = find(model, layer)
    reached = []

    def start_graph(_, __, output: Any) -> Tensor:
        _check_feature_map(output, model, layer)
        torch.set_grad_enabled(True)  # until `evaluating` ends
        reached.append(output.detach().requires_grad_())
        return reached[-1].clone()  # the layers that follow may change it in place

    # A graph can't start at a tensor that was made in inference mode. So the caller's inference
    # mode is switched off here, and images that were made in it are copied.
    with torch.inference_mode(False), evaluating(model):
        hook = layer.register_forward_hook(start_graph)
        try:
            logits = logits_of(model(images.clone() if images.is_inference() else images))
        finally:
            hook.remove()
        if len(reached) != 1:
            problem = f"runs {len(reached)} times" if reached else "does not run"
            raise ValueError(
                f"expected a layer that runs once, but {named(model, layer)} {problem}"
            )
        # No logit depends on another image, so one backward pass of the sum serves them all.
        logit_per_image = logits.gather(1, target_classes(classes, logits)[:, None])
        gradient = None
        if logit_per_image.requires_grad:
            (gradient,) = torch.autograd.grad(logit_per_image.sum(), reached[0], allow_unused=True)
    if gradient is None:
        raise ValueError(
            f"no gradient leads from the logits to {named(model, layer)}: they do not use its "
            "output, or use it detached"
        )
    # Under autocast the activations have half precision, which is too coarse for means and sums.
    precise = torch.promote_types(reached[0].dtype, torch.float32)
    return reached[0].detach().to(precise), gradient.to(precise)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside DataParallel, DistributedDataParallel or ``torch.compile``."""
    wrappers = nn.DataParallel | nn.parallel.DistributedDataParallel
    while True:
        if isinstance(model, wrappers):
            model = model.module
        elif (original := getattr(model, "_orig_mod", None)) is not None:  # after torch.compile
            model = original
        else:
            return model


def find(model: nn.Module, layer: nn.Module | str) -> nn.Module:
    """Return a layer of a network, given the layer itself or its name.

    Raises:
        ValueError: If the network has no such layer; the message lists similar names.
    """
    names = [name for name, _ in model.named_modules()]
    if isinstance(layer, str):
        if layer in names:
            return model.get_submodule(layer)
        similar = ", ".join(get_close_matches(layer, names)) or f"{names[-1]} and others"
        raise ValueError(f"{type(model).__name__} has no layer {layer!r}: it has {similar}")
    if not any(module is layer for module in model.modules()):
        raise ValueError(
            f"the layer {type(layer).__name__} is not part of this {type(model).__name__}; "
            "does it belong to another network?"
        )
    return layer


def logits_of(output: Any) -> Float[Tensor, "B classes"]:
    """Return the logits in the output of a network.

    They are its attribute ``logits`` if it has one; otherwise the output itself, or the first
    tensor of shape (B, classes) in a tuple, list or mapping.

    Raises:
        ValueError: If the output contains no tensor of shape (B, classes).
    """
    if isinstance(output, Mapping):
        parts = tuple(output.values())
    elif isinstance(output, tuple | list):
        parts = tuple(output)
    else:
        parts = (output,)
    for part in (getattr(output, "logits", None), *parts):
        if isinstance(part, Tensor) and part.ndim == 2:
            return part
    raise ValueError(
        f"expected a network that returns logits (B, classes), got {type(output).__name__}"
    )


def named(model: nn.Module, layer: nn.Module) -> str:
    """Return the name and type of a layer, for messages."""
    return f"{name_of(model, layer)!r} ({type(layer).__name__})"


def name_of(model: nn.Module, layer: nn.Module) -> str:
    """Return the name of a layer in its network."""
    return next(name for name, module in model.named_modules() if module is layer)


def _check_feature_map(output: Any, model: nn.Module, layer: nn.Module) -> None:
    if isinstance(output, Tensor) and output.ndim == 4:
        return
    given = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise ValueError(
        f"expected a layer with an output (B, K, h, w), got {given} from {named(model, layer)}"
    )


def _weighted_sum(
    weights: Float[Tensor, "B K 1 1"], activation: Float[Tensor, "B K h w"]
) -> Float[Tensor, "B 1 h w"]:
    return (weights * activation).sum(dim=1, keepdim=True)
