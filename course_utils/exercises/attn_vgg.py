"""Exercises of the chapter AttnVGG."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.attention import spatial
from course_utils.exercises._feedback import (
    Number,
    as_number,
    as_tensor,
    is_close,
    refuse,
    require,
    require_number,
)
from course_utils.explain import metrics
from course_utils.training import dice_loss


def sigmoid(function) -> str:
    """Write the context and the weights of sigmoid attention, for scores (B, 1, H, W)."""
    l, scores = torch.randn(2, 6, 4, 5), 2 * torch.randn(2, 1, 4, 5)
    expected_context, expected_weights = spatial.attend(scores, l, "sigmoid")
    answer = function(l, scores)
    two = isinstance(answer, tuple | list) and len(answer) == 2
    require(two, "Return two tensors: the context and the weights.")
    shapes = [getattr(part, "shape", None) for part in answer]
    refuse(
        shapes == [expected_weights.shape, expected_context.shape],
        "Return the context first, then the weights.",
    )
    context = as_tensor(answer[0], expected_context.shape, "The context")
    weights = as_tensor(answer[1], expected_weights.shape, "The weight tensor")
    softmax = scores.flatten(2).softmax(dim=-1).view_as(scores)
    refuse(
        is_close(weights, softmax),
        "That is softmax: the weights of a map sum to 1, so its positions compete.",
    )
    require(
        is_close(weights, expected_weights),
        "The weights are wrong. Each one follows from its own score and lies between 0 and 1.",
    )
    _check_context(context, expected_context, l, weights)
    sums = " and ".join(f"{total:.1f}" for total in weights.sum(dim=(1, 2, 3)))
    return f"Right. The weights of the two maps sum to {sums}: nothing keeps these sums at 1."


def _check_context(context: Tensor, expected: Tensor, l: Tensor, weights: Tensor) -> None:
    """Check the context, given the right weights."""
    total = (weights * l).sum(dim=(2, 3))
    refuse(
        is_close(context, total),
        f"The weights are right, but the context is {weights[0].numel()} times too long.",
    )
    refuse(
        is_close(context, total / weights.sum(dim=(2, 3))),
        "The weights are right. But if you divide by their sum, the positions compete after all.",
    )
    refuse(
        is_close(context, l.mean(dim=(2, 3))),
        "The weights are right, but the context doesn't use them.",
    )
    require(is_close(context, expected), "The weights are right, but the context is wrong.")


def stretched(energy, maps: tuple[Tensor, ...], regions: Tensor) -> str:
    """Compute the mean energy of the second maps after each was stretched to its own range.

    Args:
        energy: The answer.
        maps: The first and the second map of each image.
        regions: The boxes, true inside.
    """
    energy = as_number(energy)
    # Stretching also divides by the range, but a factor doesn't change a share.
    first, second = (each - each.amin(dim=(2, 3), keepdim=True) for each in maps[:2])
    expected, raw = _mean_energy(second, regions), _mean_energy(maps[1], regions)
    chance = metrics.area_share(regions).mean()
    mistakes: list[tuple[Number, str]] = [
        (raw, "That is the energy of the maps as they are. Stretch them first."),
        (_mean_energy(first, regions), "That is the energy of the first map. Use the second one."),
        (
            _mean_energy(maps[1] - maps[1].min(), regions),
            "You stretched all maps with one common range. Each map has its own.",
        ),
        (len(regions) * expected, "That is the sum over the images. Take the mean."),
        (chance, "That is chance: the share of the image that a box covers."),
    ]
    otherwise = (
        f"The stretched maps don't have an energy of {energy:.4g}; unstretched it is {raw:.3f}."
    )
    require_number(energy, expected, mistakes, otherwise)
    return (
        f"Right: stretching raises the energy from {raw:.3f} to {expected:.3f}; "
        f"chance is {chance:.3f}."
    )


def _mean_energy(maps: Tensor, regions: Tensor) -> float:
    return metrics.energy_inside(maps, regions).mean().item()


def dice(function) -> str:
    """Write the Dice loss of maps (B, 1, h, w) and masks (B, 1, H, W) of another size."""
    maps, masks = _maps_and_masks()
    while not _tells_mistakes_apart(maps, masks):
        maps, masks = _maps_and_masks()
    expected = dice_loss(maps, F.adaptive_avg_pool2d(masks, (5, 5))).item()
    answer = function(maps.clone().requires_grad_(), masks.bool())
    value = as_number(answer.detach() if torch.is_tensor(answer) else answer)
    otherwise = f"For random maps and masks the loss should be {expected:.4f}, not {value:.4f}."
    require_number(value, expected, _dice_mistakes(maps, masks), otherwise, tolerance=1e-4)
    require(
        torch.is_tensor(answer) and answer.requires_grad,
        "The number is right, but no gradient reaches the maps. Stay in tensors, without `item`.",
    )
    return f"Right: {value:.4f} for four random maps, as in the package."


def _tells_mistakes_apart(maps: Tensor, masks: Tensor) -> bool:
    """Return whether the right loss and all known mistakes are different numbers."""
    right = dice_loss(maps, F.adaptive_avg_pool2d(masks, (5, 5)))
    numbers = [right, *(torch.as_tensor(number) for number, _ in _dice_mistakes(maps, masks))]
    return bool(torch.stack(numbers).sort().values.diff().min() > 1e-3)


def _dice_mistakes(maps: Tensor, masks: Tensor) -> list[tuple[Number, str]]:
    """Return what each known mistake leads to, with the sentence about it."""
    shares = F.adaptive_avg_pool2d(masks, (5, 5))  # (B, 1, 5, 5)
    pairs = zip(maps.split(1), shares.split(1))
    by_image = torch.stack([dice_loss(a, share) for a, share in pairs])
    shared, total = (maps * shares).sum(), maps.sum() + shares.sum()
    touched = F.adaptive_max_pool2d(masks, (5, 5))
    enlarged = F.interpolate(maps, masks.shape[-2:], mode="bilinear")
    return [
        (
            2 * shared / total,
            "That is the overlap, which is high for good maps. A loss has to be low.",
        ),
        (by_image.mean(), "That is the mean over the images. Sum over the whole batch first."),
        (by_image.sum(), "That is the sum over the images. Sum over the whole batch first."),
        (1 - shared / total, "The overlap counts once in your fraction. It should count twice."),
        (
            dice_loss(maps, touched),
            "Your masks cover every position that they touch. Average them down instead.",
        ),
        (
            dice_loss(enlarged, masks),
            "You enlarged the maps to the size of the masks. Bring the masks to the maps' grid.",
        ),
        (
            1 - shared / (total - shared),
            "That is one minus intersection over union. The Dice loss has another denominator.",
        ),
    ]


def _maps_and_masks() -> tuple[Tensor, Tensor]:
    """Make maps (4, 1, 5, 5) and masks (4, 1, 20, 20), whose sums differ from image to image."""
    maps = torch.rand(4, 1, 5, 5) * torch.tensor([0.1, 0.4, 0.7, 1.0]).view(4, 1, 1, 1)
    masks = torch.zeros(4, 1, 20, 20)
    for mask, side in zip(masks, (15, 3, 10, 6)):
        top, left = torch.randint(21 - side, (2,)).tolist()
        mask[:, top : top + side, left : left + side] = 1
    return maps, masks


def null_position(function) -> str:
    """Write softmax attention with a null position: context and weights, from l, scores, null."""
    l, scores = torch.randn(2, 6, 4, 5), 2 * torch.randn(2, 1, 4, 5)
    null = torch.tensor(1.5, requires_grad=True)
    answer = function(l, scores, null)
    two = isinstance(answer, tuple | list) and len(answer) == 2
    require(two, "Return two tensors: the context and the weights of the positions.")
    expected = _with_null(scores, null)
    weights = as_tensor(answer[1], expected.shape, "The tensor of weights without null")
    context = as_tensor(answer[0], (2, 6), "The context")
    _check_null_weights(weights, scores, null, expected)
    require(
        is_close(context, (weights * l).sum(dim=(2, 3))),
        "The weights are right, but the context isn't their weighted sum of the features.",
    )
    require(
        torch.is_tensor(answer[1]) and answer[1].requires_grad,
        "The numbers are right, but no gradient reaches the null score, so it can't be learned.",
    )
    high = as_tensor(function(l, 100 * scores, torch.tensor(2000.0))[1], scores.shape, "A weight")
    refuse(high.max() > 1e-6, "With a very high null score, the positions should get nothing.")
    kept = weights.sum(dim=(1, 2, 3)).mean()
    return (
        f"Right. With a null score of 1.5, the positions share {kept:.2f} of the weight on "
        "average; with a very high one, they get nothing."
    )


def _with_null(scores: Tensor, null: Tensor) -> Tensor:
    """Return the weights of the positions if null competes with them."""
    flat = scores.flatten(2)  # (B, 1, H * W)
    everything = torch.cat([flat, null.expand(*flat.shape[:2], 1)], dim=-1)
    return everything.softmax(dim=-1)[..., :-1].view_as(scores)


def _check_null_weights(weights: Tensor, scores: Tensor, null: Tensor, expected: Tensor) -> None:
    """Tell apart the mistakes in the weights of the positions."""
    alone = scores.flatten(2).softmax(dim=-1).view_as(scores)
    refuse(
        is_close(weights, alone),
        "Your weights sum to 1 whatever the null score is. It has to compete with the positions.",
    )
    refuse(
        is_close(weights, _with_null(scores, torch.zeros(()))),
        "Your null position has the score 0, whatever `null` is.",
    )
    refuse(
        is_close(weights, (scores - null).sigmoid()),
        "Each of your positions competes with null alone. Together, they all share a sum of 1.",
    )
    refuse(
        is_close(weights, alone * (1 - null.sigmoid())),
        "Your null weight ignores the scores of the positions, so it can't depend on the image.",
    )
    require(is_close(weights, expected), "The weights of the positions are wrong.")
