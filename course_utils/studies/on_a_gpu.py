"""What the chapter Training on a GPU estimates: the minutes and the memory of a training.

A training step's arithmetic is counted, and what it saves for the backward pass is measured on the
CPU. Both grow in proportion to the pixels of the images. How fast a card computes can't be counted:
`CARDS` has ranges, and says where they come from.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_utils.core import profiling
from course_utils.studies import results, shipped
from course_utils.studies.presets import PRESETS, Preset
from course_utils.training.losses import heads_loss

SIZE = 224  # pixels; what the costs refer to
WIDTHS = (0.125, 0.25, 0.5, 1.0)
# The backward pass takes twice the arithmetic of the forward pass, and a multiply-add is two
# operations.
OPERATIONS_PER_MULTIPLY_ADD = 6
# Bytes per parameter: its weight, its gradient and AdamW's two means, in float32.
STATE_BYTES = 16
COPY_BYTES = 2  # the weights once more in 16 bits, for mixed precision


class Card(NamedTuple):
    """A graphics card.

    Attributes:
        name: Its name.
        capacity: Its memory in bytes.
        slow: Operations per second that training a VGG16 reaches there: the lower end of a range.
        fast: The upper end.
    """

    name: str
    capacity: float
    slow: float
    fast: float


# timm's tables of training in mixed precision, 224 pixels, on an RTX 3090: vgg16_bn in images per
# second, in the usual memory format and with channels_last.
VGG16_ON_RTX_3090 = (388.69, 470.3)
VGG16_OPERATIONS = 92.82e9  # per image and training step
_RTX_3090 = [rate * VGG16_OPERATIONS for rate in VGG16_ON_RTX_3090]
BANDWIDTHS = {"T4": 300e9, "RTX 3090": 936e9}  # bytes per second, in NVIDIA's data sheets
# Long matrix products in float16 on a T4, which its power limit of 70 watts slows down: measured by
# a user of NVIDIA's forum (topic 264462). The data sheet has 65e12.
T4_MATRIX_RATE = 24e12
CARDS = (
    # From a card that is short of bandwidth to one whose arithmetic is never interrupted.
    Card("T4", 16e9, _RTX_3090[0] * BANDWIDTHS["T4"] / BANDWIDTHS["RTX 3090"], T4_MATRIX_RATE),
    Card("RTX 3090", 24e9, *_RTX_3090),
)


class Cost(NamedTuple):
    """What a training step of a network costs, for each image of 224 pixels.

    Attributes:
        width: Factor on the channels of the network.
        parameters: Number of parameters.
        operations: Operations per image: forward, backward, and nothing else.
        saved: Bytes per image that are saved for the backward pass in float32.
        saved_16: The same in mixed precision.
    """

    width: float
    parameters: int
    operations: int
    saved: float
    saved_16: float


class Memory(NamedTuple):
    """The memory that a training needs at least, in bytes.

    Attributes:
        state: Weights, gradients and the optimiser's means.
        images: The training images, which `fit` moves to the card.
        saved: What a part of a batch saves for the backward pass.
    """

    state: float
    images: float
    saved: float


def network(width: float) -> nn.Module:
    """Return the repaired AttnVGG at a width, freshly initialised."""
    return shipped.build("repaired", replace(PRESETS["gpu"], width=width))


def training_operations(model: nn.Module, size: int = SIZE) -> int:
    """Count the operations of a training step, per image of a size.

    The model is counted on the meta device, so this takes no time and no memory. Parts other than
    convolutions and matrix products are left out.
    """
    image = torch.empty(1, 3, size, size, device="meta")
    counted = profiling.multiply_adds(copy.deepcopy(model).to("meta"), image)
    return OPERATIONS_PER_MULTIPLY_ADD * counted


def saved_for_backward(
    model: nn.Module, batch: int, size: int, dtype: torch.dtype = torch.float32
) -> int:
    """Measure the bytes that the forward pass of a batch saves for the backward pass.

    Args:
        model: A network of `models`, on the CPU.
        batch: Number of images.
        size: Side of the images in pixels.
        dtype: ``float32``, or the 16-bit format of mixed precision.
    """
    images = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.zeros(batch, dtype=torch.int64)

    def forward(pixels: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            return heads_loss(model(pixels), labels)

    model.train().to(memory_format=torch.channels_last)
    return profiling.saved_bytes(forward, images)


def cost(width: float, *, size: int = 64) -> Cost:
    """Return the cost of the repaired AttnVGG at a width.

    Args:
        width: Factor on the channels.
        size: Side of the images with which the saved bytes are measured; the result is scaled to
            224 pixels.
    """
    model = network(width)
    per_image = []
    for dtype in (torch.float32, torch.bfloat16):
        # The difference, because some of it, such as the weights, is saved once for all images.
        two, three = (saved_for_backward(model, batch, size, dtype) for batch in (2, 3))
        per_image.append((three - two) * (SIZE / size) ** 2)
    return Cost(width, profiling.parameters(model), training_operations(model), *per_image)


def memory(
    needs: Cost,
    batch: int,
    *,
    size: int = SIZE,
    accumulate: int = 1,
    images: int = 0,
    mixed: bool = True,
) -> Memory:
    """Return the memory that a training needs at least.

    A card needs more: for gradients of features on their way back, and for the convolutions' own
    working memory.

    Args:
        needs: Cost of the network.
        batch: Images per step.
        size: Side of the images in pixels.
        accumulate: Number of parts that each batch is cut into.
        images: Number of training images, which lie on the card as bytes with their masks.
        mixed: Mixed precision, with 16 bits.
    """
    pixels = size**2
    state = (STATE_BYTES + COPY_BYTES * mixed) * needs.parameters
    saved = needs.saved_16 if mixed else needs.saved
    part = batch / accumulate
    return Memory(state, 2 * images * pixels, part * saved * pixels / SIZE**2)


def image_steps(preset: Preset, images: int = 8000, validation: int = 1000) -> float:
    """Return how many images of full size a run trains on, counted by their pixels.

    The first epochs have smaller images. A validation image takes a third of a training step,
    because there is no backward pass.

    Args:
        preset: Sets the epochs and their image sizes.
        images: Training images per epoch.
        validation: Validation images per epoch.
    """
    epochs, full = preset.recipe.epochs, preset.data.get("size", 64)
    small = [canvas for canvas, _ in preset.data.get("curriculum", ())][:epochs]
    sizes = [*small, *[full] * (epochs - len(small))]
    trained = sum(images * (size / full) ** 2 for size in sizes)
    return trained + epochs * validation / 3


def minutes(operations: int, steps: float, card: Card) -> tuple[float, float]:
    """Return the shortest and the longest estimate of a training in minutes.

    Args:
        operations: Operations per image and step.
        steps: Number of images, over all epochs.
        card: The card. Its rates are those of a network of full width; a narrow one reaches less.
    """
    return operations * steps / card.fast / 60, operations * steps / card.slow / 60


def runs_of_results() -> int:
    """Return the number of trainings of the chapter Results.

    Each variant is trained at several learning rates from the first seed, at the better half of
    them from the second, and at the best one from its other seeds.
    """
    runs = 0
    for name in results.TRAINED:
        rates, seeds = len(results.rates(name)), len(results.VARIANTS[name].seeds)
        runs += rates + rates // 2 + seeds - len(results.TUNED)
    return runs
