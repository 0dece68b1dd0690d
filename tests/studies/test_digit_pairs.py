"""The experiment on pairs of digits: its networks, interventions and measurements."""

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from course_utils.core.profiling import parameters
from course_utils.data import DigitPairs
from course_utils.studies import digit_pairs as study
from course_utils.studies.presets import PRESETS
from course_utils.training.run import Run

BLOCKS = [name for name in study.CONTENDERS if study.block_of(study.build(name)) is not None]


@pytest.fixture(scope="module")
def pairs():
    return DigitPairs("val", 12, seed=3)


def shaken(name):
    """Return a contender whose block isn't the identity and whose weights differ."""
    torch.manual_seed(2)
    network = study.build(name, seed=1).eval()
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return network


@pytest.mark.parametrize(("name", "pixels"), [("plain", 47), ("dilated", 119), ("deep", 159)])
def test_the_last_positions_see_as_many_pixels_as_the_study_states(name, pixels):
    images = torch.rand(1, 3, 32, 400, requires_grad=True)
    features = study.build(name).eval().features(images)
    features[0, :, 2, features.shape[3] // 2].sum().backward()
    seen = images.grad[0].abs().amax(dim=(0, 1)).nonzero().flatten()
    assert seen.max() - seen.min() + 1 == pixels


def test_controls_are_as_large_as_the_block():
    count = {name: parameters(study.build(name)) for name in study.CONTENDERS}
    assert count["average"] == count["non_local"] == count["plain"] + 2 * 32**2 + 2 * 32
    assert count["dilated"] == count["plain"]
    for name in ("hidden", "global_context"):
        assert abs(count[name] - count["non_local"]) < 100


def test_the_score_of_the_plain_network_is_a_sum_over_the_digits(pairs):
    """No position sees both digits, so swapping the right ends of two images keeps the sum."""
    for name, additive in (("plain", True), ("non_local", False), ("hidden", False)):
        network = shaken(name).double()
        images = pairs.images[:2].double() / 255
        images[..., 32:-32] = images[:1, ..., 32:-32]
        swapped = torch.cat([images[..., :56], images.flip(0)[..., 56:]], dim=-1)
        with torch.inference_mode():
            logits, others = network(images).logits, network(swapped).logits
        same = torch.allclose(logits.sum(dim=0), others.sum(dim=0), atol=1e-9)
        assert same == additive
        assert not torch.allclose(logits, others, atol=1e-6)


def test_networks_start_as_the_reader_of_single_digits():
    begun = study.build("plain", seed=5)
    run = Run(history=pd.DataFrame(), snapshots={}, weights=begun.state_dict())
    images = torch.rand(2, 1, 32, 112)
    for name in ("non_local", "average", "global_context", "hidden"):
        network = study.build(name, seed=1, begun=run).eval()
        with torch.inference_mode():
            found = network.features(images.expand(-1, 3, -1, -1))
            assert torch.equal(found, begun.eval().features(images.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("name", BLOCKS)
def test_own_weights_change_nothing_and_others_do(name, pairs):
    network = shaken(name)
    images = pairs.images / 255
    with torch.inference_mode():
        logits, weights = network(images).logits, study.weights_of(network, images)
        with study.attending(network, weights):
            torch.testing.assert_close(network(images).logits, logits)
        with study.attending(network, weights.roll(1, dims=0)):
            assert name == "average" or not torch.allclose(network(images).logits, logits)
        torch.testing.assert_close(network(images).logits, logits)  # the hook is gone


def test_replaced_weights():
    weights = torch.rand(3, 4, 4).softmax(dim=-1)
    mean = weights.mean(dim=0, keepdim=True)
    on = torch.tensor([[True, False, True, False]] * 3)

    def replaced(kind):
        return study.replaced(kind, weights, mean, on)

    torch.testing.assert_close(replaced("mean over digits")[1, 3], weights[1, [0, 2]].mean(dim=0))
    assert torch.equal(replaced("mean over queries")[1, 2], weights[1].mean(dim=0))
    assert torch.equal(replaced("mean over images")[2], mean[0])
    torch.testing.assert_close(replaced("equal"), torch.full((3, 4, 4), 0.25))
    assert torch.equal(replaced("another image")[1], weights[0])
    with pytest.raises(ValueError, match="another image, got 'best'"):
        replaced("best")


def test_interventions_agree_with_the_network(pairs):
    network = shaken("non_local")
    images = pairs.images / 255
    found = (
        study.interventions(network, images, pairs.labels, pairs.boxes)
        .set_index("weights")
        .accuracy
    )
    assert found.index.tolist() == list(study.KINDS)
    with torch.inference_mode():
        right = network(images).logits.argmax(dim=1) == pairs.labels
        assert found["own"] == pytest.approx(right.double().mean().item())
        mean = study.weights_of(network, images).mean(dim=0, keepdim=True)
        with study.attending(network, mean):
            right = network(images).logits.argmax(dim=1) == pairs.labels
        assert found["mean over images"] == pytest.approx(right.double().mean().item())
    assert study.interventions(
        study.build("plain").eval(), images, pairs.labels, pairs.boxes
    ).shape == (1, 2)
    context = study.interventions(shaken("global_context"), images, pairs.labels, pairs.boxes)
    assert "mean over queries" not in set(context.weights)


def test_cosine_distance_of_known_maps():
    eye = torch.eye(5)[None]
    assert study.cosine_distance(eye).item() == pytest.approx(1)
    assert study.cosine_distance(torch.rand(1, 1, 5).expand(1, 5, 5)).item() == pytest.approx(
        0, abs=1e-6
    )
    weights = torch.rand(2, 6, 6)
    by_hand = [
        1 - F.cosine_similarity(w[i], w[j], dim=0) for w in weights[:1] for i in range(6)
        for j in range(6) if i != j
    ]  # fmt: skip
    expected = torch.stack(by_hand).mean()
    torch.testing.assert_close(study.cosine_distance(weights)[0], expected)


def test_where_the_queries_on_a_digit_look():
    boxes = torch.tensor([[[0, 0, 8, 8], [104, 8, 112, 16]]])
    inside = study.cells(boxes, (32, 112), (8, 28))
    assert inside.sum(dim=2).tolist() == [[4, 4]]
    assert inside[0, 0].nonzero().flatten().tolist() == [0, 1, 28, 29]
    assert inside[0, 1].nonzero().flatten().tolist() == [2 * 28 + 26, 2 * 28 + 27, 82 + 28, 83 + 28]
    k = 8 * 28
    equal = torch.full((1, k, k), 1 / k)
    found = study.where(equal, inside)
    assert found == pytest.approx({"own": 4 / k, "other": 4 / k, "equal": 4 / k})
    across = inside[0, 1].float().expand(k, k)[None] / 4  # everybody looks at the right digit
    assert study.where(across, inside) == pytest.approx({"own": 0.5, "other": 0.5, "equal": 4 / k})
    itself = torch.eye(k)[None]
    assert study.where(itself, inside) == pytest.approx({"own": 1, "other": 0, "equal": 4 / k})


def test_an_unknown_network_is_named():
    with pytest.raises(ValueError, match=r"unknown variant .best.*plain"):
        study.build("best")
    with (
        pytest.raises(ValueError, match="got ResNet"),
        study.attending(study.build("plain"), torch.rand(1, 4, 4)),
    ):
        pass


def test_shipped_tables_have_all_runs():
    runs, after = study.runs(), study.intervened()
    chosen = runs[runs.chosen].groupby("variant").seed.apply(list).to_dict()
    assert chosen == {name: list(c.seeds) for name, c in study.CONTENDERS.items()}
    own = after[after.weights == "own"].groupby("variant").seed.apply(list).to_dict()
    assert own == chosen
    for name, contender in study.CONTENDERS.items():
        tried = runs[(runs.variant == name) & runs.seed.isin((0, 1))]
        expected = 2 * (1 if contender.like else len(contender.factors))
        assert len(tried) == expected
    sizes = runs.groupby("variant").parameters.unique()
    assert all(sizes[name] == [parameters(study.build(name))] for name in study.CONTENDERS)


@pytest.mark.parametrize("name", ["plain", "non_local", "relative", "average", "global_context"])
def test_shipped_networks_have_the_accuracy_of_their_rows(name):
    """The first 400 of 2,000 test images; half precision may turn single answers."""
    test = study.pairs(PRESETS["cpu"]).test
    with torch.inference_mode():
        right = study.network(name)(test.images[:400] / 255).logits.argmax(1) == test.labels[:400]
    row = study.runs().query("chosen and seed == 0").set_index("variant").loc[name]
    spread = (row.accuracy * (1 - row.accuracy) / 400) ** 0.5
    assert abs(right.double().mean().item() - row.accuracy) < 4 * spread
