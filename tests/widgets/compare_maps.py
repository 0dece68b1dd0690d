"""Helpers that the tests of CompareMaps share."""

import torch

N, HEIGHT, WIDTH, CLASSES = 3, 20, 28, ("cat", "dog", "hen", "owl")


def parts(channels=1):
    """The arguments of `from_maps`: coarse maps, one map per class, fine maps, blank maps."""
    torch.manual_seed(0)
    regions = torch.zeros(N, 1, HEIGHT, WIDTH, dtype=torch.bool)
    regions[0, :, 3:11, 5:20] = True
    regions[1, :, 12:, :9] = True
    regions[2] = torch.rand(1, HEIGHT, WIDTH) > 0.6
    methods = [
        ("coarse", torch.rand(N, 1, 4, 7)),
        ("by class", torch.rand(N, len(CLASSES), 1, 5, 7)),
        ("fine", torch.rand(N, 1, HEIGHT, WIDTH) ** 4),
        ("blank", torch.zeros(N, 1, 2, 2)),
    ]
    return [
        torch.rand(N, channels, HEIGHT, WIDTH),
        regions,
        torch.tensor([1, 3, 0]),
        CLASSES,
        methods,
    ]
