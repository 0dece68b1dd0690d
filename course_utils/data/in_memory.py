"""Square photographs in memory: as bytes at their final size, so that an item is a slice and not a file to decode."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv
from tqdm.auto import tqdm


class Photos(Dataset):
    """Photographs with their labels and, where they are known, the regions where the right thing is to be seen.

    Attributes:
        images: (N, 3, S, S) uint8.
        labels: (N,).
        regions: (N, 1, S, S), or None.

    An item is ``(image, label)`` or ``(image, label, region)``, the image as float in [0, 1].
    """

    def __init__(
        self,
        images: UInt8[Tensor, "N 3 S S"],
        labels: Int[Tensor, " N"],
        regions: Bool[Tensor, "N 1 S S"] | None = None,
    ):
        self.images, self.labels, self.regions = images, labels, regions

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Float[Tensor, "3 S S"] | Tensor, ...]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, ...]]:
        """Items of a whole batch at once, for the DataLoader."""
        regions = [] if self.regions is None else [self.regions[indices]]
        return list(zip(self.images[indices] / 255, self.labels[indices], *regions))


def square(
    image: Image.Image, size: int, how: InterpolationMode = InterpolationMode.BILINEAR
) -> UInt8[Tensor, "C size size"]:
    """Resize an image so that its shorter side fits, and crop it to the centre."""
    return tv.pil_to_tensor(tv.center_crop(tv.resize(image, [size], how), [size]))


def in_threads(read: Callable[[Any], Any], items: Sequence, what: str) -> list:
    """Read many images at once, with a bar: decoding lets other threads run."""
    with ThreadPoolExecutor() as pool:
        off = "TQDM_DISABLE" in os.environ  # which tqdm's notebook bar overlooks
        return list(
            tqdm(
                pool.map(read, items),
                f"reading {what}",
                len(items),
                leave=False,
                unit="image",
                disable=off,
            )
        )
