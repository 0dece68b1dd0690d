"""Suggestions of layers for Grad-CAM, and reasons why a map is blank, flat, negative or NaN."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.explain.feature_maps import Reshape, attends, feature_map, tensors_in
from course_utils.explain.grad_cam import activation_and_gradient
from course_utils.explain.networks import (
    NoGradientError,
    check_input,
    find,
    name_of,
    named,
    running,
    unwrapped,
)
from course_utils.explain.targets import Target

ROUNDING_IN_DOUBLE, ROUNDING_IN_SINGLE = 1e-9, 1e-6  # a smaller share is a gradient of 0
IN_SINGLE_PRECISION = "; checked in single precision, because the network does not run in double"


class Layer(NamedTuple):
    """A layer that Grad-CAM can explain, and the size of its output."""

    name: str
    kind: str
    channels: int
    height: int
    width: int


class _Run(NamedTuple):
    """One run of a layer: its feature map, and the output tensor's in-place changes so far."""

    layer: nn.Module
    output: Tensor
    maps: Float[Tensor, "B K h w"]
    version: int


def suggest_layers(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    target: Target = None,
    *,
    reshape: Reshape | None = None,
) -> list[Layer]:
    """Suggest layers for Grad-CAM, the deepest first: one for each size of feature map.

    For each size, it is the layer with the most channels, or the last of several. With ``reshape``,
    it is the last layer. The deepest layer has the most information about the class and the least
    about the position. To find the layer that points best, compare scores; in the chapter Grad-CAM
    it is not the deepest.

    Inside a block, a layer with another number of channels than the block's output is only a step
    on the way, such as the expansion in an inverted residual block. It is suggested only if there
    is no other layer of its size. A block is a module, but no ``nn.Sequential``, in which the size
    of the maps changes at most once.

    Four kinds of layers are left out: layers that run more than once, such as a ReLU shared within
    a block (the block, or the layer before the ReLU, is suggested instead); layers in a branch that
    goes back up in size; layers with no more channels than the image; and layers that the target
    does not depend on.

    Args:
        model: Any network of Python modules.
        images: Input of the network; a few images are enough.
        target: See `grad_cam.gradcam`.
        reshape: Layout of the layers' outputs, if it is not (B, K, h, w): see `grad_cam.gradcam`.

    Raises:
        ValueError: If the network can't be explained for these images, or if it is a transformer
            of which only the patch embedding returns (B, K, h, w): the other layers need
            ``reshape``.
    """
    model = unwrapped(model)
    check_input(model, images)
    if not len(images):
        raise ValueError("expected at least one image, got none")
    runs, others = _feature_maps(model, images[:1], reshape)
    by_size: dict[tuple[int, ...], list[_Run]] = {}  # the sizes in the order of the network
    for run in runs:
        size = tuple(run.maps.shape[-2:])
        if size <= min(by_size, default=size):  # else a branch that goes back up in size
            by_size.setdefault(size, []).append(run)
    steps = _steps_inside_blocks(by_size)
    found = [
        Layer(name_of(model, best.layer), type(best.layer).__name__, *best.maps.shape[1:])
        for candidates in by_size.values()
        if (best := _best(model, images, target, reshape, candidates, steps))
    ]
    if len(found) == 1 and reshape is None and _keep_positions(others, found[0]):
        raise ValueError(
            f"only the patch embedding of this {type(model).__name__} returns (B, K, h, w): for "
            "its other layers pass reshape=tokens if they return (B, N, K), or "
            "reshape=channels_last if they return (B, h, w, K)"
        )
    return found[::-1]


def diagnose(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    layer: nn.Module | str,
    target: Target = None,
    *,
    reshape: Reshape | None = None,
) -> list[str]:
    """Diagnose the Grad-CAM map of each image: ``fine``, or what is wrong, why, and what to do.

    The arguments are those of `grad_cam.gradcam`.

    Returns:
        One sentence per image. It starts with ``fine``, ``blank``, ``flat``, ``negative`` or
        ``not a number``, and a colon.

    Raises:
        ValueError: See `grad_cam.gradcam`.
    """
    model = unwrapped(model)
    layer = find(model, layer)
    check_input(model, images)
    for name, value in chain(model.named_parameters(), model.named_buffers()):
        if not value.isfinite().all():
            sentence = (
                f"not a number: the weights {name} contain NaN or infinity; "
                "load them or train the network again"
            )
            return [sentence] * len(images)
    as_it_is = activation_and_gradient(model, images, layer, target, reshape=reshape)
    exact = _in_double_precision(model, images, layer, target, reshape)
    name = named(model, layer)
    rounding = ROUNDING_IN_SINGLE if exact is None else ROUNDING_IN_DOUBLE
    caution = IN_SINGLE_PRECISION if exact is None else ""
    return [
        _not_a_number(model, image, *single, name)
        or (_unreadable(*double, name, rounding) or _fine(*single)) + caution
        for image, single, double in zip(images, zip(*as_it_is), zip(*(exact or as_it_is)))
    ]


def _in_double_precision(
    model: nn.Module,
    images: Tensor,
    layer: nn.Module,
    target: Target,
    reshape: Reshape | None,
) -> tuple[Tensor, Tensor] | None:
    """Return activations and gradients in double precision, or None if the network can't run in it.

    A gradient of 0 can be recognised only in double precision: in single precision, large scores
    leave rounding errors of any size.
    """
    try:
        with _doubled(model):
            return activation_and_gradient(model, images.double(), layer, target, reshape=reshape)
    except Exception:  # a network may convert its input, or its device may have no doubles
        return None


@contextmanager
def _doubled(model: nn.Module) -> Iterator[None]:
    """Convert a network's weights to double precision, and put everything back afterwards.

    A copy of the network would not do: some can't be copied, for instance if they keep an
    activation. A network may also assign new tensors while it runs, so those are put back as well.
    """
    weights = [t for t in chain(model.parameters(), model.buffers()) if t.is_floating_point()]
    originals = [tensor.data for tensor in weights]
    kept = [
        (names, name, value)
        for module in model.modules()
        for names in (module._buffers, vars(module))
        for name, value in names.items()
        if isinstance(value, Tensor)
    ]
    try:
        for tensor in weights:
            tensor.data = tensor.data.double()
        yield
    finally:
        for tensor, original in zip(weights, originals):
            tensor.data = original
        for names, name, value in kept:
            names[name] = value


def _feature_maps(
    model: nn.Module, images: Tensor, reshape: Reshape | None
) -> tuple[list[_Run], list[torch.Size]]:
    """Run a network; return its feature maps and the shapes of the outputs in other layouts."""
    runs: list[_Run] = []
    others: list[torch.Size] = []
    times: Counter[nn.Module] = Counter()

    def see(layer: nn.Module, output: Any) -> None:
        times[layer] += 1
        try:
            maps = feature_map(output, images, reshape)
        except ValueError:
            others.extend(tensor.shape for tensor in tensors_in(output).values())
            return
        if maps.shape[1] > images.shape[1] and maps[0, 0].numel() > 1 and not attends(maps):
            tensor = output if isinstance(output, Tensor) else maps
            # Autograd counts the changes in place of a tensor in `_version`.
            runs.append(_Run(layer, tensor, maps, tensor._version))

    _watch(model, images, see)
    return [run for run in runs if times[run.layer] == 1], others


def _steps_inside_blocks(by_size: dict[tuple[int, ...], list[_Run]]) -> Counter[nn.Module]:
    """Count for each layer in how many blocks it has other channels than the block's output."""
    steps: Counter[nn.Module] = Counter()
    sizes = {run.layer: size for size, runs in by_size.items() for run in runs}
    channels = {run.layer: run.maps.shape[1] for runs in by_size.values() for run in runs}
    for block in sizes:
        inside = [layer for layer in block.modules() if layer in sizes]
        backbone = len({sizes[layer] for layer in inside}) > 2
        if not (backbone or isinstance(block, nn.Sequential)):
            steps.update(layer for layer in inside if channels[layer] != channels[block])
    return steps


def _best(
    model: nn.Module,
    images: Tensor,
    target: Target,
    reshape: Reshape | None,
    runs: list[_Run],
    steps: Counter[nn.Module],
) -> _Run | None:
    """Return the best layer of one size that the target depends on."""
    # A container returns the very tensor that its last layer returned; the layer stays, as its name
    # is more precise. A ReLU in place returns the tensor of the layer before it as well, but it has
    # changed the tensor, so the version tells the two cases apart.
    own = [
        run
        for i, run in enumerate(runs)
        if not any(run.output is r.output and run.version == r.version for r in runs[:i])
    ]

    def rank(run: _Run) -> tuple[int, int]:
        # A transformer has the most channels in the middle of its blocks.
        return -steps[run.layer], run.maps.shape[1] if reshape is None else 0

    for run in reversed(sorted(own, key=rank)):
        try:
            _, gradient = activation_and_gradient(model, images, run.layer, target, reshape=reshape)
        except NoGradientError:
            continue
        if gradient.any():
            return run
    return None


def _keep_positions(others: list[torch.Size], patches: Layer) -> bool:
    """Return whether outputs in other layouts seem to have the positions of a patch embedding."""
    grid = (patches.height, patches.width)
    n = patches.height * patches.width
    # There may be a few more tokens than positions, such as the class token.
    return any(
        (len(shape) == 4 and shape[1:3] == grid) or (len(shape) == 3 and 0 <= shape[1] - n <= 16)
        for shape in others
    )


def _not_a_number(model: nn.Module, image: Tensor, a: Tensor, g: Tensor, name: str) -> str | None:
    """Describe where NaN or infinite values first appear; None if there are none."""
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
        "as it can be at a square root of 0 or in half precision"
    )


def _unreadable(
    a: Float[Tensor, "K h w"], g: Float[Tensor, "K h w"], name: str, rounding: float
) -> str | None:
    """Describe why the map of an image can't be read; None if it can."""
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
    if (g * a).abs().sum() <= rounding * a.abs().amax():
        return f"blank: the logit does not depend on {name}; its gradient is 0 up to rounding"
    maps = _grad_cam(a, g)
    if maps.abs().amax() <= 1e-4 * (g * a).sum(dim=0).abs().amax():
        return (
            f"blank: the gradient at {name} is not 0, but its mean over the positions is; "
            "try Grad-CAM++"
        )
    if maps.max() <= 0:
        return (
            f"negative: every position of {name} is evidence against this target, so the ReLU "
            "leaves nothing; try another target, another layer, or relu=False"
        )
    if maps.max() - maps.min() <= 1e-5 * maps.abs().amax():
        return f"flat: {name} returns the same values at every position"
    return None


def _fine(a: Tensor, g: Tensor) -> str:
    maps = _grad_cam(a, g)
    above = f"above 0 at {int((maps > 0).sum())} of {maps.numel()} positions"
    return f"fine: from {maps.min():.2g} to {maps.max():.2g}, {above}"


def _grad_cam(a: Float[Tensor, "K h w"], g: Float[Tensor, "K h w"]) -> Float[Tensor, "h w"]:
    return (g.mean(dim=(1, 2), keepdim=True) * a).sum(dim=0)


def _watch(model: nn.Module, images: Tensor, see: Callable[[nn.Module, Any], None]) -> None:
    """Run a network, and call `see` with each layer and its output as the layer finishes."""
    with ExitStack() as hooks, running(model):
        for layer in model.modules():
            hook = layer.register_forward_hook(lambda layer, _, output: see(layer, output))
            hooks.callback(hook.remove)
        model(images.clone())  # a copy, because the network may change its input
