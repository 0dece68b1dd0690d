"""What `GateExplorer` hands to the page, and what it refuses."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from course_utils.attention import gates
from course_utils.widgets.gate_explorer import KINDS, GateExplorer

SIZE, N = 32, 3
NAMES = list(KINDS)
GRIDS = {
    "conv": (4, 8),
    "squeeze": (6, 16),
    "spatial": (5, 16),
    "second_order": (6, 8),
    "streamlined": (4, 16),
}
BOXES = torch.tensor([[2, 3, 14, 21], [18, 6, 30, 29], [0, 0, 8, 9]])


def parts():
    """The arguments of `from_gates`: random gates on features of their own, some of them negative."""
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


def test_features_are_kept_to_half_a_step():
    widget, given = explorer()
    for g, name in enumerate(NAMES):
        assert_close(
            kept(widget, name), given[name][1].double(), atol=0.501 * widget.steps[g], rtol=0
        )
    shown, given = parts()
    even = {name: (gate, torch.ones_like(x), source) for name, (gate, x, source) in given.items()}
    assert (kept(GateExplorer.from_gates(*shown, **even), "conv") == 1).all()


def replaced(name, **new):
    def change(shown, given):
        gate, x, source = given[name]
        given[name] = (new.get("gate", gate), new.get("x", x), source)

    return change


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            replaced("squeeze", gate=gates.ChannelAttention(6, 2)),
            "squeeze to be SqueezeExcitation with sigmoid, got Ch",
        ),
        (
            replaced("conv", gate=gates.ConvGate(4, "softmax")),
            "conv to be ConvGate with sigmoid, got ConvGate",
        ),
        (
            replaced("conv", x=torch.rand(N, 4, 12, 12)),
            r"a multiple of 8 wide, in conv, got \(3, 4, 12, 12\)",
        ),
        (
            replaced("spatial", x=torch.rand(N, 5, 8, 16)),
            r"a square grid, a multiple of 8 wide, in spatial, got",
        ),
        (
            replaced("streamlined", x=torch.rand(2, 4, 8, 8)),
            r"and features in streamlined, got \[3, 3, 3, 2\]",
        ),
        (
            lambda shown, given: shown.__setitem__(0, shown[0][:2]),
            r"as many images, labels.*conv, got \[2, 3, 3, 3\]",
        ),
    ],
)
def test_bad_input_is_said(change, message):
    shown, given = parts()
    shown = list(shown)
    change(shown, given)
    with pytest.raises(ValueError, match=message):
        GateExplorer.from_gates(*shown, **given)


def test_the_module_is_whole():
    source = explorer()[0]._esm
    assert "function painted" in source
    assert "export default { render }" in source
    assert "import " not in source
