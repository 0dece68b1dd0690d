"""Checks of the network and the images that are to be explained, and the search for a layer.

Networks come from many places: they may be wrapped for several GPUs, compiled or exported, and a
layer may have two names. If a network can't be explained, the error says in one sentence what to
do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from course_utils.core.eval_mode import evaluating
from course_utils.explain.targets import Score

# More pixels than this run in several batches, because the first layers of a network need about a
# hundred times the memory of their images.
PIXELS_PER_BATCH = 64 * 224 * 224

QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")


class NoGradientError(ValueError):
    """No gradient leads from the target to a layer or to the pixels."""


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside DataParallel, DistributedDataParallel or ``torch.compile``.

    Raises:
        ValueError: If it is not a network of Python modules: TorchScript, an exported or a
            quantised network, or no ``nn.Module`` at all.
    """
    wrappers = nn.DataParallel | nn.parallel.DistributedDataParallel
    while True:
        if isinstance(model, wrappers):
            model = model.module
        elif isinstance(original := getattr(model, "_orig_mod", None), nn.Module):
            model = original  # inside torch.compile
        else:
            break
    kind = _without_hooks(model)
    if kind:
        raise ValueError(
            f"a network in {kind} has no layers with hooks and gradients: load its weights into "
            "the Python class of the network, and explain that instead"
        )
    if not isinstance(model, nn.Module):
        raise ValueError(f"expected a network, an instance of nn.Module, got {_described(model)}")
    return model


def find(model: nn.Module, layer: nn.Module | str) -> nn.Module:
    """Return a layer of a network, given the layer itself or any of its names.

    Raises:
        ValueError: If the network has no such layer; the message lists similar names.
    """
    if isinstance(layer, str):
        # A module that is used in two places has two names, and both are right. A compiled part
        # has an extra component in its name.
        every = model.named_modules(remove_duplicate=False)
        layers = {f"{name}.".replace("._orig_mod.", ".")[:-1]: module for name, module in every}
        if layer in layers:
            return unwrapped(layers[layer])
        names = [name for name in layers if name]
        similar = ", ".join(get_close_matches(layer, names))
        similar = similar or (f"{names[-1]} and others" if names else "no layers")
        raise ValueError(f"{type(model).__name__} has no layer {layer!r}: it has {similar}")
    if any(module is layer for module in model.modules()):
        return unwrapped(layer)
    if not isinstance(layer, nn.Module):
        raise ValueError(
            "expected one layer of the network or its name, such as 'layer4', "
            f"got {_described(layer)}"
        )
    raise ValueError(
        f"the layer {type(layer).__name__} is not part of this {type(model).__name__}: it belongs "
        "to another network, or is a slice, which makes a new module (name its last layer instead)"
    )


def named(model: nn.Module, layer: nn.Module) -> str:
    """Return the name and type of a layer, for messages."""
    return f"{name_of(model, layer)!r} ({type(layer).__name__})"


def name_of(model: nn.Module, layer: nn.Module) -> str:
    """Return the name of a layer in its network."""
    return next(name for name, module in model.named_modules() if module is layer)


def check_input(model: nn.Module, images: Float[Tensor, "B C H W"]) -> None:
    """Check that a network can be explained for these images.

    Raises:
        ValueError: If the images are not a floating-point tensor (B, C, H, W); if the network has
            not run yet, so its lazy layers have no size; or if its output for an image depends on
            the other images.
    """
    if not (isinstance(images, Tensor) and images.is_floating_point() and images.ndim == 4):
        raise ValueError(
            "expected images as a floating-point tensor (B, C, H, W), "
            f"got {_described(images)}; {_advice(images)}"
        )
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()):
        raise ValueError(
            f"this {type(model).__name__} has lazy layers without weights: run it once first"
        )
    for name, module in model.named_modules():
        norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if norm and module.running_mean is None and len(images) > 1:
            raise ValueError(
                f"{name!r} ({type(module).__name__}) has no running statistics, so the output for "
                "an image depends on the other images; explain one image at a time"
            )


@contextmanager
def running(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the network in evaluation mode, without gradients, and with hooks that are called.

    Otherwise `torch.compile` would skip new hooks, and inference mode would create tensors at which
    no graph can start.
    """
    with (
        torch.inference_mode(False),
        torch.compiler.set_stance("force_eager"),
        evaluating(model),
    ):
        yield model


def gradients_of(
    numbers: Float[Tensor, " B"], tensors: Sequence[Tensor], where: str
) -> list[Tensor | None]:
    """Return the gradients of the sum of some numbers; None for a tensor that they don't use.

    No number depends on another image, so one backward pass of the sum serves all images.

    Raises:
        NoGradientError: If no tensor has a gradient.
        ValueError: If PyTorch can't compute the gradients.
    """
    found: Sequence[Tensor | None] = [None]
    # Small gradients vanish in half precision. Scaling by a power of 2 changes only their size.
    half = torch.float16 in {numbers.dtype, *(tensor.dtype for tensor in tensors)}
    scale = 2.0**14 if half else 1.0
    if numbers.requires_grad:
        try:
            found = torch.autograd.grad(
                numbers,
                tensors,
                torch.full_like(numbers, scale),
                allow_unused=True,
            )
        except RuntimeError as error:
            cause = str(error).partition(". ")[0]
            raise ValueError(f"PyTorch can't compute the gradient at {where}: {cause}") from error
    if all(gradient is None for gradient in found):
        raise NoGradientError(
            f"no gradient leads from the target to {where}: the network doesn't use it, or uses it "
            "only detached or under no_grad"
        )
    return [
        gradient if gradient is None or not half else gradient.float() / scale for gradient in found
    ]


def batches(images: Float[Tensor, "B C H W"], score: Score) -> Iterator[tuple[slice, Score]]:
    """Yield the parts in which images run through a network, each with its part of the target.

    Small parts bound the memory. A target that needs all images gets them all at once.
    """
    n = len(images)
    size = max(1, PIXELS_PER_BATCH // max(1, images.shape[-2] * images.shape[-1]))
    parts = [slice(start, min(start + size, n)) for start in range(0, max(1, n), size)]
    scores = [score.part(part, n) for part in parts]
    if any(part_of_score is None for part_of_score in scores):
        yield slice(0, n), score
        return
    yield from zip(parts, scores)


def _without_hooks(model: Any) -> str | None:
    """Return what a network was converted to, if its layers are no longer Python modules."""
    if isinstance(model, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        return "TorchScript"
    if isinstance(model, torch.export.ExportedProgram):
        return "the format of torch.export"
    if not isinstance(model, nn.Module):
        return None
    # An exported graph calls operators; one from fx.symbolic_trace still calls the layers.
    if isinstance(model, fx.GraphModule) and any(
        isinstance(node.target, torch._ops.OpOverload) for node in model.graph.nodes
    ):
        return "the format of torch.export"
    if any(type(module).__module__.startswith(QUANTISED) for module in model.modules()):
        return "quantised form"
    return None


def _advice(images: Any) -> str:
    if isinstance(images, Tensor) and images.ndim == 3:
        return "a single image needs a first dimension of 1, as in images[None]"
    if isinstance(images, Tensor) and images.ndim == 4:
        return "convert them, as in images / 255 for bytes"
    return "wrap a network that needs another input in a module that takes images"


def _described(given: Any) -> str:
    if isinstance(given, Tensor):
        return f"a tensor {tuple(given.shape)} of {str(given.dtype).removeprefix('torch.')}"
    return "None" if given is None else f"an object of type {type(given).__name__}"
