"""Exercises of the chapter Training on a GPU."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from course_utils.exercises._feedback import as_bool, as_number, refuse, require, require_number

# Whether a change leaves the training as it is, except for rounding, and the reason.
SAME = {
    "batch_size × 4": (
        False,
        "an epoch has a quarter of the steps, each with a mean of more images",
    ),
    "accumulate=4, no batch norm": (True, "the gradients of the parts add up to the batch's"),
    "accumulate=4, batch norm": (False, "batch norm uses the mean of each part alone"),
    "2 GPUs, SyncBatchNorm": (True, "they share the batch, the gradient and batch norm's means"),
    "channels_last": (True, "the numbers are stored in another order, and that is all"),
}


def minutes(function) -> str:
    """Estimate the minutes of a training from the multiply-adds of a forward pass."""
    for _ in range(3):
        multiply_adds, images = (int(torch.randint(1_000_000, 9_000_000, ())) for _ in range(2))
        epochs, rate = int(torch.randint(7, 90, ())), 1e12 * float(1 + torch.rand(()))
        found = as_number(function(multiply_adds, images, epochs, rate), "The estimate")
        expected = 6 * multiply_adds * images * epochs / rate / 60
        mistakes = [
            (
                expected / 3,
                "You count the forward pass only. The backward pass takes twice as much.",
            ),
            (expected / 2, "Each multiply-add is two operations: a product and a sum."),
            (expected / 6, "A step takes three forward passes, and a multiply-add two operations."),
            (expected * 60, "That is in seconds."),
            (expected / 60, "That is in hours."),
            (expected / epochs, "That is one epoch."),
            (expected * 2 / 3, "The backward pass takes twice the arithmetic of the forward pass."),
        ]
        otherwise = "The estimate is wrong: operations per image, times images, over the rate."
        require_number(found, expected, mistakes, otherwise, tolerance=1e-5 * expected)
    return "Right: six operations per multiply-add. A card reaches its rate only with large layers."


def largest_batch(function) -> str:
    """Find the largest power of two that fits into a memory."""
    for _ in range(6):
        # Away from the powers of two, so that rounding decides nothing.
        room = 2 ** float(torch.randint(3, 9, ())) * float(1.1 + 0.8 * torch.rand(()))
        per_image = 1e6 * float(50 + 100 * torch.rand(()))
        fixed = room * per_image * float(1.1 + torch.rand(()))
        memory = fixed + room * per_image
        n = as_number(function(memory, fixed, per_image), "The batch")
        require(n >= 1, f"A batch has at least one image, but yours has {n:g}.")
        powers = [2**k for k in range(20)]
        refuse(
            n not in powers and n <= room * (1 + 1e-9),  # rounding
            f"{n:g} images fit, but they aren't a power of two.",
        )
        refuse(
            room < n <= memory / per_image,
            "Your batch leaves no room for the fixed part: weights, gradients, means, images.",
        )
        refuse(n > room, f"{n:g} images do not fit: they need {n / room:.1f} times the room.")
        refuse(2 * n <= room, "That fits, but so does a batch of twice as many images.")
    return "Right. Leave some room, though: a card needs more than this count."


def same_training(answers) -> str:
    """Decide which changes leave a training the same, except for rounding.

    Args:
        answers: True or False for each change.
    """
    require(isinstance(answers, Mapping), "The answer should be a dictionary with True or False.")
    given = {name: as_bool(answers.get(name), f"The answer for {name!r}") for name in SAME}
    for name, (expected, why) in SAME.items():
        verb = "is" if expected else "is not"
        require(given[name] == expected, f"{name} {verb} the same training: {why}.")
    return "Right. So if memory is short, cut the batch into parts before you shrink it."
