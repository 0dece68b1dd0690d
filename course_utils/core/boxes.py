"""Boxes around objects: from masks to boxes, and from boxes to filled regions.

A box is a row of four whole numbers x0, y0, x1, y1 in pixels. As in a slice, x0 and y0 are the
first column and row inside the box, and x1 and y1 are the first ones beyond it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from course_utils.core.tensor_checks import as_masks


def mask_boxes(masks: Shaped[Tensor, "N 1 H W"]) -> Int[Tensor, "N 4"]:
    """Return the tight box around the true pixels of each mask.

    Args:
        masks: One mask per object: booleans, or 0 and 1. A mask without true pixels has no tight
            box; its result is the box of the whole image.

    Raises:
        ValueError: If the masks have values other than 0 and 1.
    """
    masks = as_masks("masks", masks)
    columns = masks.any(dim=2).squeeze(1).int()  # (N, W): 1 where a column has a true pixel
    rows = masks.any(dim=3).squeeze(1).int()  # (N, H)
    # argmax returns the first of several maxima, so it finds the first 1. The last 1 is the first
    # one of the reversed order.
    x0, y0 = columns.argmax(dim=1), rows.argmax(dim=1)  # (N,)
    x1, y1 = (line.shape[1] - line.flip(1).argmax(dim=1) for line in (columns, rows))
    return torch.stack([x0, y0, x1, y1], dim=1)  # (N, 4)


def box_regions(boxes: Int[Tensor, "N 4"], size: int) -> Bool[Tensor, "N 1 size size"]:
    """Return a mask for each box that is true inside the box.

    Args:
        boxes: Boxes as `mask_boxes` returns them. Parts outside the mask are cut off.
        size: Height and width of the masks, in pixels.
    """
    x0, y0, x1, y1 = boxes[:, :, None].unbind(dim=1)  # (N, 1) each
    pixels = torch.arange(size, device=boxes.device)
    in_rows = (pixels >= y0) & (pixels < y1)  # (N, size)
    in_columns = (pixels >= x0) & (pixels < x1)  # (N, size)
    return (in_rows[:, :, None] & in_columns[:, None, :])[:, None]  # (N, 1, size, size)
