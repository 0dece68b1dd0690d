import copy
import pickle
import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision.models

from course_utils.models import backbone as module
from course_utils.models.backbone import Backbone, imagenet_backbone, normalised
from course_utils.models.efficientnet_lite import prepared
from tests.toy_backbone import ToyNetwork, random_images, toy_backbone


def test_maps_are_those_of_the_modules():
    network, images = ToyNetwork().eval(), random_images(3)
    early = network.early(images)
    late = network.late(F.relu(early - 0.1))
    backbone = Backbone(network, ("late", "early.0", "early"), size=32)
    found = backbone(images)
    for got, expected in zip(found, (late, network.early[0](images), early), strict=True):
        assert torch.equal(got, expected)
    assert backbone.channels == (6, 4, 4)
    assert backbone.sides == (4, 8, 8)
    assert backbone.taps == ("late", "early.0", "early")


def test_of_a_module_that_runs_twice_the_last_output_counts():
    late, last = toy_backbone(("late", "act"))(random_images(2))
    assert torch.equal(last, late.relu())


def test_a_module_can_be_tapped_twice():
    backbone = toy_backbone(("late", "late"))
    one, other = backbone(random_images(2))
    assert torch.equal(one, other)
    assert backbone.channels == (6, 6)


@pytest.mark.parametrize("side", [20, 32, 50])
def test_images_are_resized_and_prepared(side):
    images = random_images(2, side)
    backbone = toy_backbone(prepare=lambda x: 2 * x - 1)
    resized = F.interpolate(images, (32, 32), mode="bilinear", antialias=True)
    expected = toy_backbone()(2 * (images if side == 32 else resized) - 1)
    for got, e in zip(backbone(images), expected, strict=True):
        assert torch.equal(got, e)


def test_grey_images_are_repeated_in_the_three_channels():
    backbone, grey = toy_backbone(), random_images(2, channels=1)
    for one, other in zip(backbone(grey), backbone(grey.repeat(1, 3, 1, 1)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("unchecked")
def test_images_that_are_neither_grey_nor_colour_are_refused():
    with pytest.raises(ValueError, match=r"grey or RGB .* got \(2, 4, 32, 32\)"):
        toy_backbone()(random_images(2, channels=4))


def test_the_network_stays_in_evaluation_mode():
    network = ToyNetwork()
    assert network.training
    backbone = Backbone(network, ("early",), size=32)
    before = copy.deepcopy(backbone.state_dict())
    backbone(random_images(4))
    for mode in (True, False):
        assert backbone.train(mode) is backbone
        assert backbone.training == mode
        assert not any(m.training for m in network.modules())
        backbone(random_images(4))
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_backbone_is_copied_and_pickled_whole():
    backbone, images = toy_backbone(), random_images(2)
    expected = backbone(images)
    for other in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        with torch.no_grad():
            backbone.network.early[0].weight.zero_()  # so the copy doesn't read the original's maps
        for got, e in zip(other(images), expected, strict=True):
            assert torch.equal(got, e)


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        (("early", "layer9"), "no module 'layer9'"),
        (("vector",), r"\(B, C, H, W\) from module 'vector', got \(1, 6\)"),
        (("several",), "from module 'several', got tuple"),
        (("unused",), "'unused', but doesn't run it"),
        ((), "at least one module, got no taps"),
    ],
)
def test_modules_without_a_map_are_refused(taps, message):
    with pytest.raises(ValueError, match=message):
        toy_backbone(taps)


def test_small_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 32 pixels, got 31"):
        toy_backbone(size=31)


def test_normalised_equals_torchvisions_transform():
    images = random_images(2)
    theirs = torchvision.models.ResNet50_Weights.IMAGENET1K_V2.transforms(
        crop_size=32, resize_size=32
    )
    torch.testing.assert_close(normalised(images), theirs(images))


@pytest.mark.parametrize("name", ["resnet18", "", "VGG16_BN"])
def test_unknown_backbones_are_refused(name):
    message = f"'{name}': .* efficientnet_lite0, vgg16_bn, resnet50"
    with pytest.raises(ValueError, match=message):
        imagenet_backbone(name)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "vgg16_bn", "resnet50"])
@pytest.mark.parametrize("stride", [4, 0, 64])
def test_strides_without_a_map_are_refused_before_anything_is_downloaded(name, stride):
    with pytest.raises(ValueError, match=f"{name} has no map of stride {stride}: .* 8, 16, 32"):
        imagenet_backbone(name, (16, stride))


def skeleton(build):
    """A network with any weights at all, because drawing random ones takes a minute."""
    with torch.device("meta"):
        network = build()
    if hasattr(network, "classifier"):
        network.classifier = torch.nn.Identity()  # most of VGG16's parameters
    return network.to_empty(device="cpu")


@pytest.fixture
def untrained(monkeypatch):
    """Let torchvision's networks be built without their weights."""
    for build in (torchvision.models.vgg16_bn, torchvision.models.resnet50):
        known = module._KNOWN[build.__name__]._replace(build=partial(skeleton, build))
        monkeypatch.setitem(module._KNOWN, build.__name__, known)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("efficientnet_lite0", (40, 112, 1280)),
        ("vgg16_bn", (256, 512, 512)),
        ("resnet50", (512, 1024, 2048)),
    ],
)
def test_maps_have_their_strides(name, channels):
    backbone = imagenet_backbone(name, (8, 16, 32), size=64)
    assert backbone.channels == channels
    assert backbone.sides == (8, 4, 2)
    assert not backbone.network.training
    reverse = imagenet_backbone(name, (32, 8), size=64)
    assert reverse.channels == (channels[2], channels[0])


def test_efficientnets_last_features_are_those_that_it_classifies():
    backbone, images = imagenet_backbone(strides=(32,), size=64), random_images(2, 64)
    (last,) = backbone(images)
    logits = backbone.network(prepared(images))
    assert last.min() >= 0
    assert last.max() <= 6
    torch.testing.assert_close(backbone.network._fc(last.mean(dim=(2, 3))), logits)


def fails(error):
    def build(**options):
        raise error

    return build


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError("no route to host"), "no route to host"),
        (RuntimeError("invalid hash value\nmore"), "invalid hash value"),
        (EOFError(), "EOFError"),  # an empty file
        (pickle.UnpicklingError("pickle data was truncated"), "pickle data was truncated"),
    ],
)
def test_weights_that_cannot_be_had_are_one_sentence(error, why, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(OSError, match=re.escape(f"({why})")) as caught:
        module._trained(fails(error), None)
    assert "efficientnet_lite0" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"half of a file"])
def test_half_a_download_of_weights_is_reported(content, tmp_path, monkeypatch):
    weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V2
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / weights.url.rsplit("/", 1)[1]).write_bytes(content)
    with pytest.raises(OSError, match="downloaded or read") as caught:
        module._trained(lambda weights: weights.get_state_dict(progress=False), weights)
    assert f"{tmp_path}/hub/checkpoints" in str(caught.value)


def test_maps_have_gradients_if_the_network_has():
    backbone = toy_backbone()
    backbone(random_images(2))[1].sum().backward()
    assert backbone.network.late[0].weight.grad.abs().sum() > 0
