"""The networks of the chapter Learn to Pay Attention, and the controls for each of its parts.

Their trained weights are shipped; ``python -m experiments.learn_to_pay_attention`` makes them.
"""

from __future__ import annotations

from dataclasses import replace

from course_utils.models import PayAttentionVGG
from course_utils.studies.presets import Preset
from course_utils.studies.variants import Variant

SEEDS = (0, 1, 2)
IMAGE_SIZE = 32  # pixels; the network of Jetley et al. (2018) is made for images of CIFAR
EPOCHS = 6  # at most: on small images the loss settles sooner


def _pay(**options) -> Variant:
    return Variant(PayAttentionVGG, {"dropout": 0.0, **options}, SEEDS)


VARIANTS = {
    "pay_average": _pay(alignment=None),
    "pay_pc": _pay(compatibility="pc"),
    "pay_dp": _pay(compatibility="dp"),
    # With this recipe dp hardly learns, because its scores start too large; hence the scaled one.
    "pay_scaled_dp": _pay(compatibility="scaled_dp"),
    "pay_pc_sigmoid": _pay(compatibility="pc", alignment="sigmoid"),
    "pay_pc_independent": _pay(compatibility="pc", head="independent"),  # to compare with pay_pc
    "pay_plain": _pay(levels=0),
}


def adapt(preset: Preset) -> Preset:
    """Return the preset with images of 32 pixels, without a curriculum, and with fewer epochs."""
    zoom = IMAGE_SIZE / preset.data.get("size", 64)
    return replace(
        preset,
        data=preset.data | {"zoom": zoom, "curriculum": ()},
        recipe=replace(preset.recipe, epochs=min(preset.recipe.epochs, EPOCHS)),
    )
