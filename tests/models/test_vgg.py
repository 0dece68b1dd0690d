import pytest
import torch
from torch import nn
from torchvision.models import vgg16, vgg16_bn

from course_utils.core.profiling import parameters as count
from course_utils.models import POOLS, VGG, vgg
from course_utils.models.vgg import tapped


def test_parameter_counts_of_the_full_width():
    with torch.device("meta"):
        assert count(VGG(2, head="dense")) == 134_277_186
        assert count(VGG(2, head="average")) == 14_724_162
        dense = sum(count(layer) for layer in VGG(2, head="dense").dense)
    assert 0.88 < dense / 134_277_186 < 0.9


@pytest.mark.slow
def test_dense_equals_torchvisions_network():
    ours, theirs = VGG(5, head="dense").eval(), vgg16_bn(num_classes=5).eval()
    theirs.features.load_state_dict(ours.features.state_dict())
    for linear, own in zip(
        (theirs.classifier[i] for i in (0, 3, 6)), (ours.dense[2], ours.dense[5], *ours.classifiers)
    ):
        linear.load_state_dict(own.state_dict())
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x).logits, theirs(x))


def test_average_is_a_linear_layer_on_the_average():
    model, x = VGG(5, width=0.125).double().eval(), torch.rand(2, 3, 64, 96).double()
    linear = model.classifiers[0]
    expected = model.features(x).mean(dim=(2, 3)) @ linear.weight.T + linear.bias
    torch.testing.assert_close(model(x).logits, expected, rtol=0, atol=1e-10)


@pytest.mark.slow
def test_taps_equal_torchvisions_features_cut_by_hand():
    features = vgg16_bn().features[:44].double().eval()
    x = torch.rand(1, 3, 32, 32).double()
    for taps, cuts in (("after", (7, 14, 24, 34, 44)), ("before", (6, 13, 23, 33, 43))):
        read, last = tapped(features, x, POOLS, taps)
        torch.testing.assert_close(last, features(x), rtol=0, atol=0)
        for tap, cut in zip(read, cuts):
            torch.testing.assert_close(tap, features[:cut](x), rtol=0, atol=0)


@pytest.mark.usefixtures("unchecked")
def test_vgg16_without_batch_norm_is_refused():
    with pytest.raises(
        ValueError,
        match=r"\[6, 13, 23\].* got .* \[4, 9, 16, 23, 30\]",
    ):
        tapped(vgg16().features, torch.rand(1, 3, 32, 32), [6, 13, 23], "after")


@pytest.mark.parametrize("head", ["dense", "average"])
def test_pretrained_weights_are_used(head, monkeypatch):
    """torchvision's builder is replaced: nothing is downloaded in a test."""
    torch.manual_seed(1)
    stored = vgg16_bn()
    monkeypatch.setattr(vgg, "vgg16_bn", lambda weights: stored)
    model = VGG(2, head=head, pretrained=True)
    assert torch.equal(model.features[0].weight, stored.features[0].weight)
    if head == "dense":
        assert torch.equal(model.dense[5].weight, stored.classifier[3].weight)


def test_weights_that_cannot_be_downloaded_raise_an_error(monkeypatch):
    def offline(weights):
        raise OSError("no route to host")

    monkeypatch.setattr(vgg, "vgg16_bn", offline)
    with pytest.raises(OSError, match=r"\(no route to host\).* pretrained=False"):
        VGG(2, pretrained=True)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_head_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"'gap'.* dense, average"):
        VGG(2, width=0.125, head="gap")


def test_initialisation_is_torchvisions():
    torch.manual_seed(0)
    for module in VGG(2, width=0.5).features:
        if isinstance(module, nn.Conv2d):
            fan_out = 9 * module.out_channels
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
            assert module.bias.abs().max() == 0
