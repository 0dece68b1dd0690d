"""Random photographs, and folders of them."""

import numpy as np
from PIL import Image


def photo(seed, size=(40, 30), mode="RGB"):
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else (size[1], size[0])
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, shape, np.uint8), mode if mode != "L" else None
    )


def write_photos(root, counts, first=0):
    """Write a number of photographs, all of them different, into each sub-folder.

    Args:
        root: Folder to write into.
        counts: Number of photographs per sub-folder, such as ``{"train/cat": 3}``.
        first: Seed of the first photograph.
    """
    for name, n in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            photo(first).save(root / name / f"{i}.png")
            first += 1
    return root


def splits_of(train, test=2):
    """Numbers of photographs in train/ and test/, given those of each class in train/."""
    return {f"train/{name}": n for name, n in train.items()} | {
        f"test/{name}": test for name in train
    }
