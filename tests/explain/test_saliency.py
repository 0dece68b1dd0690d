import pytest
import torch
from captum.attr import GuidedBackprop, Saliency
from torch import nn

from course_utils.explain.saliency import input_gradient
from course_utils.models import VGG, AttnVGG
from tests.explain.cases import NETWORKS, LogitsOnly, assert_unchanged, made, state


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_captums(name):
    model, images, classes = (
        made(name).double(),
        torch.rand(3, 3, 32, 48).double(),
        torch.tensor([0, 4, 2]),
    )
    expected = (
        Saliency(LogitsOnly(model))
        .attribute(images.clone().requires_grad_(), classes)
        .amax(dim=1, keepdim=True)
    )
    torch.testing.assert_close(input_gradient(model, images, classes), expected)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.parametrize("name", ["plain", "VGG", "VGG dense", "AttnVGG"])
def test_guided_equals_captums(name):
    model, images, classes = (
        made(name).double(),
        torch.rand(3, 3, 32, 48).double(),
        torch.tensor([0, 4, 2]),
    )
    expected = (
        GuidedBackprop(LogitsOnly(model))
        .attribute(images.clone().requires_grad_(), classes)
        .abs()
        .amax(dim=1, keepdim=True)
    )
    found = input_gradient(model, images, classes, guided=True)
    torch.testing.assert_close(found, expected)
    assert (found - input_gradient(model, images, classes)).abs().max() > 0


def test_by_hand():
    """Logit 0 is ReLU(x) · 2 − 3 · ReLU(y): guided back-propagation blocks the −3."""
    head = nn.Linear(2, 2, bias=False)
    head.weight.data = torch.tensor([[2.0, -3.0], [0.0, 1.0]])
    model = nn.Sequential(nn.ReLU(), nn.Flatten(), head)
    images = torch.tensor([[[[1.0, 1.0]]], [[[-1.0, 1.0]]]])
    assert input_gradient(model, images, 0).flatten(1).tolist() == [[2, 3], [0, 3]]
    assert input_gradient(model, images, 0, guided=True).flatten(1).tolist() == [[2, 0], [0, 0]]


class AsFunctions(nn.Module):
    """The same network with ReLUs that are functions or, in one of three cases, a module."""

    def __init__(self, relu):
        super().__init__()
        self.first, self.relu, self.unused = nn.Conv2d(3, 4, 3), relu, nn.ReLU()
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        return self.head(self.relu(self.first(images)).mean(dim=(2, 3)))


@pytest.mark.parametrize("relu", [torch.relu, nn.functional.relu, nn.ReLU6(), nn.GELU()])
def test_guided_is_refused_where_no_relu_module_runs(relu):
    model, images = AsFunctions(relu), torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"nn\.ReLU, and none runs in this AsFunctions"):
        input_gradient(model, images, guided=True)
    assert input_gradient(model, images).abs().max() > 0
    assert input_gradient(AsFunctions(nn.ReLU()), images, guided=True).shape == (2, 1, 8, 8)


def test_the_network_stays_as_it_was():
    model = VGG(5, width=0.125).train()
    before = state(model)
    for guided in (False, True):
        input_gradient(model, torch.rand(2, 3, 32, 32), guided=guided)
        assert_unchanged(before, state(model))
        with pytest.raises(ValueError, match="from 0 to 4"):
            input_gradient(model, torch.rand(2, 3, 32, 32), 7, guided=guided)
        with pytest.raises(ValueError, match="grey or RGB"):
            input_gradient(model, torch.rand(2, 4, 32, 32), guided=guided)
        assert_unchanged(before, state(model))


def test_frozen_weights_and_inference_mode():
    model = AttnVGG(5, width=0.125).requires_grad_(False)
    images = torch.rand(2, 1, 32, 32)
    expected = input_gradient(model, images)
    assert expected.shape == (2, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(input_gradient(model, images + 0), expected)


def test_a_detached_input_is_refused():
    class Cut(nn.Module):
        def forward(self, images):
            return images.detach().mean(dim=(2, 3))

    with pytest.raises(ValueError, match=r"no gradient .* Cut"):
        input_gradient(Cut(), torch.rand(1, 3, 4, 4))
