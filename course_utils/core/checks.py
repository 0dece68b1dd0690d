"""Options that are chosen by name: the valid names stand in a `Literal` type, and a wrong one is answered with them."""

from __future__ import annotations

from typing import Any, get_args


def check_choice(name: str, given: object, valid: Any) -> None:
    """Check an option against the names that its `Literal` type lists.

    Raises:
        ValueError: another value; the message lists the valid ones.
    """
    if given not in get_args(valid):
        raise ValueError(
            f"unknown {name} {given!r}: choose one of {', '.join(map(str, get_args(valid)))}"
        )


def check_size(size: int) -> None:
    """Refuse what is no side of an image.

    Raises:
        ValueError: no whole number, or one below 1.
    """
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"expected a size of at least 1 pixel, got {size!r}")
