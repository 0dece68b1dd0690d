"""Several digits: one to three whole handwritten digits of different classes in one image.

This is the multi-label task of the chapter "Beyond one label". The images are composed like those
of `cluttered_digits`, from the same source digits in the same three pools, so the position of the
object is known for every label of every image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from course_utils.core.boxes import box_regions, mask_boxes
from course_utils.core.seeds import fresh_seed
from course_utils.data.cluttered_digits import (
    DIGIT_NAMES,
    DIGIT_SCALES,
    FRAME,
    INK_LEVEL,
    add_noise,
    digit_pool,
    draw_digits,
    scatter_fragments,
)

INK_SIDE = (
    20 / FRAME
)  # of a digit's frame: MNIST scales digits to 20 pixels, then centres them in 28


class SeveralDigits(Dataset):
    """Images of one to three digits of different classes among fragments, composed from a seed.

    Every image has ``most`` slots. Between one and all of them are filled, each of these numbers
    with the same probability. The order of the slots has no meaning.

    An item is ``(image, target, regions)``: the image as float in [0, 1], its row of ``targets``,
    and for each class the filled box of its digit, of shape (10, S, S), which is where a good map
    of that class has its weight. The region of an absent class is empty.

    Attributes:
        images: Images of shape (N, 1, S, S), uint8.
        digits: Class in each slot, of shape (N, most); -1 for an empty slot.
        masks: Masks of shape (N, most, S, S), true where the digit of a slot has ink.
        boxes: Tight boxes around that ink of shape (N, most, 4), as x0, y0, x1, y1 with the ends
            excluded; zeros for an empty slot.
        sources: Index of each digit in its pool, of shape (N, most).
        targets: 1 for each class that is in the image, else 0, of shape (N, 10).
    """

    classes = DIGIT_NAMES

    def __init__(
        self,
        split: str = "train",
        n: int = 4000,
        *,
        canvas: int = 64,
        fragments: int = 6,
        most: int = 3,
        curriculum: Sequence[tuple[int, int, int]] = (),
        seed: int = 0,
    ):
        """Compose the images.

        Args:
            split: Pool of source digits: ``train``, ``val`` or ``test``.
            n: Number of images, at least 1.
            canvas: Side of the square canvas in pixels: at least 28 for one digit, at least 48 for
                two or three.
            fragments: Number of clutter fragments per image.
            most: Largest number of whole digits per image, 1 to 3.
            curriculum: Canvas, number of fragments and ``most`` in the first epochs, for `fresh`.
            seed: Seed of the composition. The same arguments and seed give the same images.

        Raises:
            ValueError: If the split is unknown, or a number is out of range.
        """
        _check_options(n, canvas, fragments, most)
        self.split, self.seed, self.curriculum = split, seed, curriculum
        self.options: dict[str, Any] = {"canvas": canvas, "fragments": fragments, "most": most}
        rng = torch.Generator().manual_seed(seed)
        pool, classes = digit_pool(split)
        self.sources = different_classes(classes, n, most, rng)  # (N, most)
        filled = torch.arange(most) < torch.randint(1, most + 1, (n, 1), generator=rng)
        side, corner = frames_apart(filled, canvas, rng)
        # Empty slots are drawn as well and then erased, so that every image takes the same steps.
        digits = pool[self.sources.flatten()]  # (N * most, 28, 28)
        whole = draw_digits(digits, canvas, side.flatten(), corner.flatten(0, 1))
        whole = whole.view(n, most, canvas, canvas) * filled[:, :, None, None]
        clutter = scatter_fragments(split, n, canvas, fragments, rng)  # (N, S, S)
        self.images = add_noise(torch.maximum(whole.amax(dim=1), clutter), rng)
        self.masks = whole > INK_LEVEL
        boxes = mask_boxes(self.masks.flatten(0, 1)[:, None]).view(n, most, 4)
        self.boxes = (
            boxes * filled[:, :, None]
        )  # the box of an empty mask would be the whole canvas
        self.digits = classes[self.sources].where(filled, -1)
        # One-hot per slot with an extra first class for empty slots, then the union of the slots.
        one_hot = F.one_hot(self.digits + 1, len(DIGIT_NAMES) + 1)  # (N, most, 11)
        self.targets = one_hot.amax(dim=1)[:, 1:].float()  # (N, 10)

    def fresh(self, epoch: int, n: int | None = None) -> SeveralDigits:
        """Compose new images from the same source digits, for one epoch of training.

        Args:
            epoch: Number of the epoch, from 0.
            n: Number of images. If None, as many as there are in this data set.
        """
        options = dict(self.options)
        if epoch < len(self.curriculum):
            options = dict(zip(options, self.curriculum[epoch]))
        return SeveralDigits(
            self.split, n or len(self), seed=fresh_seed(self.seed, epoch), **options
        )

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(
        self, i: int
    ) -> tuple[Float[Tensor, "1 S S"], Float[Tensor, " 10"], Bool[Tensor, "10 S S"]]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return the items of a whole batch at once, for the DataLoader."""
        return list(zip(self.images[indices] / 255, self.targets[indices], self.regions(indices)))

    def regions(self, indices: list[int]) -> Bool[Tensor, "n 10 S S"]:
        """Return the filled box of each class in some of the images; empty for an absent class."""
        size, slots = self.images.shape[-1], self.digits.shape[1]
        by_slot = box_regions(self.boxes[indices].flatten(0, 1), size)  # (n * slots, 1, S, S)
        by_slot = by_slot.view(-1, slots, size, size)
        regions = torch.zeros(len(by_slot), len(DIGIT_NAMES), size, size, dtype=torch.bool)
        digits = self.digits[indices]
        image, slot = (digits >= 0).nonzero(as_tuple=True)
        regions[image, digits[image, slot]] = by_slot[image, slot]
        return regions


def _check_options(n: int, canvas: int, fragments: int, most: int) -> None:
    if n < 1:
        raise ValueError(f"a data set needs at least 1 image, got n={n}")
    if not 1 <= most <= 3:
        raise ValueError(f"expected at most 1, 2 or 3 digits per image, got most={most}")
    least = FRAME if most == 1 else 48
    if canvas < least:
        raise ValueError(
            f"expected a canvas of at least {least} pixels for most={most}, got canvas={canvas}"
        )
    if fragments < 0:
        raise ValueError(f"expected at least 0 fragments, got fragments={fragments}")


def different_classes(
    classes: Int[Tensor, " pool"], n: int, most: int, rng: torch.Generator
) -> Int[Tensor, "n most"]:
    """Draw digits of a pool for n images, with no two of the same class in one image.

    Args:
        classes: Class of each digit of the pool, sorted, with the same number of digits per class.
        n: Number of images.
        most: Number of digits per image.
        rng: Source of the random numbers.

    Returns:
        Indices into the pool. All classes are equally likely.
    """
    # The first classes of a random order are a random choice without repetition.
    drawn = torch.rand(n, len(DIGIT_NAMES), generator=rng).argsort(dim=1)[:, :most]
    per_class = len(classes) // len(DIGIT_NAMES)
    return drawn * per_class + torch.randint(per_class, (n, most), generator=rng)


def frames_apart(
    filled: Bool[Tensor, "n slots"], size: int, rng: torch.Generator
) -> tuple[Float[Tensor, "n slots"], Float[Tensor, "n slots 2"]]:
    """Draw frames inside the canvas so that the digits in the filled slots don't overlap.

    Only the central part of a frame has ink, so the frames themselves may overlap.

    Returns:
        Sides of the frames and their upper left corners as x, y, in pixels.
    """
    side, corner = torch.empty(filled.shape), torch.empty(*filled.shape, 2)
    both = (filled[:, :, None] & filled[:, None]).triu(diagonal=1)  # pairs of filled slots
    pending = torch.arange(len(filled))
    # Rejection sampling: images whose digits are too close are drawn again. At least one draw in
    # five is accepted, so the loop is short.
    while len(pending):
        drawn = torch.empty(len(pending), filled.shape[1])
        drawn = FRAME * drawn.uniform_(*DIGIT_SCALES, generator=rng)
        corners = torch.rand(*drawn.shape, 2, generator=rng) * (size - drawn)[..., None]
        side[pending], corner[pending] = drawn, corners
        middle = corners + drawn[..., None] / 2
        # Two squares are apart if their centres are far enough apart along one of the axes.
        distance = (middle[:, :, None] - middle[:, None]).abs().amax(dim=-1)
        needed = (drawn[:, :, None] + drawn[:, None]) * (INK_SIDE / 2)  # (pending, slots, slots)
        overlap = (distance < needed) & both[pending]
        pending = pending[overlap.any(dim=(1, 2))]
    return side, corner
