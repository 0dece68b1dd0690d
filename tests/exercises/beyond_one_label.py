import numpy as np
import torch
import torch.nn.functional as F

from course_utils.explain import metrics
from tests.exercises.cases import Case


def together(m, boxes):
    return metrics.energy_inside(m, boxes.any(dim=1, keepdim=True))


def labels_of(boxes):
    return boxes.any(dim=(2, 3)).sum(dim=1)


def label_by_label(m, boxes):
    each = torch.stack([metrics.energy_inside(m, boxes[:, [k]]) for k in range(10)], dim=1)
    return each.sum(dim=1) / labels_of(boxes)


def at_the_size_of_the_map(m, boxes):
    anywhere = F.adaptive_avg_pool2d(boxes.any(dim=1, keepdim=True).float(), m.shape[2:])
    return (m * anywhere).sum(dim=(1, 2, 3)) / m.sum(dim=(1, 2, 3)) / labels_of(boxes)


def evidence(l, w):
    return torch.einsum("mc,bchw->bmhw", w, l)


def answers():
    logits = torch.linspace(-3, 3, 60).view(6, 10)[:, torch.randperm(10)]
    targets = (logits > 0.5).float()
    targets[0, 0] = 1  # and one that is missed
    return {"logits": logits, "targets": targets}


CHANGES = {"mAP": False, "all ten right": False, "cross-entropy": True}

CASES = {
    "fair_share": Case(
        wrong=[
            (together, "what all boxes get together"),
            (lambda m, boxes: together(m, boxes) / 10, "divide by ten"),
            (
                lambda m, boxes: boxes.any(dim=1).float().mean(dim=(1, 2)) / labels_of(boxes),
                "uniform map",
            ),
            (lambda m, boxes: together(m, boxes) * labels_of(boxes), "share is wrong"),
            (
                lambda m, boxes: (together(m, boxes) / labels_of(boxes)).mean(),
                r"the shape \(5\), not \(\)",
            ),
        ],
        right=[
            lambda m, boxes: together(m, boxes) / labels_of(boxes),
            label_by_label,
            at_the_size_of_the_map,
        ],
        given=lambda: {"maps": torch.rand(3, 1, 4, 4), "regions": torch.rand(3, 10, 16, 16) > 0.9},
    ),
    "contributions": Case(
        wrong=[
            (lambda l, a, w: evidence(l, w), "evidence at each position"),
            (lambda l, a, w: (a * evidence(l, w)).sum(dim=(2, 3)), "added up the positions"),
            (lambda l, a, w: (a * evidence(l, w)).relu(), "evidence against a label"),
            (
                lambda l, a, w: a.mean(dim=1, keepdim=True) * evidence(l, w),
                "one map for all labels",
            ),
            (lambda l, a, w: a * evidence(l, w) / 20, "divide by the number of positions"),
            (
                lambda l, a, w: a.flatten(2).softmax(dim=2).view_as(a) * evidence(l, w),
                "values are wrong",
            ),
            (lambda l, a, w: a * l, "stops with RuntimeError"),
            (lambda l, a, w: a[:, :, None] * l[:, None], r"not \(2, 10, 6, 4, 5\)"),
        ],
        right=[
            lambda l, a, w: a * evidence(l, w),
            lambda l, a, w: a * (w @ l.flatten(2)).unflatten(2, l.shape[2:]),
        ],
    ),
    "too_sure": Case(
        wrong=[
            (CHANGES | {"mAP": True}, "^mAP: does it depend on"),
            (CHANGES | {"all ten right": True}, "^all ten right: does it"),
            (CHANGES | {"cross-entropy": False}, "^cross-entropy: does it"),
            (CHANGES | {"mAP": "no"}, "^mAP should be True or False, not 'no'"),
            (
                {"mAP": False},
                "Give an answer for each of: mAP, all ten right, cross-entropy",
            ),
            (CHANGES | {"mAP": ...}, "^Nothing to check yet"),
        ],
        right=[CHANGES, CHANGES | {"mAP": np.False_}],
        given=answers,
    ),
}
