"""Three sizes of every notebook: ``smoke`` (seconds), ``cpu`` (minutes on a laptop) and ``gpu``.

The environment variable ``COURSE_PRESET`` chooses one. If it is not set, notebooks use ``gpu`` on a
machine with a GPU, and ``cpu`` elsewhere.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch

from course_utils.training.recipes import Recipe


@dataclass(frozen=True)
class Preset:
    """The sizes of an experiment. The code is the same in all presets.

    Attributes:
        name: ``smoke``, ``cpu`` or ``gpu``.
        width: Factor on the number of channels of a network; 1 is the published size.
        data: Arguments of `course_utils.data.load`.
        recipe: How to train.
    """

    name: str
    width: float
    data: dict[str, Any] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)

    @property
    def image_size(self) -> int:
        """Side of the cluttered digits in pixels."""
        return round(self.data.get("size", 64) * self.data.get("zoom", 1))


# (canvas in pixels, fragments) of the first epochs. On the full task, the loss of an untrained
# network stays at chance for many epochs. Smaller canvases shorten this, and they are cheaper:
# these two cost about a third and a half of a full one.
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
        # The published network reads 224 pixels, so 64-pixel canvases are enlarged. A wide network
        # needs a smaller learning rate.
        Preset(
            "gpu", width=1.0, data={"zoom": 3.5, "curriculum": SMALL_FIRST}, recipe=Recipe(lr=8e-4)
        ),
    )
}


def current() -> Preset:
    """Return the preset that ``COURSE_PRESET`` names, or the one that fits the machine.

    Raises:
        ValueError: If ``COURSE_PRESET`` names no preset; the message lists the valid names.
    """
    name = os.environ.get("COURSE_PRESET") or ("gpu" if torch.cuda.is_available() else "cpu")
    if name not in PRESETS:
        raise ValueError(f"COURSE_PRESET is {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
