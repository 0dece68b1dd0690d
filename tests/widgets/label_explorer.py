"""Helpers that the tests of LabelExplorer share."""

import numpy as np
import torch

from course_utils.widgets import LabelExplorer

N, SIZE, CLASSES = 3, 16, 4
DIGITS = [[2], [0, 3], [1, 3, 2]]
BOXES = [
    [[2, 3, 9, 12]],
    [[0, 0, 5, 6], [8, 7, 15, 16]],
    [[0, 0, 4, 5], [9, 1, 15, 6], [2, 9, 8, 16]],
]


def made(**changes):
    generator = torch.Generator().manual_seed(1)
    scores = 3 * torch.randn(N, CLASSES, 64, generator=generator)
    given = {
        "images": torch.rand(N, 1, SIZE, SIZE, generator=generator),
        "digits": DIGITS,
        "boxes": BOXES,
        "classes": [f"c{c}" for c in range(CLASSES)],
        "logits": torch.randn(N, CLASSES, generator=generator),
        "own": scores.softmax(dim=2).view(N, CLASSES, 8, 8),
        "shared": scores[:, :1].mean(dim=1, keepdim=True).softmax(dim=2).view(N, 1, 8, 8),
    } | changes
    return LabelExplorer.from_maps(**given), given


def maps_of(widget):
    own, shared = (
        torch.from_numpy(np.frombuffer(b, np.float16).astype(np.float64))
        for b in (widget.own, widget.shared)
    )
    return own.view(N, CLASSES, 8, 8), shared.view(N, 1, 8, 8)
