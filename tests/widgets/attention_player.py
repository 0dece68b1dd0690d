"""Helpers that the tests of AttentionPlayer share."""

import pandas as pd
import torch

from course_utils.training.run import Run


def parts():
    torch.manual_seed(0)
    snapshots = {epoch: (torch.rand(2, 1, 4, 3), torch.rand(2, 1, 2, 2)) for epoch in (5, 0, 2)}
    regions = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    regions[..., 2:5, 1:4] = True
    gallery = (
        torch.rand(2, 1, 8, 8),
        torch.tensor([3, 7]),
        regions,
        torch.tensor([[1, 2, 4, 5]] * 2),
    )
    return Run(pd.DataFrame(), snapshots, {}), gallery
