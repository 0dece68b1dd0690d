"""Intervals, paired differences and Holm's correction, against SciPy and by hand."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from course_utils.studies import statistics


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 40])
def test_the_quantile_is_half_of_scipys_interval(freedom):
    for level in (0.5, 0.95, 0.99):
        low, high = stats.t.interval(level, freedom)
        assert statistics.quantile(freedom, level) == pytest.approx((high - low) / 2, rel=1e-10)


@pytest.mark.parametrize("arguments", [(0,), (4, 0.0), (4, 1.0)])
def test_the_quantile_checks_its_arguments(arguments):
    with pytest.raises(ValueError, match=f"got {arguments[0]} and"):
        statistics.quantile(*arguments)


@given(
    st.lists(st.floats(-1, 1), min_size=2, max_size=8).filter(lambda values: np.std(values) > 1e-3)
)
def test_intervals_are_those_of_scipy(values):
    mean, margin = statistics.interval(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval()
    assert [mean - margin, mean + margin] == pytest.approx([low, high], rel=1e-9, abs=1e-9)


def test_one_run_has_no_interval():
    with pytest.raises(ValueError, match="got 1"):
        statistics.interval([0.5])


@pytest.mark.parametrize("runs", [[1.0, 2.0, 3.0], [0.2, 0.5]])
def test_undefined_scores_are_no_runs(runs):
    assert statistics.interval([*runs, math.nan]) == statistics.interval(runs)
    with pytest.raises(ValueError, match="got 1"):
        statistics.interval([runs[0], math.nan, math.nan])


def scores_of_runs(variants=("sigmoid", "average"), seeds=(0, 1, 2, 3), seed=0):
    """Random scores of some runs, in random order."""
    draw = np.random.default_rng(seed)
    rows = [
        {"variant": v, "seed": s, "accuracy": draw.normal(0.9, 0.02), "loss": draw.random()}
        for v in variants
        for s in seeds
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=seed)


def test_differences_are_those_of_scipys_paired_t_test():
    scores = scores_of_runs()
    found = statistics.differences(scores, [("sigmoid", "average")], ("accuracy", "loss"))
    assert found.index.tolist() == [
        ("sigmoid", "average", "accuracy"),
        ("sigmoid", "average", "loss"),
    ]
    by_variant = scores.sort_values("seed").set_index("variant")
    for column in ("accuracy", "loss"):
        one, other = (by_variant.loc[v, column].to_numpy() for v in ("sigmoid", "average"))
        test, row = stats.ttest_rel(one, other), found.loc["sigmoid", "average", column]
        low, high = test.confidence_interval(0.95)
        assert [row["mean"], row["margin"], row["p"]] == pytest.approx(
            [(one - other).mean(), (high - low) / 2, test.pvalue], rel=1e-9
        )


def test_seeds_that_only_one_variant_has_are_left_out():
    scores = scores_of_runs()
    fewer = scores[~((scores.variant == "average") & (scores.seed == 3))]
    found = statistics.differences(fewer, [("sigmoid", "average")])
    expected = statistics.differences(scores[scores.seed < 3], [("sigmoid", "average")])
    pd.testing.assert_frame_equal(found, expected)


def test_equal_runs_do_not_differ():
    row = statistics.differences(scores_of_runs(), [("sigmoid", "sigmoid")]).iloc[0]
    assert row.tolist() == [0, 0, 1]


def test_a_constant_difference_has_no_margin():
    scores = scores_of_runs()
    scores["accuracy"] = scores["variant"].map({"sigmoid": 0.75, "average": 0.5})
    assert statistics.differences(scores, [("sigmoid", "average")]).iloc[0].tolist() == [0.25, 0, 0]


@pytest.mark.parametrize(("n", "level"), [(5, 0.95), (10, 0.95), (10, 1 - 0.05 / 7)])
def test_a_detectable_difference_is_found_in_four_of_five_samples(n, level):
    rng = np.random.default_rng(0)
    values = rng.normal(size=n)
    true = statistics.detectable(values, level)
    samples = rng.normal(true, values.std(ddof=1), size=(20_000, n))
    p = stats.ttest_1samp(samples, 0, axis=1).pvalue
    assert (p < 1 - level).mean() == pytest.approx(0.8, abs=0.01)


def test_what_is_detectable_by_hand():
    """Ten differences with standard deviation 1, from a table of sample sizes: about 1."""
    values = np.repeat([-1, 1], 5) * (9 / 10) ** 0.5
    assert statistics.detectable([*values, math.nan]) == pytest.approx(0.996, abs=0.005)
    for wrong in ({"values": [1.0]}, {"values": [1.0, 2.0], "power": 1.0}):
        with pytest.raises(ValueError, match="got"):
            statistics.detectable(**wrong)


def test_holm_by_hand():
    p = pd.Series([0.01, 0.04, 0.03, 0.005], index=list("abcd"))
    assert statistics.holm(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm(p).index.tolist() == list("abcd")
    assert statistics.holm(pd.Series([0.9, 0.8])).tolist() == [1, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_the_order_and_is_at_most_bonferroni(p):
    p = pd.Series(p)
    adjusted = statistics.holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= (p * len(p)).clip(upper=1) + 1e-12).all() or len(p.unique()) < len(p)
    assert adjusted[p.sort_values().index].is_monotonic_increasing
    assert adjusted.min() == pytest.approx(min(1, p.min() * len(p)))


def test_the_sign_test_tries_all_signs_of_each_cluster():
    changes = torch.tensor([-1, -1, 1, -2, 0, 1, -1, -3])
    clusters = torch.tensor([4, 4, 7, 7, 2, 9, 9, 1])
    sums = [-2, -1, -3]  # sources 2 and 9 have not changed on balance
    signed = [
        sum(s * c for s, c in zip(signs, sums)) for signs in itertools.product((-1, 1), repeat=3)
    ]
    expected = sum(abs(total) >= 6 for total in signed) / 8
    assert statistics.clustered_sign_test(changes, clusters) == pytest.approx(expected)
    assert statistics.clustered_sign_test(torch.zeros(4, dtype=torch.long), torch.arange(4)) == 1


def test_without_clusters_the_sign_test_is_the_binomial_test():
    changes = torch.tensor([-1] * 21 + [1] * 4 + [0] * 30)
    expected = stats.binomtest(21, 25).pvalue
    found = statistics.clustered_sign_test(changes, torch.arange(len(changes)))
    assert found == pytest.approx(expected)


def test_a_verdict_is_a_difference_no_effect_of_that_size_or_undecided():
    table = pd.DataFrame(
        {
            "mean": [0.02, 0.004, -0.006, 0.03, -0.002],
            "margin": [0.005, 0.003, 0.005, 0.04, 0.0015],
            "p": [0.001, 0.02, 0.03, 0.1, 0.009],
        },
        index=list("abcde"),
    )
    judged = statistics.verdicts(table, 0.01)
    # Holm: 0.005, 0.06, 0.06, 0.1 and 0.036
    assert judged["Holm p"].tolist() == pytest.approx([0.005, 0.06, 0.06, 0.1, 0.036])
    small = "no effect larger than 0.01"
    assert judged.verdict.tolist() == ["difference", small, "undecided", "undecided", "difference"]
    assert judged.columns.tolist() == ["mean", "margin", "Holm p", "verdict"]
    assert "p" in table  # it is not changed
