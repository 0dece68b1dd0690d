"""Checks of options: names that a `Literal` type lists, and the sizes of images.

The command line checks its options before it loads PyTorch, which takes seconds. This module
therefore does not import torch; checks of tensors are in `tensor_checks`.
"""

from __future__ import annotations

from typing import Any, get_args


def check_choice(name: str, given: object, valid: Any) -> None:
    """Check that an option has one of the values that its `Literal` type lists.

    Args:
        name: Name of the option, for the error message.
        given: Value of the option.
        valid: The `Literal` type.

    Raises:
        ValueError: If the type doesn't list the value; the message names the valid ones.
    """
    if given not in get_args(valid):
        choices = ", ".join(map(str, get_args(valid)))
        raise ValueError(f"unknown {name} {given!r}: choose one of {choices}")


def check_size(size: int) -> None:
    """Check the side of a square image, in pixels.

    Raises:
        ValueError: If the size is not an integer, or is less than 1.
    """
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"expected a size of at least 1 pixel, got {size!r}")
