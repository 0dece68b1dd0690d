"""The study of Attention against Grad-CAM: its maps and measurements, and the shipped tables."""

import pandas as pd
import pytest
import torch
from torch import nn

from course_utils.core.eval_mode import evaluating
from course_utils.data.splits import load
from course_utils.explain.cam import class_activation_map
from course_utils.explain.faithfulness import deletion, drop_and_increase, insertion
from course_utils.explain.grad_cam import gradcam
from course_utils.explain.metrics import area_share, best_iou, effective_share, energy_inside
from course_utils.explain.sanity_checks import rank_correlation
from course_utils.models import POOLS, VGG, AttnVGG, ResNet
from course_utils.studies import attention_vs_grad_cam, attn_vgg, results
from course_utils.studies.presets import PRESETS, Preset
from course_utils.training.run import Run

COMMON = [
    *(f"Grad-CAM, {layer}" for layer in ("block 3", "block 4", "block 5", "last pool")),
    *(f"Grad-CAM++, {block}" for block in ("block 3", "block 4", "block 5")),
    "input gradient",
    "guided backprop",
]


@pytest.fixture(scope="module")
def attentive():
    torch.manual_seed(0)
    return AttnVGG(10, width=0.125).eval()


def test_every_block_is_explained_before_its_max_pool():
    features = VGG(10, width=0.125).features
    assert [
        int(layer.removeprefix("features.")) + 1 for layer in attention_vs_grad_cam.BLOCKS.values()
    ] == list(POOLS[2:])
    assert all(isinstance(features[i - 1], nn.ReLU) for i in POOLS[2:])


def test_the_maps_of_a_network_by_method(attentive):
    images = torch.rand(2, 1, 64, 64)
    found, output = attention_vs_grad_cam.maps(attentive, images), attentive(images)
    assert list(found) == ["attention 1", "attention 2", *COMMON]
    assert torch.equal(found["attention 2"], output.maps[1])
    predicted = output.logits.argmax(dim=1)
    assert torch.equal(
        found["Grad-CAM, block 4"], gradcam(attentive, images, "features.32", predicted)
    )
    assert all((m >= 0).all() for m in found.values())
    assert torch.equal(
        attention_vs_grad_cam.maps(attentive, images, torch.tensor([3, 5]))["Grad-CAM, block 5"],
        gradcam(attentive, images, "features.42", torch.tensor([3, 5])),
    )
    plain = VGG(10, width=0.125).eval()
    found = attention_vs_grad_cam.maps(plain, images)
    assert list(found) == COMMON
    # At the last pool, Grad-CAM is CAM divided by the number of positions.
    cam = class_activation_map(plain, images).relu() / 4
    torch.testing.assert_close(found["Grad-CAM, last pool"], cam)
    assert not any(
        name.startswith("attention")
        for name in attention_vs_grad_cam.maps(AttnVGG(10, width=0.125, alignment=None), images)
    )
    with pytest.raises(ValueError, match="AttnVGG or a VGG, got ResNet"):
        attention_vs_grad_cam.maps(ResNet(10), images)


def test_controls_need_no_network():
    images = torch.rand(3, 1, 32, 32)
    controls = attention_vs_grad_cam.controls(images)
    assert list(controls) == ["uniform", "centre prior", "edges"]
    assert all(m.shape == (3, 1, 32, 32) for m in controls.values())
    both = attention_vs_grad_cam.with_others({"edges": controls["edges"]})
    assert list(both) == ["edges", "another image's edges"]
    assert torch.equal(both["another image's edges"][1], controls["edges"][0])


def test_the_scores_are_those_of_metrics():
    images, regions = torch.rand(3, 1, 32, 32), torch.zeros(3, 1, 32, 32, dtype=torch.bool)
    regions[..., 4:20, 8:24] = True
    maps = torch.rand(3, 1, 4, 4)
    table = attention_vs_grad_cam.localise(
        {"some": maps} | attention_vs_grad_cam.controls(images), regions
    )
    assert list(table["some"].columns) == [
        "pointing",
        "energy",
        "iou",
        "best_iou",
        "covered",
        "spread",
    ]
    assert table["some"].energy.tolist() == pytest.approx(energy_inside(maps, regions).tolist())
    assert table["some"].best_iou.tolist() == pytest.approx(best_iou(maps, regions).tolist())
    chance = area_share(regions)[0].item()
    uniform = table["uniform"].iloc[0]
    assert uniform[["pointing", "energy", "iou", "best_iou"]].tolist() == pytest.approx(
        [chance] * 4
    )
    assert uniform[["covered", "spread"]].tolist() == pytest.approx([1, 1])


def test_sharpened_maps_are_as_concentrated_as_the_attention():
    torch.manual_seed(0)
    regions = torch.zeros(4, 1, 32, 32, dtype=torch.bool)
    regions[..., 4:20, 8:24] = True
    found = {
        "attention 1": torch.rand(4, 1, 8, 8) ** 6,
        "attention 2": torch.ones(4, 1, 4, 4),
        "Grad-CAM, block 4": torch.rand(4, 1, 8, 8),
    }
    table = attention_vs_grad_cam.sharpen(found, regions, ["Grad-CAM, block 4"])
    assert list(table.attention) == ["attention 1", "attention 2"]
    large = nn.functional.interpolate(found["attention 1"], size=32, mode="bilinear")
    first, second = table.iloc[0], table.iloc[1]
    assert first.spread == pytest.approx(effective_share(large).mean().item(), abs=2e-3)
    assert first.power > 1 > second.power
    grad = nn.functional.interpolate(found["Grad-CAM, block 4"], size=32, mode="bilinear")
    relative = grad / grad.amax(dim=(2, 3), keepdim=True)
    expected = energy_inside(relative**first.power, regions).mean().item()
    assert first.energy == pytest.approx(expected, abs=1e-5)


def test_two_digits_in_one_image_are_asked_for_in_turn():
    images = torch.arange(4.0)[:, None, None, None].expand(-1, 1, 2, 2)
    labels = torch.tensor([7, 7, 1, 2])
    regions = torch.zeros(4, 1, 2, 2, dtype=torch.bool)
    regions[..., 0, 0] = True
    pair, boxes, classes = attention_vs_grad_cam.side_by_side(images, labels, regions)
    assert pair[:, 0, 0].tolist() == [[1, 1, 2, 2], [2, 2, 3, 3], [3, 3, 0, 0]]
    assert [c.tolist() for c in classes] == [[7, 1, 2], [1, 2, 7]]
    assert boxes[0][0, 0, 0].tolist() == [True, False, False, False]
    assert boxes[1][0, 0, 0].tolist() == [False, False, True, False]


def test_a_map_of_the_right_digit_is_counted(monkeypatch):
    """Maps that light up one half, whatever they are asked for, are right in half of the cases."""
    left = torch.zeros(2, 1, 2, 4)
    left[..., :2] = 1
    monkeypatch.setattr(attention_vs_grad_cam, "gradcam", lambda *_: left)
    labels, regions = torch.tensor([0, 1]), torch.ones(2, 1, 2, 2, dtype=torch.bool)
    found = attention_vs_grad_cam.twins(nn.Identity(), torch.rand(2, 1, 2, 2), labels, regions)
    assert list(found.index) == list(attention_vs_grad_cam.LAYERS)
    assert found.tolist() == [0.5] * 4
    asked = iter([left, left.flip(3)] * 4)
    monkeypatch.setattr(attention_vs_grad_cam, "gradcam", lambda *_: next(asked))
    found = attention_vs_grad_cam.twins(nn.Identity(), torch.rand(2, 1, 2, 2), labels, regions)
    assert found.tolist() == [1.0] * 4


def test_the_partner_of_an_attention_map_has_its_grid(attentive):
    found = attention_vs_grad_cam.maps(attentive, torch.rand(2, 1, 64, 64))
    assert attention_vs_grad_cam.partner(found) == "Grad-CAM, block 4"
    assert attention_vs_grad_cam.partner(found, "attention 2") == "Grad-CAM, block 5"
    right, labels = torch.tensor([True, False]), torch.tensor([3, 4])
    table = attention_vs_grad_cam.disagree(found, right, labels)
    expected = rank_correlation(found["attention 1"], found["Grad-CAM, block 4"])
    assert table.agreement.tolist() == pytest.approx(expected.tolist())
    assert table.right.tolist() == [True, False]
    assert table.label.tolist() == [3, 4]


def test_the_curves_are_those_of_faithfulness(attentive):
    torch.manual_seed(0)
    images, maps = torch.rand(2, 1, 64, 64), torch.rand(2, 1, 4, 4)
    table = attention_vs_grad_cam.perturb(attentive, images, {"some": maps})
    predicted = attentive(images).logits.argmax(dim=1)
    fills = attention_vs_grad_cam.fills(images)
    assert fills["black"].max() == 0
    assert fills["blurred"].std() < 0.1 * images.std()
    rows = table.set_index(["method", "curve", "fill"])
    assert len(rows) == 4
    for name, way in (("deletion", deletion), ("insertion", insertion)):
        for fill, values in fills.items():
            curve = way(attentive, images, maps, predicted, steps=64, fill=values).mean(dim=0)
            own = rows.loc["some", name, fill].to_numpy()
            # The first eighth has twice as many points.
            assert [own[0], *own[2:17:2], *own[17:]] == pytest.approx(curve.tolist(), abs=1e-5)


def test_steps_are_a_quarter_of_a_digit_at_first():
    shares = torch.tensor(attention_vs_grad_cam.SHARES)
    pixels = (shares * 64**2).diff()
    assert shares[0] == 0
    assert shares[-1] == 1
    assert pixels[:16].tolist() == [32] * 16
    assert pixels[16:].tolist() == [64] * 56


def test_drops_are_those_of_faithfulness(attentive):
    torch.manual_seed(0)
    images, maps = torch.rand(3, 1, 32, 32), torch.rand(3, 1, 4, 4)
    table = attention_vs_grad_cam.drops(attentive, images, {"some": maps}).set_index("method")
    predicted = attentive(images).logits.argmax(dim=1)
    drop, increase = drop_and_increase(attentive, images, maps, predicted)
    assert table.loc["some"].tolist() == pytest.approx([drop.mean().item(), increase.mean().item()])


@pytest.mark.parametrize("alignment", ["softmax", "sigmoid"])
def test_replaced_maps_change_the_context_alone(alignment):
    """The second methods: a network with other scores, and the intervention of another chapter."""
    torch.manual_seed(0)
    model = AttnVGG(10, width=0.125, alignment=alignment).eval()
    images, labels = torch.rand(40, 1, 64, 64), torch.arange(40) % 10
    table = attention_vs_grad_cam.replace_maps(model, images, labels)
    found = table.set_index(["replacement", "taps"]).accuracy
    with evaluating(model):
        answers = model(images).logits.argmax(dim=1)
    assert found["nothing", "nothing"] == pytest.approx((answers == labels).double().mean().item())
    data = [(image, label) for image, label in zip(images, labels)]
    descriptors = attn_vgg.descriptors_of(model, data)
    for taps, removed in attention_vs_grad_cam.TAPS.items():
        without = attn_vgg.without(model, descriptors, removed).argmax(dim=1)
        expected = (without == labels).double().mean().item()
        assert found["mean context", taps] == pytest.approx(expected)
    if alignment == "softmax":
        for attend in model.attention:  # equal scores give uniform weights
            attend.score.weight.data.zero_()
        with evaluating(model):
            answers = model(images).logits.argmax(dim=1)
        assert found["uniform", "both"] == pytest.approx((answers == labels).double().mean().item())


def test_the_cascade_ends_at_the_fresh_network(attentive):
    torch.manual_seed(1)
    fresh, images = AttnVGG(10, width=0.125).eval(), torch.rand(3, 1, 32, 32)
    table = attention_vs_grad_cam.randomise(attentive, fresh, images).set_index(["method", "step"])
    classes = attentive(images).logits.argmax(dim=1)
    before, after = (
        attention_vs_grad_cam.maps(network, images, classes) for network in (attentive, fresh)
    )
    last = table.index.get_level_values("step").max()
    assert last == 1 + 2 * 3 + 13  # the classifier, the two blocks' three layers, the convolutions
    for method, m in before.items():
        with_another = rank_correlation(m, m.roll(1, 0)).mean().item()
        assert table.correlation[method, 0] == pytest.approx(with_another, abs=1e-6)
        assert table.correlation[method, last] == pytest.approx(
            rank_correlation(m, after[method]).mean().item(), abs=1e-5
        )
    for method in ("attention 1", "attention 2"):  # they do not depend on the classifier
        assert table.correlation[method, 1] == pytest.approx(1)
    assert table.layer["attention 1", 1] == "classifiers.0"
    assert table.layer["attention 1", last] == "features.0"


def test_random_labels_are_the_true_labels_shuffled(digits, tmp_path, monkeypatch):
    seen = {}

    def fit(model, data, recipe, **options):
        seen[options["folder"].name] = (model, data)
        return Run(pd.DataFrame(), {}, {})

    monkeypatch.setattr(attention_vs_grad_cam, "fit", fit)
    preset = Preset("tiny", 0.0625)
    for labels in attention_vs_grad_cam.LABELS:
        attention_vs_grad_cam.memorise("softmax", labels, preset, digits, tmp_path / labels, seed=1)
    (one, true), (other, random) = seen["true"], seen["random"]
    images, own = true.train.tensors
    assert own.tolist() == [digits.train[i][1] for i in range(len(digits.train))]
    assert torch.equal(images, random.train.tensors[0])
    assert sorted(own.tolist()) == sorted(random.train.tensors[1].tolist())
    assert (own != random.train.tensors[1]).float().mean() > 0.5
    assert true.val is true.train
    for a, b in zip(one.parameters(), other.parameters()):  # both start from the same weights
        assert torch.equal(a, b)


@pytest.mark.usefixtures("unchecked")
def test_unknown_labels_raise_and_list_the_valid_ones(digits, tmp_path):
    with pytest.raises(ValueError, match=r"'shuffled'.*true, random"):
        attention_vs_grad_cam.memorise(
            "softmax", "shuffled", Preset("tiny", 0.0625), digits, tmp_path
        )


UNIT = ["pointing", "energy", "iou", "best_iou", "covered", "spread"]
TABLES = {
    attention_vs_grad_cam.scores: (attention_vs_grad_cam.VARIANTS, ["method"], UNIT),
    attention_vs_grad_cam.equally_sharp: (
        attention_vs_grad_cam.ATTENTIVE,
        ["attention", "method"],
        ["energy", "spread"],
    ),
    attention_vs_grad_cam.two_digits: (
        attention_vs_grad_cam.VARIANTS,
        [],
        list(attention_vs_grad_cam.LAYERS),
    ),
    attention_vs_grad_cam.curves: (
        attention_vs_grad_cam.VARIANTS,
        ["method", "curve", "fill"],
        [str(i) for i in range(len(attention_vs_grad_cam.SHARES))],
    ),
    attention_vs_grad_cam.average_drops: (
        attention_vs_grad_cam.VARIANTS,
        ["method"],
        ["drop", "increase"],
    ),
    attention_vs_grad_cam.replacements: (
        attention_vs_grad_cam.ATTENTIVE,
        ["replacement", "taps"],
        ["accuracy"],
    ),
}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_the_shipped_tables_are_whole(table):
    variants, keys, columns = TABLES[table]
    rows = table()
    assert sorted(set(zip(rows.variant, rows.seed))) == sorted(
        (variant, seed) for variant in variants for seed in results.SEEDS
    )
    assert rows[columns].notna().all(axis=None)
    assert rows[columns].min(axis=None) >= 0
    assert rows[columns].max(axis=None) <= 1 + 1e-6
    assert not rows.duplicated(["variant", "seed", *keys]).any()
    sizes = rows.groupby(["variant", "seed"]).size().groupby("variant").nunique()
    assert (sizes == 1).all()


def test_the_shipped_disagreements_are_those_of_1000_images():
    rows = attention_vs_grad_cam.disagreements()
    sizes = rows.groupby(["variant", "seed"]).size()
    assert sizes.index.tolist() == [
        (variant, seed)
        for variant in sorted(attention_vs_grad_cam.ATTENTIVE)
        for seed in results.SEEDS
    ]
    assert (sizes == 1000).all()
    assert rows.agreement.between(-1, 1).all()
    assert rows.groupby(["variant", "seed"]).label.apply(tuple).nunique() == 1  # the same images
    right = rows.groupby(["variant", "seed"]).right.mean()
    scores = results.scores().set_index(["variant", "seed"]).accuracy
    assert (right - scores[right.index]).abs().max() < 0.03  # of which 4,000 are tested there


def test_the_shipped_labels_pair_all_networks():
    rows = attention_vs_grad_cam.labels()
    networks = len(attention_vs_grad_cam.LABELS) * len(attention_vs_grad_cam.LABELS_SEEDS)
    own = (rows.labels == rows.other_labels) & (rows.seed == rows.other_seed)
    assert (rows[own].groupby("method").size() == networks).all()
    assert (rows[~own].groupby("method").size() == networks * (networks - 1) / 2).all()
    assert rows[~own].correlation.between(-1, 1).all()
    columns = ["accuracy", "train_accuracy", "pointing", "energy"]
    assert rows.loc[own, columns].notna().all(axis=None)
    assert rows.loc[own, "train_accuracy"].min() > 0.99


def test_the_shipped_cascades_are_whole():
    rows = attention_vs_grad_cam.cascades()
    assert rows.correlation.between(-1, 1).all()
    steps = rows.groupby(["variant", "seed", "method"]).step.agg(["min", "max", "count"])
    assert (steps["min"] == 0).all()
    assert (steps["count"] == steps["max"] + 1).all()
    assert set(rows.variant) == set(attention_vs_grad_cam.VARIANTS)
    assert pd.api.types.is_string_dtype(rows.layer)


@pytest.mark.slow
@pytest.mark.parametrize("variant", attention_vs_grad_cam.VARIANTS)
def test_the_shipped_scores_are_those_of_the_shipped_networks(variant):
    data = results_images()
    images, regions = (torch.stack(part) for part in zip(*((x, r) for x, _, r in data)))
    found = attention_vs_grad_cam.maps(results.network(variant), images)
    here = attention_vs_grad_cam.localise(found, regions)
    rows = attention_vs_grad_cam.scores().set_index(["variant", "seed", "method"]).sort_index()
    for method, table in here.items():
        gap = table.energy.mean() - rows.energy[variant, 0, method]
        assert abs(gap) < 4 * table.energy.std() / len(table) ** 0.5 + 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("variant", attention_vs_grad_cam.VARIANTS)
def test_no_network_can_read_the_blurred_digits(variant):
    images, labels = (torch.stack(part) for part in list(zip(*results_images()))[:2])
    blurred = attention_vs_grad_cam.fills(images)["blurred"]
    with evaluating(results.network(variant)) as network:
        answers = [network(x).logits.argmax(dim=1) for x in (images, blurred)]
    whole, without = ((answer == labels).double().mean().item() for answer in answers)
    assert without < 0.2 < 0.9 < whole


def results_images(n=100):
    """The first test images of Results."""
    preset = results.adapt(PRESETS["cpu"])
    data = load(**preset.data | {"counts": {"train": 1, "val": 1, "test": n}})
    return [data.test[i] for i in range(n)]
