"""The traits of LiveModel: a network with folded batch norms, and strokes that redraw digits."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from course_utils.data import cluttered_digits
from course_utils.models import VGG
from course_utils.studies import drawings, shipped
from course_utils.widgets import LiveModel
from course_utils.widgets.live_model import READABLE, folded
from tests.widgets.live_model import forward, network, unpacked


def given(n=2, digit=5):
    images, labels = cluttered_digits.digit_pool("test")
    return cluttered_digits.clutter(n), images[:digit], labels[:digit]


def test_folding_batch_norms_changes_no_output():
    model, images = network(), torch.rand(8, 1, 64, 64)
    with torch.no_grad():
        logits, maps, _ = model(images)
        found, found_maps = forward(folded(model), images)
    assert logits.std() > 0.1  # it says something
    assert_close(found, logits, rtol=1e-4, atol=1e-6)
    for a, b in zip(found_maps, maps):
        assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_half_precision_changes_no_probability_and_no_map_by_half_a_hundredth():
    model, _ = shipped.load("repaired")
    widget = LiveModel.from_network(model, *given())
    images = cluttered_digits.ClutteredDigits("test", 100).images / 255
    with torch.no_grad():
        logits, maps, _ = model(images)
        found, found_maps = forward(unpacked(widget), images)
    assert (found.exp() - logits.exp()).abs().max() < 0.005
    for a, b in zip(found_maps, maps):  # each sums to 1
        assert (a - b).abs().sum(dim=(1, 2, 3)).max() < 0.005


def test_a_network_that_was_training_goes_on():
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded(model)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_traits_hold_what_was_given():
    backgrounds, images, labels = given(3, 4)
    widget = LiveModel.from_network(network(), backgrounds, images, labels)
    assert widget.size == 64
    shown = np.frombuffer(widget.backgrounds, np.uint8).reshape(3, 1, 64, 64)
    np.testing.assert_array_equal(shown, backgrounds)
    assert widget.labels == labels.tolist()
    assert widget.classes == [str(c) for c in range(10)]
    assert len(widget.weights) == 2 * sum(np.prod(shape) for shape in widget.shapes)
    assert widget._lazy == ["weights"]
    points = np.concatenate([path for example in widget.examples for path in example])
    assert points.min() >= 18  # the middle 28 pixels
    assert points.max() <= 46
    assert widget.digit_sides == [15, 20]
    assert widget.readable_sides == list(READABLE)


def test_training_digits_have_the_sizes_that_the_page_reports():
    images, labels = cluttered_digits.digit_pool("test")
    widget = LiveModel.from_network(network(), cluttered_digits.clutter(1), images, labels)
    boxes = cluttered_digits.ClutteredDigits("train", 2000).boxes
    sides = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1)
    # a digit between two pixels touches one more
    assert [sides.min(), sides.max() - 1] == widget.digit_sides


def test_the_network_reads_drawings_of_the_sizes_that_the_page_calls_readable():
    """Near both ends it reads about 3 of 4, within the error of 200 drawings, and beyond fewer."""
    network, _ = shipped.load("repaired")
    found = drawings.by_scale(network, [0.5, 0.6, 1.0, 1.3, 1.5, 2.0], count=200)
    least, most = READABLE
    share = found["right"] / found["drawings"]
    readable = found["longer side"].between(least, most)
    assert readable.tolist() == [False, True, True, True, False, False]
    assert share[readable].min() > 0.7
    assert share[~readable].max() < 0.65
    assert share[1.0] > 0.9
    assert share[2.0] < 0.3


@pytest.mark.parametrize(
    "options",
    [{"alignment": None}, {"alignment": "sigmoid"}, {"taps": "after"}, {"head": "concat"}],
)
def test_another_variant_of_the_network_is_refused(options):
    with pytest.raises(ValueError, match=r"expected an AttnVGG with taps before the pools.*got \("):
        folded(network(**options))


@pytest.mark.usefixtures("unchecked")
def test_another_network_is_refused():
    with pytest.raises(ValueError, match="expected an AttnVGG, got a VGG"):
        folded(VGG(10, width=0.125))


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused():
    backgrounds, images, labels = given()
    with pytest.raises(ValueError, match=r"multiples of 32, got \(2, 1, 60, 60\)"):
        LiveModel.from_network(network(), backgrounds[..., :60, :60], images, labels)
    with pytest.raises(ValueError, match=r"square backgrounds .* got \(2, 1, 32, 64\)"):
        LiveModel.from_network(network(), backgrounds[..., :32, :], images, labels)
    with pytest.raises(ValueError, match=r"multiples of 32, got \(0, 1, 64, 64\)"):
        LiveModel.from_network(network(), backgrounds[:0], images, labels)
    with pytest.raises(ValueError, match=r"got 5 .* 4 "):
        LiveModel.from_network(network(), backgrounds, images, labels[:4])
    with pytest.raises(ValueError, match=r"got 0 .* 0 "):
        LiveModel.from_network(network(), backgrounds, images[:0], labels[:0])
    with pytest.raises(ValueError, match="brightest pixel is 0"):
        LiveModel.from_network(network(), backgrounds, images * 0, labels)
    large = network()
    with torch.no_grad():
        large.classifiers[0].weight[0, 0] = 1e5
    with pytest.raises(ValueError, match=r"at most 65504, .* got 1e[+]05"):
        folded(large)
    with torch.no_grad():
        large.classifiers[0].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="got nan"):
        folded(large)
