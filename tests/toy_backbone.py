"""A tiny network with maps of two sizes, as a backbone that is built at once."""

import torch
from torch import nn

from course_utils.models.backbone import Backbone


class ToyNetwork(nn.Module):
    """Maps of 8 × 8 and 4 × 4 positions for images of 32 pixels, and some modules without a map."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.early = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.BatchNorm2d(4), nn.ReLU())
            self.late = nn.Sequential(nn.Conv2d(4, 6, 2, 2), nn.BatchNorm2d(6))
            self.act = nn.ReLU()  # runs twice, as in EfficientNet-Lite0
            self.vector = nn.Flatten()
            self.several = Several()
            self.unused = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        x = self.late(self.act(self.early(x) - 0.1))
        self.several(x)
        return self.vector(self.act(x).mean(dim=(2, 3)))


class Several(nn.Module):
    """A module that returns two tensors."""

    def forward(self, x):
        return x, x


def toy_backbone(taps=("early", "late"), seed=0, **options):
    return Backbone(ToyNetwork(seed), taps, **{"size": 32} | options)


def random_images(n, size=32, channels=3, seed=0):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))
