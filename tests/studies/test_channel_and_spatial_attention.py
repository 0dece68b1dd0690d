"""The experiment on gates: its networks, interventions and measurements."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torchvision.models.resnet import BasicBlock

from course_utils.attention.gates import SqueezeExcitation
from course_utils.data.cluttered_digits import ClutteredDigits
from course_utils.data.splits import load
from course_utils.explain import class_activation_map, metrics
from course_utils.models import ResNet
from course_utils.studies import channel_and_spatial_attention as study
from course_utils.studies.presets import PRESETS, Preset
from course_utils.training.recipes import Recipe

TINY = Preset("smoke", 0.125, {"size": 32, "counts": {"train": 64}}, Recipe(epochs=1))
GATED = [name for name, c in study.CONTENDERS.items() if c.group in ("gates", "start")]


@pytest.fixture(scope="module")
def images():
    return study.first(ClutteredDigits("test", 60, canvas=32, fragments=1), 60)


@pytest.fixture(scope="module")
def network():
    """Return a function that builds a contender whose gates differ between images."""

    def make(name):
        torch.manual_seed(1)
        model = study.build(name, study.CONTENDERS[name].adapt(TINY), seed=1).eval()
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
        return model

    return make


def by_hand(network, pixels, signals):
    """Run a ResNet-8 image by image; gates without given weights compute their own."""
    logits = []
    for i, image in enumerate(pixels):
        x = network.features[0](image.expand(1, 3, -1, -1))
        for number, (block,) in enumerate(network.features[1:], start=1):
            norm, gate = block.bn2
            inner = norm(block.conv2(F.relu(block.bn1(block.conv1(x)))))
            given = signals.get(f"block {number}")
            weights = gate.weights(inner) if given is None else given[i]
            skip = x if block.downsample is None else block.downsample(x)
            x = F.relu(skip + weights * inner)
        logits.append(network.classifiers[0](x.mean(dim=(2, 3))))
    return torch.cat(logits)


def share(right):
    return right.double().mean().item()


@pytest.mark.parametrize("name", [*GATED, "se_deep", "soft_flat", "soft_conv"])
def test_a_networks_own_weights_change_nothing(name, network, images):
    model = network(name)
    seen = study.look(model, images.pixels)
    with torch.no_grad():
        torch.testing.assert_close(model(images.pixels).logits, seen.logits)
    assert torch.equal(study.answers(model, images.pixels, seen.signals), seen.logits.argmax(dim=1))
    assert seen.signals.keys() == seen.inputs.keys() == study.gates_of(model).keys()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("name", ["se", "eca", "streamlined", "coordinate", "second_order"])
def test_interventions_equal_a_loop_over_images_and_blocks(name, network, images):
    """In double precision, because the loop adds up in another order."""
    model, images = network(name).double(), images._replace(pixels=images.pixels.double())
    pixels, labels = images.pixels, images.labels
    table = study.interventions(model, images).set_index(["scope", "weights"])
    with torch.no_grad():
        own = study.look(model, pixels).signals
        torch.testing.assert_close(by_hand(model, pixels, own), model(pixels).logits)
        torch.testing.assert_close(by_hand(model, pixels, {}), model(pixels).logits)
        lenders = study.donors(labels)
        for scope, blocks in (("all", list(own)), ("block 2", ["block 2"])):
            mean, given = {}, {kind: {} for kind in lenders}
            for block in blocks:
                mean[block] = sum(own[block]).div(len(labels))[None].expand_as(own[block])
                for kind, lender in lenders.items():
                    given[kind][block] = torch.stack([own[block][j] for j in lender])
            found = by_hand(model, pixels, mean).argmax(dim=1)
            assert table.accuracy[scope, "mean"] == pytest.approx(share(found == labels))
            for kind, lender in lenders.items():
                found = by_hand(model, pixels, given[kind]).argmax(dim=1)
                assert table.accuracy[scope, kind] == pytest.approx(share(found == labels))
                assert table.says[scope, kind] == pytest.approx(share(found == labels[lender]))
    kinds = {"mean", "another class", "same class"}
    expected = {(scope, kind) for scope in study.scopes(list(own)) for kind in kinds}
    assert set(table.index) == expected | {("all", "own")}


def test_what_a_global_context_adds_is_replaced(network, images):
    model = network("global_context")
    gate = study.gates_of(model)["block 2"]
    x = torch.rand(3, 32, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(gate(x), x + study.signal(gate, x))
        with study.replaced(model, {"block 2": torch.full((1, 32, 1, 1), 2.0)}):
            torch.testing.assert_close(gate(x), x + 2)
        torch.testing.assert_close(gate(x), x + study.signal(gate, x))


def test_the_energy_of_maps_with_own_and_with_mean_weights(network, images):
    model = network("se")
    table = study.interventions(model, images).set_index(["scope", "weights"]).cam_energy
    maps = class_activation_map(model, images.pixels, images.labels).clamp(min=0)
    expected = metrics.energy_inside(maps, images.regions).mean().item()
    assert table["all", "own"] == pytest.approx(expected, rel=1e-5)
    assert table["all", "mean"] != pytest.approx(expected, rel=1e-5)
    assert table.notna().sum() == 2


def test_gates_have_readable_names(network):
    three = [f"block {i}" for i in (1, 2, 3)]
    assert list(study.gates_of(network("se"))) == three
    parts = [f"{block}, {part}" for block in three for part in ("channels", "positions")]
    assert list(study.gates_of(network("cbam"))) == parts
    assert list(study.scopes(parts)) == ["all", "all channels", *parts]
    assert study.scopes(parts)["all channels"] == parts[::2]
    assert list(study.gates_of(network("soft_conv"))) == ["gate"]
    assert study.scopes(["gate"]) == {"all": ["gate"]}
    assert study.gates_of(network("none")) == study.scopes([]) == {}
    assert list(study.gates_of(network("se_deep"))) == [f"block {i}" for i in range(1, 10)]


def test_lenders_have_the_class_that_they_should_have(images):
    lenders = study.donors(images.labels)
    own = torch.arange(len(images.labels))
    assert (images.labels[lenders["another class"]] != images.labels).all()
    assert (images.labels[lenders["same class"]] == images.labels).all()
    assert (lenders["same class"] != own).all()
    again = study.donors(images.labels)
    assert all(torch.equal(lenders[kind], again[kind]) for kind in lenders)
    for few in ([0, 0, 1], [3, 3]):
        with pytest.raises(ValueError, match="two classes"):
            study.donors(torch.tensor(few))


def test_variance_between_classes_by_hand():
    values = torch.tensor([[0.0, 5, 1], [2, 5, 1], [4, 5, 3], [6, 5, 3], [9, 5, 2]])
    labels = torch.tensor([0, 0, 1, 1, 2])
    # Column 0: mean 4.2; class means 1, 5, 9; (2 · 3.2² + 2 · 0.8² + 4.8²) / 48.8.
    found = study.between_classes(values, labels)
    assert found[0].item() == pytest.approx((2 * 3.2**2 + 2 * 0.8**2 + 4.8**2) / 48.8)
    assert math.isnan(found[1])
    assert found[2].item() == pytest.approx(1)


def test_noise_has_the_expected_variance_between_classes():
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(200, 2000, generator=rng)
    labels = torch.arange(200) % 10
    share = study.between_classes(values, labels).mean().item()
    assert share == pytest.approx(9 / 199, rel=0.05)


def test_a_probe_reads_what_is_there_and_nothing_else():
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (600,), generator=rng)
    noise = torch.randn(600, 12, generator=rng)
    told = torch.cat([F.one_hot(labels, 10) + 0.1 * noise[:, :10], noise[:, 10:]], dim=1)
    parts = [(v[:300], labels[:300], v[300:], labels[300:]) for v in (told, noise)]
    assert study.readable(*parts[0]) == 1
    assert study.readable(*parts[1]) < 0.2
    constant = torch.ones(600, 3)
    assert 0 < study.readable(constant[:300], labels[:300], constant[300:], labels[300:]) < 0.2


@pytest.mark.parametrize("name", ["none", "se", "cbam", "coordinate", "soft_flat", "soft_conv"])
def test_gates_are_described(name, network, images):
    model = network(name)
    fresh = study.build(name, study.CONTENDERS[name].adapt(TINY), seed=1)
    before = {key: value.clone() for key, value in fresh.state_dict().items()}
    table = study.describe(model, fresh, images, images)
    assert all(torch.equal(before[key], value) for key, value in fresh.state_dict().items())
    assert table.columns.tolist() == list(study.DESCRIBED)
    assert table.gate.tolist() == list(study.gates_of(model))
    if name == "none":
        return
    a = list(study.look(model, images.pixels).signals.values())[-1]
    row = table.iloc[-1]
    assert row.end == pytest.approx(a.abs().mean().item(), rel=1e-5)
    assert row.above == pytest.approx((a > 0.95).double().mean().item())
    if a.ndim == 2 or a.shape[-1] == 1:
        assert row.spread == pytest.approx(a.std(dim=0).mean().item(), rel=1e-5)
        assert math.isnan(row.energy)
    else:
        maps = a.mean(dim=1, keepdim=True)
        large = F.interpolate(maps, size=(32, 32), mode="bilinear")
        assert row.digit == pytest.approx(large[images.masks].mean().item(), rel=1e-5)
        expected = metrics.energy_inside(maps, images.regions).mean().item()
        assert row.energy == pytest.approx(expected, rel=1e-5)


def test_the_streamlined_gate_starts_as_shut_as_the_control():
    """The controls change the start to what their names say."""
    pixels = study.first(ClutteredDigits("val", 100), 100).pixels
    cpu = study.CONTENDERS["se"].adapt(PRESETS["cpu"])
    opening = {
        name: pd.Series(study.start_of(study.build(name, cpu), pixels)).mean()
        for name in ("streamlined", "streamlined_open", "streamlined_large", "se")
    }
    assert opening["streamlined"] == pytest.approx(study.SHUT, rel=0.2)
    assert opening["streamlined_open"] == pytest.approx(1, abs=0.02)
    assert opening["streamlined_large"] > opening["se"] == pytest.approx(0.5, abs=0.05)
    blocks = [m for m in study.build("none_shut", cpu).modules() if isinstance(m, BasicBlock)]
    assert len(blocks) == 3
    for block in blocks:
        assert (block.bn2.weight == study.SHUT).all()
        assert (block.bn1.weight == 1).all()


def parameters_that_differ(one, other):
    """Names of the parameters of two networks whose values differ, by their layer."""
    a, b = (dict(study.build(name, TINY, seed=3).named_parameters()) for name in (one, other))
    assert a.keys() == b.keys()
    return {name for name in a if not torch.equal(a[name], b[name])}


def test_pairs_differ_in_one_thing():
    assert parameters_that_differ("streamlined", "streamlined_open") == set()
    larger = parameters_that_differ("streamlined", "streamlined_large")
    assert larger == {f"features.{i}.0.bn2.1.project.weight" for i in (1, 2, 3)}
    assert parameters_that_differ("none", "none_shut") == {
        f"features.{i}.0.bn2.weight" for i in (1, 2, 3)
    }
    presets = {n: c.adapt(PRESETS["cpu"]) for n, c in study.CONTENDERS.items()}
    for group, names in {
        "gates": [n for n, c in study.CONTENDERS.items() if c.group in ("gates", "start")],
        "soft": ["soft_none_flat", "soft_flat", "soft_none", "soft_conv"],
    }.items():
        assert all(presets[name] == presets[names[0]] for name in names), group
        assert len({study.CONTENDERS[name].factors for name in names}) == 1
    usual = presets["soft_none_flat_usual"].recipe
    assert usual != presets["soft_none_flat"].recipe
    assert replace(usual, warmup=study.LONG_WARMUP) == presets["soft_none_flat"].recipe
    for name, longer in (("none", "none_long"), ("streamlined", "streamlined_long")):
        twice = replace(presets[name].recipe, epochs=2 * presets[name].recipe.epochs)
        assert presets[longer].recipe == twice
    for contender in study.CONTENDERS.values():
        assert contender.like is None or study.CONTENDERS[contender.like].like is None
        assert contender.like or set(study.TUNED) <= set(contender.seeds)


def test_every_gate_leaves_the_convolutions_of_the_plain_network_alone():
    plain = study.build("none", TINY, seed=3).state_dict()
    convolutions = [name for name in plain if ".conv" in name or ".downsample.0" in name]
    assert len(convolutions) == 8
    for name in GATED:
        gated = study.build(name, TINY, seed=3).state_dict()
        assert all(torch.equal(plain[key], gated[key]) for key in convolutions), name


def test_the_best_factor_is_chosen_on_the_validation_images():
    rows = [
        {"factor": factor, "seed": seed, "val_accuracy": accuracy, "val_loss": loss}
        for factor, accuracy, loss in ((0.4, 0.9, 0.3), (1.0, 0.9, 0.2), (2.5, 0.8, 0.1))
        for seed in (0, 1)
    ]
    assert study.best_factor(pd.DataFrame(rows)) == 1.0
    rows[4]["val_accuracy"] = rows[5]["val_accuracy"] = 0.95
    rows.append({"factor": 0.4, "seed": 7, "val_accuracy": 1.0, "val_loss": 0.0})
    assert study.best_factor(pd.DataFrame(rows)) == 2.5


def test_dead_units_are_counted(network, images):
    model = network("soft_none_flat")
    with torch.no_grad():
        model.dense[0].bias.fill_(1e4)
        assert study.dead_units(model, images.pixels) == 0
        model.dense[0].bias[:8] = -1e6
        assert study.dead_units(model, images.pixels) == 8 / len(model.dense[0].bias)
    assert math.isnan(study.dead_units(network("none"), images.pixels))


def test_an_unknown_contender_raises_and_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"'softest'.*none, se, cbam"):
        study.build("softest", TINY)


@pytest.fixture(scope="module")
def measured():
    """The images from which the shipped tables were computed."""
    return study.first(load(counts={"train": 1, "val": 1}).test, 2000)


@pytest.mark.parametrize("name", ["none", "second_order", "global_context"])
def test_a_shipped_network_has_the_accuracy_of_its_table(name, measured):
    """The images are the same, but half precision may change a few of 2,000 answers."""
    seed = study.SEEDS[-1]
    model = study.network(name, seed)
    assert not model.training
    kept = study.intervened().query(f"variant == '{name}' and seed == {seed} and weights == 'own'")
    right = study.answers(model, measured.pixels, {}) == measured.labels
    assert share(right) == pytest.approx(kept.accuracy.item(), abs=0.003)


@pytest.mark.parametrize("name", [n for n, c in study.CONTENDERS.items() if c.group == "gates"])
def test_three_seeds_of_every_gate_are_shipped(name):
    networks = [study.network(name, seed) for seed in study.SEEDS]
    first = [network.classifiers[0].weight for network in networks]
    assert not any(torch.equal(first[0], other) for other in first[1:])


@pytest.mark.parametrize(
    ("name", "seed", "message"),
    [
        ("softest", 0, r"'softest'.*none, se, cbam"),
        ("soft_conv", 0, r"'soft_conv' of seed 0.*none, se, cbam"),
        ("se", 9, r"'se' of seed 9.*\(0, 1, 2\)"),
    ],
)
def test_a_network_that_is_not_shipped_raises_and_lists_those_that_are(name, seed, message):
    with pytest.raises(ValueError, match=message):
        study.network(name, seed)


def test_the_deep_network_has_nine_gates():
    model = study.build("se_deep", TINY)
    assert isinstance(model, ResNet)
    assert sum(isinstance(m, SqueezeExcitation) for m in model.modules()) == 9
