"""Receptive fields against convolutions of boxes, and against PyTorch's Jacobian."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import convolve2d
from torch import nn

from course_utils.explain.feature_maps import channels_last
from course_utils.explain.receptive_fields import field_side, receptive_field
from course_utils.models import VGG
from tests.explain.cases import assert_unchanged, made, state


def ones(*convolutions):
    """Convolutions of which all weights are 1."""
    for layer in convolutions:
        nn.init.ones_(layer.weight)
    return nn.Sequential(*convolutions)


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_a_stack_of_boxes_has_the_convolution_of_the_boxes(depth):
    """Luo et al. 2016, section 2: a weight of 1 everywhere counts the paths to each pixel."""
    layers = [nn.Conv2d(3 if i == 0 else 4, 4, 3, padding=1) for i in range(depth)]
    found = receptive_field(ones(*layers), torch.rand(2, 3, 21, 21), layers[-1])
    expected = np.ones((1, 1))
    for _ in range(depth):
        expected = convolve2d(expected, np.ones((3, 3)))  # side + 2
    room = (21 - len(expected)) // 2
    np.testing.assert_allclose(found.numpy(), np.pad(expected / expected.sum(), room), atol=1e-7)
    assert field_side(found, mass=1.0) == 2 * depth + 1  # the theoretical receptive field
    assert field_side(found) == centred_side(expected)


def centred_side(field, mass=0.95):
    """The side of the smallest square around the middle, one after the other."""
    middle = len(field) // 2
    for r in range(middle + 1):
        part = field[middle - r : middle + r + 1, middle - r : middle + r + 1]
        if part.sum() >= mass * field.sum():
            return 2 * r + 1
    raise AssertionError


def test_one_pixel_per_position_has_side_1():
    field = receptive_field(nn.Sequential(nn.Conv2d(3, 8, 1)), torch.rand(1, 3, 8, 8), "0")
    assert field[4, 4].item() == pytest.approx(1)
    assert field_side(field) == field_side(field, mass=1.0) == 1


def test_strides_widen_the_field():
    model = ones(nn.Conv2d(1, 1, 2, stride=2), nn.Conv2d(1, 1, 2, stride=2))
    field = receptive_field(model, torch.rand(1, 1, 16, 24), "1")
    expected = torch.zeros(16, 24)
    expected[8:12, 12:16] = 1 / 16  # position (2, 3) of 4 × 6
    torch.testing.assert_close(field, expected)
    assert [field_side(field, mass) for mass in (0.05, 0.5, 0.6, 1.0)] == [1, 3, 4, 4]


@pytest.mark.parametrize("layer", ["features.3", "features.4", "features.5", "features.9"])
def test_it_is_the_mean_absolute_jacobian(layer):
    """Also where the next layer changes the output in place."""
    torch.manual_seed(0)
    model, images = VGG(5, width=0.125).eval(), torch.rand(3, 3, 32, 32)
    found = receptive_field(model, images, layer)
    until = model.features[: int(layer.split(".")[1]) + 1]

    def central(image):
        maps = until(image[None].clone())[0]  # (K, h, w)
        return maps[:, maps.shape[1] // 2, maps.shape[2] // 2].sum()

    expected = sum(
        torch.autograd.functional.jacobian(central, image).abs().sum(dim=0) for image in images
    )
    torch.testing.assert_close(found, expected / expected.sum())


@pytest.mark.parametrize("name", ["plain", "VGG", "ResNet", "AttnVGG"])
def test_it_is_a_distribution_and_leaves_the_network_as_it_was(name):
    model, images = made(name).train(), torch.rand(2, 3, 32, 32)
    layer = next(n for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d | nn.ReLU))
    before = state(model)
    field = receptive_field(model, images, layer)
    assert_unchanged(before, state(model))
    assert field.shape == (32, 32)
    assert (field >= 0).all()
    assert field.sum().item() == pytest.approx(1)
    assert not field.requires_grad


def test_batches_make_no_difference(monkeypatch):
    torch.manual_seed(0)
    model, images = VGG(5, width=0.125), torch.rand(5, 3, 32, 32)
    whole = receptive_field(model, images, "features.9")
    monkeypatch.setattr("course_utils.explain.networks.PIXELS_PER_BATCH", 2 * 32 * 32)
    torch.testing.assert_close(receptive_field(model, images, "features.9"), whole)


def test_other_layouts_need_reshape():
    class Last(nn.Module):
        def forward(self, maps):
            return maps.permute(0, 2, 3, 1)

    torch.manual_seed(0)
    model, images = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), Last()), torch.rand(2, 3, 12, 12)
    expected = receptive_field(model, images, "0")
    assert torch.equal(receptive_field(model, images, "1", reshape=channels_last), expected)
    with pytest.raises(ValueError, match=r"'1' \(Last\).*\(2, 12, 12, 5\)"):
        receptive_field(model, images, "1")


class Odd(nn.Module):
    """A network with a layer that runs twice, layers that don't run, and one without gradient."""

    def __init__(self):
        super().__init__()
        self.twice, self.never = nn.ReLU(), nn.ReLU()
        self.cut, self.dead = nn.Identity(), nn.Conv2d(3, 2, 3)
        nn.init.zeros_(self.dead.weight)

    def forward(self, images):
        self.cut(images.detach())
        self.dead(images)
        return self.twice(self.twice(images)).mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("twice", r"'twice' \(ReLU\) runs 2 times"),
        ("never", "'never' .* does not run"),
        ("cut", "to the pixels"),
        ("dead", r"'dead' \(Conv2d\) is 0"),
        ("other", "no layer 'other'"),
    ],
)
def test_layers_without_a_field_are_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        receptive_field(Odd(), torch.rand(2, 3, 8, 8), layer)


def test_no_image_is_refused():
    with pytest.raises(ValueError, match="got none"):
        receptive_field(Odd(), torch.rand(0, 3, 8, 8), "dead")


@given(
    st.integers(0, 10_000),
    st.integers(1, 7),
    st.integers(1, 7),
    st.floats(0.01, 1),
)
def test_no_smaller_square_holds_as_much(seed, height, width, mass):
    torch.manual_seed(seed)
    field = torch.rand(height, width).double() ** 4
    found = field_side(field, mass)

    def fullest(side):  # squares may reach beyond the field
        corners = [(y, x) for y in range(height) for x in range(width)]
        return max(field[y : y + side, x : x + side].sum().item() for y, x in corners)

    enough = mass * field.sum().item()
    assert fullest(found) >= enough * (1 - 1e-9)
    assert found == 1 or fullest(found - 1) < enough


@pytest.mark.parametrize("mass", [0.0, 1.5])
def test_shares_outside_0_to_1_are_refused(mass):
    with pytest.raises(ValueError, match=f"got {mass}"):
        field_side(torch.ones(3, 3), mass)


@pytest.mark.parametrize("values", [0.0, -1.0, float("nan")])
def test_fields_without_shares_are_refused(values):
    with pytest.raises(ValueError, match=f"got values from {values:.3g}"):
        field_side(torch.full((3, 3), values))
