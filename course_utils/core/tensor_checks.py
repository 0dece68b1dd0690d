"""Checks of tensors that a caller passes in: their shapes, and the values of maps.

Jaxtyping checks shapes only in the tests, but these checks always run. Functions use them where a
wrong tensor would silently give a wrong result, or raise an error that doesn't name the cause.
"""

from __future__ import annotations

from jaxtyping import Float
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
