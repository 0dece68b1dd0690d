"""The study of Attention against Grad-CAM: its maps and scores, and the shipped tables."""

import pandas as pd
import pytest
import torch
from torch import nn

from course_utils.explain.cam import class_activation_map
from course_utils.explain.faithfulness import deletion, insertion
from course_utils.explain.grad_cam import gradcam
from course_utils.explain.metrics import area_share, best_iou, energy_inside
from course_utils.explain.sanity_checks import rank_correlation
from course_utils.models import POOLS, VGG, AttnVGG, ResNet
from course_utils.studies import attention_vs_grad_cam, results
from course_utils.studies.presets import Preset
from course_utils.training.run import Run

COMMON = [*(f"Grad-CAM, block {n}" for n in (3, 4, 5)), "Grad-CAM++, block 5"]


@pytest.fixture(scope="module")
def attn_vgg():
    torch.manual_seed(0)
    return AttnVGG(10, width=0.125).eval()


def test_every_block_is_explained_before_its_max_pool():
    features = VGG(10, width=0.125).features
    assert [
        int(layer.removeprefix("features.")) + 1 for layer in attention_vs_grad_cam.BLOCKS.values()
    ] == list(POOLS[2:])
    assert all(isinstance(features[i - 1], nn.ReLU) for i in POOLS[2:])


def test_the_maps_of_a_network_by_method(attn_vgg):
    images = torch.rand(2, 1, 64, 64)
    found, output = attention_vs_grad_cam.maps(attn_vgg, images), attn_vgg(images)
    assert list(found) == [
        "attention 1",
        "attention 2",
        *COMMON,
        "input gradient",
        "guided backprop",
    ]
    assert torch.equal(found["attention 2"], output.maps[1])
    predicted = output.logits.argmax(dim=1)
    assert torch.equal(
        found["Grad-CAM, block 4"], gradcam(attn_vgg, images, "features.32", predicted)
    )
    assert all((m >= 0).all() for m in found.values())
    assert torch.equal(
        attention_vs_grad_cam.maps(attn_vgg, images, torch.tensor([3, 5]))["Grad-CAM, block 5"],
        gradcam(attn_vgg, images, "features.42", torch.tensor([3, 5])),
    )
    plain = VGG(10, width=0.125).eval()
    found = attention_vs_grad_cam.maps(plain, images)
    assert list(found) == [*COMMON, "CAM", "input gradient", "guided backprop"]
    assert torch.equal(found["CAM"], class_activation_map(plain, images).relu())
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


def test_the_curves_are_those_of_faithfulness(attn_vgg):
    images, maps = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 4, 4)
    table = attention_vs_grad_cam.perturb(attn_vgg, images, {"some": maps})["some"]
    assert list(table.columns) == ["deletion", "insertion", "drop", "increase"]
    predicted = attn_vgg(images).logits.argmax(dim=1)
    for name, way in (("deletion", deletion), ("insertion", insertion)):
        curves = way(attn_vgg, images, maps, predicted, steps=attention_vs_grad_cam.STEPS)
        expected = curves.mean(dim=1)
        assert table[name].tolist() == pytest.approx(expected.tolist())


def test_the_cascade_ends_at_the_fresh_network(attn_vgg):
    torch.manual_seed(1)
    fresh, images = AttnVGG(10, width=0.125).eval(), torch.rand(3, 1, 32, 32)
    table = attention_vs_grad_cam.randomise(attn_vgg, fresh, images).set_index(["method", "step"])
    classes = attn_vgg(images).logits.argmax(dim=1)
    before, after = (
        attention_vs_grad_cam.maps(network, images, classes) for network in (attn_vgg, fresh)
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


@pytest.mark.parametrize(
    ("table", "networks", "columns"),
    [
        (
            attention_vs_grad_cam.scores,
            attention_vs_grad_cam.VARIANTS,
            ["pointing", "energy", "iou", "best_iou", "covered", "spread"],
        ),
        (
            attention_vs_grad_cam.faithfulness,
            attention_vs_grad_cam.VARIANTS,
            ["deletion", "insertion", "drop", "increase"],
        ),
        (
            attention_vs_grad_cam.labels,
            attention_vs_grad_cam.LABELS_VARIANTS,
            ["train_accuracy", "accuracy", "pointing", "energy"],
        ),
    ],
)
def test_the_shipped_tables_are_whole(table, networks, columns):
    rows = table()
    seeds = (
        attention_vs_grad_cam.LABELS_SEEDS
        if table is attention_vs_grad_cam.labels
        else results.SEEDS
    )
    assert sorted(set(zip(rows.variant, rows.seed))) == sorted(
        (variant, seed) for variant in networks for seed in seeds
    )
    assert rows[columns].notna().all(axis=None)
    assert rows[columns].min(axis=None) >= 0
    assert rows[columns].max(axis=None) <= 1
    keys = ["variant", "seed", "method"] + (
        ["labels"] if table is attention_vs_grad_cam.labels else []
    )
    assert not rows.duplicated(keys).any()


def test_the_shipped_cascades_are_whole():
    rows = attention_vs_grad_cam.cascades()
    assert rows.correlation.between(-1, 1).all()
    steps = rows.groupby(["variant", "seed", "method"]).step.agg(["min", "max", "count"])
    assert (steps["min"] == 0).all()
    assert (steps["count"] == steps["max"] + 1).all()
    assert set(rows.variant) == set(attention_vs_grad_cam.VARIANTS)
    assert pd.api.types.is_string_dtype(rows.layer)
