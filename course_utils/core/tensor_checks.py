"""Checks of tensors that come from outside: their shapes and their values."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def check_maps(maps: Float[Tensor, "B 1 h w"]) -> None:
    """Refuse maps that can't be scored.

    Raises:
        ValueError: negative or non-finite values.
    """
    if not (maps.isfinite().all() and (maps >= 0).all()):
        raise ValueError(
            f"expected finite, non-negative maps, got values from {maps.min():.3g} to {maps.max():.3g}"
        )


def check_shape(name: str, given: Tensor, *sizes: int | None) -> None:
    """Check the shape of an input; None stands for any size.

    Raises:
        ValueError: another shape.
    """
    if given.ndim != len(sizes) or any(
        size not in (None, found) for size, found in zip(sizes, given.shape)
    ):
        expected = ", ".join("any" if size is None else str(size) for size in sizes)
        raise ValueError(f"expected {name} of shape ({expected}), got {tuple(given.shape)}")
