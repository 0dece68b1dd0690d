"""The figures of the slides, each a function of the name that slides.md uses. What they show is computed here and now."""

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from course_utils import alignments, forms, plots
from lecture import material


def _larger(figure: Figure, factor: float = 1.45) -> Figure:
    """The same figure with larger text, to be read from the back of the room."""
    figure.set_size_inches(figure.get_size_inches() / factor)
    return figure


def task() -> Figure:
    images, labels, _, boxes = material.images(8)
    return _larger(plots.show_images(images, material.titles(labels), boxes))
