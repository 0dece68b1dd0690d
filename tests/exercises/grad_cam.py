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
    RAW = torch.randn(6, 1, 4, 4)
LAYERS = {"block 4": "1", "block 5": "3", "last pool": "4"}
REGIONS = torch.zeros(6, 1, 16, 16, dtype=torch.bool)
for i, region in enumerate(REGIONS):
    region[:, i : i + 6, 2 * i : 2 * i + 5] = True

BELOW = metrics.energy_inside((-RAW).relu(), REGIONS)
LARGE = metrics.fit_to((-RAW).relu(), REGIONS)
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
    "below_zero": Case(
        wrong=[
            (metrics.energy_inside(RAW.relu(), REGIONS).mean(), "share of the positive part"),
            (metrics.energy_inside(RAW.abs(), REGIONS).mean(), "positive part as well"),
            (metrics.area_share(REGIONS).mean(), "is chance"),
            ((-RAW).relu().sum() / RAW.abs().sum(), "how much of the maps lies below zero"),
            ((LARGE * REGIONS).sum() / LARGE.sum(), "one share for all maps together"),
            (BELOW, "one number for each of the 6 images"),
            (-BELOW.mean(), "between 0 and 1"),
            (0.9, "another share"),
        ],
        right=[BELOW.mean(), BELOW.mean().item(), BELOW.numpy().mean()],
        given=lambda: {"raw_maps": RAW, "regions": REGIONS},
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
