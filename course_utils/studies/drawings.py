"""Drawings of different sizes: how often a network reads digits that are larger than its own.

Nobody has drawn these by hand. They are the strokes behind test digits, so only their size and the
pen differ from what the network was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_utils.core.boxes import mask_boxes
from course_utils.data import cluttered_digits, strokes

SHEET = 64  # pixels per side, as in the network's training
PEN = 2.5  # width in pixels, as in the drawing widget at first


def by_scale(
    network: nn.Module, scales: Sequence[float] = (0.5, 1.0, 1.5, 2.0), count: int = 100
) -> pd.DataFrame:
    """Draw test digits at different scales, among clutter, and count how many a network reads.

    Args:
        network: A network for cluttered digits, such as `AttnVGG`, in evaluation mode.
        scales: Factors on the size of a digit of MNIST.
        count: Number of digits, from 10 to 600 and equally many of each class. The same digits are
            drawn at every scale, each on a clutter of its own.

    Returns:
        One row per scale: the median longer side of the drawings in pixels (``longer side``), how
        many were read as what they are (``right``), and their number (``drawings``).
    """
    digits, labels = cluttered_digits.digit_pool("test")
    chosen = torch.arange(0, len(digits), len(digits) // count)[:count]
    paths = [strokes.traced(digit) for digit in digits[chosen]]
    background = cluttered_digits.clutter(len(chosen), SHEET) / 255
    rows: list[dict[str, Any]] = []
    for scale in scales:
        ink = torch.stack([_drawn(path, scale) for path in paths])[:, None]  # (N, 1, S, S)
        with torch.inference_mode():
            answers = network(torch.maximum(ink, background)).logits.argmax(dim=1)
        right = int((answers == labels[chosen]).sum())
        middle = longer_sides(ink).float().median().item()
        rows.append({"longer side": middle, "right": right, "drawings": len(ink)})
    return pd.DataFrame(rows, pd.Index(scales, name="scale"))


def longer_sides(ink: Float[Tensor, "N 1 S S"]) -> Int[Tensor, " N"]:
    """Return the longer side of the box around each drawing, in pixels."""
    boxes = mask_boxes(ink > 0.1)  # faint pixels at the rim of a stroke are left out
    return (boxes[:, 2:] - boxes[:, :2]).amax(dim=1)


def _drawn(paths: list[strokes.Path], scale: float) -> Float[Tensor, "S S"]:
    """Draw the strokes of one digit in the middle of the sheet."""
    moved = strokes.centred(paths, cluttered_digits.FRAME, SHEET, scale)
    return strokes.inked(moved, SHEET, PEN)
