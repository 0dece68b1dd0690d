"""Options that are chosen by name: the valid names stand in a `Literal` type, and a wrong one is answered with them."""

from __future__ import annotations

from typing import Any, get_args


def check(name: str, given: object, valid: Any) -> None:
    """Check an option against the names that its `Literal` type lists.

    Raises:
        ValueError: another value; the message lists the valid ones.
    """
    if given not in get_args(valid):
        raise ValueError(f"unknown {name} {given!r}: choose one of {', '.join(map(str, get_args(valid)))}")
