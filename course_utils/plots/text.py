"""Text in figures, drawn as it was given.

Names of classes and files are not markup: they may have dollar signs, or characters that the usual
font doesn't have.
"""

from __future__ import annotations

import textwrap
from functools import cache
from pathlib import Path

from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, fontManager, get_font
from matplotlib.text import Text

from course_utils.plots.escapes import escaped, printable

LETTERS = 14  # per inch, in 8-point text
# Fonts that come with matplotlib: for formulas, with their own encoding, or with empty boxes only.
NOT_FOR_TEXT = ("cm", "STIXNonUnicode", "STIXSize", "Last Resort")


def drawable(text: object) -> str:
    r"""Return text that matplotlib can draw: `printable`, with an escape where no font has a glyph.

    An escape such as ``\u732b`` differs from class to class; matplotlib would draw the same empty
    box for every missing glyph. Line breaks stay.
    """
    lines = (printable(line) for line in str(text).split("\n"))
    return "\n".join(
        "".join(c if c.isascii() or _family_with(c) else escaped(c) for c in line) for line in lines
    )


def shortened(text: object, longest: int = 60) -> str:
    """Return text in one line of at most ``longest`` characters, without its middle if needed."""
    line = drawable(printable(text))
    if len(line) <= longest:
        return line
    end = (longest - 1) // 2
    return f"{line[: longest - 1 - end]}…{line[-end:]}"


def wrapped(text: object, inches: float | int) -> str:
    """Return text for a column: lines that are too long are wrapped, or lose their middle."""
    width = max(1, int(LETTERS * inches))
    return "\n".join(
        line if len(line) <= width else textwrap.fill(shortened(line, 3 * width), width)
        for line in drawable(text).split("\n")
    )


def as_given(figure: Figure) -> Figure:
    """Make a figure show all its text as it was given, without mathtext, in fonts that have it."""
    for axes in figure.axes:
        axes.get_xticklabels(), axes.get_yticklabels()  # only now do the labels get their text
    for text in figure.findobj(Text):
        assert isinstance(text, Text)  # `findobj` returns artists, for a type checker
        text.set_parse_math(False)
        text.set_text(drawable(text.get_text()))
        found = {_family_with(c) for c in text.get_text() if not c.isascii()}
        if missing := sorted(name for name in found if name):
            text.set_fontfamily([*text.get_fontfamily(), *missing])
    return figure


@cache
def _family_with(character: str) -> str:
    """Return an installed font that has a character, if possible matplotlib's own, or ``""``."""
    return next((font.name for font in _fonts() if ord(character) in _characters(font)), "")


@cache
def _fonts() -> list[FontEntry]:
    """Return the upright fonts for text, first matplotlib's own, which has most alphabets."""
    own = rcParams["font.sans-serif"]
    fonts = (font for font in fontManager.ttflist if font.style == "normal")
    usable = (font for font in fonts if not font.name.startswith(NOT_FOR_TEXT))
    return sorted(usable, key=lambda font: (font.name not in own, font.weight != 400, font.name))


@cache
def _characters(font: FontEntry) -> frozenset[int]:
    if not Path(font.fname).is_file():  # matplotlib keeps its list when a font is removed
        return frozenset()
    return frozenset(get_font(font.fname).get_charmap())
