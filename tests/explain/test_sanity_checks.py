from threading import Lock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import nn

from course_utils.explain.sanity_checks import cascade, rank_correlation
from course_utils.models import VGG, AttnVGG


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.booleans())
def test_rank_correlation_is_scipys(seed, ties):
    source = torch.Generator().manual_seed(seed)
    a, b = torch.rand(3, 1, 4, 5, generator=source), torch.rand(3, 1, 4, 5, generator=source)
    if ties:
        a, b = (a * 4).round(), (b - 0.5).relu()
    expected = [spearmanr(x.flatten(), y.flatten()).statistic for x, y in zip(a, b)]
    assert rank_correlation(a, b).tolist() == pytest.approx(expected, abs=1e-6)


def test_rank_correlation_depends_on_the_order_alone_and_is_0_for_uniform_maps():
    maps = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(rank_correlation(maps, 7 * maps**3), torch.ones(2))
    torch.testing.assert_close(rank_correlation(maps, -maps), -torch.ones(2))
    assert rank_correlation(maps, torch.ones_like(maps)).tolist() == [0, 0]


@pytest.mark.usefixtures("unchecked")
def test_maps_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"got \(2, 1, 4, 4\) and \(2, 1, 8, 8\)"):
        rank_correlation(torch.rand(2, 1, 4, 4), torch.rand(2, 1, 8, 8))


def test_the_cascade_goes_from_the_output_to_the_input():
    trained, fresh = AttnVGG(5, width=0.125), AttnVGG(5, width=0.125)
    nn.init.ones_(trained.features[1].running_mean)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    images, changed = torch.rand(2, 3, 32, 32), []
    names = []
    for name, network in cascade(trained, fresh):
        names.append(name)
        assert not network.training
        own, new = network.state_dict(), fresh.state_dict()
        done = [key for key in own if any(key.startswith(f"{n}.") for n in names)]
        assert all(torch.equal(own[key], new[key]) for key in done)
        assert all(torch.equal(own[key], before[key]) for key in own if key not in done)
        changed.append(network(images).logits)
    assert names[0] == "classifiers.0"
    assert names[1] == "attention.1.score"
    assert names[-2:] == ["features.1", "features.0"]
    assert len(names) == 1 + 2 * 3 + 13 * 2
    torch.testing.assert_close(changed[-1], fresh.eval()(images).logits)
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_networks_with_different_layers_are_refused():
    with pytest.raises(ValueError, match="a VGG and a VGG"):
        next(cascade(VGG(5, width=0.125), VGG(4, width=0.125)))


class Keeps(nn.Module):
    """A network that keeps what it computed, directly or in a list."""

    def __init__(self, thing=None):
        super().__init__()
        self.layer, self.head, self.thing = nn.Conv2d(3, 4, 3), nn.Linear(4, 5), thing
        self.history = []

    def forward(self, images):
        self.kept = self.layer(images)
        self.history.append(self.kept)
        return self.head(self.kept.mean(dim=(2, 3)))


def test_a_network_that_keeps_its_activations_is_copied_without_their_graph():
    model, fresh, images = Keeps(), Keeps(), torch.rand(2, 3, 8, 8)
    model(images)
    model(images)
    before = model(images)
    steps = list(cascade(model, fresh))
    assert [name for name, _ in steps] == ["head", "layer"]
    assert torch.equal(steps[-1][1](images), fresh(images))
    assert torch.equal(model(images), before)


@pytest.mark.parametrize("thing", [Lock(), (n for n in range(3))])
def test_what_can_not_be_copied_is_refused_in_one_sentence(thing):
    with pytest.raises(ValueError, match=r"this Keeps can't be copied") as error:
        next(cascade(Keeps(thing), Keeps()))
    assert "\n" not in str(error.value)


def test_batch_norm_without_weights_loses_its_statistics():
    def build():
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU())

    trained = build().train()
    trained(torch.rand(8, 3, 8, 8) + 3)
    steps = [(name, network[1].running_mean.clone()) for name, network in cascade(trained, build())]
    assert [name for name, _ in steps] == ["1", "0"]
    assert trained[1].running_mean.abs().max() > 0
    assert not steps[0][1].any()


def test_correlation_in_half_precision():
    maps = torch.rand(2, 1, 4, 4).bfloat16()
    assert torch.equal(rank_correlation(maps, maps), torch.ones(2))
