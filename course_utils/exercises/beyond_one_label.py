"""The exercises of chapter 12."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.exercises._feedback import close, require, tensor, truth
from course_utils.explain import metrics
from course_utils.training.classification import mean_average_precision


def fair_share(function, maps: Tensor, regions: Tensor) -> str:
    """What a label gets of a shared map, on average over the labels of an image, if no boxes overlap.

    Args:
        function: of shared maps and of the regions of all labels.
        maps: shared maps of the chapter, to say how much it is there.
        regions: the boxes that belong to them, which may overlap.
    """
    m, boxes = torch.rand(5, 1, 8, 8) + 0.1, _apart(5)
    share = tensor(function(m, boxes), (5,), "The answer")
    together = metrics.energy_inside(m, boxes.any(dim=1, keepdim=True))
    labels = boxes.any(dim=(2, 3)).sum(dim=1)
    require(
        not close(share, together),
        "That is what all boxes get together. How much of it is one label's?",
    )
    require(
        not close(share, together / 10),
        "Not all ten labels are in an image: only those that are share the map.",
    )
    area = boxes.any(dim=1).float().mean(dim=(1, 2)) / labels
    require(
        not close(share, area),
        "That is what an even map would give. How the map divides itself should count.",
    )
    whole = "Another share comes out: what lies in any box, divided by the number of labels that have one."
    require(close(share, together / labels) or close(share, _in_squares(m, boxes) / labels), whole)
    mean = function(maps, regions).mean().item()
    return f"Right: {mean:.3f} on average here, however the maps divide themselves."


def _in_squares(m: Tensor, boxes: Tensor) -> Tensor:
    """What lies in any box if each position of a map becomes a square of one brightness."""
    large = m.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    return (large * boxes.any(dim=1, keepdim=True)).sum(dim=(1, 2, 3)) / large.sum(dim=(1, 2, 3))


def contributions(function) -> str:
    """What each position adds to each logit of a network with a map by class."""
    l, a, w = torch.randn(2, 6, 4, 5), torch.rand(2, 10, 4, 5), torch.randn(10, 6)
    evidence = torch.einsum("mc,bchw->bmhw", w, l)
    found = function(l, a, w)
    added_up = torch.is_tensor(found) and found.shape == (2, 10)
    require(
        not added_up,
        "These are added up over the positions: what is asked for has a number at each of them.",
    )
    found = tensor(found, (2, 10, 4, 5), "The contributions")
    require(
        not close(found, evidence),
        "That is the evidence at each position: how much does the map let through?",
    )
    require(
        not close(found, (a * evidence).relu()),
        "What speaks against a label is a contribution, too.",
    )
    shared = a.mean(dim=1, keepdim=True) * evidence
    require(not close(found, shared), "That has one map for all labels. Each label has its own.")
    require(
        not close(found, a * evidence / 20),
        "No mean here: the weights of the map say how much a position counts.",
    )
    other = "Other numbers come out. For a label: its row of w against each l_i, and then its own weight there."
    require(close(found, a * evidence), other)
    return "Right: added up over the positions, and with b, they are the logits."


def too_sure(changes, logits: Tensor, targets: Tensor) -> str:
    """Which scores change when all logits are multiplied by 4: True or False for each."""
    scores = {
        "mAP": lambda y: mean_average_precision(y, targets),
        "all ten right": lambda y: ((y > 0) == (targets > 0)).all(dim=1).float().mean().item(),
        "cross-entropy": lambda y: F.binary_cross_entropy_with_logits(y, targets).item(),
    }
    named = isinstance(changes, dict) and changes.keys() == scores.keys()
    require(named, f"An answer is expected for each of: {', '.join(scores)}.")
    for name, said in changes.items():
        said = truth(said, name)
        before, after = scores[name](logits), scores[name](4 * logits)
        look = f"{name}: does it look at the order, the sign or the size of a logit?"
        require(said == (abs(before - after) > 1e-6), look)
    before, after = (scores["cross-entropy"](factor * logits) for factor in (1, 4))
    return f"Right. The cross-entropy was {before:.3f}, and is {after:.3f} now."


def _apart(count: int) -> Tensor:
    """Boxes of one to three of ten labels in each of several images, (B, 10, 32, 32), without overlap."""
    boxes = torch.zeros(count, 10, 32, 32, dtype=torch.bool)
    for i, of_image in enumerate(boxes):
        columns, labels = torch.randperm(4), torch.randperm(10)[: 1 + i % 3]
        for column, label in zip(columns.tolist(), labels.tolist()):
            top = int(torch.randint(0, 22, ()))
            of_image[label, top : top + 10, 8 * column : 8 * column + 7] = True
    return boxes
