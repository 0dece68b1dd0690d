"""Boxes around objects: from masks to boxes, and from boxes to filled regions."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def mask_boxes(masks: Bool[Tensor, "N 1 H W"]) -> Int[Tensor, "N 4"]:
    """Tight boxes x0, y0, x1, y1 (ends excluded) around the true pixels of non-empty masks."""
    columns, rows = (
        masks.flatten(0, 1).any(1).int(),
        masks.flatten(0, 1).any(2).int(),
    )  # (N, W), (N, H)
    first = [columns.argmax(1), rows.argmax(1)]
    last = [side.shape[1] - side.flip(1).argmax(1) for side in (columns, rows)]
    return torch.stack([*first, *last], dim=1)


def box_regions(boxes: Int[Tensor, "N 4"], size: int) -> Bool[Tensor, "N 1 size size"]:
    """The filled boxes as masks."""
    x0, y0, x1, y1 = boxes[:, :, None].unbind(dim=1)  # (N, 1)
    p = torch.arange(size, device=boxes.device)
    return (((p >= y0) & (p < y1))[:, :, None] & ((p >= x0) & (p < x1))[:, None])[:, None]
