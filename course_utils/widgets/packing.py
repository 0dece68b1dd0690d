"""Tensors as bytes, in the formats that the pages read.

A widget's binary traits are raw arrays in row-major order: the page knows their shapes, so no
header is needed. The helpers here name the format once for all widgets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def pixels(images: Tensor) -> bytes:
    """Pack images with values in [0, 1] as one byte per value; values outside are clipped."""
    scaled = images.detach().cpu().clamp(0, 1) * 255
    return scaled.round().to(torch.uint8).numpy().tobytes()


def floats(*tensors: Tensor) -> bytes:
    """Pack tensors one after the other in single precision."""
    return _joined(tensors, torch.float32)


def halves(*tensors: Tensor) -> bytes:
    """Pack tensors one after the other in half precision, which keeps about three digits."""
    return _joined(tensors, torch.float16)


def small_integers(values: Tensor) -> bytes:
    """Pack booleans or integers from 0 to 255 as one byte per value."""
    return values.detach().cpu().to(torch.uint8).contiguous().numpy().tobytes()


def in_steps(values: Tensor, step: float, lowest: float = 0.0) -> bytes:
    """Pack values as the nearest number of steps above the lowest value, one byte per value.

    Args:
        values: Values from `lowest` to `lowest + 255 * step`.
        step: The size of a step.
        lowest: The value that is stored as 0.
    """
    return small_integers(((values - lowest) / step).round())


def bits(masks: np.ndarray, axis: int | None = None) -> bytes:
    """Pack booleans as one bit per value; with an axis, each row along it starts a new byte."""
    return np.packbits(masks, axis=axis).tobytes()


def texts(labels: Tensor) -> list[str]:
    """Class labels as text, for pages that only show them."""
    return [str(int(label)) for label in labels]


def _joined(tensors: Sequence[Tensor], dtype: torch.dtype) -> bytes:
    return torch.cat([t.detach().cpu().to(dtype).flatten() for t in tensors]).numpy().tobytes()
