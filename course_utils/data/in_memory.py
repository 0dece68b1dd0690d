"""Square photographs in memory.

They are kept as bytes at their final size, so reading an item only indexes a tensor and decodes no
file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from course_utils.core.progress import progress_bar


class Photos(Dataset):
    """Photographs with their labels and, if they are known, the regions of the objects.

    An item is ``(image, label)`` or ``(image, label, region)``, with the image as float in [0, 1].

    Attributes:
        images: Images of shape (N, 3, S, S), uint8.
        labels: Class of each image, of shape (N,).
        regions: Masks of shape (N, 1, S, S), true on the object, or None.
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
        """Return the items of a whole batch at once, for the DataLoader."""
        regions = [] if self.regions is None else [self.regions[indices]]
        return list(zip(self.images[indices] / 255, self.labels[indices], *regions))


def square(
    image: Image.Image, size: int, how: InterpolationMode = InterpolationMode.BILINEAR
) -> UInt8[Tensor, "C size size"]:
    """Resize an image so that its shorter side has ``size`` pixels, and crop it to the centre."""
    return tv.pil_to_tensor(tv.center_crop(tv.resize(image, [size], how), [size]))


def in_threads(read: Callable[[Any], Any], items: Sequence, what: str) -> list:
    """Apply a function to many items in several threads, with a progress bar.

    Threads are enough for images, because PIL's decoders release Python's global lock.

    Args:
        read: Function of one item.
        items: The items.
        what: Name of the items for the progress bar.

    Returns:
        The results in the order of the items.
    """
    with ThreadPoolExecutor() as pool:
        results = pool.map(read, items)
        return list(progress_bar(results, f"reading {what}", total=len(items), unit="image"))
