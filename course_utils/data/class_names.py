"""Names of classes: how two lists of them differ, and how a message shows many of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

NAMED = 5  # names that a message lists


def class_difference(
    one: Sequence[str], other: Sequence[str], names: tuple[str, str] = ("train/", "test/")
) -> str:
    """Describe how two lists of classes differ, whatever their order.

    Names are compared in the composed form of Unicode (NFC), because macOS decomposes letters such
    as é.

    Args:
        one: Names of classes.
        other: Names of classes.
        names: What the two lists belong to.

    Returns:
        A text such as ``only in train/: cat``; it is empty if both have the same classes.
    """
    first, second = (dict.fromkeys(map(composed, classes)) for classes in (one, other))
    only = (
        [name for name in first if name not in second],
        [name for name in second if name not in first],
    )
    return "; ".join(
        f"only in {where}: {short_list(classes)}" for where, classes in zip(names, only) if classes
    )


def composed(name: str) -> str:
    """Return a name in the composed form of Unicode, NFC."""
    return unicodedata.normalize("NFC", name)


def short_list(names: Sequence[str], separator: str = ", ") -> str:
    """Return the first names of a list, and how many more there are.

    A name with invisible characters, such as a trailing space, is quoted.
    """
    shown = [
        name if name.isprintable() and name.strip() == name else repr(name)
        for name in names[:NAMED]
    ]
    more = len(names) - NAMED
    return separator.join([*shown, *([f"and {more} more"] if more > 0 else [])])
