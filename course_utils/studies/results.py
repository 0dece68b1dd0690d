"""The study of the chapter Results: AttnVGG with three alignments and its controls, five seeds.

``python -m experiments.results`` trains and scores the networks. The package ships the results for
the cluttered digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
from safetensors.torch import load_file
from torch import Tensor, nn

from course_utils.data.parts import SizedDataset, Splits
from course_utils.models import VGG, AttnVGG, checkpoints
from course_utils.studies.presets import Preset
from course_utils.studies.variants import GALLERY as GALLERY
from course_utils.studies.variants import Variant, check_variant, fit_with_gallery, width
from course_utils.training.classification import classification_report
from course_utils.training.evaluation import predict, score
from course_utils.training.run import Run

SHIPPED = Path(__file__).parents[1] / "shipped" / "results"
SEEDS = (0, 1, 2, 3, 4)
EPOCHS_SHOWN = (1, 5, 20)  # as in "How attention improves a CNN's performance"


def _attn_vgg(**options) -> Variant:
    return Variant(AttnVGG, options, SEEDS)


_PUBLISHED = {"taps": "after", "head": "concat"}
_REPAIRED = {"taps": "before", "head": "independent"}
# Each group of variants, followed by the control that it must be compared with.
VARIANTS = {
    "sigmoid": _attn_vgg(alignment="sigmoid", **_PUBLISHED),
    "softmax": _attn_vgg(alignment="softmax", **_PUBLISHED),
    "sparsemax": _attn_vgg(alignment="sparsemax", **_PUBLISHED),
    "average": _attn_vgg(alignment=None, **_PUBLISHED),  # the control of Yan et al. 2019
    "repaired": _attn_vgg(alignment="softmax", **_REPAIRED),
    "repaired_average": _attn_vgg(alignment=None, **_REPAIRED),  # with the same losses
    "vgg": Variant(VGG, {"head": "average"}, SEEDS),
    "vgg_dense": Variant(VGG, {"head": "dense"}, SEEDS),  # the head of VGG16 as published
}
# Variants and controls that differ only in the attention weights: each pair shows their effect.
ATTENTION = (
    ("sigmoid", "average"),
    ("softmax", "average"),
    ("sparsemax", "average"),
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
    variant: str, preset: Preset, data: Splits, folder: Path | str, *, seed: int = 0
) -> tuple[nn.Module, Run]:
    """Train a variant from a seed; a run that was stopped continues from its last epoch.

    The maps of the first test images are kept after the epochs of `EPOCHS_SHOWN`.
    """
    model = build(variant, data.classes, preset, seed=seed)
    return model, fit_with_gallery(
        model, data, preset.recipe, folder, seed=seed, epochs=EPOCHS_SHOWN, resume=True
    )


def judge(model: nn.Module, dataset: SizedDataset) -> pd.Series:
    """Return all scores of a network that the study reports: those of its answers and its maps."""
    output, labels, regions = predict(model, dataset)
    answers = classification_report(output.logits, labels)["value"]
    # Both tables have the accuracy.
    return pd.concat([answers, score(output, labels, regions).drop("accuracy")])


def scores(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the results of `judge` on the test images: one row per variant and seed."""
    return pd.read_csv(home / "scores.csv")


def histories(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the logs of all runs: one row per variant, seed and epoch."""
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
    """Return the trained network of a variant's first seed, in evaluation mode."""
    return checkpoints.read(home / f"{variant}.safetensors")[0]
