"""The trained networks and runs of three chapters that the package ships.

The chapters AttnVGG, Learn to Pay Attention, and Channel and spatial attention define their
variants in the studies of the same name. This module builds, trains and loads them by name.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from course_utils.data.splits import Splits
from course_utils.models.weights import load_weights
from course_utils.studies import attn_vgg, channel_and_spatial_attention, learn_to_pay_attention
from course_utils.studies.presets import PRESETS, Preset
from course_utils.studies.variants import GALLERY as GALLERY
from course_utils.studies.variants import check_variant, fit_with_gallery
from course_utils.training.run import Run

SHIPPED = Path(__file__).parents[1] / "shipped"
CLASSES = 10  # digits
STUDIES = {
    "attn_vgg": attn_vgg,
    "channel_and_spatial_attention": channel_and_spatial_attention,
    "learn_to_pay_attention": learn_to_pay_attention,
}
VARIANTS = {name: v for study in STUDIES.values() for name, v in study.VARIANTS.items()}


def study_of(variant: str) -> str:
    """Return the stem of the chapter that a variant belongs to.

    Raises:
        ValueError: If the variant is unknown; the message lists the valid ones.
    """
    check_variant(variant, VARIANTS)
    return next(stem for stem, study in STUDIES.items() if variant in study.VARIANTS)


def adapt(stem: str, preset: Preset) -> Preset:
    """Return a preset as a chapter needs it.

    Args:
        stem: One of `STUDIES`.
        preset: One of `PRESETS`.

    Raises:
        ValueError: If there is no such study; the message lists the valid ones.
    """
    if stem not in STUDIES:
        raise ValueError(f"unknown study {stem!r}: choose one of {', '.join(STUDIES)}")
    return STUDIES[stem].adapt(preset)


def build(variant: str, preset: Preset, *, seed: int = 0) -> nn.Module:
    """Return the network of a variant at a preset's size, freshly initialised.

    Raises:
        ValueError: If the variant is unknown; the message lists the valid ones.
    """
    check_variant(variant, VARIANTS)
    return VARIANTS[variant].build(CLASSES, preset, seed=seed)


def train(
    variant: str,
    preset: Preset,
    data: Splits,
    folder: Path | str,
    *,
    seed: int = 0,
    resume: bool = False,
) -> tuple[nn.Module, Run]:
    """Train a variant; the maps of the first test images are kept after every epoch.

    Args:
        variant: One of `VARIANTS`.
        preset: Size of the network and recipe of the training.
        data: Images to train and validate on, and test images whose maps are kept.
        folder: Folder for the log and the checkpoints.
        seed: Seed of the initial weights and of the order of the images.
        resume: Continue the run in the folder.

    Returns:
        The network with the weights of its best epoch, and the run.
    """
    model = build(variant, preset, seed=seed)
    epochs = range(preset.recipe.epochs + 1)
    return model, fit_with_gallery(
        model, data, preset.recipe, folder, seed=seed, epochs=epochs, resume=resume
    )


def load(variant: str, *, seed: int = 0) -> tuple[nn.Module, Run]:
    """Return a shipped network, in evaluation mode, and its run; both are of the cpu preset.

    Raises:
        ValueError: If the variant is unknown; the message lists the valid ones.
    """
    model = build(variant, PRESETS["cpu"])
    run = Run.load(SHIPPED / study_of(variant) / variant / f"seed_{seed}")
    load_weights(model.eval(), run.weights)
    return model, run
