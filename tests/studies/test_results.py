"""The study of Results: its variants and controls, and what is shipped of them."""

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from torch.utils.data import Subset

from course_utils.data.splits import load
from course_utils.studies import results
from course_utils.studies.presets import PRESETS, Preset
from course_utils.training.evaluation import evaluate
from course_utils.training.recipes import Recipe

TINY = Preset("tiny", 0.0625, data={"size": 32, "fragments": 0}, recipe=Recipe(epochs=2))


@pytest.mark.parametrize(("variant", "control"), results.ATTENTION)
def test_a_control_differs_in_attention_only(variant, control):
    with_attention, without = results.VARIANTS[variant], results.VARIANTS[control]
    assert with_attention.network is without.network
    assert with_attention.options["alignment"]
    assert with_attention.options | {"alignment": None} == without.options


@pytest.mark.parametrize("make", [results.describe, results.build])
def test_an_unknown_variant_raises_and_lists_the_valid_ones(make):
    with pytest.raises(ValueError, match=r"'hard'.*sigmoid, softmax, sparsemax"):
        make("hard", ("a", "b"), TINY)


@pytest.mark.parametrize("variant", results.VARIANTS)
def test_a_description_builds_the_same_network(variant):
    torch.manual_seed(3)
    described = results.describe(variant, ("a", "b"), TINY).build().state_dict()
    built = results.build(variant, ("a", "b"), TINY, seed=3).state_dict()
    assert described.keys() == built.keys()
    assert all(torch.equal(described[name], built[name]) for name in built)


def test_the_smoke_preset_is_not_made_longer():
    assert results.adapt(PRESETS["smoke"]) == PRESETS["smoke"]
    assert results.adapt(PRESETS["gpu"]).recipe.epochs == results.EPOCHS_SHOWN[-1]


@pytest.mark.slow
def test_a_run_keeps_the_maps_of_the_epochs_that_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "EPOCHS_SHOWN", (1,))
    data = load(size=32, fragments=0, counts={"train": 64, "val": 10, "test": 20})
    model, run = results.train("softmax", 8e-3, TINY, data, tmp_path, seed=1)
    assert run.history.epoch.tolist() == [1, 2]
    shapes = {epoch: [tuple(m.shape) for m in taps] for epoch, taps in run.snapshots.items()}
    assert shapes == {1: [(results.GALLERY, 1, 4, 4), (results.GALLERY, 1, 2, 2)]}
    scores, right = results.judge(model, data.test)
    assert right.double().mean().item() == pytest.approx(scores["accuracy"])
    assert scores.index.is_unique
    wanted = {"accuracy", "precision", "AP", "AUC", "calibration error", "pointing 2", "chance"}
    assert wanted < set(scores.index)
    assert scores["energy 1"] == pytest.approx(evaluate(model, data.test)["energy 1"], abs=1e-6)


def test_the_shipped_results_were_made_with_the_current_preset():
    made_with = json.loads((results.SHIPPED / "preset.json").read_text(encoding="utf-8"))
    assert made_with == json.loads(json.dumps(asdict(results.adapt(PRESETS["cpu"]))))


def test_every_run_is_shipped():
    scores, histories = results.scores(), results.histories()
    wanted = [[name, seed] for name in results.TRAINED for seed in results.VARIANTS[name].seeds]
    assert scores[["variant", "seed"]].to_numpy().tolist() == wanted
    assert not scores[["accuracy", "loss", "AP", "AUC", "chance"]].isna().any().any()
    epochs = results.adapt(PRESETS["cpu"]).recipe.epochs
    assert (histories.groupby(["variant", "seed"]).epoch.max() == epochs).all()
    assert (histories.groupby(["variant", "seed"]).size() == epochs).all()


def test_each_rate_was_chosen_on_validation_among_the_same_four():
    order = {"by": ["val_accuracy", "val_loss"], "ascending": [False, True]}
    for variant, tried in results.runs().groupby("variant"):
        first, second = (tried[tried.seed == seed] for seed in results.TUNED)
        assert first.rate.tolist() == sorted(results.rates(variant))
        better = first.sort_values(**order).rate[:2]
        assert set(second.rate) == set(better)
        both = tried[tried.seed.isin(results.TUNED) & tried.rate.isin(better)]
        means = both.groupby("rate")[order["by"]].mean().round(6).sort_values(**order)
        assert tried[tried.chosen].rate.unique().tolist() == [means.index[0]]


def test_only_rates_that_were_tried_from_the_most_seeds_are_compared():
    rows = [
        ("a", 1.0, 0, 0.9),
        ("a", 2.0, 0, 0.8),
        ("a", 3.0, 0, 0.7),
        ("a", 1.0, 1, 0.6),
        ("a", 2.0, 1, 0.8),
    ]
    tried = pd.DataFrame(rows, columns=["variant", "rate", "seed", "val_accuracy"])
    assert results.better_half(tried[tried.seed == 0].assign(val_loss=0)[:2]) == [1]
    assert results.best_rate(tried.assign(val_loss=0)) == 2
    assert results.best_rate(tried[tried.seed == 0].assign(val_loss=0)) == 1


def test_the_shipped_answers_have_the_accuracies_of_the_table():
    accuracy = results.scores().groupby("variant").accuracy.apply(list)
    correct = results.correct()
    assert set(correct) == set(results.TRAINED)
    for variant, right in correct.items():
        assert right.shape == (len(results.VARIANTS[variant].seeds), 4000)
        assert right.double().mean(dim=1).tolist() == pytest.approx(accuracy[variant], abs=1e-5)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_written_answers_are_read(right):
    with TemporaryDirectory() as home:
        results.write_correct(Path(home), {"softmax": torch.from_numpy(right)})
        found = results.correct(Path(home))
    assert list(found) == ["softmax"]
    assert torch.equal(found["softmax"], torch.from_numpy(right))


@pytest.mark.parametrize("variant", results.KEPT)
def test_a_shipped_network_has_the_scores_of_its_row(variant):
    """Only a quarter of the test images is used, so scores agree within four standard errors."""
    data = load(**{**results.adapt(PRESETS["cpu"]).data, "counts": {"train": 1, "val": 1}})
    row = results.scores().set_index(["variant", "seed"]).loc[variant, 0]
    n = len(data.test) // 4
    network = results.network(variant).to(memory_format=torch.channels_last)
    few = Subset(data.test, range(n))
    found = evaluate(network, few)
    _, right = results.judge(network, few)
    # In half precision and float32 a few answers on the edge change.
    assert (right != results.correct()[variant][0, :n]).double().mean() < 0.01
    error = (row["accuracy"] * (1 - row["accuracy"]) / n) ** 0.5
    assert abs(found["accuracy"] - row["accuracy"]) < 4 * error + 0.002
    for tap in (1, 2):
        if not pd.isna(row[f"energy {tap}"]):
            assert found[f"energy {tap}"] == pytest.approx(row[f"energy {tap}"], abs=0.03)


@pytest.mark.parametrize("variant", ["sigmoid", "softmax", "repaired"])
def test_maps_of_every_seed_and_epoch_are_shipped(variant):
    for seed in results.SEEDS:
        maps = results.maps(variant, seed)
        assert list(maps) == list(results.EPOCHS_SHOWN)
        for taps in maps.values():
            assert [len(m) for m in taps] == [results.GALLERY] * 2
            assert all(m.isfinite().all() and (m >= 0).all() for m in taps)
