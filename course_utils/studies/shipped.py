"""Trained networks and runs that the package carries, for the chapters on AttnVGG, Learn to Pay Attention and gates.

``python -m experiments.attn_vgg`` and its siblings train them at the cpu preset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from course_utils.attention.gates import CBAM, SecondOrder, SqueezeExcitation, Streamlined
from course_utils.data.splits import Splits
from course_utils.models import AttnVGG, PayAttentionVGG, ResNet, SoftAttentionCNN
from course_utils.models.weights import load_weights
from course_utils.studies.presets import PRESETS, Preset
from course_utils.training.run import Run
from course_utils.training.trainer import fit

SHIPPED = Path(__file__).parents[1] / "shipped"
GALLERY = 8  # the first test images: nobody chose them
THREE = (0, 1, 2)


class Variant(NamedTuple):
    """One network of a comparison.

    Attributes:
        topic: the stem of its chapter.
        network: takes the number of classes and a preset.
        seeds: for which a run is shipped; three where accuracies are compared.
    """

    topic: str
    network: Callable[[int, Preset], nn.Module]
    seeds: tuple[int, ...] = (0,)


def _attn_vgg(seeds: tuple[int, ...] = (0,), **options) -> Variant:
    return Variant(
        "attn_vgg", lambda classes, preset: AttnVGG(classes, width=preset.width, **options), seeds
    )


def _soft(gate: str | None, *, flat: bool = False) -> Variant:
    def network(classes: int, preset: Preset) -> SoftAttentionCNN:
        size = preset.image_size if flat else None
        return SoftAttentionCNN(classes, gate=gate, image_size=size, width=preset.width)

    return Variant("channel_and_spatial_attention", network, THREE)


def _gated(gate: Callable[..., nn.Module] | None = None, **small) -> Variant:
    """ResNet-50 at the full width, else 8 layers and a gate with options of its own: a sixteenth of 16 is little."""

    def network(classes: int, preset: Preset) -> ResNet:
        if preset.width == 1 or gate is None:
            return ResNet(classes, depth=50 if preset.width == 1 else 8, gate=gate)
        return ResNet(classes, depth=8, gate=partial(gate, **small))

    return Variant("channel_and_spatial_attention", network, THREE)


def _pay_attention(**options) -> Variant:
    def network(classes: int, preset: Preset) -> PayAttentionVGG:
        return PayAttentionVGG(classes, width=preset.width, dropout=0.0, **options)

    return Variant("learn_to_pay_attention", network, THREE)


VARIANTS = {
    "sigmoid": _attn_vgg(alignment="sigmoid", taps="after", head="concat"),
    "softmax": _attn_vgg(alignment="softmax", taps="after", head="concat"),
    "repaired": _attn_vgg(THREE, alignment="softmax", taps="before", head="independent"),
    "no_attention": _attn_vgg(alignment=None, taps="before", head="concat"),
    "no_attention_losses": _attn_vgg(THREE, alignment=None, taps="before", head="independent"),
    "soft_none": _soft(None),
    "soft_conv": _soft("conv"),
    "soft_none_flat": _soft(None, flat=True),
    "soft_flat": _soft("flat", flat=True),
    "resnet": _gated(),
    "resnet_se": _gated(SqueezeExcitation, reduction=4),
    "resnet_cbam": _gated(CBAM, reduction=4),
    "resnet_streamlined": _gated(Streamlined),
    "resnet_second_order": _gated(SecondOrder, reduction=4),
    "pay_average": _pay_attention(alignment=None),
    "pay_pc": _pay_attention(compatibility="pc"),
    "pay_dp": _pay_attention(compatibility="dp"),
    "pay_scaled_dp": _pay_attention(
        compatibility="scaled_dp"
    ),  # dp hardly learns with this recipe: see the chapter
    "pay_pc_sigmoid": _pay_attention(compatibility="pc", alignment="sigmoid"),
    "pay_pc_independent": _pay_attention(
        compatibility="pc", head="independent"
    ),  # to compare with pay_pc
    "pay_plain": _pay_attention(levels=0),
}
TOPICS = tuple(dict.fromkeys(variant.topic for variant in VARIANTS.values()))


def adapt(topic: str, preset: Preset) -> Preset:
    """A preset as a topic needs it.

    Learn to Pay Attention is a network for images of 32 pixels, and learns in fewer epochs. The gated networks are
    many, and get half of the images; some of them take one size of image only, so that their curriculum varies the
    clutter alone.

    Raises:
        ValueError: unknown topic; the message lists the valid ones.
    """
    if topic not in TOPICS:
        raise ValueError(f"unknown topic {topic!r}: choose one of {', '.join(TOPICS)}")
    size, epochs = preset.data.get("size", 64), preset.recipe.epochs
    if topic == "attn_vgg":
        return preset
    if topic == "channel_and_spatial_attention":
        counts = preset.data.get("counts", {"train": 4000})
        curriculum = tuple((size, fragments) for _, fragments in preset.data.get("curriculum", ()))
        changed = {"curriculum": curriculum, "counts": counts}
        if (
            preset.image_size > 128
        ):  # as in the source; at 224 pixels its flat gate has 3 billion parameters
            changed["zoom"] = 128 / size
        return replace(preset, data=preset.data | changed)
    changed = {"zoom": 32 / size, "curriculum": ()}
    return replace(
        preset, data=preset.data | changed, recipe=replace(preset.recipe, epochs=min(epochs, 6))
    )


def build(variant: str, preset: Preset, *, seed: int = 0) -> nn.Module:
    """The network of a variant at a preset's width, freshly initialised.

    Raises:
        ValueError: unknown variant; the message lists the valid ones.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}: choose one of {', '.join(VARIANTS)}")
    with torch.random.fork_rng():  # the learner's own random numbers go on as they were
        torch.manual_seed(seed)
        return VARIANTS[variant].network(10, preset)


def train(
    variant: str,
    preset: Preset,
    data: Splits,
    folder: Path | str,
    *,
    seed: int = 0,
    resume: bool = False,
) -> tuple[nn.Module, Run]:
    """Train a variant, or resume its training; the maps of the first test images are kept after every epoch."""
    model = build(variant, preset, seed=seed)
    gallery = torch.stack([data.test[i][0] for i in range(GALLERY)])
    snapshots = {"gallery": gallery, "snapshot_epochs": range(preset.recipe.epochs + 1)}
    return model, fit(
        model, data, preset.recipe, folder=folder, seed=seed, resume=resume, **snapshots
    )


def load(variant: str, *, seed: int = 0) -> tuple[nn.Module, Run]:
    """The network and the run that the package carries: trained at the cpu preset."""
    model = build(variant, PRESETS["cpu"])
    run = Run.load(SHIPPED / VARIANTS[variant].topic / variant / f"seed_{seed}")
    load_weights(model.eval(), run.weights)
    return model, run
