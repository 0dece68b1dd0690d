"""Each statistic of the studies against a second method: SciPy, enumeration or simulation."""

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


def samples(smallest=2):
    """Two lists of a few values with many ties."""
    values = st.lists(st.integers(0, 4).map(float), min_size=smallest, max_size=5)
    return st.tuples(values, values)


@pytest.mark.filterwarnings("ignore:Precision loss")  # SciPy warns if one sample doesn't vary
@given(samples())
def test_welch_is_scipys(both):
    one, other = map(np.array, both)
    found = statistics.welch(one, other)
    if one.std() + other.std() == 0:
        assert found[:3] == (one[0] - other[0], 0, float(one[0] == other[0]))
        assert math.isnan(found.freedom)
        return
    expected = stats.ttest_ind(one, other, equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert list(found) == pytest.approx(
        [(low + high) / 2, (high - low) / 2, expected.pvalue, expected.df], abs=1e-9
    )


def test_welch_rejects_true_hypotheses_at_its_level_though_the_variances_differ():
    """A pooled test of these sizes and variances would raise several times as many false alarms."""
    rng = np.random.default_rng(1)
    pairs = [(rng.normal(size=10), rng.normal(0, 4, size=5)) for _ in range(600)]
    assert np.mean([statistics.welch(*pair).p < 0.05 for pair in pairs]) < 0.07
    assert np.mean([stats.ttest_ind(*pair).pvalue < 0.05 for pair in pairs]) > 0.12


def test_welch_leaves_out_nan_and_needs_two_values():
    two = [4.0, 6.0]
    assert statistics.welch([1.0, 2.0, math.nan], two) == statistics.welch([1.0, 2.0], two)
    with pytest.raises(ValueError, match="got 1 and 2"):
        statistics.welch([1.0, math.nan], two)


def test_unpaired_differences_use_all_runs_of_both():
    scores = scores_of_runs()
    scores = scores[~((scores.variant == "average") & (scores.seed == 3))]
    found = statistics.differences(scores, [("sigmoid", "average")], paired=False)
    one, other = (scores.loc[scores.variant == v, "accuracy"] for v in ("sigmoid", "average"))
    assert (len(one), len(other)) == (4, 3)
    row = found.loc["sigmoid", "average", "accuracy"]
    assert row.tolist() == pytest.approx(list(statistics.welch(one, other)[:3]))
    assert found.columns.tolist() == ["mean", "margin", "p"]


@given(samples(smallest=1))
def test_wins_and_their_p_value_are_those_of_all_assignments(both):
    one, other = both
    values = np.array([*one, *other])

    def wins(chosen):
        rest = [i for i in range(len(values)) if i not in chosen]
        return sum(
            (values[i] > values[j]) + 0.5 * (values[i] == values[j]) for i in chosen for j in rest
        )

    half = len(one) * len(other) / 2
    every = [wins(chosen) for chosen in itertools.combinations(range(len(values)), len(one))]
    found = statistics.mann_whitney(one, other)
    assert (found.wins, found.pairs) == (every[0], 2 * half)
    assert found.p == pytest.approx(np.mean([abs(w - half) >= abs(every[0] - half) for w in every]))


@pytest.mark.parametrize("sizes", [(5, 5), (10, 10), (10, 5), (1, 4)])
def test_without_ties_the_p_value_is_scipys_exact_one(sizes):
    rng = np.random.default_rng(sum(sizes))
    one, other = rng.normal(0.7, size=sizes[0]), rng.normal(size=sizes[1])
    expected = stats.mannwhitneyu(one, other, method="exact")
    found = statistics.mann_whitney(one, other)
    assert (found.wins, found.p) == pytest.approx((expected.statistic, expected.pvalue))


def test_25_of_25_wins():
    found = statistics.mann_whitney([0.9, 0.8, 0.7, 0.95, 0.85], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert found == (25, 25, pytest.approx(2 / 252))
    assert statistics.mann_whitney([1.0, 1.0], [1.0, 1.0]) == (2, 4, 1)


@pytest.mark.parametrize("wrong", [([], [1.0]), ([1.0], []), ([1.0, math.nan], [2.0])])
def test_wins_need_values(wrong):
    with pytest.raises(ValueError, match=f"got {len(wrong[0])} and {len(wrong[1])} values"):
        statistics.mann_whitney(*wrong)


def gains_of_images(seeds=4, images=60, sources=25, seed=0):
    """Random gains, and sources with different numbers of images."""
    draw = torch.Generator().manual_seed(seed)
    gains = torch.randint(-1, 2, (seeds, images), generator=draw)
    clusters = 7 + torch.randint(0, sources, (images,), generator=draw)
    return gains, clusters


def resampled_by_hand(gains, clusters, over, resamples=4000):
    """Means of resamples, drawn one by one from lists of indices."""
    rng, means = np.random.default_rng(8), []
    members = [np.flatnonzero(clusters == c) for c in np.unique(clusters)]
    for _ in range(resamples):
        seeds, sources = np.arange(len(gains)), range(len(members))
        if "seeds" in over:
            seeds = rng.choice(seeds, len(seeds))
        if "sources" in over:
            sources = rng.choice(len(members), len(members))
        images = np.concatenate([members[i] for i in sources])
        means.append(gains[np.ix_(seeds, images)].mean())
    return np.array(means)


@pytest.mark.parametrize("over", [("seeds", "sources"), ("sources",), ("seeds",)])
def test_the_bootstrap_is_that_of_drawn_indices(monkeypatch, over):
    """Without the correction for few seeds, and up to the noise of the resamples."""
    monkeypatch.setattr(statistics, "_stretch", lambda seeds, level: 1.0)
    gains, clusters = gains_of_images()
    means = resampled_by_hand(gains.numpy(), clusters.numpy(), over)
    for level in (0.8, 0.95):
        expected = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
        found = statistics.two_way_bootstrap(gains, clusters, over=over, level=level)
        assert found == pytest.approx(expected.tolist(), abs=0.1 * means.std())


def test_the_bootstrap_of_independent_images_is_scipys():
    gains = gains_of_images(seeds=1, images=200)[0]
    found = statistics.two_way_bootstrap(gains, torch.arange(200), over=("sources",))
    expected = stats.bootstrap(
        (gains[0].numpy(),), np.mean, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    assert found == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("n", [5, 10])
def test_the_bootstrap_of_seeds_is_about_as_long_as_students_interval(n):
    values = stats.norm.ppf((np.arange(n) + 0.5) / n)
    gains = torch.from_numpy(values)[:, None].expand(n, 30)
    low, high = statistics.two_way_bootstrap(gains, torch.arange(30), over=["seeds"])
    mean, margin = statistics.interval(values)
    assert [low, high] == pytest.approx([mean - margin, mean + margin], rel=0.06)


@pytest.mark.parametrize(
    ("of_seeds", "of_sources", "of_pairs", "least", "most"),
    [(1, 0, 0.3, 0.92, 0.99), (0, 1, 0.3, 0.90, 0.99), (0, 0, 1, 0.98, 1)],
)
def test_the_bootstrap_covers_the_true_mean_at_least_as_often_as_its_level(
    of_seeds, of_sources, of_pairs, least, most
):
    """Random effects of five seeds, 60 sources and their pairs; the seeds' and sources' are equal
    in size after averaging. If only pairs vary, the interval is far too long."""
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(150):
        gains = (
            of_seeds * rng.normal(size=(5, 1)) * (5 / 60) ** 0.5
            + of_sources * rng.normal(size=(1, 60))
            + of_pairs * rng.normal(size=(5, 60))
        )
        low, high = statistics.two_way_bootstrap(
            torch.from_numpy(gains), torch.arange(60), resamples=300
        )
        covered.append(low <= 0 <= high)
    assert least <= np.mean(covered) <= most


def test_sources_count_by_their_images():
    """The mean is over images: a source with three images weighs three times as much."""
    gains = torch.tensor([[1.0, 1.0, 1.0, 0.0]] * 2)
    clusters = torch.tensor([3, 3, 3, 9])
    low, high = statistics.two_way_bootstrap(gains, clusters, over=("sources",), level=0.4)
    assert (low, high) == (0.75, 0.75)  # half of all resamples have both sources
    assert statistics.two_way_bootstrap(gains, clusters) == pytest.approx((0, 1))
    assert statistics.two_way_bootstrap(gains, clusters, over=("seeds",)) == pytest.approx(
        (0.75, 0.75)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gains": torch.zeros(4, 0), "clusters": torch.arange(0)}, r"got \(4, 0\) and \(0,\)"),
        ({"clusters": torch.zeros(60, dtype=torch.long)}, "sources to resample, got 1"),
        ({"gains": torch.zeros(1, 60)}, "seeds to resample, got 1"),
        ({"over": ()}, r"got \(\)"),
        ({"over": ("seed",)}, "'seeds', 'sources'"),
        ({"over": "seeds"}, "got 'seeds'"),
        ({"resamples": 0}, "got 0 and 0.95"),
        ({"level": 1.0}, "got 10000 and 1.0"),
    ],
)
def test_the_bootstrap_checks_its_arguments(change, message):
    gains, clusters = gains_of_images()
    given = {"gains": gains, "clusters": clusters} | change
    with pytest.raises(ValueError, match=message):
        statistics.two_way_bootstrap(given.pop("gains"), given.pop("clusters"), **given)


def test_looking_after_two_and_three_seeds_by_integration():
    """With two differences, t depends on their angle only; the third one is integrated out."""
    # (x, y) = r (cos a, sin a); the t value of the first two differences is tan(a + 45°).
    first, second = statistics.quantile(1), statistics.quantile(2)
    angle = (np.arange(900) + 0.3) * np.pi / 450
    height = (np.arange(900) + 0.5) / 450 - 1  # of a random direction in space: uniform in ±1
    around = np.sqrt(1 - height**2)[:, None]
    x, y, z = around * np.cos(angle), around * np.sin(angle), height[:, None]
    mean, squares = (x + y + z) / 3, 1  # a direction has length 1
    t3 = mean / np.sqrt((squares - 3 * mean**2) / 2 / 3)
    t2 = np.broadcast_to((x + y) / np.abs(x - y), t3.shape)
    expected = ((np.abs(t2) > first) | (np.abs(t3) > second)).mean()
    assert statistics.optional_stopping([2, 3]) == pytest.approx(expected, abs=0.002)


def test_looks_after_two_to_five_seeds_raise_false_alarms_to_13_percent():
    """SciPy's own t-test on numbers of another generator."""
    gains = torch.randn(60_000, 5, generator=torch.Generator().manual_seed(3)).numpy()
    alarms = [stats.ttest_1samp(gains[:, :n], 0, axis=1).pvalue < 0.05 for n in (2, 3, 4, 5)]
    found = statistics.optional_stopping((2, 3, 4, 5))
    assert found == pytest.approx(np.any(alarms, axis=0).mean(), abs=0.005)
    assert found == pytest.approx(0.135, abs=0.002)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_one_look_has_the_error_rate_of_the_test(level):
    for n in (2, 5, 10):
        found = statistics.optional_stopping([n], level=level)
        assert found == pytest.approx(1 - level, abs=0.003)


def test_the_table_of_false_alarms_has_every_choice_of_looks():
    table = statistics.false_alarms(5)
    assert len(table) == 16
    assert table[0] == 0
    for looks in ((5,), (2, 4), (2, 3, 4, 5)):
        index = sum(2 ** (n - 2) for n in looks)
        assert table[index] == pytest.approx(statistics.optional_stopping(looks), abs=0.002)
    for more, fewer in itertools.product(range(16), repeat=2):
        if more & fewer == fewer:
            assert table[more] >= table[fewer] - 1e-12


@pytest.mark.parametrize("looks", [[], [1], [1, 2]])
def test_a_look_needs_two_seeds(looks):
    with pytest.raises(ValueError, match="got"):
        statistics.optional_stopping(looks)


@pytest.mark.parametrize("seeds", [1, 13])
def test_the_table_of_false_alarms_has_a_limit(seeds):
    with pytest.raises(ValueError, match=f"got {seeds}"):
        statistics.false_alarms(seeds)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_stops_at_the_first_test_that_fails(p):
    """Step down by hand: the ordered p values against 0.05 / m, 0.05 / (m − 1), and so on."""
    adjusted = statistics.holm(pd.Series(p))
    passed, order = set(), sorted(range(len(p)), key=lambda i: p[i])
    for left, i in zip(range(len(p), 0, -1), order):
        if p[i] * left >= 0.05:
            break
        passed.add(i)
    assert set(adjusted.index[adjusted < 0.05]) == passed
