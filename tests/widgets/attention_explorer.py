"""Helpers that the tests of AttentionExplorer share."""

import torch

GRID, SIZE, D = 4, 16, 3


def parts():
    random = torch.Generator().manual_seed(0)
    regions = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.bool)
    regions[0, :, 2:9, 5:12] = regions[1, :, 10:16, 0:3] = True
    images, keys = (
        torch.rand(2, 1, SIZE, SIZE, generator=random),
        3 * torch.rand(2, GRID**2, D, generator=random),
    )
    return (
        images,
        keys,
        regions,
        {"first": torch.tensor([1.0, -2, 0.5]), "second": torch.tensor([-1.0, 0, 3])},
    )
