"""Feature maps (B, K, h, w) from the output of a layer, which may have another layout.

Convolutional layers return (B, K, h, w). Transformers return tokens, (B, N, K), or keep the
channels last, (B, h, w, K); attention blocks often return tuples. Such an output, read in the wrong
layout, gives a map of positions that don't exist. It is therefore refused unless you name the
layout, with one of the functions here or a function of your own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping
from copy import copy
from dataclasses import fields, is_dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

from jaxtyping import Float
from torch import Tensor

# From the output of a layer to its feature map. It selects and rearranges values and computes
# nothing new, because it is applied to the gradients as well.
Reshape = Callable[[Any], Float[Tensor, "B K h w"]]


def channels_last(output: Any) -> Float[Tensor, "B K h w"]:
    """Read the output of a layer as (B, h, w, K), as in Swin Transformers.

    Raises:
        ValueError: If the output doesn't contain exactly one tensor with four dimensions.
    """
    return _only(output, 4, "(B, h, w, K)").permute(0, 3, 1, 2)


def tokens(output: Any, grid: tuple[int, int] | None = None) -> Float[Tensor, "B K h w"]:
    """Read the output of a layer as tokens (B, N, K), as in Vision Transformers.

    Tokens that come before those of the image, such as a class token, are left out.

    Args:
        output: The output of the layer. It has one token per position, row by row, after any other
            tokens.
        grid: Height and width of the grid of positions. If None, the grid is square and there is at
            most one other token. For any other grid, as for images that are not square, pass
            ``reshape=functools.partial(tokens, grid=(h, w))``.

    Raises:
        ValueError: If the output doesn't contain exactly one tensor with three dimensions, or the
            tokens don't fit the grid.
    """
    one = _only(output, 3, "(B, N, K)")
    n = one.shape[1]
    h, w = grid or (math.isqrt(n), math.isqrt(n))
    others = n - h * w
    if h < 1 or w < 1 or others < 0 or (grid is None and others > 1):
        expected = "a square grid" if grid is None else f"a grid of {h} × {w}"
        raise ValueError(
            f"expected tokens of {expected}, got {n} tokens; "
            "pass reshape=functools.partial(tokens, grid=(h, w)) with the true grid"
        )
    return one[:, others:].transpose(1, 2).unflatten(2, (h, w))


def tensors_in(output: Any, name: str = "") -> dict[str, Tensor]:
    """Return all tensors in an output by their names, such as ``logits`` or ``0.weights``.

    Args:
        output: A tensor, or tensors in mappings, tuples, lists, data classes or simple objects, at
            any depth.
        name: Name of the output itself; the names of its parts begin with it.
    """
    if isinstance(output, Tensor):
        return {name: output}
    found: dict[str, Tensor] = {}
    for key, part in _parts(output).items():
        found |= tensors_in(part, f"{name}.{key}" if name else str(key))
    return found


def map_tensors(function: Callable[[Tensor], Tensor], output: Any) -> Any:
    """Return an output of the same structure with a function applied to each of its tensors."""
    if isinstance(output, Tensor):
        return function(output)
    parts = {key: map_tensors(function, part) for key, part in _parts(output).items()}
    if not parts:
        return output
    if isinstance(output, tuple):
        named_tuple = hasattr(output, "_fields")
        return type(output)(*parts.values()) if named_tuple else tuple(parts.values())
    changed = copy(output)
    for key, part in parts.items():
        if isinstance(output, list | MutableMapping):
            changed[key] = part
        else:
            object.__setattr__(changed, key, part)  # a data class may be frozen
    return changed


def _parts(output: Any) -> dict[Any, Any]:
    """Return what an output contains, by key, index or name."""
    if isinstance(output, Mapping):
        return dict(output)
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return dict(zip(output._fields, output))
    if isinstance(output, tuple | list):
        return dict(enumerate(output))
    if is_dataclass(output):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    return dict(vars(output)) if isinstance(output, SimpleNamespace) else {}


def listed(output: Any) -> str:
    """Return what an output contains, for messages: the name and shape of each tensor."""
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    found = [f"{name}: {tuple(tensor.shape)}" for name, tensor in tensors_in(output).items()]
    return f"{type(output).__name__} {{{', '.join(found)}}}" if found else type(output).__name__


def feature_map(
    output: Any, images: Float[Tensor, "B C H W"], reshape: Reshape | None = None
) -> Float[Tensor, "B K h w"]:
    """Return the feature map in the output of a layer.

    Args:
        output: The output of the layer for these images.
        images: Input of the network.
        reshape: The layout of the output; see the functions of this module. If None, the output
            must contain exactly one tensor (B, K, h, w) whose positions cover the images.

    Raises:
        ValueError: If the output has no such tensor, or several.
    """
    found = rearranged(output, reshape)
    if not isinstance(found, Tensor) or found.ndim != 4 or len(found) != len(images):
        raise ValueError(f"expected maps (B, K, h, w) of {len(images)} images, got {listed(found)}")
    _check_positions(found, images, reshape)
    return found


def rearranged(output: Any, reshape: Reshape | None) -> Float[Tensor, "B K h w"]:
    """Return the feature map in an output, without the checks of `feature_map`."""
    if reshape is not None:
        return reshape(output)
    maps = [t for t in _distinct(output) if t.ndim == 4 and t.is_floating_point()]
    if len(maps) != 1:
        raise ValueError(
            f"expected an output (B, K, h, w), got {listed(output)}" + _advice(output, maps)
        )
    return maps[0]


def covers(found: Float[Tensor, "B K h w"], images: Float[Tensor, "B C H W"]) -> bool:
    """Return whether the last two dimensions can be positions in the images.

    Square images have square maps. For other images, the proportions may differ somewhat, because
    convolutions without padding shorten both sides alike. But they must be nearer to those of the
    images than the proportions of the dimensions before them, which would be the positions if the
    channels were last. If K equals w, the two layouts can't be told apart.
    """
    _, k, h, w = found.shape
    height, width = images.shape[-2:]
    if height == width or min(k, h, w) == 0:
        return h == w
    expected = math.log(height / width)
    error, error_if_last = abs(math.log(h / w) - expected), abs(math.log(k / h) - expected)
    return error <= error_if_last and error < abs(expected) + math.log(2)


def _check_positions(found: Tensor, images: Tensor, reshape: Reshape | None) -> None:
    """Check that a feature map was read in the right layout, as far as its size can tell.

    The caller's own functions are trusted, because some networks do shrink one side more.
    """
    h, w = found.shape[-2:]
    height, width = images.shape[-2:]
    layout = reshape.func if isinstance(reshape, partial) else reshape
    if reshape is tokens and height != width:
        raise ValueError(
            f"images of {height} × {width} pixels have no square grid of tokens: pass "
            "reshape=functools.partial(tokens, grid=(h, w)) with the true grid"
        )
    if layout in (tokens, channels_last):
        # Patches cover the images evenly, except for part of a patch in each direction.
        good = abs(h * width - w * height) <= (max(height, width) if height != width else 0)
    else:
        good = layout is not None or covers(found, images)
    if not good:
        raise ValueError(
            "expected positions (h, w) in the proportions of the images "
            f"{(height, width)}, got {tuple(found.shape)}; for an output (B, h, w, K) "
            "pass reshape=channels_last, and for other proportions reshape=lambda output: output"
        )
    if layout is None and h > 1 and attends(found):
        raise ValueError(
            f"expected features (B, K, h, w), got {tuple(found.shape)} with rows that sum to 1: "
            "these are attention weights; choose the layer that returns the features"
        )


def attends(maps: Float[Tensor, "B K h w"]) -> bool:
    """Return whether an output has rows of weights that sum to 1: attention, not features."""
    return bool((maps >= 0).all() and ((maps.sum(dim=-1) - 1).abs() < 1e-2).all())


def _only(output: Any, dimensions: int, layout: str) -> Tensor:
    """Return the only tensor of an output that has this number of dimensions."""
    fitting = [t for t in _distinct(output) if t.ndim == dimensions and t.is_floating_point()]
    if len(fitting) != 1:
        raise ValueError(f"expected an output with one tensor {layout}, got {listed(output)}")
    return fitting[0]


def _distinct(output: Any) -> list[Tensor]:
    """Return the tensors in an output, each once."""
    return list({id(tensor): tensor for tensor in tensors_in(output).values()}.values())


def _advice(output: Any, maps: list[Tensor]) -> str:
    if maps:
        return "; choose one with reshape, as in reshape=lambda output: output[0]"
    if any(tensor.ndim == 3 for tensor in _distinct(output)):
        return "; for tokens (B, N, K) pass reshape=tokens"
    return ""
