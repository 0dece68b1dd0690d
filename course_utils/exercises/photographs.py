"""Exercises of the chapter Photographs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from course_utils.attention.spatial import ALIGN, Alignment, weighted_context
from course_utils.core.boxes import box_regions
from course_utils.exercises._feedback import (
    UnfinishedError,
    as_number,
    as_tensor,
    refuse,
    require,
    require_number,
    require_tensor,
)

_ALIGNMENTS: tuple[Alignment, ...] = ("softmax", "sparsemax", "sigmoid")
_PHOTOS, _SIDE, _DRAWS = 40, 24, 100  # per part; in pixels; for the mean optimism
_ENERGY = "the average map's energy"
_CHOSEN_ON_TEST = "chosen on the test regions"

# For a point, what leads to another number than the right one, and what the learner reads then.
_POINT_MISTAKES = {
    _CHOSEN_ON_TEST: (
        "You choose the pixel on the test regions, and then test it on them. That's circular: it "
        "has seen the answers. Choose it on the training regions."
    ),
    "scored on the training regions": (
        "You choose the pixel on the training regions, which is right, but you score it there as "
        "well. Score it on the test regions."
    ),
    "row and column swapped": (
        "You've swapped the row and the column of the pixel. Regions have the shape (N, 1, H, W): "
        "rows come first."
    ),
    "the middle of the picture": (
        "That's the pixel in the middle of the picture. A better one may lie beside it: count, for "
        "each pixel, how many training regions contain it."
    ),
    "the mean area": (
        "That's the mean area of the test regions, which a random point would score. You may "
        "choose the point."
    ),
    _ENERGY: (
        "That's the energy of the average training region. You may point at one pixel only, so "
        "take the one where the average is highest."
    ),
}

# What a report may add, in the order of the options: controls, and what the others do instead.
_CONTROLS = {
    "hidden layer": (
        "Something is missing. Attention brought a map, but parameters as well. Which option keeps "
        "the parameters and leaves out the map?"
    ),
    "true box": (
        "Something is missing. Suppose that a map found the object every time. Which option "
        "measures how much that alone would gain?"
    ),
    "swapped maps": (
        "Something is missing. Does a mushroom need a map of its own, or would anybody's do? One "
        "option asks the trained network."
    ),
}
_NO_CONTROLS = {
    "more epochs": (
        "More epochs for attention alone may widen the gap, but they won't explain it. If "
        "anything, averaging should get the same budget."
    ),
    "another colour map": (
        "Another colour map changes the figure, and not a single weight. It can make a map look "
        "better or worse, but the network doesn't care."
    ),
    "larger test set": (
        "A larger test set would tell you more exactly how wide the gap is. It can't tell you "
        "what caused it."
    ),
    "best examples": (
        "If you pick ten photographs for their maps, the maps look good whatever the network does. "
        "It's evidence that you can pick."
    ),
}


def blended(function) -> str:
    """Write the context of weights from equal ones (t = 0) to those of attention (t = 1).

    Args:
        function: Takes weights (B, 1, H, W), local features (B, C, H, W), t and the name of an
            alignment. It returns the context (B, C), and keeps the sum of each image's weights.
    """
    l = torch.rand(3, 4, 5, 6) + 0.5
    for alignment in _ALIGNMENTS:
        scores = 2 * torch.randn(3, 1, 5, 6)
        weights = ALIGN[alignment](scores.flatten(2)).view_as(scores)
        # Attention alone comes first, because it shows whether a sum was mistaken for a mean.
        for t in (1.0, 0.0, 0.3):
            context = as_tensor(function(weights, l, t, alignment), (3, 4), "The context")
            case = f"{alignment.capitalize()} at t = {t:g}"
            require_tensor(
                context,
                _between(weights, l, t, alignment),
                [(c, f"{case}: {s}") for c, s in _wrong_contexts(weights, l, t, alignment)],
                f"{case}: the context is wrong. Blend the weights first, position by position, and "
                "then combine the features with them.",
            )
    return (
        "Right. For every t, the weights have the same sum. So if accuracy changes with t, it's "
        "because of where the weights lie, and not because there are more of them."
    )


def _between(weights: Tensor, l: Tensor, t: float, alignment: Alignment) -> Float[Tensor, "B C"]:
    """Return the context of the blended weights."""
    equal = weights.mean(dim=(2, 3), keepdim=True)
    return weighted_context(t * weights + (1 - t) * equal, l, alignment)


def _wrong_contexts(
    weights: Tensor, l: Tensor, t: float, alignment: Alignment
) -> Iterator[tuple[Tensor, str]]:
    """Yield the contexts that known mistakes lead to, each with the sentence about it."""
    n, total = weights[0].numel(), weights[0].sum().item()
    blend = _between(weights, l, t, alignment)
    if alignment == "sigmoid":
        yield (
            blend * n,
            "you take the sum. These weights don't compete, so with more positions a sum would "
            "grow. The context is the mean.",
        )
    else:
        yield (
            blend / n,
            f"you take the mean. The weights already add up to 1, so the context is the sum; yours "
            f"is {n} times too small.",
        )
    if t == 1:
        yield (
            _between(weights, l, 0.0, alignment),
            "these are equal weights. Is it the wrong way round? t = 1 should give attention, and "
            "t = 0 equal weights.",
        )
    for equal in (1.0, 1 / n, weights.mean()):
        yield (
            weighted_context(t * weights + (1 - t) * equal, l, alignment),
            f"the sum of the weights isn't kept. The first image's attention adds up to "
            f"{total:.3g}, so its equal weights should, too.",
        )
    yield (
        _between(weights / weights.sum(dim=(2, 3), keepdim=True), l, t, "softmax"),
        "you make the weights add up to 1. Their sum says how much attention there is, so keep it.",
    )
    yield (
        _between(weights, l, 1.0, alignment),
        "that's attention alone. Equal weights should have a share of 1 − t.",
    )


def best_point(function) -> str:
    """Write the pointing score of one fixed pixel, chosen on training regions.

    Args:
        function: Takes training and test regions (N, 1, H, W), true inside. It returns the share of
            the test regions that contain the pixel which lies in most training regions.
    """
    train, test, expected, wrong = _telling_draw()
    found = as_number(function(train, test), "The score")
    mistakes = [(wrong[name], sentence) for name, sentence in _POINT_MISTAKES.items()]
    mistakes += [
        (100 * expected, "That's a percentage. Return a share from 0 to 1."),
        (_PHOTOS * expected, "That's the number of regions that are hit. Return their share."),
    ]
    otherwise = (
        f"The pixel that lies in most training regions is in {expected:.3f} of the test regions, "
        f"but your score is {found:.3f}."
    )
    require_number(found, expected, mistakes, otherwise)
    return (
        f"Right: this pixel hits {100 * expected:.0f} % without a look at any photograph. If you'd "
        f"chosen it on the {_PHOTOS} test regions, you'd score {100 * _optimism():.0f} points more "
        f"(mean of {_DRAWS} draws), and none of them honestly."
    )


def _telling_draw() -> tuple[Tensor, Tensor, float, Mapping[str, float]]:
    """Draw regions for which each mistake leads to a number of its own.

    Returns:
        The training regions, the test regions, the right score, and the score of each mistake.
    """
    while True:
        train, test = _photographers(2)
        often = train.float().mean(dim=0).flatten()
        expected = test.flatten(1)[:, often.argmax()].float().mean().item()
        wrong = _wrong_scores(train, test)
        numbers = sorted([expected, *wrong.values()])
        gaps = [high - low for low, high in itertools.pairwise(numbers)]
        # A second pixel in as many regions would be as right, and may hit another share of tests.
        if (often == often.max()).sum() == 1 and min(gaps) > 2e-3 and expected > 0:
            return train, test, expected, wrong


def _photographers(parts: int) -> Bool[Tensor, "parts N 1 S S"]:
    """Return the regions of photographs whose objects scatter around a point near the middle."""
    middle = _SIDE / 2 + torch.tensor([-3.0, 2.0])  # of x and y: apart, so swapping them shows
    centres = middle + 4 * torch.randn(parts * _PHOTOS, 2)
    half = 3 + 4 * torch.rand(parts * _PHOTOS, 2)
    boxes: Int[Tensor, "N 4"] = torch.cat([centres - half, centres + half], dim=1).round().long()
    return box_regions(boxes, _SIDE).view(parts, _PHOTOS, 1, _SIDE, _SIDE)


def _wrong_scores(train: Tensor, test: Tensor) -> dict[str, float]:
    """Return the number that each of `_POINT_MISTAKES` leads to."""
    in_train, in_test = (part.float().mean(dim=(0, 1)) for part in (train, test))  # (S, S)
    row, column = divmod(int(in_train.argmax()), _SIDE)
    scores = {
        _CHOSEN_ON_TEST: in_test.max(),
        "scored on the training regions": in_train.max(),
        "row and column swapped": in_test[column, row],
        "the middle of the picture": in_test[_SIDE // 2, _SIDE // 2],
        "the mean area": in_test.mean(),
        _ENERGY: (in_train * in_test).sum() / in_train.sum(),
    }
    return {name: score.item() for name, score in scores.items()}


def _optimism() -> float:
    """Return by how much a pixel chosen on the test regions scores better there, on average."""
    train, test = _photographers(2 * _DRAWS).float().mean(dim=1).flatten(1).split(_DRAWS)
    fair = test.gather(1, train.argmax(dim=1, keepdim=True))
    return (test.amax(dim=1, keepdim=True) - fair).mean().item()


def missing_controls(answer) -> str:
    """Name the controls that a report on attention lacks.

    Args:
        answer: A set of names, among those of `_CONTROLS` and `_NO_CONTROLS`.
    """
    chosen = _as_names(answer)
    for name, sentence in _NO_CONTROLS.items():
        refuse(name in chosen, sentence)
    for name, sentence in _CONTROLS.items():
        require(name in chosen, sentence)
    return (
        "Right. They ask whether it's the parameters, what a perfect map would gain, and whether a "
        "photograph needs its own map. To say where the maps lie, score them beside the "
        "photographer's best point as well."
    )


def _as_names(answer: Any) -> set[str]:
    """Return the names in an answer, which may be one name or several."""
    options = _CONTROLS | _NO_CONTROLS
    some = {answer} if isinstance(answer, str) else answer
    require(
        isinstance(some, set | frozenset | tuple | list),
        f"The answer should be a set of names, among {', '.join(options)}.",
    )
    if ... in some:
        raise UnfinishedError
    for name in some:
        require(
            name in options, f"{name!r} isn't among the options. They are {', '.join(options)}."
        )
    return set(some)
