"""Several digits: one to three whole handwritten digits in one image, no class twice, among fragments of others.

The task with more than one label of chapter 12. The images are composed as those of `digits` are, of the same source
digits in the same three pools, so the right place is known for every label of every image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from course_utils.core.boxes import box_regions, mask_boxes
from course_utils.data.cluttered_digits import (
    CLASSES,
    DIGIT_SCALES,
    NOISE,
    digit_pool,
    draw_digits,
    scatter_fragments,
)

INK_SIDE = (
    20 / 28
)  # of a digit's frame: MNIST's digits were scaled to 20 pixels and then centred in 28


class SeveralDigits(Dataset):
    """Seeded images of one to three digits of different classes, all composed at once.

    Each digit stands in a slot; the order of the slots means nothing, and how many are filled is drawn evenly.

    Attributes:
        images: (N, 1, S, S), uint8.
        digits: (N, most), the class in each slot, or -1 for an empty one.
        masks: (N, most, S, S), true where the digit of a slot has ink; all false for an empty one.
        boxes: (N, most, 4), the tight box around that ink as x0, y0, x1, y1, ends excluded; zeros for an empty slot.
        sources: (N, most), which digit of the pool it is.
        targets: (N, 10), 1 for each class that is in the image.

    An item is ``(image, target, regions)``: the image as float in [0, 1], its row of targets, and for each class the
    filled box as the region where a good map of that class looks, (10, S, S), empty for a class that is absent.
    """

    classes = CLASSES

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
            split: which pool of source digits to draw from: ``train``, ``val`` or ``test``.
            n: number of images.
            canvas: side of the square canvas in pixels: at least 28 for one digit, at least 48 for two or three.
            fragments: number of clutter fragments an image.
            most: whole digits an image at most, 1 to 3.
            curriculum: canvas, fragments and digits at most in the first epochs, for `fresh`.
            seed: same arguments and seed, same images.

        Raises:
            ValueError: unknown split, no images asked for, another number of digits, fragments below 0, or a canvas
                that is too small.
        """
        if n < 1:
            raise ValueError(f"a data set needs at least 1 image, got n={n}")
        if not 1 <= most <= 3:
            raise ValueError(f"an image holds at most 1, 2 or 3 digits, got most={most}")
        if canvas < (least := 28 if most == 1 else 48):
            raise ValueError(
                f"expected a canvas of at least {least} pixels for most={most}, got canvas={canvas}"
            )
        if fragments < 0:
            raise ValueError(f"expected 0 fragments or more, got fragments={fragments}")
        self.split, self.seed, self.curriculum = split, seed, curriculum
        self.options = {"canvas": canvas, "fragments": fragments, "most": most}
        rng = torch.Generator().manual_seed(seed)
        pool, classes = digit_pool(split)
        chosen = different_classes(classes, n, most, rng)  # (N, most)
        filled = torch.arange(most) < torch.randint(1, most + 1, (n, 1), generator=rng)
        side, corner = places_apart(filled, canvas, rng)
        whole = draw_digits(pool[chosen.flatten()], canvas, side.flatten(), corner.flatten(0, 1))
        whole = whole.view(n, most, canvas, canvas) * filled[:, :, None, None]
        images = torch.maximum(
            whole.amax(dim=1), scatter_fragments(split, n, canvas, fragments, rng)
        ).float()
        images += torch.randn(images.shape, generator=rng) * (255 * NOISE)
        self.images = images.clamp_(0, 255).to(torch.uint8)[:, None]
        self.masks = whole > 25  # a tenth of full ink
        boxes = mask_boxes(self.masks.flatten(0, 1)[:, None]).view(n, most, 4)
        self.boxes = (
            boxes * filled[:, :, None]
        )  # of an empty mask the box would be the whole canvas
        self.sources, self.digits = chosen, classes[chosen].where(filled, -1)
        self.targets = torch.zeros(n, len(CLASSES) + 1).scatter_(
            1, self.digits % (len(CLASSES) + 1), 1.0
        )[:, :-1]

    def fresh(self, epoch: int, n: int | None = None) -> SeveralDigits:
        """New images from the same source digits, for one epoch of training; as many as there are here, or n."""
        options = dict(self.options)
        if epoch < len(self.curriculum):
            options = dict(zip(options, self.curriculum[epoch]))
        return SeveralDigits(
            self.split, n or len(self), seed=self.seed + 100_003 * (epoch + 1), **options
        )

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(
        self, i: int
    ) -> tuple[Float[Tensor, "1 S S"], Float[Tensor, " 10"], Bool[Tensor, "10 S S"]]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Items of a whole batch at once, for the DataLoader."""
        return list(zip(self.images[indices] / 255, self.targets[indices], self.regions(indices)))

    def regions(self, indices: list[int]) -> Bool[Tensor, "n 10 S S"]:
        """The filled box of each class in some of the images; empty where the class is absent."""
        size, slots = self.images.shape[-1], self.digits.shape[1]
        by_slot = box_regions(self.boxes[indices].flatten(0, 1), size).view(-1, slots, size, size)
        regions = torch.zeros(len(by_slot), len(CLASSES), size, size, dtype=torch.bool)
        image, slot = (self.digits[indices] >= 0).nonzero(as_tuple=True)
        regions[image, self.digits[indices][image, slot]] = by_slot[image, slot]
        return regions


def different_classes(
    classes: Int[Tensor, " pool"], n: int, most: int, rng: torch.Generator
) -> Int[Tensor, "n most"]:
    """For each image so many digits of the pool, no two of one class, each class as likely as any other."""
    drawn = torch.rand(n, len(CLASSES), generator=rng).argsort(dim=1)[
        :, :most
    ]  # a random order of the classes
    each = len(classes) // len(CLASSES)  # the pools are in order of class, with as many of each
    return drawn * each + torch.randint(each, (n, most), generator=rng)


def places_apart(
    filled: Bool[Tensor, "n slots"], size: int, rng: torch.Generator
) -> tuple[Float[Tensor, "n slots"], Float[Tensor, "n slots 2"]]:
    """Sides and corners of frames inside the canvas; the inked middles of those that are filled do not overlap."""
    side, corner = torch.empty(filled.shape), torch.empty(*filled.shape, 2)
    both = (filled[:, :, None] & filled[:, None]).triu(diagonal=1)
    pending = torch.arange(len(filled))
    while len(pending):  # draw anew where two are too close; one draw in five or more is good
        some = 28 * torch.empty(len(pending), filled.shape[1]).uniform_(
            *DIGIT_SCALES, generator=rng
        )
        places = torch.rand(*some.shape, 2, generator=rng) * (size - some)[..., None]
        side[pending], corner[pending] = some, places
        middle = places + some[..., None] / 2
        apart = (middle[:, :, None] - middle[:, None]).abs().amax(dim=-1)  # (pending, slots, slots)
        needed = (some[:, :, None] + some[:, None]) * (INK_SIDE / 2)
        pending = pending[((apart < needed) & both[pending]).any(dim=(1, 2))]
    return side, corner
