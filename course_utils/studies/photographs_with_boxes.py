"""Study A of the chapter Photographs: where does attention on a frozen backbone help, and why?

``python -m experiments.photographs_with_boxes`` trains pools of the maps of EfficientNet-Lite0 to
tell 20 classes of Tiny ImageNet apart, and scores their maps against the boxes of the objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from course_utils.attention import map_pools
from course_utils.attention.spatial import GridAttention, weighted_context
from course_utils.core.eval_mode import evaluating
from course_utils.core.tensor_files import read_tensors, write_tensors
from course_utils.explain.grad_cam import gradcam
from course_utils.explain.metrics import best_iou, energy_inside, pointing_game
from course_utils.models.attended_backbone import AttendedBackbone
from course_utils.models.backbone import Backbone
from course_utils.models.efficientnet_lite import efficientnet_lite0, prepared
from course_utils.models.output import Output
from course_utils.models.weights import halved
from course_utils.training.frozen import AT_ONCE
from course_utils.training.recipes import Recipe

SHIPPED = Path(__file__).parents[1] / "shipped" / "photographs"
SEEDS = (0, 1, 2, 3, 4)
# Modules of EfficientNet-Lite0: the last blocks with maps of 20 × 20, 10 × 10 and 5 × 5 positions,
# and the layer after them, whose average the network itself classifies.
TAPS = {"20 × 20": "_blocks.4", "10 × 10": "_blocks.10", "5 × 5": "_blocks.15", "last": "_swish"}
SIZE = 160  # pixels: the photographs have 64
HIDDEN = 64
SMALL = 0.3  # of the picture: boxes below it are small
RATES = (4e-3, 1.6e-2)
SCALES = (0.0625, 0.25, 1.0)
# A pool without scores has no scale to tune, so it gets as many rates as the others have settings.
MORE_RATES = (2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2)
EPOCHS = 8
OBJECT = "object"  # an oracle: it reads the box instead of the guiding features
OTHERS = "another image's "
SCORES = {"pointing": pointing_game, "energy": energy_inside, "best_iou": best_iou}

# fmt: off
CLASSES = (
    "acorn", "banana", "barn", "basketball", "beacon", "bee", "bighorn", "black stork", "go-kart",
    "goldfish", "gondola", "goose", "king penguin", "ladybug", "lemon", "monarch", "mushroom",
    "obelisk", "snail", "trolleybus",
)
# fmt: on

Builder = Callable[[int, int, int, float], nn.Module]  # channels of l and g, side of l, scale


def _grid(alignment) -> Builder:
    return lambda c, d, side, scale: GridAttention(c, d, HIDDEN, alignment, scale)


def _hidden(pool: Builder) -> Builder:
    return lambda c, d, side, scale: map_pools.WithHidden(c, pool(c, d, side, scale))


WITH_SCORES: dict[str, Builder] = {
    "softmax": _grid("softmax"),
    "sigmoid": _grid("sigmoid"),
    "sparsemax": _grid("sparsemax"),
    "entmax": _grid("entmax"),
    "self-attention": lambda c, d, side, s: map_pools.SelfAttentionPool(c, HIDDEN, s),
    "unguided": lambda c, d, side, s: map_pools.Unguided(c, d, HIDDEN, "softmax", s),
    "hidden, softmax": _hidden(_grid("softmax")),
    "hidden, sigmoid": _hidden(_grid("sigmoid")),
}
WITHOUT_SCORES: dict[str, Builder] = {
    "average": lambda c, d, side, s: map_pools.AveragePool(),
    "max": lambda c, d, side, s: map_pools.MaxPool(),
    "gem": lambda c, d, side, s: map_pools.GeMPool(),
    "fixed": lambda c, d, side, s: map_pools.FixedMap(side),
    OBJECT: lambda c, d, side, s: map_pools.ObjectPool(),
    "hidden": _hidden(lambda c, d, side, s: map_pools.AveragePool()),
    "hidden, object": _hidden(lambda c, d, side, s: map_pools.ObjectPool()),
}
POOLS = WITHOUT_SCORES | WITH_SCORES
ORACLES = (OBJECT, "hidden, object")


class Setting(NamedTuple):
    """What distinguishes one comparison from another; every pool is tuned in each of them.

    Attributes:
        tap: The tap that is pooled, one of `TAPS`.
        guide: The tap that guides the pool.
        joined: Classify the average of the guiding features as well.
        images: Number of training images; 0 for all.
    """

    tap: str = "10 × 10"
    guide: str = "5 × 5"
    joined: bool = False
    images: int = 0


MAIN = Setting()
KEPT = ("average", "softmax", "unguided")  # pools whose networks of the first seed are kept


def settings(pool: str) -> list[tuple[float, float]]:
    """Return the learning rates and scales that are tried for a pool: six for each."""
    if pool in WITH_SCORES:
        return [(rate, scale) for rate in RATES for scale in SCALES]
    return [(rate, 1.0) for rate in MORE_RATES]


def build(
    pool: str, setting: Setting, backbone: Backbone, classes: int, scale: float, seed: int
) -> AttendedBackbone:
    """Return a pool on a backbone with the taps of the setting, freshly initialised.

    Raises:
        ValueError: If the pool is unknown; the message lists the valid ones.
    """
    if pool not in POOLS:
        raise ValueError(f"unknown pool {pool!r}: choose one of {', '.join(POOLS)}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        channels, side = backbone.channels[0], backbone.sides[0]
        block = POOLS[pool](channels, backbone.channels[-1], side, scale)
        return AttendedBackbone(backbone, [block], [channels], classes, with_last=setting.joined)


def recipe(rate: float, images: int = 0) -> Recipe:
    """Return how a pool is trained; with fewer images, for as many more epochs, up to 64."""
    epochs = EPOCHS if not images else min(64, EPOCHS * 8995 // images)
    return Recipe(epochs=epochs, batch_size=128, lr=rate, weight_decay=1e-2)


def guides(pool: str, guide: Tensor, regions: Bool[Tensor, "B 1 H W"], side: int) -> Tensor:
    """Return what a pool reads besides l: the guide, or for an oracle the box's shares."""
    if pool not in ORACLES:
        return guide
    return F.adaptive_avg_pool2d(regions.float(), side)


def localise(maps: Float[Tensor, "N 1 h w"], regions: Bool[Tensor, "N 1 H W"]) -> pd.DataFrame:
    """Score maps against boxes: one row for all images and one for those with small boxes.

    Returns:
        The columns are those of `SCORES`.
    """
    scores = pd.DataFrame({name: score(maps, regions).numpy() for name, score in SCORES.items()})
    small = (regions.float().mean(dim=(1, 2, 3)) < SMALL).numpy()
    return pd.DataFrame({"all": scores.mean(), "small": scores[small].mean()}).T


class _OnLocal(nn.Module):
    """A network as a function of its local features alone, which are then its "images"."""

    def __init__(self, model: AttendedBackbone, g: Tensor):
        super().__init__()
        self.model, self.g, self.local = model, g, nn.Identity()

    def forward(self, l: Tensor) -> Output:
        return self.model.on_maps([self.local(l), self.g])


def grad_cams(
    model: AttendedBackbone, taps: Sequence[Float[Tensor, "N _ _ _"]]
) -> Float[Tensor, "N 1 h w"]:
    """Return Grad-CAM maps of the tap that is pooled, for the predicted classes.

    They equal `gradcam` of the whole network, whose backbone isn't run here. For an average and
    a linear classifier, they are class activation maps without their negative values.
    """
    pairs = zip(*(maps.split(AT_ONCE) for maps in taps))
    return torch.cat([gradcam(_OnLocal(model, g.float()), l.float(), "local") for l, g in pairs])


def replace_maps_of(
    model: AttendedBackbone,
    taps: tuple[Tensor, Tensor],
    labels: Int[Tensor, " N"],
    regions: Bool[Tensor, "N 1 H W"],
    *,
    seed: int = 0,
) -> pd.Series:
    """Replace the weights of a trained pool, and measure the accuracy.

    Each image gets, in turn: its own map; equal weights with the sum of its own; the map of an
    image of another class, and of an image of the same class; the mean map of all images; and the
    share of each position that the object's box covers, scaled to the same sum as the image's own
    map. The guiding features of another image, too: they change the map as a whole.

    Args:
        model: A network with one `GridAttention`, which classifies its context alone.
        taps: The local and the guiding features of N images.
        labels: Their classes.
        regions: The boxes of their objects.
        seed: Seed of the choice of the other images.
    """
    l, g = (maps.float() for maps in taps)
    block, sides = model.pools[0], (taps[0].shape[-2], taps[0].shape[-1])
    if isinstance(block, map_pools.WithHidden):
        with torch.no_grad():
            l = torch.cat([block.hidden(x).relu() for x in l.split(AT_ONCE)])
        block = block.pool
    other, same = partners(labels, seed)
    with evaluating(model):
        own = torch.cat([block(*batch)[1] for batch in zip(l.split(AT_ONCE), g.split(AT_ONCE))])
        total = own.sum(dim=(2, 3), keepdim=True)
        box = F.adaptive_avg_pool2d(regions.float(), sides)
        replaced = {
            "own": own,
            "equal weights": total.expand_as(own) / own[0].numel(),
            "another class's map": own[other],
            "the same class's map": own[same],
            "mean map": own.mean(dim=0, keepdim=True).expand_as(own),
            "the box": box / box.sum(dim=(2, 3), keepdim=True) * total,
        }
        by_guide = [block(*batch)[1] for batch in zip(l.split(AT_ONCE), g[other].split(AT_ONCE))]
        replaced["another class's guide"] = torch.cat(by_guide)
        right = {
            name: _accuracy(model, block, weights, l, labels) for name, weights in replaced.items()
        }
    return pd.Series(right)


def partners(
    labels: Int[Tensor, " N"], seed: int = 0
) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"]]:
    """Return for each image a random one of another class, and a random other one of its class."""
    generator = torch.Generator().manual_seed(seed)
    rank = torch.rand(len(labels), len(labels), generator=generator)
    alike = labels[:, None] == labels
    other = rank.masked_fill(alike, -1).argmax(dim=1)
    same = rank.masked_fill(~alike, -1).fill_diagonal_(-1).argmax(dim=1)
    return other, same


def _accuracy(
    model: AttendedBackbone, block: nn.Module, weights: Tensor, l: Tensor, labels: Tensor
) -> float:
    assert isinstance(block, GridAttention)
    context = weighted_context(weights, l, block.alignment)
    answers = model.classifiers([context], ()).logits.argmax(dim=1)
    return (answers == labels).double().mean().item()


def write_network(path: Path, model: AttendedBackbone, pool: str, scale: float) -> None:
    """Write what stands on the backbone: the pool and the classifier, in half precision."""
    about = {"pool": pool, "scale": str(scale), "classes": str(model.classifiers[0].out_features)}
    write_tensors(path, halved(_own(model)), about)


def network(pool: str, home: Path = SHIPPED) -> AttendedBackbone:
    """Return a trained network of the first seed, in evaluation mode.

    Args:
        pool: One of `KEPT`.
        home: Folder of the results.

    Raises:
        ValueError: If the pool isn't kept; the message lists those that are.
        ImportError: See `efficientnet_lite0`.
    """
    if pool not in KEPT:
        raise ValueError(f"no network of {pool!r} is kept: choose one of {', '.join(KEPT)}")
    weights, about = read_tensors(home / f"boxes_{pool}.safetensors")
    setting = Setting()
    backbone = on_efficientnet(setting)
    model = build(pool, setting, backbone, int(about["classes"]), float(about["scale"]), 0)
    model.load_state_dict({k: w.float() for k, w in weights.items()}, strict=False)
    return model.eval()


def on_efficientnet(setting: Setting) -> Backbone:
    """Return EfficientNet-Lite0 with the taps of a setting.

    Raises:
        ImportError: See `efficientnet_lite0`.
    """
    taps = (TAPS[setting.tap], TAPS[setting.guide])
    return Backbone(efficientnet_lite0(), taps, size=SIZE, prepare=prepared)


def _own(model: AttendedBackbone) -> dict[str, Tensor]:
    state = model.state_dict()
    return {name: w for name, w in state.items() if not name.startswith("backbone.")}


def scores(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the measurements on the test images: one row per network, map and kind of boxes.

    The columns are ``pool``, those of `Setting`, ``scale``, ``seed``, ``map`` (``none``, ``own``,
    ``Grad-CAM``, or either of another image), ``boxes`` (all or small), ``accuracy``, and those of
    `SCORES`.
    """
    return pd.read_csv(home / "boxes_scores.csv")


def accuracies(setting: Setting = MAIN, home: Path = SHIPPED) -> pd.DataFrame:
    """Return the test accuracies in a setting: one row per seed, one column per pool."""
    table = scores(home)
    chosen = (table["map"] == "none") & of_setting(table, setting)
    return table[chosen].pivot(index="seed", columns="pool", values="accuracy")


def places(score: str, boxes: str = "small", home: Path = SHIPPED) -> pd.DataFrame:
    """Return a score of the maps in the main setting: one row per seed, one column per map.

    Args:
        score: One of `SCORES`.
        boxes: ``all`` or ``small``.
        home: Folder of the results.
    """
    table = scores(home)
    table = table[of_setting(table, MAIN) & (table["boxes"] == boxes) & (table["map"] != "none")]
    names = table["pool"] + ": " + table["map"]
    return table.assign(name=names).pivot(index="seed", columns="name", values=score)


def of_setting(table: pd.DataFrame, setting: Setting) -> pd.Series:
    """Return which rows of a table belong to a setting."""
    return (table[list(Setting._fields)] == list(setting)).all(axis=1)


def replaced(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the accuracies with other maps: one row per network and map, see `replace_maps_of`."""
    return pd.read_csv(home / "boxes_interventions.csv")


def controls(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the scores of maps that no training has touched."""
    return pd.read_csv(home / "boxes_controls.csv")


def tuning(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the validation accuracy and loss of every run."""
    return pd.read_csv(home / "boxes_tuning.csv")
