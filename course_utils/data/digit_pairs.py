"""Pairs of digits, far apart in one image: is the same digit there twice?

This is the task of the chapter "Self-attention in CNNs". No position of a small convolutional
network sees both digits, so the answer needs something that carries information from one end of
the image to the other.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from course_utils.core.boxes import mask_boxes
from course_utils.core.seeds import fresh_seed
from course_utils.data.cluttered_digits import (
    DIGIT_NAMES,
    INK_LEVEL,
    add_noise,
    digit_pool,
    place_digits,
)

FIELD = 32  # pixels: height of the image, and width of the field at either end that holds a digit


class DigitPairs(Dataset):
    """Wide images with one digit at either end, composed from a seed.

    In one half of the images, both digits are of the same class. They are never the same source
    digit. In the other half, all 90 ordered pairs of different classes are equally likely. Each
    digit has a random size and position inside a field of 32 × 32 pixels.

    An item is ``(image, label)``: the image as float in [0, 1], and 1 if the classes are the same.

    Attributes:
        images: Images of shape (N, 1, 32, W), uint8.
        labels: 1 for the same class, 0 for different classes, of shape (N,).
        digits: Classes of the left and of the right digit, of shape (N, 2).
        boxes: Tight boxes around their ink of shape (N, 2, 4), as x0, y0, x1, y1 with the ends
            excluded.
        sources: Index of each digit in its pool, of shape (N, 2).
    """

    classes = ("different", "same")

    def __init__(self, split: str = "train", n: int = 4000, *, width: int = 112, seed: int = 0):
        """Compose the images.

        Args:
            split: Pool of source digits: ``train``, ``val`` or ``test``.
            n: Number of images, at least 2.
            width: Width of the images in pixels, at least 64. Between the fields, there are 64
                pixels fewer.
            seed: Seed of the composition. The same arguments and seed give the same images.

        Raises:
            ValueError: If the split is unknown, or a number is out of range.
        """
        if n < 2:
            raise ValueError(f"expected at least 2 images, got n={n}")
        if width < 2 * FIELD:
            raise ValueError(f"expected a width of at least {2 * FIELD} pixels, got width={width}")
        self.split, self.seed, self.width = split, seed, width
        rng = torch.Generator().manual_seed(seed)
        pool, classes = digit_pool(split)
        same = torch.arange(n) % 2 == 1
        same = same[torch.randperm(n, generator=rng)]
        kinds, per_class = len(DIGIT_NAMES), len(classes) // len(DIGIT_NAMES)
        left = torch.randint(kinds, (n,), generator=rng)
        other = (left + torch.randint(1, kinds, (n,), generator=rng)) % kinds
        self.digits = torch.stack([left, left.where(same, other)], dim=1)
        first = torch.randint(per_class, (n,), generator=rng)
        # A step from 1 to per_class − 1 around the circle leads to any digit but the first.
        second = (first + torch.randint(1, per_class, (n,), generator=rng)) % per_class
        self.sources = self.digits * per_class + torch.stack([first, second], dim=1)
        ends = place_digits(pool[self.sources.T.flatten()], FIELD, rng)  # (2 * n, 32, 32)
        canvas = torch.zeros(n, FIELD, width, dtype=torch.uint8)
        canvas[..., :FIELD], canvas[..., -FIELD:] = ends.split(n)
        boxes = mask_boxes((ends > INK_LEVEL)[:, None]).view(2, n, 4)
        boxes[1, :, 0::2] += width - FIELD
        self.boxes = boxes.transpose(0, 1)
        self.images = add_noise(canvas, rng)
        self.labels = same.long()

    def fresh(self, epoch: int) -> DigitPairs:
        """Compose new images from the same source digits, for one epoch of training."""
        seed = fresh_seed(self.seed, epoch)
        return DigitPairs(self.split, len(self), width=self.width, seed=seed)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Float[Tensor, "1 32 W"], Tensor]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Return the items of a whole batch at once, for the DataLoader."""
        return list(zip(self.images[indices] / 255, self.labels[indices]))
