"""Helpers that the tests of GpuExplorer share."""

from course_utils.studies.on_a_gpu import CARDS, Cost
from course_utils.widgets import GpuExplorer

# Round values near those of the repaired AttnVGG.
COSTS = [
    Cost(0.125, 240_000, 1_500_000_000, 17e6, 9.2e6),
    Cost(1.0, 15_200_000, 94 * 10**9, 131e6, 72e6),
]
IMAGES, STEPS = 8000, 96_417.0


def explorer(**traits):
    widget = GpuExplorer.from_costs(COSTS, CARDS, images=IMAGES, steps=STEPS)
    for name, value in traits.items():
        widget.set_trait(name, value)
    return widget
