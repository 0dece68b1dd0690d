"""Words and sizes that all drawings of blocks share."""

from __future__ import annotations

from torch import Tensor

from course_utils.plots.drawing import Number


def sizes(*numbers: int) -> str:
    """Return sizes such as 32 × 8 × 8, with thin spaces."""
    return "\u2009×\u2009".join(map(str, numbers))


def size_of(batch: Tensor) -> str:
    """Return the shape of a batch of tensors without the batch."""
    return sizes(*batch.shape[1:])


def numeral(value: float) -> str:
    """Return a number with two digits, or as a whole number if it is large."""
    if 0 < abs(value) < 1e-4:
        return "< 0.0001" if value > 0 else "> −0.0001"
    written = f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"
    return written.replace("-", "−")


def half_of(grid: Tensor, side: Number) -> tuple[float, float]:
    """Return half the width and half the height at which a grid is drawn.

    Args:
        grid: Features or weights, whose last dimensions are rows and columns.
        side: Length of the longer side in the drawing.
    """
    rows, columns = grid.shape[-2:]
    longer = max(rows, columns)
    return side * columns / longer / 2, side * rows / longer / 2
