"""Three speeds of one notebook: ``smoke`` (every cell runs, in seconds), ``cpu`` (a laptop, minutes), ``gpu``.

``COURSE_PRESET`` names the preset; unset, it is ``gpu`` where there is one and ``cpu`` elsewhere.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch

from course_utils.training.recipes import Recipe


@dataclass(frozen=True)
class Preset:
    """Sizes that differ between the speeds; the code does not.

    Attributes:
        name: ``smoke``, ``cpu`` or ``gpu``.
        width: of the network.
        data: arguments of `data.load`.
        recipe: how to train.
    """

    name: str
    width: float
    data: dict[str, Any] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)

    @property
    def image_size(self) -> int:
        """Side of the cluttered digits in pixels."""
        return round(self.data.get("size", 64) * self.data.get("zoom", 1))


# Canvas and fragments of the first epochs. Smaller canvases cost a third and a half of a full one, and spare the epochs
# near chance that a cold start on the full task takes.
SMALL_FIRST = ((40, 3),) * 2 + ((48, 8),) * 3

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "smoke",
            width=0.125,
            data={
                "size": 40,
                "fragments": 2,
                "curriculum": ((32, 0),) * 2,
                "counts": {"train": 2000, "val": 100, "test": 200},
            },
            recipe=Recipe(epochs=4),
        ),
        Preset("cpu", width=0.125, data={"curriculum": SMALL_FIRST}),
        # The full-width network at 224 pixels: 64-pixel canvases, enlarged. A wide network wants a smaller step.
        Preset(
            "gpu", width=1.0, data={"zoom": 3.5, "curriculum": SMALL_FIRST}, recipe=Recipe(lr=8e-4)
        ),
    )
}


def current() -> Preset:
    """The preset in force.

    Raises:
        ValueError: ``COURSE_PRESET`` names no preset; the message lists the valid ones.
    """
    name = os.environ.get("COURSE_PRESET") or ("gpu" if torch.cuda.is_available() else "cpu")
    if name not in PRESETS:
        raise ValueError(f"COURSE_PRESET is {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
