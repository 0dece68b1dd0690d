"""Exercises of the chapter Beyond one label."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.exercises._feedback import as_bool, as_tensor, is_close, refuse, require
from course_utils.explain import metrics
from course_utils.training.classification import mean_average_precision


def fair_share(function, maps: Tensor, regions: Tensor) -> str:
    """Write the share of a shared map that one label gets, averaged over the image's labels.

    Args:
        function: The answer: a function of shared maps and of the regions of all labels.
        maps: Shared maps of the chapter, for the sentence about a right answer.
        regions: The boxes of their labels, which may overlap.
    """
    m, boxes = torch.rand(5, 1, 8, 8) + 0.1, _separate_boxes(5)
    share = as_tensor(function(m, boxes), (5,), "The answer")
    together = metrics.energy_inside(m, boxes.any(dim=1, keepdim=True))
    labels = boxes.any(dim=(2, 3)).sum(dim=1)
    refuse(
        is_close(share, together),
        "That is what all boxes get together. How much of it belongs to one label?",
    )
    refuse(
        is_close(share, together / 10),
        "You divide by ten, but only the labels that are in the image share the map.",
    )
    refuse(
        is_close(share, boxes.any(dim=1).float().mean(dim=(1, 2)) / labels),
        "That is the result for a uniform map. Use the values of the map.",
    )
    # The map may be enlarged by interpolation or by repeating its values: both readings are right.
    require(
        is_close(share, together / labels) or is_close(share, _share_in_squares(m, boxes) / labels),
        "The share is wrong. Take what lies in any box, divided by the number of "
        "labels that have a box.",
    )
    mean = function(maps, regions).mean().item()
    return f"Right: {mean:.3f} on average here, however a map divides itself among the labels."


def _share_in_squares(m: Tensor, boxes: Tensor) -> Tensor:
    """Return the share in any box if each position of a map becomes a square of constant value."""
    large = m.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)  # (B, 1, 32, 32)
    return (large * boxes.any(dim=1, keepdim=True)).sum(dim=(1, 2, 3)) / large.sum(dim=(1, 2, 3))


def contributions(function) -> str:
    """Write the contribution of each position to each logit of a network with one map per class."""
    l, a, w = torch.randn(2, 6, 4, 5), torch.rand(2, 10, 4, 5), torch.randn(10, 6)
    evidence = torch.einsum("mc,bchw->bmhw", w, l)
    result = function(l, a, w)
    refuse(
        torch.is_tensor(result) and result.shape == (2, 10),
        "You added up the positions. Return one value per position.",
    )
    result = as_tensor(result, (2, 10, 4, 5), "The result")
    refuse(
        is_close(result, evidence),
        "That is the evidence at each position. How much of it does the map let through?",
    )
    refuse(
        is_close(result, (a * evidence).relu()),
        "You clip at zero, but evidence against a label is a contribution, too.",
    )
    refuse(
        is_close(result, a.mean(dim=1, keepdim=True) * evidence),
        "You use one map for all labels, but each label has its own.",
    )
    refuse(
        is_close(result, a * evidence / 20),
        "You divide by the number of positions, but the map already says how much each one counts.",
    )
    require(
        is_close(result, a * evidence),
        "The values are wrong. For one label, multiply its row of w by each l_i, "
        "and then by its own weight there.",
    )
    return "Right: summed over the positions, and with b added, they are the logits."


def too_sure(changes, logits: Tensor, targets: Tensor) -> str:
    """Decide which scores change when all logits are multiplied by 4.

    Args:
        changes: The answer: True or False for each score, by name.
        logits: Logits, one per label.
        targets: 1 for each label that is in the image, else 0.
    """
    scores = {
        "mAP": lambda y: mean_average_precision(y, targets),
        "all ten right": lambda y: ((y > 0) == (targets > 0)).all(dim=1).float().mean().item(),
        "cross-entropy": lambda y: F.binary_cross_entropy_with_logits(y, targets).item(),
    }
    complete = isinstance(changes, dict) and changes.keys() == scores.keys()
    require(complete, f"Give an answer for each of: {', '.join(scores)}.")
    for name, claim in changes.items():
        before, after = scores[name](logits), scores[name](4 * logits)
        require(
            as_bool(claim, name) == (abs(before - after) > 1e-6),
            f"{name}: does it depend on the order, the sign or the size of a logit?",
        )
    before, after = (scores["cross-entropy"](factor * logits) for factor in (1, 4))
    return f"Right. The cross-entropy changes from {before:.3f} to {after:.3f}."


def _separate_boxes(count: int) -> Tensor:
    """Draw boxes for one to three of ten labels in each image, (B, 10, 32, 32), without overlap."""
    boxes = torch.zeros(count, 10, 32, 32, dtype=torch.bool)
    for i, of_image in enumerate(boxes):
        labels = torch.randperm(10)[: 1 + i % 3]
        columns = torch.randperm(4)[: len(labels)]  # one column per label, so boxes can't overlap
        for column, label in zip(columns.tolist(), labels.tolist(), strict=True):
            top = int(torch.randint(0, 22, ()))
            of_image[label, top : top + 10, 8 * column : 8 * column + 7] = True
    return boxes
