"""The networks of the chapter Channel and spatial attention: with several gates and without.

Their trained weights are shipped: ``python -m experiments.channel_and_spatial_attention`` makes
them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from course_utils.attention.gates import CBAM, SecondOrder, SqueezeExcitation, Streamlined
from course_utils.models import ResNet, SoftAttentionCNN
from course_utils.studies.presets import Preset
from course_utils.studies.variants import Variant, width

SEEDS = (0, 1, 2)
# The source's image size. At 224 pixels its flat gate would have 3 billion parameters.
LARGEST_IMAGE = 128


def _soft(gate: str | None, *, flat: bool = False) -> Variant:
    """Return the soft-attention CNN with a gate; flat gates and dense layers need an image size."""

    def sized(preset: Preset) -> dict[str, Any]:
        return width(preset) | {"image_size": preset.image_size if flat else None}

    return Variant(SoftAttentionCNN, {"gate": gate}, SEEDS, sized)


def _gated(gate: Callable[..., nn.Module] | None = None, **small) -> Variant:
    """Return ResNet-50 with a gate in every block at full width, and ResNet-8 otherwise.

    Args:
        gate: The class of the gate.
        small: Its options in ResNet-8, whose blocks have as few as 16 channels: the usual
            bottleneck of one sixteenth would leave a single channel.
    """

    def sized(preset: Preset) -> dict[str, Any]:
        if preset.width == 1:
            return {"depth": 50, "gate": gate}
        return {"depth": 8, "gate": gate and partial(gate, **small)}

    return Variant(ResNet, {}, SEEDS, sized)


VARIANTS = {
    "soft_none": _soft(None),
    "soft_conv": _soft("conv"),
    "soft_none_flat": _soft(None, flat=True),
    "soft_flat": _soft("flat", flat=True),
    "resnet": _gated(),
    "resnet_se": _gated(SqueezeExcitation, reduction=4),
    "resnet_cbam": _gated(CBAM, reduction=4),
    "resnet_streamlined": _gated(Streamlined),
    "resnet_second_order": _gated(SecondOrder, reduction=4),
}


def adapt(preset: Preset) -> Preset:
    """Return the preset with half of the images, and with images of one size.

    There are many networks to train, and some of them take one image size only, so their
    curriculum varies the clutter alone.
    """
    size = preset.data.get("size", 64)
    curriculum = tuple((size, fragments) for _, fragments in preset.data.get("curriculum", ()))
    changed = {
        "curriculum": curriculum,
        "counts": preset.data.get("counts", {"train": 4000}),
    }
    if preset.image_size > LARGEST_IMAGE:
        changed["zoom"] = LARGEST_IMAGE / size
    return replace(preset, data=preset.data | changed)
