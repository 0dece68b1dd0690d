"""The masks of COCO: do maps on everyday photographs find what they are asked for?

``python -m experiments.photographs_with_masks`` asks EfficientNet-Lite0 about every object in 128
photographs of COCO whose kind has counterparts among ImageNet's classes, and scores Grad-CAM
against the pixel masks. On cats and dogs, it scores the maps of the trained attention as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from course_utils.core.eval_mode import evaluating
from course_utils.core.resampling import bootstrap_interval
from course_utils.data.boxed_photographs import Masked
from course_utils.explain.grad_cam import gradcam
from course_utils.explain.metrics import (
    best_iou,
    covered,
    energy_inside,
    grid_ceiling,
    pointing_game,
)
from course_utils.models.efficientnet_lite import CLASSES

SHIPPED = Path(__file__).parents[1] / "shipped" / "photographs"
LAYERS = {"10 × 10": "_blocks.10", "5 × 5": "_blocks.15", "last": "_bn1"}  # sides at 160 pixels
LEAST = 0.005  # of the photograph: smaller objects aren't asked about
FINE = 32  # positions per side: on finer grids, the best map can hit any object
SCORES = {
    "pointing": pointing_game,
    "energy": energy_inside,
    "best_iou": best_iou,
    "covered": covered,
}
DOGS = CLASSES[151:269]  # from Chihuahua to Mexican hairless
CATS = CLASSES[281:286]  # tabby, tiger cat, Persian, Siamese and Egyptian cat
BIRDS = (*CLASSES[7:25], *CLASSES[80:101], *CLASSES[127:147])
# Kinds of COCO, and the classes of ImageNet that are photographs of the same thing.
COUNTERPARTS: dict[str, tuple[str, ...]] = {
    "bicycle": ("mountain bike", "bicycle-built-for-two"),
    "car": ("beach wagon", "cab", "convertible", "jeep", "limousine", "minivan", "sports car"),
    "motorcycle": ("moped", "motor scooter"),
    "airplane": ("airliner", "warplane"),
    "bus": ("minibus", "school bus", "trolleybus"),
    "train": ("bullet train", "electric locomotive", "passenger car", "steam locomotive"),
    "truck": ("garbage truck", "moving van", "pickup", "tow truck", "trailer truck"),
    "boat": ("canoe", "catamaran", "fireboat", "gondola", "lifeboat", "speedboat", "yawl"),
    "traffic light": ("traffic light",),
    "stop sign": ("street sign",),
    "parking meter": ("parking meter",),
    "bench": ("park bench",),
    "bird": BIRDS,
    "cat": CATS,
    "dog": DOGS,
    "horse": ("sorrel",),
    "sheep": ("ram",),
    "cow": ("ox",),
    "elephant": ("African elephant", "Indian elephant", "tusker"),
    "bear": ("American black bear", "brown bear", "ice bear", "sloth bear"),
    "zebra": ("zebra",),
    "backpack": ("backpack",),
    "umbrella": ("umbrella",),
    "handbag": ("purse",),
    "tie": ("Windsor tie",),
    "skis": ("ski",),
    "baseball bat": ("baseball",),
    "tennis racket": ("racket",),
    "bottle": ("beer bottle", "pop bottle", "water bottle", "wine bottle"),
    "wine glass": ("goblet", "red wine"),
    "cup": ("cup", "coffee mug"),
    "spoon": ("wooden spoon",),
    "bowl": ("mixing bowl", "soup bowl"),
    "banana": ("banana",),
    "orange": ("orange",),
    "broccoli": ("broccoli",),
    "hot dog": ("hotdog",),
    "pizza": ("pizza",),
    "chair": ("barber chair", "folding chair", "rocking chair"),
    "couch": ("studio couch",),
    "potted plant": ("pot",),
    "bed": ("four-poster", "studio couch"),
    "dining table": ("dining table",),
    "toilet": ("toilet seat",),
    "tv": ("monitor", "screen", "television"),
    "laptop": ("laptop", "notebook"),
    "mouse": ("mouse",),
    "remote": ("remote control",),
    "keyboard": ("computer keyboard",),
    "cell phone": ("cellular telephone",),
    "microwave": ("microwave",),
    "oven": ("rotisserie", "stove"),
    "refrigerator": ("refrigerator",),
    "book": ("book jacket", "comic book"),
    "clock": ("analog clock", "wall clock"),
    "vase": ("vase",),
    "teddy bear": ("teddy",),
}


class Questions(NamedTuple):
    """What is asked about each object: rows of photographs, kinds, classes and masks.

    Attributes:
        rows: Index of the photograph of each question.
        kinds: Name of the kind of object, as COCO has it.
        classes: The counterpart of the kind with the largest logit for the photograph, an index.
        masks: Pixels of all objects of the kind, of shape (Q, 1, S, S).
    """

    rows: list[int]
    kinds: list[str]
    classes: list[int]
    masks: Bool[Tensor, "Q 1 S S"]


def questions(masked: Masked, logits: Float[Tensor, "N classes"]) -> Questions:
    """Return a question for each kind in each photograph that has counterparts in ImageNet.

    Args:
        masked: Photographs with masks.
        logits: What the network answers to them.
    """
    rows, kinds, classes, masks = [], [], [], []
    for number, kind in enumerate(masked.classes):
        names = COUNTERPARTS.get(kind, ())
        if number == 0 or not names:
            continue
        indices = torch.tensor([CLASSES.index(name) for name in names])
        regions = masked.masks == number
        for row in (regions.float().mean(dim=(1, 2, 3)) >= LEAST).nonzero().flatten().tolist():
            rows.append(row)
            kinds.append(kind)
            classes.append(int(indices[logits[row, indices].argmax()]))
            masks.append(regions[row])
    return Questions(rows, kinds, classes, torch.stack(masks))


def only(asked: Questions, kinds: Collection[str]) -> Questions:
    """Return the questions about some kinds of objects."""
    kept = [i for i, kind in enumerate(asked.kinds) if kind in kinds]
    rows, names, classes = ([column[i] for i in kept] for column in asked[:3])
    return Questions(rows, names, classes, asked.masks[kept])  # type: ignore[arg-type]


def answers_of(model: nn.Module, images: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N classes"]:
    """Return the logits of a network of ImageNet, in small batches."""
    with evaluating(model):
        return torch.cat([model(some) for some in images.split(16)])


def ask(
    model: nn.Module, images: Float[Tensor, "N 3 S S"], asked: Questions
) -> dict[str, Float[Tensor, "Q 1 h w"]]:
    """Return the Grad-CAM maps of `LAYERS` for all questions, by layer.

    Args:
        model: EfficientNet-Lite0.
        images: Its input, see `efficientnet_lite.prepared`.
        asked: The questions.
    """
    inputs, classes = images[asked.rows], torch.tensor(asked.classes)
    return {name: gradcam(model, inputs, layer, classes) for name, layer in LAYERS.items()}


def scored(maps: Mapping[str, Float[Tensor, "Q 1 h w"]], asked: Questions) -> pd.DataFrame:
    """Score maps against the masks of the questions: one row per map and question.

    The map of another question, about another photograph, is the level of chance. ``ceiling`` is
    the best pointing that a map with the same grid can have, see `grid_ceiling`; 1 for fine grids.
    """
    tables = []
    area = asked.masks.float().mean(dim=(1, 2, 3)).numpy()
    other = _others(asked.rows)
    for name, m in maps.items():
        grid = (m.shape[-2], m.shape[-1])
        ceiling = grid_ceiling(asked.masks, grid)[0].numpy() if max(grid) <= FINE else 1.0
        for whose, which in (("own", m), ("another image's", m[other])):
            scores = {score: f(which, asked.masks).numpy() for score, f in SCORES.items()}
            about = {"map": name, "whose": whose, "image": asked.rows, "kind": asked.kinds}
            tables.append(pd.DataFrame(about | {"area": area, "ceiling": ceiling} | scores))
    return pd.concat(tables)


def _others(rows: list[int]) -> list[int]:
    """Return for each question the next one, in a circle, that is about another photograph."""
    n = len(rows)
    return [
        next((i + k) % n for k in range(1, n + 1) if rows[(i + k) % n] != rows[i] or k == n)
        for i in range(n)
    ]


def grad_cam_scores(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the scores of Grad-CAM for all questions, see `scored`."""
    return pd.read_csv(home / "masks_grad_cam.csv")


def attention_scores(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the scores of trained attention on cats and dogs, see `scored`."""
    return pd.read_csv(home / "masks_attention.csv")


def by_photograph(rows: pd.DataFrame, score: str) -> tuple[float, float, float]:
    """Return the mean of a score over questions, and its interval for other photographs.

    Questions about one photograph are drawn together, because they aren't independent.

    Args:
        rows: Questions, with the columns ``image`` and that of the score; two photographs or more.
        score: One of `SCORES`.
    """
    sums = rows.groupby("image")[score].agg(["sum", "count"]).to_numpy()
    low, high = bootstrap_interval(
        lambda drawn: sums[drawn, 0].sum() / sums[drawn, 1].sum(), len(sums)
    )
    return float(rows[score].mean()), float(low), float(high)
