"""The data that `GateExplorer` passes to the page, and the input that it refuses."""

import pytest
import torch
from torch.testing import assert_close

from course_utils.attention import gates
from course_utils.widgets.gate_explorer import GateExplorer
from tests.widgets.gate_explorer import NAMES, N, explorer, kept, parts


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
            r"multiple of 8 in conv, got \(3, 4, 12, 12\)",
        ),
        (
            replaced("spatial", x=torch.rand(N, 5, 8, 16)),
            r"multiple of 8 in spatial, got \(3, 5, 8, 16\)",
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
def test_bad_input_is_refused(change, message):
    shown, given = parts()
    shown = list(shown)
    change(shown, given)
    with pytest.raises(ValueError, match=message):
        GateExplorer.from_gates(*shown, **given)
