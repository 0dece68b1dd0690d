"""Checks of tensors that a caller passes in: their shapes, and the values of maps and masks.

Jaxtyping checks shapes only in the tests, but these checks always run. Functions use them where a
wrong tensor would silently give a wrong result, or raise an error that doesn't name the cause.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


def check_maps(maps: Float[Tensor, "B 1 h w"]) -> None:
    """Check that maps can be scored.

    Raises:
        ValueError: If a value is negative, NaN or infinite.
    """
    if not (maps.isfinite().all() and (maps >= 0).all()):
        raise ValueError(
            "expected finite, non-negative maps, "
            f"got values from {maps.min():.3g} to {maps.max():.3g}"
        )


def as_masks(name: str, given: Shaped[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    """Return masks as booleans; any type is accepted as long as all values are 0 or 1.

    A mask read from a PNG file has the values 0 and 255, so each pixel would count 255 times.

    Args:
        name: Name of the masks, for the error message.
        given: The masks.

    Raises:
        ValueError: If there is any other value.
    """
    if given.dtype == torch.bool:
        return given
    if not ((given == 0) | (given == 1)).all():
        low, high = given.min().item(), given.max().item()
        half = f"{high // 2:g}" if high > 1 else "0.5"
        kind = str(given.dtype).removeprefix("torch.")
        raise ValueError(
            f"expected {name} with values 0 and 1 (or booleans), got {kind} values "
            f"from {low:.3g} to {high:.3g}; use booleans, for example `{name} > {half}`"
        )
    return given.bool()


def check_shape(name: str, given: Tensor, *sizes: int | None) -> None:
    """Check the shape of a tensor.

    Args:
        name: Name of the tensor, for the error message.
        given: The tensor.
        sizes: Expected size of each dimension. None stands for any size.

    Raises:
        ValueError: If the number of dimensions or a size differs.
    """
    same_rank = given.ndim == len(sizes)
    if not same_rank or any(
        expected not in (None, actual) for expected, actual in zip(sizes, given.shape)
    ):
        shape = ", ".join("any" if size is None else str(size) for size in sizes)
        raise ValueError(f"expected {name} of shape ({shape}), got {tuple(given.shape)}")


def truth_of(condition: bool | Bool[Tensor, ""]) -> bool | None:
    """Return whether a condition holds, or None where the values of tensors are not known.

    That is the case under `torch.vmap`, where one tensor stands for many, and under `torch.compile`
    and `torch.export`, which record operations to run them later.
    """
    if torch.is_tensor(condition) and torch.compiler.is_compiling():
        return None
    try:
        return bool(condition)
    except RuntimeError:  # how vmap refuses
        return None
