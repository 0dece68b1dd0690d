"""How the networks of Learn to Pay Attention are taken apart and put together again."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from course_utils.explain.metrics import energy_inside
from course_utils.models import PayAttentionVGG
from course_utils.studies import learn_to_pay_attention as study
from course_utils.studies.presets import PRESETS

GUIDED = {
    "pc": {"compatibility": "pc"},
    "dp": {"compatibility": "dp"},
    "pc, sigmoid": {"compatibility": "pc", "alignment": "sigmoid"},
    "pc, up": {"compatibility": "pc", "project": "up", "normalise": False},
    "pc, independent": {"compatibility": "pc", "head": "independent"},
}
each = pytest.mark.parametrize("name", GUIDED)


def made(name="pc", seed=0, **options):
    torch.manual_seed(seed)
    return PayAttentionVGG(4, width=1 / 16, dropout=0.0, **(GUIDED[name] | options)).eval()


@pytest.fixture
def images():
    return torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


@each
def test_the_parts_together_are_the_network(name, images, monkeypatch):
    monkeypatch.setattr(study, "BATCH", 4)  # the last batch is smaller
    network = made(name)
    cut = study.dissect(network, images)
    answer = study.attend_and_classify(network, *cut)
    with torch.no_grad():
        expected = network(images)
    assert_close(tuple(answer.output), tuple(expected))
    assert [l.shape[2] for l in cut.local] == [32, 16, 8]
    assert_close(study.global_vector(network, cut.local[-1]), cut.g)
    assert [len(c) for c in answer.contexts] == [6, 6, 6]


def test_all_parameters_but_those_of_attention_and_classifier_are_in_one_part():
    network = made()
    found = [p for part in study.parts(network).values() for p in part.parameters()]
    expected = [*network.features.parameters(), *network.dense.parameters()]
    assert [id(p) for p in found] == [id(p) for p in expected]
    convolutions = [
        sum(isinstance(m, torch.nn.Conv2d) for m in part.modules())
        for part in study.parts(network).values()
    ]
    assert convolutions == [2, 2, 3, 3, 3, 2, 0]


@each
def test_the_logits_with_fresh_layers_are_those_of_a_network_that_has_them(name, images):
    network, other = made(name), made(name, seed=1)
    own, lent = study.logits_by_g(network, [other], images)
    mixed = study.with_fresh_layers(network, other)
    with torch.no_grad():
        assert_close(own.float(), network(images).logits)
        assert_close(lent.float(), mixed(images).logits)
    assert own.dtype == torch.double
    assert next(network.parameters()).dtype == torch.float


def test_g_acts_unless_softmax_cancels_it(images):
    for name, acts in (("pc", False), ("pc, up", False), ("dp", True), ("pc, sigmoid", True)):
        own, lent = study.logits_by_g(made(name), [made(name, seed=1)], images)
        assert ((own - lent).abs().max() > 1e-9) == acts, name


def test_fresh_layers_leave_both_networks_as_they_were():
    network, other = made(), made(seed=1)
    before = copy.deepcopy((network.state_dict(), other.state_dict()))
    mixed = study.with_fresh_layers(network, other)
    assert_close((network.state_dict(), other.state_dict()), before)
    assert mixed.dense.weight.equal(other.dense.weight)
    assert mixed.features[41].training is False
    for name, part in study.parts(mixed).items():
        donor = other if name in ("blocks 6, 7", "dense layer") else network
        assert_close(part.state_dict(), study.parts(donor)[name].state_dict())


def test_a_context_is_replaced_by_its_mean(images):
    network = made()
    answer = study.attend_and_classify(network, *study.dissect(network, images))
    for tap in range(3):
        kept = [c.clone() for c in answer.contexts]
        kept[tap][:] = sum(kept[tap]) / len(images)
        descriptors = [F.relu(norm(c)) for norm, c in zip(network.norms, kept)]
        with torch.no_grad():
            expected = network.classifiers[0](torch.cat(descriptors, dim=1))
        assert_close(study.without_context(network, answer.contexts, tap), expected)
    with pytest.raises(ValueError, match="from 0 to 2, got 3"):
        study.without_context(network, answer.contexts, 3)


def test_gradient_norms_are_zero_behind_the_last_tap_of_pc_only(images):
    for name, acts in (("pc", False), ("dp", True)):
        network = made(name)
        norms = study.gradient_norms(network, images, LABELS)
        assert list(norms) == list(study.parts(network))
        assert (norms["dense layer"] > 1e-9) == acts
        exact = made(name).double()
        F.cross_entropy(exact(images.double()).logits, LABELS).backward()
        assert norms["block 5, tapped"] == pytest.approx(
            sum(p.grad.square().sum().item() for p in exact.features[31:41].parameters()) ** 0.5
        )
        assert all(p.grad is None for p in network.parameters())


def test_distances_are_relative_to_the_start():
    start, network = made(), made()
    with torch.no_grad():
        for parameter in network.dense.parameters():
            parameter.mul_(1.5)
    found = study.distances(network, start)
    assert found.pop("dense layer") == pytest.approx(0.5)
    assert set(found.values()) == {0}


def test_few_steps_train_a_copy_as_a_loop_does(images):
    network = made().train()
    sgd = partial(torch.optim.SGD, lr=0.1)
    trained = study.few_steps(network, images, LABELS, sgd, batch_size=4)
    assert_close(network.state_dict(), made().train().state_dict())
    by_hand = made().train()
    for part in (slice(0, 4), slice(4, 6)):
        by_hand.zero_grad()
        F.cross_entropy(by_hand(images[part]).logits, LABELS[part]).backward()
        with torch.no_grad():
            for parameter in by_hand.parameters():
                parameter -= 0.1 * parameter.grad
    assert_close(dict(trained.named_parameters()), dict(by_hand.named_parameters()))
    exact = study.few_steps(made().double().train(), images, LABELS, sgd)
    assert exact.dense.weight.dtype == torch.double


def test_adam_walks_on_rounding_noise_only_where_eps_is_small_beside_it(images):
    """The reason why unused layers move: noise beside eps, not the precision as such."""
    found = {}
    for name, dtype, eps in (
        ("single", torch.float, 1e-8),
        ("double", torch.double, 1e-8),
        ("tiny eps", torch.double, 1e-30),
    ):
        start = made().to(dtype).train()
        adam = partial(torch.optim.AdamW, lr=1e-3, weight_decay=0, eps=eps)
        trained = study.few_steps(start, images, LABELS, adam, batch_size=2)
        found[name] = study.distances(trained, start)["dense layer"]
    assert found["double"] < 1e-8
    assert found["single"] > 100 * found["double"]
    assert found["tiny eps"] > 1e4 * found["double"]


def test_pairings_give_each_image_another_g_and_use_each_g_once():
    donors = study.pairings(7, 5)
    assert donors.shape == (5, 7)
    for row in donors:
        assert sorted(row.tolist()) == list(range(7))
        assert (row != torch.arange(7)).all()
    assert len(donors.unique(dim=0)) == 5
    assert donors.equal(study.pairings(7, 5))
    assert not donors.equal(study.pairings(7, 5, seed=1))
    with pytest.raises(ValueError, match="got 1"):
        study.pairings(1)


def test_the_norm_of_softmax_jacobian_is_that_of_autograd():
    scores = torch.randn(3, 1, 2, 4, dtype=torch.double)
    for row, found in zip(scores, study.softmax_jacobian(scores)):
        jacobian = torch.autograd.functional.jacobian(lambda r: r.softmax(dim=0), row.flatten())
        assert_close(found, jacobian.norm())
    assert study.softmax_jacobian(torch.tensor([[0.0, 1e3]])).item() < 1e-6


@each
def test_score_gradients_are_those_of_adding_to_the_scores(name, images):
    network = made(name).double()
    found = study.score_gradients(network, images.double(), LABELS)
    noted = []
    for layer in network.attention:

        def compare(l, g, original=layer._compare):
            noted.append(original(l, g))
            noted[-1].retain_grad()
            return noted[-1]

        layer._compare = compare
    logits = network(images.double()).logits
    F.cross_entropy(logits, LABELS, reduction="sum").backward()
    assert found == pytest.approx([r.grad.flatten(1).norm(dim=1).mean().item() for r in noted])


def test_mean_weights_with_and_without_g(images):
    network = made("pc, sigmoid")
    local, g = study.dissect(network, images)
    with torch.no_grad():
        expected = [m.mean().item() for m in network(images).maps]
    assert study.mean_weights(network, local, g) == pytest.approx(expected)
    no_features = [torch.zeros_like(l) for l in local]
    closed = study.mean_weights(network, no_features, torch.zeros_like(g))
    assert closed == pytest.approx([0.5] * 3)


def test_median_gradients_are_noise_behind_the_last_tap_of_pc(images):
    network = made()
    found = study.median_gradients(network, images, LABELS)
    assert list(found) == list(study.parts(network))
    assert found["dense layer"] < 1e-6 < found["block 5, tapped"]
    assert not network.training
    assert all(p.grad is None for p in network.parameters())
    exact = study.median_gradients(made().double(), images, LABELS)
    assert exact["dense layer"] < 1e-14


def test_offset_and_brightness_of_maps_made_by_hand():
    maps = torch.zeros(3, 1, 4, 8)
    maps[:, 0, 1, 6] = 1  # its cell reaches from x = 12 to 14 and from y = 4 to 8
    boxes = torch.tensor([[8, 4, 12, 8]] * 3)
    assert study.offset(maps, boxes, 16) == (1.5, 0)
    images = torch.zeros(3, 1, 16, 16)
    images[:, :, 4:8, 12:14] = 0.5
    assert study.brightness(maps, images) == pytest.approx(0.5)
    assert study.brightness(torch.ones(3, 1, 4, 8), images) == pytest.approx(0.5 / 32)


def test_the_shipped_size_is_that_of_the_paper():
    preset = study.adapt(PRESETS["cpu"])
    assert preset.data["zoom"] * 64 == study.IMAGE_SIZE == 32
    assert preset.recipe.epochs == study.EPOCHS


@each
def test_a_survey_says_of_every_tap_what_a_loop_over_the_images_says(name, images):
    network = made(name)
    regions = torch.zeros(6, 1, 32, 32, dtype=torch.bool)
    regions[:, :, 8:20, 4:16] = True
    found = study.surveyed(network, images, LABELS, regions)
    with torch.no_grad():
        output = network(images)
    right = (output.logits.argmax(dim=1) == LABELS).double().mean().item()
    assert found["accuracy"] == pytest.approx(right)
    local, g = study.dissect(network, images)
    with torch.no_grad():
        _, contexts = study.attend_and_classify(network, local, g)
    values = [layer.project_local(l).detach() for layer, l in zip(network.attention, local)]
    for tap, (weights, l, context) in enumerate(zip(output.maps, values, contexts), start=1):
        averages, longest, ratios = [], [], []
        for i in range(6):
            vectors = [l[i, :, y, x].norm() for y in range(l.shape[2]) for x in range(l.shape[3])]
            averages.append(sum(w * v for w, v in zip(weights[i].flatten(), vectors)))
            averages[-1] = averages[-1] / weights[i].sum()
            longest.append(max(vectors))
            ratios.append(context[i].norm() / longest[-1])
        expected = {
            "weighted": torch.stack(averages).mean(),
            "longest": torch.stack(longest).mean(),
            "excess": max(ratios),
            "energy": energy_inside(weights, regions).mean(),
            "sum": weights.sum() / 6,
            "level": weights.mean(),
            "context": context.norm(dim=1).mean(),
        }
        for key, value in expected.items():
            assert found[f"{key} {tap}"] == pytest.approx(value.item(), rel=1e-4)
        assert (f"head {tap}" in found) == (name == "pc, independent")


def test_a_survey_of_a_network_without_attention_is_its_accuracy(images):
    network = PayAttentionVGG(4, width=1 / 16, levels=0, dropout=0.0).eval()
    regions = torch.ones(6, 1, 32, 32, dtype=torch.bool)
    assert list(study.surveyed(network, images, LABELS, regions)) == ["accuracy"]
