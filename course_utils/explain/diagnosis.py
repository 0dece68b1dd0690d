"""Suggestions of layers for Grad-CAM, and reasons why a map is blank, flat, negative or NaN."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from course_utils.core.eval_mode import evaluating
from course_utils.core.targets import Targets
from course_utils.explain.grad_cam import activation_and_gradient, find, name_of, named, unwrapped


class Layer(NamedTuple):
    """A layer that Grad-CAM can explain, and the size of its output."""

    name: str
    kind: str
    channels: int
    height: int
    width: int


class _Run(NamedTuple):
    """One run of a layer: its output, and the number of in-place changes to the output so far."""

    layer: nn.Module
    output: Any
    version: int


def suggest_layers(model: nn.Module, images: Float[Tensor, "B C H W"]) -> list[Layer]:
    """Suggest layers for Grad-CAM, the deepest first: one for each size of feature map.

    For each size, it is the layer with the most channels, or the last of several. The deepest layer
    has the most information about the class and the least about the position. To find the layer
    that points best, compare scores; in the chapter Grad-CAM it is not the deepest.

    Three kinds of layers are left out: layers that run more than once, such as a ReLU shared within
    a block (the block, or the layer before the ReLU, is suggested instead); layers in a branch that
    goes back up in size; and layers with no more channels than the image.
    """
    model = unwrapped(model)
    runs: list[_Run] = []
    # Autograd counts the changes in place of a tensor in `_version`.
    _watch(
        model,
        images,
        lambda layer, output: runs.append(_Run(layer, output, getattr(output, "_version", 0))),
    )
    times = Counter(run.layer for run in runs)
    best: dict[tuple[int, ...], _Run] = {}  # by size of the feature map
    for run in runs:
        if times[run.layer] > 1 or not _is_feature_map(run.output, images):
            continue
        size = tuple(run.output.shape[-2:])
        if size > min(best, default=size):
            continue  # a branch that goes back up in size
        if size not in best or _replaces(run, best[size]):
            best[size] = run
    names = {layer: name for name, layer in model.named_modules()}
    found = [
        Layer(names[layer], type(layer).__name__, *output.shape[1:])
        for layer, output, _ in best.values()
    ]
    return found[::-1]


def diagnose(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    layer: nn.Module | str,
    classes: Targets = None,
) -> list[str]:
    """Diagnose the Grad-CAM map of each image: ``fine``, or what is wrong, why, and what to do.

    Returns:
        One sentence per image. It starts with ``fine``, ``blank``, ``flat``, ``negative`` or
        ``not a number``, and a colon.

    Raises:
        ValueError: See `grad_cam.gradcam`.
    """
    model = unwrapped(model)
    layer = find(model, layer)
    for name, value in model.state_dict().items():
        if not value.isfinite().all():
            sentence = (
                f"not a number: the weights {name} contain NaN or infinity; "
                "load them or train the network again"
            )
            return [sentence] * len(images)
    name = named(model, layer)
    as_it_is = activation_and_gradient(model, images, layer, classes)
    # A gradient of 0 can be recognised only in double precision: in single precision, large scores
    # leave rounding errors of any size.
    exact = activation_and_gradient(
        copy.deepcopy(model).double(), images.double(), name_of(model, layer), classes
    )
    return [
        _not_a_number(model, image, *single, name) or _unreadable(*double, name) or _fine(*single)
        for image, single, double in zip(images, zip(*as_it_is), zip(*exact))
    ]


def _is_feature_map(output: Any, images: Tensor) -> bool:
    """Return whether an output is a map of several positions with more channels than the image."""
    if not isinstance(output, Tensor) or output.ndim != 4:
        return False
    return output.shape[1] > images.shape[1] and output[0, 0].numel() > 1


def _replaces(later: _Run, earlier: _Run) -> bool:
    """Return whether a later layer is a better suggestion than an earlier one of the same size."""
    # A container returns the very tensor that its last layer returned; the layer stays, as its name
    # is more precise. A ReLU in place returns the tensor of the layer before it as well, but it has
    # changed the tensor, so the version tells the two cases apart.
    passed_on = later.output is earlier.output and later.version == earlier.version
    return not passed_on and later.output.shape[1] >= earlier.output.shape[1]


def _not_a_number(model: nn.Module, image: Tensor, a: Tensor, g: Tensor, name: str) -> str | None:
    """Return a sentence on where NaN or infinite values first appear, or None if there are none."""
    if not image.isfinite().all():
        return "not a number: the image itself contains NaN or infinity"
    if a.isfinite().all() and g.isfinite().all():
        return None
    broken: list[nn.Module] = []

    def note(layer: nn.Module, output: Any) -> None:
        if isinstance(output, Tensor) and not output.isfinite().all():
            broken.append(layer)

    _watch(model, image[None], note)
    if broken:
        first = named(model, broken[0])
        return f"not a number: {first} is the first layer to return NaN or infinity"
    return (
        f"not a number: only the gradient at {name} is NaN or infinite, "
        "as at a square root of 0 or in half precision"
    )


def _unreadable(a: Float[Tensor, "K h w"], g: Float[Tensor, "K h w"], name: str) -> str | None:
    """Return a sentence on why one image's map can't be read, or None if it can."""
    if a[0].numel() == 1:
        return (
            f"flat: {name} has only one position, so its map can't point anywhere; "
            "choose an earlier layer"
        )
    if not a.any():
        return (
            f"blank: {name} returns 0 everywhere for this image, as dead ReLUs do; "
            "choose another layer"
        )
    if (g * a).abs().sum() <= 1e-9 * a.abs().amax():
        return f"blank: the logit does not depend on {name}; its gradient is 0 up to rounding"
    maps = _grad_cam(a, g)
    if maps.abs().amax() <= 1e-4 * (g * a).sum(dim=0).abs().amax():
        return (
            f"blank: the gradient at {name} is not 0, but its mean over the positions is; "
            "try Grad-CAM++"
        )
    if maps.max() <= 0:
        return (
            f"negative: every position of {name} is evidence against this class, and the ReLU "
            "leaves nothing; try another class, another layer, or relu=False"
        )
    if maps.max() - maps.min() <= 1e-5 * maps.abs().amax():
        return f"flat: {name} returns the same at every position"
    return None


def _fine(a: Tensor, g: Tensor) -> str:
    maps = _grad_cam(a, g)
    above = f"above 0 at {int((maps > 0).sum())} of {maps.numel()} positions"
    return f"fine: from {maps.min():.2g} to {maps.max():.2g}, {above}"


def _grad_cam(a: Float[Tensor, "K h w"], g: Float[Tensor, "K h w"]) -> Float[Tensor, "h w"]:
    return (g.mean(dim=(1, 2), keepdim=True) * a).sum(dim=0)


def _watch(model: nn.Module, images: Tensor, see: Callable[[nn.Module, Any], None]) -> None:
    """Run a network, and call `see` with each layer and its output as the layer finishes."""
    with ExitStack() as hooks, evaluating(model):
        for layer in model.modules():
            hook = layer.register_forward_hook(lambda layer, _, output: see(layer, output))
            hooks.callback(hook.remove)
        model(images)
