import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from course_utils.studies import scenes
from course_utils.studies.probes import Features


def source(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def features():
    """Features whose first entry at each position is its own number, on the large grid."""
    local = torch.rand(20, 256, 32, generator=source())
    local[..., 0] = torch.arange(256.0)
    labels = torch.arange(20) % 10
    return Features(local, torch.rand(20, 64), labels, torch.rand(20, 1, 64, 64) > 0.9)


def test_halving_averages_blocks_of_two_by_two(features):
    half = scenes.halved(features)
    assert half.local.shape == (20, 64, 32)
    grid = features.local[3].view(16, 16, 32)
    assert_close(half.local[3, 8 * 2 + 5], grid[4:6, 10:12].mean(dim=(0, 1)))
    assert half.g is features.g


def test_everything_is_divided_by_what_the_first_features_say(features):
    other = features._replace(local=3 * features.local)
    first, second = scenes.scaled(features, other)
    assert first.local.std().item() == pytest.approx(0.5, rel=1e-5)
    assert first.g.std().item() == pytest.approx(0.5, rel=1e-5)
    assert_close(second.local, 3 * first.local)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 60), seed=st.integers(0, 1000))
def test_pairs_have_different_digits(n, seed):
    labels = torch.arange(40) % 10
    i = scenes.draw_pairs(labels, n, source(seed))
    assert i.shape == (n, 2)
    assert (labels[i[:, 0]] != labels[i[:, 1]]).all()


def test_a_scene_has_the_left_image_on_the_left(features):
    half = scenes.halved(features)
    x = scenes.join(half.local, torch.tensor([[3, 5]])).view(8, 16, scenes.PLACED)
    for j, part in ((3, x[:, :8]), (5, x[:, 8:])):
        assert_close(part[..., :32], half.local[j].view(8, 8, 32))
    assert_close(x[:, :8, 32:].flatten(0, 1), scenes.positions(8) + torch.tensor([0.0, -2.0]),
                 atol=0.3, rtol=0)  # fmt: skip
    assert x[..., 32].diff(dim=0).min() > 0  # rows grow downwards
    assert x[..., 33].diff(dim=1).min() > 0  # columns grow to the right
    assert_close(x[..., 33].mean(), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_each_region_is_on_its_side(features):
    i = torch.tensor([[3, 5]])
    left, right = scenes.regions(features.regions, i)
    assert left.shape == right.shape == (1, 1, 64, 128)
    assert torch.equal(left[..., :64], features.regions[[3]])
    assert torch.equal(right[..., 64:], features.regions[[5]])
    assert not left[..., 64:].any()
    assert not right[..., :64].any()


def test_the_plain_average_is_a_mean_with_uniform_weights():
    x = torch.rand(2, 5, 3)
    context, weights = scenes.PlainAverage()(x)
    assert_close(context[:, 0], x.mean(dim=1))
    assert_close(weights, torch.full((2, 1, 5), 0.2))


@pytest.mark.parametrize(("hidden", "count"), [(None, 3 * 4 + 4), (7, 3 * 7 + 7 + 7 * 4 + 4)])
def test_the_reader_has_a_linear_classifier_or_a_hidden_layer(hidden, count):
    reader = scenes.Reader(scenes.PlainAverage(), 3, 4, hidden=hidden)
    assert sum(p.numel() for p in reader.parameters()) == count
    x = torch.rand(2, 5, 3)
    assert_close(reader(x), reader.classifier(x.mean(dim=1)))


def toy(generator):
    x = torch.randn(32, 4, 3, generator=generator)
    return (x,), (x.mean(dim=(1, 2)) > 0).long()


def make():
    return scenes.Reader(scenes.PlainAverage(), 3, 2)


def test_learning_lowers_the_loss_and_repeats_itself():
    torch.manual_seed(0)
    before, model, again = make(), scenes.learn(make, toy), scenes.learn(make, toy)
    (x,), answers = toy(source(5))
    loss = [nn.functional.cross_entropy(m(x), answers).item() for m in (before, model)]
    assert loss[1] < 0.5 * loss[0]
    assert_close(model.state_dict(), again.state_dict())
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    other = scenes.learn(make, toy, seed=1)
    assert not torch.equal(other.classifier.weight, model.classifier.weight)


def test_learning_leaves_the_random_state_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    scenes.learn(make, toy, steps=2)
    assert torch.equal(torch.rand(3), expected)
