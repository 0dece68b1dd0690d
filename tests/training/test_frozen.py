import copy

import pytest
import torch
import torch.nn.functional as F

from course_utils.attention.map_pools import AveragePool
from course_utils.models.attended_backbone import AttendedBackbone, attended
from course_utils.training import frozen
from course_utils.training.frozen import fit_on_features, predict_on_features
from course_utils.training.recipes import Recipe
from tests.toy_backbone import random_images, toy_backbone

PLAIN = Recipe(epochs=1, batch_size=12, lr=0.1, weight_decay=0.0, optimizer="sgd",
               schedule="constant")  # fmt: skip


def network(seed=0, **options):
    torch.manual_seed(seed)
    return attended(toy_backbone(), 3, hidden=4, **options)


@pytest.fixture
def taps():
    with torch.no_grad():
        return [maps.half() for maps in toy_backbone()(random_images(12))]


LABELS = torch.arange(12) % 3


def weights(model):
    return [p.detach().clone() for p in model.own_parameters()]


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_one_step_equals_training_by_hand(taps, gamma):
    model = network()
    other = copy.deepcopy(model)
    fit_on_features(model, taps, LABELS, Recipe(**vars(PLAIN) | {"gamma": gamma}))
    losses = F.cross_entropy(
        other.on_maps([maps.float() for maps in taps]).logits, LABELS, reduction="none"
    )
    loss = ((1 - (-losses).exp()) ** gamma * losses).mean()
    own = list(other.own_parameters())
    for got, p, slope in zip(weights(model), own, torch.autograd.grad(loss, own), strict=True):
        torch.testing.assert_close(got, p - 0.1 * slope)


def test_features_give_the_same_network_as_images(taps):
    """The frozen backbone is run or not; the images come in the same batches."""
    model = network()
    other = copy.deepcopy(model).train()
    recipe = Recipe(**vars(PLAIN) | {"epochs": 3, "batch_size": 5})
    whole = [maps.float() for maps in toy_backbone()(random_images(12))]
    fit_on_features(model, [m.detach() for m in whole], LABELS, recipe, seed=7)
    optimizer = torch.optim.SGD(other.own_parameters(), lr=0.1, momentum=0.9)
    for epoch in (1, 2, 3):
        generator = torch.Generator().manual_seed(frozen.epoch_seed(7, epoch))
        for chosen in torch.randperm(12, generator=generator).split(5):
            optimizer.zero_grad()
            F.cross_entropy(other(random_images(12)[chosen]).logits, LABELS[chosen]).backward()
            optimizer.step()
    for got, expected in zip(weights(model), weights(other), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_training_is_repeated_by_its_seed(taps):
    recipe = Recipe(epochs=2, batch_size=5)
    runs = []
    for seed, noise in ((1, 0), (1, 99), (2, 0)):
        model = network()
        torch.manual_seed(noise)  # the global generator isn't used
        history = fit_on_features(model, taps, LABELS, recipe, seed=seed)
        runs.append((weights(model), history))
    assert all(torch.equal(a, b) for a, b in zip(runs[0][0], runs[1][0], strict=True))
    assert runs[0][1].equals(runs[1][1])
    assert not torch.equal(runs[0][0][0], runs[2][0][0])


def test_history_has_the_mean_loss_of_each_epoch(taps):
    model, seen = network(), []
    recipe = Recipe(epochs=3, batch_size=5, lr=1e-12, weight_decay=0.0, schedule="constant")
    history = fit_on_features(model, taps, LABELS, recipe, after_epoch=seen.append)
    loss = F.cross_entropy(network().on_maps([m.float() for m in taps]).logits, LABELS).item()
    assert history["epoch"].tolist() == seen == [1, 2, 3]
    # Three batches of 5, 5 and 2 images: each image counts the same.
    assert history["train_loss"].tolist() == pytest.approx([loss] * 3)


def test_after_each_epoch_the_network_is_in_evaluation_mode(taps):
    model, modes = network(), []
    fit_on_features(
        model, taps, LABELS, Recipe(epochs=2), after_epoch=lambda _: modes.append(model.training)
    )
    assert modes == [False, False]


def test_labels_that_can_be_learned_are_learned(taps):
    model = network()
    taps[1][:, 0] += 3 * LABELS[:, None, None]
    history = fit_on_features(model, taps, LABELS, Recipe(epochs=100, lr=0.05))
    assert (predict_on_features(model, taps).logits.argmax(dim=1) == LABELS).all()
    assert history["train_loss"].iloc[-1] < 0.3  # it starts at log 3


@pytest.mark.parametrize("is_frozen", [True, False])
def test_backbone_is_neither_run_nor_trained(taps, is_frozen, monkeypatch):
    model = network(frozen=is_frozen)
    before = copy.deepcopy(model.backbone.state_dict())
    monkeypatch.setattr(model.backbone, "forward", None)  # can't be called
    fit_on_features(model, taps, LABELS, Recipe(epochs=2))
    predict_on_features(model, taps)
    assert all(torch.equal(before[k], v) for k, v in model.backbone.state_dict().items())


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0.1, 0.1, 0.1]),
        ("step", [0.1, 0.1, 0.05]),
        ("cosine", [0.1, 0.075, 0.025]),
    ],
)
def test_rate_follows_the_schedule(taps, schedule, rates, monkeypatch):
    found, step = [], torch.optim.SGD.step

    def noted(self, *args, **kwargs):
        found.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.SGD, "step", noted)
    options = {"epochs": 3, "schedule": schedule, "every": 2, "factor": 0.5}
    fit_on_features(network(), taps, LABELS, Recipe(**vars(PLAIN) | options))
    assert found == pytest.approx(rates)


def test_gradient_is_clipped(taps):
    model = network()
    before = torch.cat([p.flatten() for p in weights(model)])
    fit_on_features(model, taps, LABELS, Recipe(**vars(PLAIN) | {"clip": 1e-3}))
    after = torch.cat([p.flatten() for p in weights(model)])
    assert (after - before).norm().item() == pytest.approx(0.1 * 1e-3, rel=1e-2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_is_refused(taps, bad):
    taps[0][3] = bad
    with pytest.raises(ValueError, match="the loss is nan in epoch 1"):
        fit_on_features(network(), taps, LABELS, PLAIN)


@pytest.mark.parametrize("option", [{"augment": True}, {"map_weights": (0.1,)}])
def test_recipes_that_need_images_are_refused(taps, option):
    with pytest.raises(ValueError, match="train on the images"):
        fit_on_features(network(), taps, LABELS, Recipe(**option))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("n", [11, 13])
def test_numbers_of_maps_and_labels_that_differ_are_refused(taps, n):
    with pytest.raises(ValueError, match=f"maps of {n} images, one per label, got 12, 12"):
        fit_on_features(network(), taps, torch.zeros(n, dtype=torch.long), PLAIN)


def test_labels_that_are_no_class_are_refused(taps):
    with pytest.raises(ValueError, match="from 0 to 2, got labels from 0 to 3"):
        fit_on_features(network(), taps, torch.arange(12) % 4, PLAIN)


@pytest.mark.parametrize("at_once", [1, 5, 12, 200])
@pytest.mark.parametrize("head", ["concat", "independent"])
def test_predictions_are_those_of_all_images_at_once(taps, at_once, head, monkeypatch):
    monkeypatch.setattr(frozen, "AT_ONCE", at_once)
    model = network(head=head).train()
    output = predict_on_features(model, taps)
    assert model.training
    assert not output.logits.requires_grad
    torch.testing.assert_close(output, model.eval().on_maps([maps.float() for maps in taps]),
                               check_dtype=True)  # fmt: skip


def test_predictions_of_a_network_without_maps(taps):
    model = AttendedBackbone(toy_backbone(), [AveragePool()], [4], 3)
    assert predict_on_features(model, taps).maps == ()
