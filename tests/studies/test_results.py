"""The comparison of chapter 09: what is compared with what, its statistics, and the files that hold the results."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.utils.data import Subset

from course_utils.data.splits import load
from course_utils.studies import results, statistics
from course_utils.studies.presets import PRESETS, Preset
from course_utils.training.evaluation import evaluate
from course_utils.training.recipes import Recipe

TINY = Preset("tiny", 0.0625, data={"size": 32, "fragments": 0}, recipe=Recipe(epochs=2))
TWO = {variant: results.VARIANTS[variant] for variant in ("softmax", "vgg")}


@pytest.mark.parametrize(("variant", "control"), results.ATTENTION)
def test_a_control_differs_in_attention_only(variant, control):
    (network, options), (same, rest) = results.VARIANTS[variant], results.VARIANTS[control]
    assert network == same
    assert options["alignment"]
    assert options | {"alignment": None} == rest


def test_an_unknown_form_lists_the_valid_ones():
    with pytest.raises(ValueError, match="unknown variant 'hard': choose one of sigmoid, softmax"):
        results.describe("hard", ("a", "b"), TINY)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 40])
def test_students_t_is_scipys(freedom):
    for level in (0.5, 0.95, 0.99):
        assert statistics.quantile(freedom, level) == pytest.approx(
            stats.t.ppf((1 + level) / 2, freedom), rel=1e-10
        )


@pytest.mark.parametrize("arguments", [(0,), (4, 0.0), (4, 1.0)])
def test_quantiles_that_are_none_are_said(arguments):
    with pytest.raises(ValueError, match=f"got {arguments[0]} and"):
        statistics.quantile(*arguments)


@given(
    st.lists(st.floats(-1, 1), min_size=2, max_size=8).filter(lambda values: np.std(values) > 1e-3)
)
def test_intervals_are_scipys(values):
    mean, margin = statistics.interval(values)
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert [mean - margin, mean + margin] == pytest.approx([low, high], rel=1e-9, abs=1e-9)


def test_what_is_shipped_was_made_with_the_preset_as_it_is():
    made_with = json.loads((results.SHIPPED / "preset.json").read_text(encoding="utf-8"))
    assert made_with == json.loads(json.dumps(asdict(results.adapt(PRESETS["cpu"]))))


def test_an_interval_of_one_run_is_said():
    with pytest.raises(ValueError, match="needs two values or more, got 1"):
        statistics.interval([0.5])


def runs(variants=("sigmoid", "average"), seeds=(0, 1, 2, 3), seed=0):
    draw = np.random.default_rng(seed)
    rows = [
        {"variant": f, "seed": s, "accuracy": draw.normal(0.9, 0.02), "loss": draw.random()}
        for f in variants
        for s in seeds
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=seed)  # in no order


def test_differences_are_scipys_paired_t_test():
    scores = runs()
    found = statistics.differences(scores, [("sigmoid", "average")], ("accuracy", "loss"))
    assert found.index.tolist() == [
        ("sigmoid", "average", "accuracy"),
        ("sigmoid", "average", "loss"),
    ]
    by_variant = scores.sort_values("seed").set_index("variant")
    for column in ("accuracy", "loss"):
        one, other = (
            by_variant.loc[variant, column].to_numpy() for variant in ("sigmoid", "average")
        )
        test, row = stats.ttest_rel(one, other), found.loc["sigmoid", "average", column]
        low, high = test.confidence_interval(0.95)
        assert [row["mean"], row["margin"], row["p"]] == pytest.approx(
            [(one - other).mean(), (high - low) / 2, test.pvalue], rel=1e-9
        )


def test_seeds_that_only_one_form_has_are_left_out():
    scores = runs()
    fewer = scores[~((scores.variant == "average") & (scores.seed == 3))]
    found = statistics.differences(fewer, [("sigmoid", "average")])
    expected = statistics.differences(scores[scores.seed < 3], [("sigmoid", "average")])
    pd.testing.assert_frame_equal(found, expected)


def test_equal_runs_do_not_differ():
    row = statistics.differences(runs(), [("sigmoid", "sigmoid")]).iloc[0]
    assert row.tolist() == [0, 0, 1]


def test_runs_that_are_always_apart_by_the_same():
    scores = runs()
    scores["accuracy"] = scores["variant"].map({"sigmoid": 0.75, "average": 0.5})
    assert statistics.differences(scores, [("sigmoid", "average")]).iloc[0].tolist() == [0.25, 0, 0]


def test_holm_is_what_he_wrote():
    p = pd.Series([0.01, 0.04, 0.03, 0.005], index=list("abcd"))
    assert statistics.holm(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm(p).index.tolist() == list("abcd")
    assert statistics.holm(pd.Series([0.9, 0.8])).tolist() == [1, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_the_order_and_lies_below_bonferroni(p):
    p = pd.Series(p)
    adjusted = statistics.holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= (p * len(p)).clip(upper=1) + 1e-12).all() or len(p.unique()) < len(p)
    assert adjusted[p.sort_values().index].is_monotonic_increasing
    assert adjusted.min() == pytest.approx(min(1, p.min() * len(p)))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two variants and two seeds, trained for two epochs, and what was put together from them."""
    folder = tmp_path_factory.mktemp("scoreboard")
    data = load(size=32, fragments=0, counts={"train": 64, "val": 10, "test": 20})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "VARIANTS", TWO)
        patch.setattr(results, "SEEDS", (0, 1))
        patch.setattr(results, "EPOCHS_SHOWN", (1,))
        for variant in TWO:
            for seed in (0, 1):
                results.one(variant, seed, TINY, data, folder / f"{variant}_{seed}")
        results.collect(data.classes, TINY, folder, folder)
    return folder, data


def test_a_run_is_judged_and_put_with_the_others(home):
    folder, data = home
    scores, histories = results.scores(folder), results.histories(folder)
    assert scores[["variant", "seed"]].to_numpy().tolist() == [
        ["softmax", 0],
        ["softmax", 1],
        ["vgg", 0],
        ["vgg", 1],
    ]
    assert scores["energy 1"].isna().tolist() == [False, False, True, True]
    assert {"precision", "AP", "AUC", "calibration error", "pointing 2", "chance", "seconds"} < set(
        scores.columns
    )
    assert histories.groupby(["variant", "seed"]).epoch.apply(list).tolist() == [[1, 2]] * 4
    for variant in TWO:
        found = evaluate(results.network(variant, folder), data.test)
        row = scores.set_index(["variant", "seed"]).loc[variant, 0]
        for name in found.index:
            assert row[name] == pytest.approx(
                found[name], abs=0.06
            )  # one image of twenty may turn in half precision


def test_maps_are_by_epoch_and_tap(home):
    folder, _ = home
    maps = results.maps("softmax", 1, folder)
    assert list(maps) == list(results.EPOCHS_SHOWN)
    assert [tuple(m.shape) for m in maps[1]] == [(8, 1, 4, 4), (8, 1, 2, 2)]
    assert maps[5] == ()
    assert results.maps("vgg", 0, folder)[1] == ()
    torch.testing.assert_close(maps[1][0].sum(dim=(2, 3)), torch.ones(8, 1), atol=1e-2, rtol=0)


def test_what_has_been_done_is_not_done_again(home):
    folder, data = home
    before = (folder / "vgg_0" / "scores.csv").stat().st_mtime_ns
    results.one("vgg", 0, TINY, data, folder / "vgg_0")
    assert (folder / "vgg_0" / "scores.csv").stat().st_mtime_ns == before


needs_results = pytest.mark.skipif(
    not results.SHIPPED.exists(), reason="the scoreboard has not been trained yet"
)


@needs_results
def test_the_package_carries_every_run():
    scores, histories = results.scores(), results.histories()
    wanted = [[variant, seed] for variant in results.VARIANTS for seed in results.SEEDS]
    assert scores[["variant", "seed"]].to_numpy().tolist() == wanted
    assert not scores[["accuracy", "loss", "AP", "AUC", "chance"]].isna().any().any()
    epochs = results.adapt(PRESETS["cpu"]).recipe.epochs
    assert (histories.groupby(["variant", "seed"]).epoch.max() == epochs).all()
    assert (histories.groupby(["variant", "seed"]).size() == epochs).all()


@needs_results
@pytest.mark.parametrize("variant", results.VARIANTS)
def test_a_shipped_network_has_the_score_of_its_row(variant):
    """On a quarter of the test images, so within four standard errors."""
    data = load(**{**results.adapt(PRESETS["cpu"]).data, "counts": {"train": 1, "val": 1}})
    row = results.scores().set_index(["variant", "seed"]).loc[variant, 0]
    n = len(data.test) // 4
    network = results.network(variant).to(memory_format=torch.channels_last)
    found = evaluate(network, Subset(data.test, range(n)))
    error = (row["accuracy"] * (1 - row["accuracy"]) / n) ** 0.5
    assert abs(found["accuracy"] - row["accuracy"]) < 4 * error + 0.002
    for tap in (1, 2):
        if not pd.isna(row[f"energy {tap}"]):
            assert found[f"energy {tap}"] == pytest.approx(row[f"energy {tap}"], abs=0.03)


@needs_results
@pytest.mark.parametrize("variant", ["sigmoid", "softmax", "sparsemax", "repaired"])
def test_shipped_maps_are_there_for_every_seed_and_epoch(variant):
    for seed in results.SEEDS:
        maps = results.maps(variant, seed)
        assert list(maps) == list(results.EPOCHS_SHOWN)
        for taps in maps.values():
            assert [len(m) for m in taps] == [results.GALLERY] * 2
            assert all(m.isfinite().all() and (m >= 0).all() for m in taps)
