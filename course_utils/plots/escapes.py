"""Escapes for characters that can't be printed or drawn."""

from __future__ import annotations

import unicodedata

INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's categories of controls and of separators
JOINERS = "\u200c\u200d"  # in Persian, Indian scripts and emoji; they shape what is beside them


def printable(text: object) -> str:
    r"""Return text with control characters and undecodable bytes escaped, such as ``\n``."""
    return "".join(
        escaped(c) if unicodedata.category(c) in INVISIBLE and c not in JOINERS else c
        for c in str(text)
    )


def escaped(character: str) -> str:
    r"""Return the escape of a character in Python, such as ``\u732b``."""
    return character.encode("unicode_escape").decode()
