"""Helpers that the tests of AlignmentExplorer share."""

import torch

from course_utils.widgets import AlignmentExplorer

GRID, SIZE, N = 4, 16, 3


def explorer(**traits):
    generator = torch.Generator().manual_seed(0)
    regions = torch.zeros(N, 1, SIZE, SIZE, dtype=torch.bool)
    regions[:, :, 4:9, 5:13] = True
    widget = AlignmentExplorer.from_scores(
        2 * torch.randn(N, GRID**2, generator=generator),
        torch.rand(N, 1, SIZE, SIZE, generator=generator),
        torch.tensor([3, 1, 4]),
        regions,
        torch.tensor([[5, 4, 13, 9]] * N),
    )
    for name, value in traits.items():
        widget.set_trait(name, value)
    return widget, regions
