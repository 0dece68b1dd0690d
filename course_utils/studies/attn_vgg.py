"""The networks of the chapter AttnVGG: as published, repaired, and without attention.

Their trained weights are shipped; ``python -m experiments.attn_vgg`` makes them.
"""

from __future__ import annotations

from course_utils.models import AttnVGG
from course_utils.studies.presets import Preset
from course_utils.studies.variants import Variant

_PUBLISHED = {"taps": "after", "head": "concat"}
_REPAIRED = {"taps": "before", "head": "independent"}
_SEEDS = (0, 1, 2)  # three where the chapter compares accuracies

VARIANTS = {
    "sigmoid": Variant(AttnVGG, {"alignment": "sigmoid", **_PUBLISHED}),
    "softmax": Variant(AttnVGG, {"alignment": "softmax", **_PUBLISHED}),
    "repaired": Variant(AttnVGG, {"alignment": "softmax", **_REPAIRED}, _SEEDS),
    "no_attention": Variant(AttnVGG, {"alignment": None, "taps": "before", "head": "concat"}),
    "no_attention_losses": Variant(AttnVGG, {"alignment": None, **_REPAIRED}, _SEEDS),
}


def adapt(preset: Preset) -> Preset:
    """Return the preset as it is."""
    return preset
