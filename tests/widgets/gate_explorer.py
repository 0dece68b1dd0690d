"""Helpers that the tests of GateExplorer share."""

import numpy as np
import torch

from course_utils.attention import gates
from course_utils.widgets.gate_explorer import GATES, GateExplorer

SIZE, N = 32, 3
NAMES = list(GATES)
GRIDS = {
    "conv": (4, 8),
    "squeeze": (6, 16),
    "spatial": (5, 16),
    "second_order": (6, 8),
    "streamlined": (4, 16),
}
BOXES = torch.tensor([[2, 3, 14, 21], [18, 6, 30, 29], [0, 0, 8, 9]])


def parts():
    """The arguments of `from_gates`: random gates and features, some of them negative."""
    torch.manual_seed(0)
    made = {
        "conv": gates.ConvGate(4),
        "squeeze": gates.SqueezeExcitation(6, 2),
        "spatial": gates.SpatialAttention(7),
        "second_order": gates.SecondOrder(6, 2),
        "streamlined": gates.Streamlined(4),
    }
    given = {
        name: (
            made[name].requires_grad_(False),
            2 * torch.randn(N, channels, side, side),
            f"{name}, drawn",
        )
        for name, (channels, side) in GRIDS.items()
    }
    return (torch.rand(N, 1, SIZE, SIZE), torch.tensor([7, 0, 3]), BOXES), given


def explorer(**traits):
    shown, given = parts()
    widget = GateExplorer.from_gates(*shown, **given)
    for name, value in traits.items():
        widget.set_trait(name, value)
    return widget, given


def kept(widget, name):
    """The features of a gate as the page has them, in double precision: (N, C, H, H)."""
    sizes = [N * channels * side**2 for channels, side in widget.grids]
    g = NAMES.index(name)
    stored = np.frombuffer(widget.features, np.uint8)[sum(sizes[:g]) :][: sizes[g]].copy()
    channels, side = widget.grids[g]
    return (
        torch.from_numpy(stored).view(N, channels, side, side).double() * widget.steps[g]
        + widget.lows[g]
    )
