"""The sizes and colours that all figures of the course share."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from course_utils.plots.text import as_given

MAP_COLOURS = "viridis"  # perceptually uniform, and readable without colour vision
BOX_COLOUR = "#ff6e6e"
# One colour per symbol, in every drawing, figure and slide. Each has a contrast of at least 3 with
# white and with the dark page, and they stay apart without colour vision.
SYMBOL_COLOURS = {
    "query": "#cc3405",
    "key": "#2b69ea",
    "value": "#077c44",
    "l": "#0699de",
    "g": "#fe397d",
    "scores": "#798c9b",
    "weights": "#c18410",
    "context": "#9e499d",
}
WIDTH = 7.4  # inches: the width of a page's column, so text keeps the size given here
DPI = 150


def finished(figure: Figure) -> Figure:
    """Close a figure, so it isn't shown twice, and make it show its text as it was given.

    A notebook shows open figures at the end of a cell and, in addition, the value of the cell, so
    an open figure that is returned would appear twice.
    """
    plt.close(figure)
    return as_given(figure)
