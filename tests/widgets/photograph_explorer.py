"""Helpers that the tests of PhotographExplorer share."""

import torch

N, SIZE = 3, 32
NAMES = ["cat", "coffee", "rocket"]
CLASSES = [f"class {c}" for c in range(8)]
METHODS = ["softmax attention", "Grad-CAM", "sigmoid attention"]


def parts(classes=CLASSES):
    """The arguments of PhotographExplorer: smooth images, and two of three methods with logits."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape, scale=1.0):
        return scale * torch.randn(shape, generator=random)

    across = torch.linspace(0, 1, SIZE)
    images = torch.stack(
        [across.outer(across), across.flip(0).outer(across), 1 - across**2 + 0 * across[:, None]]
    )
    shades = torch.rand(N, 3, 1, 1, generator=random)
    softmax = normal(N, 30, scale=2).softmax(dim=1).view(N, 1, 5, 6)
    gradcam = normal(N, 1, 4, 4).relu()
    gradcam[2] = 0  # a map of Grad-CAM can be zero everywhere
    maps = dict(zip(METHODS, [softmax, gradcam, normal(N, 1, 3, 7).sigmoid()]))
    logits = {
        method: (normal(N, len(classes), scale=2), normal(N, len(classes), scale=3))
        for method in (METHODS[0], METHODS[2])
    }
    return [images[:, None] * shades, NAMES, maps, logits, classes]
