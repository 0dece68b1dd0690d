import pytest
import torch

from course_utils.attention import gates
from course_utils.explain.overview import draw_overview
from course_utils.models import VGG, PayAttentionVGG, ResNet, SoftAttentionCNN

NAMES = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        (SoftAttentionCNN(3, width=0.125), ["before the gate", "after the gate"]),
        (ResNet(3, width=0.5, gate=gates.CBAM), ["class activation"]),
        (PayAttentionVGG(3, width=0.0625), ["map 1", "map 2", "map 3"]),
        (VGG(3, width=0.0625, head="dense"), ["Grad-CAM at features.42"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_network_is_drawn_with_the_maps_it_has(model, columns):
    axes = draw_overview(model, torch.rand(1, 3, 32, 32), NAMES).axes
    prediction, *titles = [axis.get_title() for axis in axes]
    assert titles == columns
    assert prediction.split()[0] in NAMES


def test_the_maps_before_and_after_a_gate_share_one_scale():
    axes = draw_overview(SoftAttentionCNN(3, width=0.125), torch.rand(1, 1, 32, 32), NAMES).axes
    before, after = (axis.images[0].get_clim() for axis in axes[1:])
    assert before == after
