"""Grad-CAM: where a trained network's features spoke for a class. It looks afterwards, and changes nothing.

The forward pass records nothing until the layer is reached: the graph begins at its activation. So one short backward
pass is all that is needed, frozen weights do not matter, and no parameter gets a gradient.
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
    r"""Grad-CAM: the channels of a layer, weighted by how much each one raises the logit of a class.

    .. math::
        \alpha_k = \frac{1}{hw} \sum_i \frac{\partial y_c}{\partial A_{ki}} \qquad\qquad
        M_i = \mathrm{ReLU}\Bigl(\sum_k \alpha_k A_{ki}\Bigr)

    Source: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks", eq. 1 and 2.

    Args:
        model: any network that returns logits (B, classes), alone or in a tuple; see `logits_of`. It is left as it was.
        images: as the network takes them.
        layer: whose output (B, K, h, w) is looked at: a module of the network, or its name.
        classes: one for all images, or one an image; without them, the class that the network predicts.
        relu: set to 0 what speaks against the class. Without, the map has either sign.

    Returns:
        A map of the layer's own size, in single precision or that of the weights, whichever is finer.

    Raises:
        ValueError: a layer that is not in the network, is not reached, runs more than once, or has no output
            (B, K, h, w); classes that do not fit; an output without logits.
    """
    activation, gradient = activation_and_gradient(model, images, layer, classes)
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # (B, K, 1, 1)
    return _combined(weights, activation, relu)


def gradcam_plus_plus(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    layer: nn.Module | str,
    classes: Targets = None,
    *,
    relu: bool = True,
) -> Float[Tensor, "B 1 h w"]:
    r"""Grad-CAM++: as `gradcam`, but the positions of a channel count by how much they matter, not all alike.

    With :math:`G = \partial y_c / \partial A`,

    .. math::
        \alpha_k = \sum_i w_{ki}\,\mathrm{ReLU}(G_{ki}) \qquad\qquad
        w_{ki} = \frac{G_{ki}^2}{2\,G_{ki}^2 + G_{ki}^3 \sum_j A_{kj}}

    and :math:`w_{ki} = 0` where the gradient is 0. The paper scores with :math:`\exp(y_c)`, which multiplies the whole
    map by one positive number; we leave it out. Its w rests on second and third derivatives of a network that is linear
    behind the layer but for its ReLUs; elsewhere it is an approximation.

    Source: Chattopadhay et al. 2018, "Grad-CAM++", eq. 19.

    Raises:
        ValueError: see `gradcam`.
    """
    activation, gradient = activation_and_gradient(model, images, layer, classes)
    total = activation.sum(dim=(2, 3), keepdim=True)
    below = 2 * gradient**2 + gradient**3 * total
    w = torch.where(below != 0, gradient**2 / below, 0)
    return _combined((w * gradient.relu()).sum(dim=(2, 3), keepdim=True), activation, relu)


def activation_and_gradient(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    layer: nn.Module | str,
    classes: Targets = None,
) -> tuple[Float[Tensor, "B K h w"], Float[Tensor, "B K h w"]]:
    """What a layer put out, and the gradient of the classes' logits with respect to it; see `gradcam`."""
    model = unwrapped(model)
    layer = find(model, layer)
    reached = []

    def begin_graph(_, __, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            given = (
                tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
            )
            raise ValueError(
                f"expected a layer with an output (B, K, h, w), got {given} from {named(model, layer)}"
            )
        torch.set_grad_enabled(True)  # until `looking` ends
        reached.append(output.detach().requires_grad_())
        return reached[-1].clone()  # what follows may change it in place

    # A caller's inference mode would leave tensors that no graph can begin with, and its images are such tensors.
    with torch.inference_mode(False), evaluating(model):
        hook = layer.register_forward_hook(begin_graph)
        try:
            logits = logits_of(model(images.clone() if images.is_inference() else images))
        finally:
            hook.remove()
        if len(reached) != 1:
            problem = f"runs {len(reached)} times" if reached else "is not reached"
            raise ValueError(
                f"expected a layer that runs once, and {named(model, layer)} {problem}"
            )
        of_each = logits.gather(
            1, target_classes(classes, logits)[:, None]
        )  # no image's logit depends on another image
        leads_back = of_each.requires_grad
        gradient = (
            torch.autograd.grad(of_each.sum(), reached[0], allow_unused=True)[0]
            if leads_back
            else None
        )
    if gradient is None:
        name = named(model, layer)
        raise ValueError(
            f"no gradient leads from the logits to {name}: they do not use it, or detach what it put out"
        )
    precise = torch.promote_types(reached[0].dtype, torch.float32)  # autocast leaves half precision
    return reached[0].detach().to(precise), gradient.to(precise)


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside ``DataParallel``, ``DistributedDataParallel`` or ``torch.compile``, whose layers it shares."""
    while (inner := getattr(model, "_orig_mod", None) or _replicated(model)) is not None:
        model = inner
    return model


def find(model: nn.Module, layer: nn.Module | str) -> nn.Module:
    """A layer of a network, by itself or by its name.

    Raises:
        ValueError: it is not in the network; the message names similar ones.
    """
    names = [name for name, _ in model.named_modules()]
    if isinstance(layer, str):
        if layer in names:
            return model.get_submodule(layer)
        similar = ", ".join(get_close_matches(layer, names)) or f"{names[-1]} and others"
        raise ValueError(f"{type(model).__name__} has no layer {layer!r}: it has {similar}")
    if not any(module is layer for module in model.modules()):
        raise ValueError(
            f"the layer {type(layer).__name__} is not in this {type(model).__name__}: is it another's?"
        )
    return layer


def logits_of(output: Any) -> Float[Tensor, "B classes"]:
    """The logits in what a network returned: that itself, its ``logits``, or the first (B, classes) in it.

    Raises:
        ValueError: there is none.
    """
    parts = (
        output.values()
        if isinstance(output, Mapping)
        else output
        if isinstance(output, tuple | list)
        else (output,)
    )
    for part in (getattr(output, "logits", None), *parts):
        if isinstance(part, Tensor) and part.ndim == 2:
            return part
    raise ValueError(
        f"expected a network that returns logits (B, classes), got {type(output).__name__}"
    )


def named(model: nn.Module, layer: nn.Module) -> str:
    """A layer by its name and its kind, for messages."""
    return f"{name_of(model, layer)!r} ({type(layer).__name__})"


def name_of(model: nn.Module, layer: nn.Module) -> str:
    """The name of a layer that is in the network."""
    return next(name for name, module in model.named_modules() if module is layer)


def _replicated(model: nn.Module) -> nn.Module | None:
    return (
        model.module
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
        else None
    )


def _combined(
    weights: Float[Tensor, "B K 1 1"], activation: Float[Tensor, "B K h w"], relu: bool
) -> Tensor:
    maps = (weights * activation).sum(dim=1, keepdim=True)  # (B, 1, h, w)
    return maps.relu() if relu else maps
