"""Which layer to point Grad-CAM at, and why a map of it is blank, flat, negative or no number at all."""

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
    """A layer that Grad-CAM can look at, and the size of what it puts out."""

    name: str
    kind: str
    channels: int
    height: int
    width: int


def suggest_layers(model: nn.Module, images: Float[Tensor, "B C H W"]) -> list[Layer]:
    """The layers to try, the deepest first: for each size of feature map the one with the most channels, or the last.

    The deepest says most about the class, and least about the place. A layer that runs more than once, such as a ReLU
    that a block shares, is not among them: the block is, or what stands before the ReLU. Nor is a layer in a branch
    that goes back up in size, or one with no more channels than the image. Which of them points best is for scores to
    say: chapter 10 finds that it is not the deepest.
    """
    model, runs = unwrapped(model), []
    _run(
        model,
        images,
        lambda layer, output: runs.append((layer, output, getattr(output, "_version", 0))),
    )
    times = Counter(layer for layer, *_ in runs)
    best: dict[tuple[int, int], tuple[nn.Module, Tensor, int]] = {}
    for layer, output, version in runs:
        if times[layer] > 1 or not isinstance(output, Tensor) or output.ndim != 4:
            continue
        if output.shape[1] <= images.shape[1] or output[0, 0].numel() == 1:
            continue
        size, smallest = tuple(output.shape[-2:]), min(best, default=None)
        if smallest is not None and size > smallest:
            continue  # a branch that goes back up
        if size == smallest:
            _, kept, kept_version = best[size]
            handed_on = (
                output is kept and version == kept_version
            )  # by a container; a ReLU in place counts a version
            if handed_on or output.shape[1] < kept.shape[1]:
                continue
        best[size] = layer, output, version
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
    """A sentence an image on its Grad-CAM map: ``fine``, or what is wrong with it, why, and what to do.

    Raises:
        ValueError: see `gradcam.gradcam`.
    """
    model = unwrapped(model)
    layer = find(model, layer)
    for name, value in model.state_dict().items():
        if not value.isfinite().all():
            return [
                f"not a number: the weights {name} hold NaN or an infinity; load or train them again"
            ] * len(images)
    name = named(model, layer)
    as_it_is = activation_and_gradient(model, images, layer, classes)
    # a gradient of 0 is one in double precision only: in single, large scores leave rounding errors of any size
    exact = activation_and_gradient(
        copy.deepcopy(model).double(), images.double(), name_of(model, layer), classes
    )
    return [
        _not_a_number(model, image, *own, name) or _unreadable(*better, name) or _fine(*own)
        for image, own, better in zip(images, zip(*as_it_is), zip(*exact))
    ]


def _not_a_number(model: nn.Module, image: Tensor, a: Tensor, g: Tensor, name: str) -> str | None:
    if not image.isfinite().all():
        return "not a number: the image itself holds NaN or an infinity"
    if a.isfinite().all() and g.isfinite().all():
        return None
    broken: list[nn.Module] = []

    def note(layer: nn.Module, output: Any) -> None:
        if isinstance(output, Tensor) and not output.isfinite().all():
            broken.append(layer)

    _run(model, image[None], note)
    if broken:
        return f"not a number: NaN or an infinity first comes out of {named(model, broken[0])}, from a finite image"
    return f"not a number: only the gradient at {name} is NaN or infinite, as at a root of 0 or in half precision"


def _unreadable(a: Float[Tensor, "K h w"], g: Float[Tensor, "K h w"], name: str) -> str | None:
    if a[0].numel() == 1:
        return f"flat: {name} has one position, so its map can't point anywhere; choose a layer before it"
    if not a.any():
        return f"blank: {name} puts out 0 everywhere for this image, as ReLUs that have died do; choose another layer"
    if (g * a).abs().sum() <= 1e-9 * a.abs().amax():
        return f"blank: the logit does not depend on {name}, its gradient is 0 up to rounding"
    maps = _map(a, g)
    if maps.abs().amax() <= 1e-4 * (g * a).sum(dim=0).abs().amax():
        return f"blank: the gradient at {name} is not 0, but its mean over the positions is; try Grad-CAM++"
    if maps.max() <= 0:
        return (
            f"negative: every position of {name} speaks against this class, and the ReLU leaves nothing; "
            "look at another class, at another layer, or with relu=False"
        )
    if maps.max() - maps.min() <= 1e-5 * maps.abs().amax():
        return f"flat: {name} puts out the same at every position"
    return None


def _fine(a: Tensor, g: Tensor) -> str:
    maps = _map(a, g)
    above = f"above 0 at {int((maps > 0).sum())} of {maps.numel()} positions"
    return f"fine: from {maps.min():.2g} to {maps.max():.2g}, {above}"


def _map(a: Tensor, g: Tensor) -> Tensor:
    return (g.mean(dim=(1, 2), keepdim=True) * a).sum(dim=0)


def _run(model: nn.Module, images: Tensor, see: Callable[[nn.Module, Any], None]) -> None:
    """Run a network and be shown every layer with its output, in the order in which they finish."""
    with ExitStack() as hooks, evaluating(model):
        for layer in model.modules():
            hooks.callback(
                layer.register_forward_hook(lambda layer, _, output: see(layer, output)).remove
            )
        model(images)
