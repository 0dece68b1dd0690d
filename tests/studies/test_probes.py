import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from course_utils.attention.general import Attention
from course_utils.attention.scores import multiplicative
from course_utils.data.splits import load
from course_utils.explain import metrics
from course_utils.studies import probes, shipped


@pytest.fixture(scope="module")
def features():
    return probes.frozen(load(counts={"train": 60, "val": 1, "test": 1}).train)


def test_frozen_features_are_those_of_the_whole_network(features):
    data = load(counts={"train": 60, "val": 1, "test": 1}).train
    model, _ = shipped.load("no_attention_losses")
    images, labels, regions = (torch.stack(column) for column in zip(*(data[i] for i in range(60))))
    assert features.labels.tolist() == labels.tolist()
    assert torch.equal(features.regions, regions)
    with torch.inference_mode():
        heads = model(images).heads
        first, _, last = model.classifiers
        average = probes.Average()(features.local, features.g).context[:, 0]
        torch.testing.assert_close(first(average), heads[:, 0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(last(features.g), heads[:, 2], atol=1e-4, rtol=1e-4)


def test_positions_are_in_the_order_of_the_image():
    """If one corner of the image is bright, the features in that corner of the grid change most."""
    images = torch.zeros(2, 1, 64, 64)
    images[1, :, :16, 48:] = 1  # upper right
    dataset = TensorDataset(
        images, torch.zeros(2, dtype=torch.long), torch.ones(2, 1, 64, 64, dtype=torch.bool)
    )
    local = probes.frozen(dataset).local
    moved = (local[1] - local[0]).norm(dim=1).view(probes.GRID, probes.GRID)
    assert moved[:4, 12:].mean() > 10 * moved[10:, :6].mean()


def test_the_average_scores_chance_on_its_map(features):
    result = probes.score(probes.Probe(probes.Average()), features)
    chance = metrics.area_share(features.regions).mean().item()
    assert result["pointing"] == pytest.approx(chance, abs=1e-6)
    assert result["energy"] == pytest.approx(chance, abs=1e-6)


def test_a_probe_learns_its_training_images(features):
    probe = probes.fit(probes.Probe(probes.Average()), features, epochs=100, lr=0.05)
    assert probes.score(probe, features)["accuracy"] > 0.9
    assert not probe.training


def test_comparing_is_reproducible_and_leaves_the_random_state_alone(features):
    pools = {"average": probes.Average, "guided": lambda: probes.Guided(Attention(multiplicative))}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = probes.compare(pools, features, features, seeds=(0, 1), epochs=2)
    assert torch.equal(torch.rand(2), expected)
    assert first.index.tolist() == [("average", 0), ("average", 1), ("guided", 0), ("guided", 1)]
    assert first.equals(probes.compare(pools, features, features, seeds=(0, 1), epochs=2))
    assert not first.loc["guided"].iloc[0].equals(first.loc["guided"].iloc[1])


def test_gradients_reach_the_pool(features):
    probe = probes.Probe(probes.Guided(Attention(multiplicative)))
    logits, weights = probe(features.local[:4], features.g[:4])
    assert logits.shape == (4, 10)
    assert weights.shape == (4, 1, 256)
    nn.functional.cross_entropy(logits, features.labels[:4]).backward()
    assert all(parameter.grad.norm() > 0 for parameter in probe.parameters())
