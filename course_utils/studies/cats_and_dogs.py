"""Study B of the chapter Photographs: cats and dogs, the task of the beginner's article.

``python -m experiments.cats_and_dogs`` trains AttnVGG and VGG from scratch at laptop width, and
attention on a frozen EfficientNet-Lite0, and looks at what their maps do from epoch to epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from course_utils.attention.map_pools import AveragePool
from course_utils.attention.spatial import Alignment, GridAttention
from course_utils.core.eval_mode import evaluating
from course_utils.explain.metrics import (
    best_iou,
    covered,
    effective_share,
    energy_inside,
    pointing_game,
)
from course_utils.models import VGG, AttnVGG
from course_utils.models.attended_backbone import AttendedBackbone
from course_utils.models.backbone import Backbone
from course_utils.studies.variants import Variant
from course_utils.training.recipes import Recipe

SHIPPED = Path(__file__).parents[1] / "shipped" / "photographs"
SEEDS = (0, 1, 2, 3, 4)
EPOCHS_SHOWN = (1, 5, 20)  # as in "How attention improves a CNN's performance"
RATES = (1e-3, 4e-3, 1.6e-2)
SCALES = (0.0625, 0.25, 1.0)

# From scratch, at an eighth of VGG16's width and 64 pixels.
_YAN = {"taps": "after", "head": "concat"}
SCRATCH = {
    "sigmoid": Variant(AttnVGG, {"alignment": "sigmoid", **_YAN}, SEEDS),
    "softmax": Variant(AttnVGG, {"alignment": "softmax", **_YAN}, SEEDS),
    "average": Variant(AttnVGG, {"alignment": None, **_YAN}, SEEDS),
    "vgg": Variant(VGG, {"head": "average"}, SEEDS),
    "vgg_dense": Variant(VGG, {"head": "dense"}, SEEDS),
}
SCRATCH_SIZE = 64
SCRATCH_RECIPE = Recipe(epochs=20, batch_size=64, augment=True)

# On the frozen backbone: AttnVGG's form, with two taps that the last features guide.
TAPS = ("_blocks.4", "_blocks.10", "_swish")
FROZEN = ("sigmoid", "softmax", "average", "backbone")
FROZEN_SIZE = 160
FROZEN_RECIPE = Recipe(epochs=20, batch_size=128, weight_decay=1e-2)
AT_ONCE = 50  # images per batch
OTHERS = "another image's "
SCORES = {
    "pointing": pointing_game,
    "energy": energy_inside,
    "best_iou": best_iou,
    "covered": covered,
}
MASKED = 1 / 8  # of the picture: hidden where a map is highest


def frozen_settings(variant: str) -> list[tuple[float, float]]:
    """Return the rates and scales that are tried; as many rates as settings if there is no scale.

    Raises:
        ValueError: If the variant is unknown.
    """
    if variant not in FROZEN:
        raise ValueError(f"unknown variant {variant!r}: choose one of {', '.join(FROZEN)}")
    if variant in ("sigmoid", "softmax"):
        return [(rate, scale) for rate in RATES[:2] for scale in SCALES]
    return [(5e-4 * 2**k, 1.0) for k in range(6)]


def on_backbone(variant: str, backbone: Backbone, scale: float, seed: int) -> AttendedBackbone:
    """Return a variant on a backbone, freshly initialised.

    Args:
        variant: One of `FROZEN`.
        backbone: A backbone with the taps of `TAPS`; for the variant ``backbone``, the last alone.
        scale: Factor on the scores.
        seed: Seed of the initial weights.
    """
    *local, last = backbone.channels
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pools: list[nn.Module]
        if variant == "average":
            pools = [AveragePool() for _ in local]
        else:
            alignment = cast(Alignment, variant)
            pools = [GridAttention(c, last, 64, alignment, scale) for c in local]
        return AttendedBackbone(backbone, pools, local, 2)


def spread(maps: Float[Tensor, "N 1 h w"]) -> dict[str, float]:
    """Return how widely maps spread: two means over the images, both shares of the positions.

    ``spread`` is the `effective_share`; ``half`` is the smallest share of the positions that holds
    half of the weight.
    """
    ordered = maps.flatten(1).sort(dim=1, descending=True).values
    reached = ordered.cumsum(dim=1) / ordered.sum(dim=1, keepdim=True).clamp(min=1e-12)
    half = ((reached < 0.5).sum(dim=1) + 1) / ordered.shape[1]
    return {"spread": effective_share(maps).nanmean().item(), "half": half.mean().item()}


def hide(
    images: Float[Tensor, "N C H W"], maps: Float[Tensor, "N 1 h w"]
) -> Float[Tensor, "N C H W"]:
    """Replace an eighth of each image, where its map is highest, by the image's mean colour."""
    large = F.interpolate(maps, images.shape[-2:], mode="bilinear").flatten(1)
    count = round(MASKED * large.shape[1])
    hidden = torch.zeros_like(large, dtype=torch.bool)
    hidden.scatter_(1, large.topk(count, dim=1).indices, True)
    colour = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    return colour.where(hidden.view(len(images), 1, *images.shape[2:]), images)


def answers(
    model: nn.Module, images: Float[Tensor, "N C H W"], labels: Int[Tensor, " N"]
) -> dict[str, float]:
    """Return the accuracy, and the mean probability of the right class."""
    with evaluating(model):
        logits = torch.cat([model(some).logits for some in images.split(AT_ONCE)])
    p = logits.softmax(dim=1)
    return {
        "accuracy": (logits.argmax(dim=1) == labels).double().mean().item(),
        "probability": p[torch.arange(len(labels)), labels].mean().item(),
    }


def hidden_parts(
    model: nn.Module,
    images: Float[Tensor, "N C H W"],
    labels: Int[Tensor, " N"],
    maps: Mapping[str, Float[Tensor, "N 1 h w"]],
) -> pd.DataFrame:
    """Hide what maps highlight, and see how the answers change.

    Returns:
        One row per map, for each also the map of the previous image, and ``nothing``, with the
        columns of `answers`.
    """
    rows = {"nothing": answers(model, images, labels)}
    for name, m in maps.items():
        rows[name] = answers(model, hide(images, m), labels)
        rows[OTHERS + name] = answers(model, hide(images, m.roll(1, 0)), labels)
    return pd.DataFrame(rows).T.rename_axis("map").reset_index()


def on_masks(
    maps: Mapping[str, Float[Tensor, "N 1 h w"]], masks: Bool[Tensor, "N 1 H W"]
) -> pd.DataFrame:
    """Score maps against the outlines of animals: one row per map and image."""
    tables = {
        name: pd.DataFrame({score: f(m, masks).numpy() for score, f in SCORES.items()})
        for name, m in maps.items()
    }
    return pd.concat(tables, names=["map", "image"]).reset_index()


def scores(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the scores of `classification_report` on the test images, one row per network.

    The columns are ``kind`` (``scratch`` or ``frozen``), ``variant``, ``seed``, and the scores.
    """
    table = pd.read_csv(home / "cats_and_dogs_scores.csv")
    wide = table.pivot(index=["kind", "variant", "seed"], columns="score", values="value")
    return wide.reset_index()


def spreads(home: Path = SHIPPED) -> pd.DataFrame:
    """Return how widely the maps spread after some epochs, see `spread`."""
    return pd.read_csv(home / "cats_and_dogs_spread.csv")


def hidden(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the answers with a part of each image hidden, see `hidden_parts`."""
    return pd.read_csv(home / "cats_and_dogs_hidden.csv")


def agreements(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the rank correlations of the maps of two networks, tap by tap."""
    return pd.read_csv(home / "cats_and_dogs_agreement.csv")


def tuning(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the validation accuracy and loss of every run."""
    return pd.read_csv(home / "cats_and_dogs_tuning.csv")
