import pytest
import torch

from course_utils import plots
from course_utils.attention import gates
from course_utils.explain.overview import draw_overlays, draw_overview, overview_maps
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


@pytest.mark.parametrize(
    ("name", "title"),
    [("cat", "cat ("), (" ", "' ' ("), ("two\nlines", r"two\nlines ("), ("$\\no{$", r"$\no{$ (")],
)
def test_the_name_of_a_class_is_drawn_in_one_line_as_it_is(name, title):
    figure = draw_overview(VGG(2, width=0.0625), torch.rand(1, 3, 32, 32), [name, name])
    assert figure.axes[0].get_title().startswith(title)
    figure.draw_without_rendering()


def test_overlays_show_each_map_at_the_resolution_of_the_photograph():
    model, image = PayAttentionVGG(3, width=0.0625), torch.rand(1, 3, 32, 32)
    photograph = torch.rand(3, 90, 90)
    overlays, maps = draw_overlays(model, image, photograph), overview_maps(model, image)
    assert list(overlays) == list(maps) == ["map 1", "map 2", "map 3"]
    for name, picture in overlays.items():
        assert picture.size == (90, 90)
        assert picture == plots.overlay(photograph, maps[name])


def test_overlays_before_and_after_a_gate_share_one_scale():
    model, image = SoftAttentionCNN(3, width=0.125), torch.rand(1, 3, 32, 32)
    maps = overview_maps(model, image)
    highest = max(m.max().item() for m in maps.values())
    for name, picture in draw_overlays(model, image, image[0]).items():
        assert picture == plots.overlay(image[0], maps[name], highest=highest)
    assert maps["after the gate"].max() < highest
