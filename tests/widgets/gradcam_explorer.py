"""Helpers that the tests of GradcamExplorer share."""

import numpy as np
import torch
from torch import nn

from course_utils.widgets.gradcam_explorer import GradcamExplorer

N, SIZE, CLASSES = 3, 16, 4
BOXES = torch.tensor([[2, 3, 9, 12], [5, 6, 12, 16], [0, 0, 4, 5]])
LABELS = torch.tensor([1, 3, 0])
LAYERS = {"fine": "0", "coarse": "3"}


def network(seed=0):
    """Two layers to look at, 16 × 16 and 8 × 8, and a head that is not linear on their average."""
    torch.manual_seed(seed)
    head = (
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(7 * 4, 9),
        nn.ReLU(),
        nn.Linear(9, CLASSES),
    )
    first = nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.ReLU())
    return nn.Sequential(
        first, nn.MaxPool2d(2), nn.Conv2d(5, 7, 3, padding=1), nn.ReLU(), *head
    ).eval()


def made(model=None, **changes):
    generator = torch.Generator().manual_seed(1)
    given = {
        "images": torch.rand(N, 1, SIZE, SIZE, generator=generator),
        "labels": LABELS,
        "boxes": BOXES,
        "classes": [f"class {c}" for c in range(CLASSES)],
        "layers": LAYERS,
    } | changes
    return GradcamExplorer.from_network(model or network(), **given), given["images"]


def parts(widget, layer):
    """Activations (N, K, h, w) and weights (N, classes, K) of a layer, in double precision."""
    a, w = (
        torch.from_numpy(np.frombuffer(b, np.float32).copy())
        for b in (widget.activations, widget.alphas)
    )
    sizes = (
        [np.prod(shape) * N for shape in widget.shapes],
        [shape[0] * N * CLASSES for shape in widget.shapes],
    )
    a, w = (part.split([int(s) for s in size])[layer].double() for part, size in zip((a, w), sizes))
    return a.view(N, *widget.shapes[layer]), w.view(N, CLASSES, -1)
