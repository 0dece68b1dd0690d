import numpy as np
import torch
from torch import nn

from course_utils.explain import metrics
from course_utils.explain.grad_cam import gradcam
from tests.exercises.cases import Case

with torch.random.fork_rng(
    devices=[]
):  # an untrained network, and what looks at it: the same in every run
    torch.manual_seed(0)
    convolutions = (
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
    NETWORK = nn.Sequential(
        *convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    ).eval()
    IMAGES, LABELS = torch.rand(6, 1, 8, 8), torch.arange(6) % 4
LAYERS = {"block 4": "1", "block 5": "3", "last pool": "4"}
REGIONS = torch.zeros(6, 1, 16, 16, dtype=torch.bool)
for i, region in enumerate(REGIONS):
    region[:, i : i + 6, 2 * i : 2 * i + 5] = True

# `suggest_layers` names one layer per size: the pool, and the ReLU before it.
POOL, RELU = (
    metrics.best_iou(gradcam(NETWORK, IMAGES, name, LABELS), REGIONS) for name in ("4", "3")
)
BEST, OTHER = ("4", "3") if POOL[:3].mean() > RELU[:3].mean() else ("3", "4")
BEST_IOU = POOL if BEST == "4" else RELU
EQUAL = {"block 4": False, "block 5": False, "last pool": True}


def hires(A, G):
    return (A * G).sum(dim=1, keepdim=True).relu()


def raw(images, c):
    return gradcam(NETWORK, images, "1", c, relu=False)


def contrast(images, a, b):
    return raw(images, a) - raw(images, b)


def cut(images, a, b):
    return raw(images, a).relu() - raw(images, b).relu()


CASES = {
    "chosen_layer": Case(
        wrong=[
            ((BEST, BEST_IOU[:3].mean()), "images that chose the layer"),
            ((BEST, BEST_IOU.mean()), "half of them chose the layer"),
            ((BEST, 0.9), "^The layer is right. Take the mean"),
            ((BEST, -BEST_IOU[3:].mean()), "between 0 and 1"),
            ((OTHER, 0.5), "deepest layer|isn't the layer with the highest score"),
            (("head", 0.5), "^Choose one of the layers 4, 3, by its name"),
            ((BEST, ...), "^Nothing to check yet"),
        ],
        right=[(BEST, BEST_IOU[3:].mean()), (BEST, BEST_IOU[3:].mean().item())],
        given=lambda: {
            "network": NETWORK,
            "images": IMAGES,
            "labels": LABELS,
            "regions": REGIONS,
        },
    ),
    "hires_cam": Case(
        wrong=[
            (
                (
                    lambda A, G: (
                        (A * G.mean(dim=(2, 3), keepdim=True)).sum(dim=1, keepdim=True).relu()
                    ),
                    EQUAL,
                ),
                "is Grad-CAM",
            ),
            (
                (lambda A, G: (A * G).sum(dim=1, keepdim=True), EQUAL),
                "a ReLU is missing",
            ),
            (
                (lambda A, G: (A * G).mean(dim=1, keepdim=True).relu(), EQUAL),
                "mean over the channels",
            ),
            ((lambda A, G: (A * G).relu().sum(dim=1, keepdim=True), EQUAL), "ReLU comes too early"),
            (
                (lambda A, G: (A * G).sum(dim=1).relu(), EQUAL),
                r"^The map should have the shape \(2, 1, 4, 5\), not \(2, 4, 5\)",
            ),
            (
                (lambda A, G: (A * G.abs()).sum(dim=1, keepdim=True), EQUAL),
                "values are wrong",
            ),
            (
                (hires, EQUAL | {"block 5": True}),
                "^The function is right. block 5: is the gradient there the same",
            ),
            ((hires, EQUAL | {"last pool": False}), "^The function is right. last pool"),
            (
                (hires, EQUAL | {"block 4": "False"}),
                "^block 4 should be True or False, not 'False'",
            ),
            (
                (hires, {"last pool": True}),
                "Give an answer for each of: block 4, block 5, last pool",
            ),
            ((hires, EQUAL | {"block 4": ...}), "^Nothing to check yet"),
            ((lambda A, G: None, EQUAL), "^Nothing to check yet"),
        ],
        right=[
            (hires, EQUAL),
            (
                lambda A, G: torch.einsum("bkhw,bkhw->bhw", A, G)[:, None].clamp(min=0),
                EQUAL | {"block 4": np.False_},
            ),
        ],
        given=lambda: {"network": NETWORK, "images": IMAGES, "labels": LABELS, "layers": LAYERS},
    ),
    "contrast": Case(
        wrong=[
            ((cut, False), "clipped already"),
            ((lambda images, a, b: contrast(images, b, a), False), "sign is wrong"),
            (
                (lambda images, a, b: contrast(images, a, b).relu(), False),
                "clip the difference at zero",
            ),
            ((lambda images, a, b: raw(images, a), False), "the map of a alone"),
            (
                (lambda images, a, b: raw(images, a) + raw(images, b), False),
                "map is wrong",
            ),
            ((contrast, True), "^The function is right. Now subtract two maps that were clipped"),
            ((contrast, "no"), "^same_with_relu should be True or False, not 'no'"),
            ((contrast, ...), "^Nothing to check yet"),
            (
                (lambda images, a, b: gradcam(NETWORK, images, "none", a), False),
                "stops with ValueError",
            ),
        ],
        right=[
            (contrast, False),
            (lambda images, a, b: -(raw(images, b) - raw(images, a)), np.False_),
        ],
        given=lambda: {"network": NETWORK, "images": IMAGES, "layer": "1"},
    ),
}
