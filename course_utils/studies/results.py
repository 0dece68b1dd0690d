"""The study of the chapter Results: does attention help? AttnVGG, VGG16 and their controls.

``python -m experiments.results`` tunes, trains and scores the networks. The package ships the
results for the cluttered digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from safetensors.torch import load_file
from torch import Tensor, nn

from course_utils.core.tensor_files import read_tensors, write_tensors
from course_utils.data.parts import SizedDataset, Splits
from course_utils.models import VGG, AttnVGG, checkpoints
from course_utils.studies.presets import Preset
from course_utils.studies.variants import GALLERY as GALLERY
from course_utils.studies.variants import (
    Variant,
    best_setting,
    check_variant,
    fit_with_gallery,
    width,
)
from course_utils.training.classification import classification_report
from course_utils.training.evaluation import predict, score
from course_utils.training.precision import fastest_precision
from course_utils.training.run import Run

SHIPPED = Path(__file__).parents[1] / "shipped" / "results"
SEEDS = (0, 1, 2, 3, 4)
RATES = (1e-3, 4e-3, 1.6e-2, 6.4e-2)  # each variant is trained with all of them from the first seed
TUNED = SEEDS[:2]  # with the better two rates from the second seed as well
LOWER = 2.5e-4  # tried for the dense layers, too, because the lowest of the rates suited them best
EPOCHS_SHOWN = (1, 5, 20)  # as in "How attention improves a CNN's performance"


def _attn_vgg(**options) -> Variant:
    return Variant(AttnVGG, options, SEEDS)


_PUBLISHED = {"taps": "after", "head": "concat"}
_REPAIRED = {"taps": "before", "head": "independent"}
# Each group of variants, followed by the control that it must be compared with.
VARIANTS = {
    "sigmoid": _attn_vgg(alignment="sigmoid", **_PUBLISHED),
    "softmax": _attn_vgg(alignment="softmax", **_PUBLISHED),
    "sparsemax": Variant(AttnVGG, {"alignment": "sparsemax", **_PUBLISHED}),
    "average": _attn_vgg(alignment=None, **_PUBLISHED),  # the control of Yan et al. 2019
    "repaired": _attn_vgg(alignment="softmax", **_REPAIRED),
    "repaired_average": _attn_vgg(alignment=None, **_REPAIRED),  # with the same losses
    "vgg": Variant(VGG, {"head": "average"}, SEEDS),
    "vgg_dense": Variant(VGG, {"head": "dense"}, SEEDS[:4]),  # the head of VGG16 as published
    "vgg_dense_he": Variant(VGG, {"head": "dense", "dense_init": "he"}, TUNED),
}
TRAINED = tuple(name for name in VARIANTS if name != "sparsemax")  # it is in another chapter
# Those whose networks are kept; the dense layers would take four megabytes each.
KEPT = tuple(name for name in TRAINED if VARIANTS[name].options["head"] != "dense")
# Variants and controls that differ only in the attention weights: each pair shows their effect.
ATTENTION = (
    ("sigmoid", "average"),
    ("softmax", "average"),
    ("repaired", "repaired_average"),
)
# Pairs that differ in something else.
OTHER_PARTS = (
    ("average", "vgg"),  # two more scales
    ("repaired_average", "average"),  # finer taps, one classifier and one loss per descriptor
    ("vgg_dense", "vgg"),  # the dense layers
    ("sigmoid", "vgg_dense"),  # all changes from VGG16 to AttnVGG at once
)
_NAMES: dict[Callable[..., nn.Module], str] = {
    network: name for name, network in checkpoints.NETWORKS.items()
}


def rates(variant: str) -> tuple[float, ...]:
    """Return the learning rates that are tried for a variant."""
    return (*RATES, LOWER) if VARIANTS[variant].options["head"] == "dense" else RATES


def adapt(preset: Preset) -> Preset:
    """Return the preset with epochs up to the last map, and half of the images in each epoch.

    The smoke preset stays as it is.
    """
    if preset.name == "smoke":
        return preset
    recipe = replace(preset.recipe, epochs=max(EPOCHS_SHOWN))
    return replace(preset, data=preset.data | {"counts": {"train": 4000}}, recipe=recipe)


def describe(variant: str, classes: tuple[str, ...], preset: Preset) -> checkpoints.Description:
    """Return the description of a variant at a preset's width, as it is stored in a checkpoint.

    Args:
        variant: One of `VARIANTS`.
        classes: Names of the classes.
        preset: Sets the width and the image size.

    Raises:
        ValueError: If the variant is unknown; the message lists the valid ones.
    """
    check_variant(variant, VARIANTS)
    chosen = VARIANTS[variant]
    options = width(preset) | dict(chosen.options)
    return checkpoints.Description(_NAMES[chosen.network], classes, preset.image_size, options)


def build(variant: str, classes: tuple[str, ...], preset: Preset, *, seed: int = 0) -> nn.Module:
    """Return the network of a variant at a preset's width, freshly initialised.

    Raises:
        ValueError: If the variant is unknown; the message lists the valid ones.
    """
    check_variant(variant, VARIANTS)
    return VARIANTS[variant].build(len(classes), preset, seed=seed)


def train(
    variant: str, rate: float, preset: Preset, data: Splits, folder: Path | str, *, seed: int = 0
) -> tuple[nn.Module, Run]:
    """Train a variant from a seed; a run that was stopped continues from its last epoch.

    The maps of the first test images are kept after the epochs of `EPOCHS_SHOWN`.

    Args:
        variant: One of `VARIANTS`.
        rate: The learning rate.
        preset: Sets the width and the rest of the recipe.
        data: Images to train and validate on, and test images for the maps.
        folder: Folder of the run.
        seed: Seed of the initial weights and of the order of the images.
    """
    model = build(variant, data.classes, preset, seed=seed)
    return model, fit_with_gallery(
        model,
        data,
        replace(preset.recipe, lr=rate),
        folder,
        seed=seed,
        epochs=EPOCHS_SHOWN,
        resume=True,
        precision=fastest_precision(),
    )


def best_rate(tuning: pd.DataFrame) -> float:
    """Return the learning rate of a variant with the best mean validation accuracy.

    Args:
        tuning: The rows of the variant in a table like `runs`. Only the rates that were tried from
            the most seeds are compared.
    """
    return best_setting(_tried_most(tuning), "rate")


def better_half(tuning: pd.DataFrame) -> list[float]:
    """Return the better half of the learning rates of a variant, the best first.

    Args:
        tuning: The rows of the variant in a table like `runs`, one for each rate.
    """
    order = ["val_accuracy", "val_loss"]
    return tuning.sort_values(order, ascending=[False, True]).rate.tolist()[: len(tuning) // 2]


def _tried_most(tuning: pd.DataFrame) -> pd.DataFrame:
    seeds = tuning.groupby("rate").seed.transform("nunique")
    return tuning[seeds == seeds.max()]


def judge(model: nn.Module, dataset: SizedDataset) -> tuple[pd.Series, Bool[Tensor, " N"]]:
    """Return the scores of a network's answers and maps, and which of N images it gets right."""
    output, labels, regions = predict(model, dataset)
    answers = classification_report(output.logits, labels)["value"]
    # Both tables have the accuracy.
    scores = pd.concat([answers, score(output, labels, regions).drop("accuracy")])
    return scores, output.logits.argmax(dim=1) == labels


def runs(home: Path = SHIPPED) -> pd.DataFrame:
    """Return all runs: one row per variant, learning rate and seed.

    The columns are ``variant``, ``rate``, ``seed``, ``chosen`` (whether the rate was chosen for the
    variant), and the accuracy and loss on 4,000 validation images. Only runs at a chosen rate are
    scored on the test images, see `scores`.
    """
    return pd.read_csv(home / "runs.csv")


def scores(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the results of `judge` on the test images: one row per variant and seed."""
    return pd.read_csv(home / "scores.csv")


def correct(home: Path = SHIPPED) -> dict[str, Bool[Tensor, "seeds N"]]:
    """Return which test images each network gets right: one row per seed, by variant."""
    packed, about = read_tensors(home / "correct.safetensors")
    count = int(about["images"])
    rows = {name: np.unpackbits(bits.numpy(), axis=1, count=count) for name, bits in packed.items()}
    return {name: torch.from_numpy(bits).bool() for name, bits in rows.items()}


def write_correct(home: Path, right: Mapping[str, Bool[Tensor, "seeds N"]]) -> None:
    """Write what `correct` returns, with one bit per network and test image."""
    (images,) = {rows.shape[1] for rows in right.values()}
    packed = {name: torch.from_numpy(np.packbits(rows, axis=1)) for name, rows in right.items()}
    write_tensors(home / "correct.safetensors", packed, {"images": str(images)})


def histories(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the logs of the runs at chosen rates: one row per variant, seed and epoch."""
    return pd.read_csv(home / "histories.csv")


def maps(variant: str, seed: int = 0, home: Path = SHIPPED) -> dict[int, tuple[Tensor, ...]]:
    """Return the attention maps of the first test images, by epoch.

    Each epoch has one tensor (N, 1, h, w) per tap; the tuple is empty if the network has no maps.
    """
    kept = load_file(home / f"{variant}_maps.safetensors")
    taps = {
        epoch: sorted(name for name in kept if name.startswith(f"{seed}/{epoch}/"))
        for epoch in EPOCHS_SHOWN
    }
    return {epoch: tuple(kept[name].float() for name in names) for epoch, names in taps.items()}


def network(variant: str, home: Path = SHIPPED) -> nn.Module:
    """Return the trained network of a variant's first seed, in evaluation mode.

    Args:
        variant: One of `KEPT`.
        home: Folder of the results.
    """
    return checkpoints.read(home / f"{variant}.safetensors")[0]
