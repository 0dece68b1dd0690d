"""Grad-CAM and Grad-CAM++: where a trained network's features raised the score of a class.

Both explain a finished network and change nothing in it. The forward pass records no graph until it
reaches the layer in question; the graph starts at the activation of that layer. One short backward
pass is therefore enough, frozen weights don't matter, and no parameter gets a gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.explain.feature_maps import (
    Reshape,
    feature_map,
    map_tensors,
    rearranged,
    tensors_in,
)
from course_utils.explain.networks import (
    NoGradientError,
    batches,
    check_input,
    find,
    gradients_of,
    named,
    running,
    unwrapped,
)
from course_utils.explain.targets import Score, Target, as_score, number_per_image


def gradcam(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    layer: nn.Module | str,
    target: Target = None,
    *,
    relu: bool = True,
    reshape: Reshape | None = None,
) -> Float[Tensor, "B 1 h w"]:
    r"""Return Grad-CAM maps for a layer of a trained network.

    Each channel of the layer is weighted by how strongly it increases the score of the target (the
    gradient, averaged over positions); the map is the weighted sum of the channels, with negative
    values clipped to zero:

    .. math::
        \alpha_k = \frac{1}{hw} \sum_i \frac{\partial y_m}{\partial A_{ki}} \qquad\qquad
        M_i = \mathrm{ReLU}\Bigl(\sum_k \alpha_k A_{ki}\Bigr)

    Source: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks", eq. 1 and 2.

    Args:
        model: Any network of Python modules. Its mode and its parameters stay as they are.
        images: Input of the network. They run in batches, so the memory stays bounded.
        layer: A module of the network, or its name. Its output must be a feature map (B, K, h, w),
            or contain one.
        target: What to explain: one class for all images, one per image, or a function from the
            network's output to one number per image; see `targets`. If None, the predicted class
            (for a single logit, the predicted answer).
        relu: Clip negative values, which are evidence against the target. If False, the map can be
            negative.
        reshape: Layout of the layer's output, if it is not (B, K, h, w): `channels_last`, `tokens`,
            or a function that selects and rearranges the values of the output.

    Returns:
        A map of the layer's own size, in single precision or the precision of the weights,
        whichever is higher.

    Raises:
        ValueError: If the layer is not part of the network, does not run, runs more than once or
            has no such output; or if the target does not fit the output of the network.
    """
    maps = []
    for activation, gradient in _batched(model, images, layer, target, reshape):
        weights = gradient.mean(dim=(2, 3), keepdim=True)  # (B, K, 1, 1)
        maps.append(_weighted_sum(weights, activation))
    found = torch.cat(maps)
    return found.relu() if relu else found


def gradcam_plus_plus(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    layer: nn.Module | str,
    target: Target = None,
    *,
    reshape: Reshape | None = None,
) -> Float[Tensor, "B 1 h w"]:
    r"""Return Grad-CAM++ maps: `gradcam` with a weight for each position of the gradient.

    With :math:`G = \partial y_m / \partial A`,

    .. math::
        \alpha_k = \sum_i w_{ki}\,\mathrm{ReLU}(G_{ki}) \qquad\qquad
        w_{ki} = \frac{G_{ki}^2}{2\,G_{ki}^2 + G_{ki}^3 \sum_j A_{kj}}

    and :math:`w_{ki} = 0` where the gradient is 0. The map is the weighted sum of the channels,
    with negative values clipped to zero, as for `gradcam`; the arguments are the same as well.

    The paper uses :math:`\exp(y_m)` as the score, which multiplies the whole map by one positive
    number; we leave that factor out. Its formula for w replaces second and third derivatives by
    powers of the first. That is exact for a network that is linear behind the layer, apart from
    ReLUs, and an approximation for any other.

    Source: Chattopadhay et al. 2018, "Grad-CAM++", eq. 19.

    Raises:
        ValueError: See `gradcam`.
    """
    maps = []
    for activation, gradient in _batched(model, images, layer, target, reshape):
        total = activation.sum(dim=(2, 3), keepdim=True)  # (B, K, 1, 1)
        denominator = 2 * gradient**2 + gradient**3 * total
        w = torch.where(denominator != 0, gradient**2 / denominator, 0)  # (B, K, h, w)
        weights = (w * gradient.relu()).sum(dim=(2, 3), keepdim=True)  # (B, K, 1, 1)
        maps.append(_weighted_sum(weights, activation).relu())
    return torch.cat(maps)


def activation_and_gradient(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    layer: nn.Module | str,
    target: Target = None,
    *,
    reshape: Reshape | None = None,
) -> tuple[Float[Tensor, "B K h w"], Float[Tensor, "B K h w"]]:
    """Return the output of a layer, and the gradient of the target with respect to it.

    The arguments are those of `gradcam`.

    Raises:
        ValueError: See `gradcam`.
    """
    activations, gradients = zip(*_batched(model, images, layer, target, reshape))
    return torch.cat(activations), torch.cat(gradients)


def _batched(
    model: nn.Module,
    images: Tensor,
    layer: nn.Module | str,
    target: Target,
    reshape: Reshape | None,
) -> Iterator[tuple[Float[Tensor, "b K h w"], Float[Tensor, "b K h w"]]]:
    """Yield activations and gradients, one batch of images after the other."""
    model = unwrapped(model)
    layer = find(model, layer)
    check_input(model, images)
    for which, score in batches(images, as_score(target)):
        arguments = (model, images[which], layer, score, reshape)
        try:
            yield _activation_and_gradient(*arguments)
        except NoGradientError:
            # Some networks enable gradients for one part, and restore the previous setting.
            yield _activation_and_gradient(*arguments, grad_everywhere=True)


def _activation_and_gradient(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    layer: nn.Module,
    score: Score,
    reshape: Reshape | None,
    *,
    grad_everywhere: bool = False,
) -> tuple[Float[Tensor, "B K h w"], Float[Tensor, "B K h w"]]:
    reached: list[tuple[Any, Any, list[int]]] = []  # output, leaves and versions of each run

    def start_graph(_, __, output: Any) -> Any:
        layer_feature_map(output, model, layer, images, reshape)  # raises an error if there is none
        torch.set_grad_enabled(True)  # until `running` ends
        known: dict[int, Tensor] = {}  # a tensor that the output contains twice has one leaf
        leaves = map_tensors(lambda t: known.setdefault(id(t), _leaf(t)), output)
        reached.append((output, leaves, _versions(output)))
        # The layers that follow may change the output in place.
        return map_tensors(torch.clone, leaves)

    with running(model):
        # The first hook, so that hooks of the user's own see tensors that belong to the graph.
        hook = layer.register_forward_hook(start_graph, prepend=True)
        try:
            with torch.set_grad_enabled(grad_everywhere):
                # The network gets a copy of the images, as it may change them.
                result = model(images.clone())
        finally:
            hook.remove()
        leaves = _only_run(reached, named(model, layer))
        torch.set_grad_enabled(True)
        numbers = number_per_image(score.settled(result), result, len(images))
        tensors = [tensor for tensor in tensors_in(leaves).values() if tensor.requires_grad]
        gradients = gradients_of(numbers, tensors, named(model, layer))
    by_leaf = {id(t): g for t, g in zip(tensors, gradients) if g is not None}
    of_all = map_tensors(lambda t: by_leaf.setdefault(id(t), torch.zeros_like(t)), leaves)
    activation, gradient = (rearranged(parts, reshape).detach() for parts in (leaves, of_all))
    # Under autocast the activations have half precision, which is too coarse for means and sums.
    precise = torch.promote_types(activation.dtype, torch.float32)
    return activation.to(precise), gradient.to(precise)


def _only_run(reached: list[tuple[Any, Any, list[int]]], layer: str) -> Any:
    """Return the leaves of the only run of a layer, and check that the graph starts at them."""
    if len(reached) != 1:
        problem = f"runs {len(reached)} times" if reached else "does not run"
        raise ValueError(f"expected a layer that runs once, but {layer} {problem}")
    output, leaves, versions = reached[0]
    if _versions(output) != versions:
        raise ValueError(
            f"the network changes the output of {layer} in place, but not through the tensor that "
            "the layer returns; choose the layer before it"
        )
    return leaves


def _leaf(tensor: Tensor) -> Tensor:
    """Return a tensor at which a graph starts, if it can have a gradient."""
    return tensor.detach().requires_grad_(tensor.is_floating_point())


def _versions(output: Any) -> list[int]:
    """Return how often each tensor of an output was changed in place; autograd counts that."""
    return [t._version for t in tensors_in(output).values() if not t.is_inference()]


def layer_feature_map(
    output: Any,
    model: nn.Module,
    layer: nn.Module,
    images: Float[Tensor, "B C H W"],
    reshape: Reshape | None,
) -> Float[Tensor, "B K h w"]:
    """Return the feature map in the output of a layer; if there is none, the error names the layer.

    Raises:
        ValueError: See `feature_maps.feature_map`.
    """
    try:
        return feature_map(output, images, reshape)
    except ValueError as error:
        raise ValueError(f"{named(model, layer)}: {error}") from error


def _weighted_sum(
    weights: Float[Tensor, "B K 1 1"], activation: Float[Tensor, "B K h w"]
) -> Float[Tensor, "B 1 h w"]:
    return (weights * activation).sum(dim=1, keepdim=True)
