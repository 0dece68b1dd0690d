import math

import pandas as pd
import pytest
import torch
from torch.testing import assert_close

from course_utils.attention import alignments, to_maps
from course_utils.data.splits import load
from course_utils.explain import metrics
from course_utils.studies import alignment_functions as study
from course_utils.studies import probes
from course_utils.studies.alignment_functions import Setting


@pytest.fixture(scope="module")
def features():
    return probes.frozen(load(counts={"train": 64, "val": 1, "test": 1}).train)


@pytest.mark.parametrize("name", study.ALIGNMENTS)
def test_scores_start_at_the_scale_that_is_asked_for(features, name):
    pool = study.build(Setting(name, 0.7), features).pool
    r = study.score_of(pool, features)
    assert r.std(dim=-1).mean().item() == pytest.approx(0.7, rel=1e-4)
    natural = study.score_of(study.build(Setting(name), features).pool, features)
    assert_close(r * pool.attention.score.temperature, natural)


def test_each_alignment_has_the_weights_of_its_formula(features):
    K = study.POSITIONS
    for name, expected in {
        "softmax": lambda r: r.softmax(dim=-1),
        "sigmoid, sum": torch.sigmoid,
        "sigmoid, mean": lambda r: torch.sigmoid(r) / K,
        "sigmoid, −log K": lambda r: 1 / (1 + K * (-r).exp()),
        "straight-through": study.highest,
        "REINFORCE": study.highest,
    }.items():
        probe = study.build(Setting(name, 1.0), features).eval()
        r = study.score_of(probe.pool, features)
        assert_close(probe.pool(features.local, features.g).weights, expected(r))
    for name, power in (("entmax 1.5", 0.5), ("sparsemax", 1.0)):
        probe = study.build(Setting(name, 1.0), features)
        weights = probe.pool(features.local, features.g).weights
        r = study.score_of(probe.pool, features)
        # Where weights are positive, they are [r (α − 1) − τ] to a power, with one τ per row.
        taus = (power * r - weights**power).where(weights > 1e-6, torch.nan)[:, 0]
        middle = taus.nanmedian(dim=-1, keepdim=True).values
        assert (taus - middle).abs().nan_to_num().max() < 1e-3


def test_the_highest_score_gets_all_the_weight():
    r = torch.tensor([[0.5, 2.0, -1.0], [3.0, 1.0, 0.0]])
    assert study.highest(r).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_draws_are_drawn_in_training_alone(features):
    for name in ("straight-through", "REINFORCE"):
        probe = study.build(Setting(name, 0.01), features)  # nearly uniform: draws differ
        first, second = (probe.train().pool(features.local, features.g).weights for _ in "ab")
        assert not torch.equal(first, second)
        assert_close(first.sum(dim=-1), torch.ones(64, 1))
        fixed, again = (probe.eval().pool(features.local, features.g).weights for _ in "ab")
        assert torch.equal(fixed, again)


def test_the_predicted_centre_is_on_the_grid_and_gets_a_gradient(features):
    probe = study.build(Setting("local", 0.1), features)
    context, weights = probe.pool(features.local, features.g)
    near = to_maps(weights, probes.GRID) > 0
    assert near.sum(dim=(1, 2, 3)).max() <= (2 * study.WINDOW + 1) ** 2
    assert (weights.sum(dim=-1) < 1).all()
    context.sum().backward()
    assert all(parameter.grad.any() for parameter in probe.pool.place.parameters())


def test_reinforce_without_a_draw_is_the_training_of_all_other_probes(features):
    usual = study.train(Setting("softmax", 0.1, 0.03), features, epochs=2)
    same = study.build(Setting("softmax", 0.1, 0.03), features)
    study.reinforce(same, features, rate=0.03, seed=0, epochs=2)
    for one, other in zip(usual.parameters(), same.parameters()):
        assert_close(one, other)


@pytest.mark.parametrize("name", ["REINFORCE", "subset"])
def test_a_policy_is_trained_by_its_draws(features, name):
    probe = study.build(Setting(name, 0.1), features)
    policy = probe.pool.policy if name == "subset" else probe.pool.project
    before = [parameter.detach().clone() for parameter in policy.parameters()]
    assert study.log_prob_of(study.build(Setting("softmax"), features).pool) is None
    study.reinforce(probe, features, rate=0.01, seed=0, epochs=1)
    assert (study.log_prob_of(probe.pool) <= 0).all()
    for old, new in zip(before, policy.parameters()):
        assert not torch.equal(old, new)


def test_training_is_reproducible_and_leaves_the_random_state_alone(features):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, again = (study.train(Setting("subset", 0.1), features, epochs=1) for _ in range(2))
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters()))


def test_equal_sharpness_ignores_the_temperature(features):
    r = features.local.norm(dim=-1)[:, None]
    equal = study.equally_sharp(r, features.regions)
    assert study.equally_sharp(100 * r, features.regions) == pytest.approx(equal, abs=1e-3)
    sharp, flat = (study.equally_sharp(r, features.regions, n) for n in (2.0, 100.0))
    assert sharp["equal_energy"] > equal["equal_energy"] > flat["equal_energy"]
    maps = to_maps(alignments.softmax(r), probes.GRID)
    assert equal["equal_pointing"] == pytest.approx(
        metrics.pointing_game(maps, features.regions).mean().item(), abs=0.05
    )
    alone = torch.full((64, 1, 256), -math.inf)
    alone[..., 7] = 1.0
    never = study.equally_sharp(alone, features.regions)  # one position is never eight
    assert all(math.isnan(value) for value in never.values())


@pytest.mark.parametrize("name", ["sigmoid, mean", "REINFORCE", "local", "subset"])
def test_a_probe_is_sharpened_by_its_scores(features, name):
    probe = study.build(Setting(name, 1.0), features).eval()
    r = study.score_of(probe.pool, features)
    if name in ("local", "subset"):  # what is outside the window or the subset stays outside
        r = probe(features.local, features.g)[1].detach().log()
    expected = study.equally_sharp(r.detach(), features.regions)
    assert study.sharpened(probe, features) == pytest.approx(expected, nan_ok=True)


def test_judging_adds_zeros_and_total(features):
    probe = study.build(Setting("sparsemax", 1.0), features)
    judged = study.judge(probe, features, features)
    weights = probe(features.local, features.g)[1]
    assert judged["zeros"] == (weights == 0).double().mean() > 0.5
    assert judged["total"] == pytest.approx(1, abs=1e-5)
    assert study.judge(study.build(Setting("average"), features), features, features)["zeros"] == 0


def test_the_length_is_judged_at_the_scale_with_the_highest_energy(features):
    reference = study.length_reference(features, features)
    length = features.local.norm(dim=-1)[:, None]
    energies = {}
    for scale in study.LENGTHS:
        maps = to_maps((scale * length / length.std(dim=-1).mean()).softmax(dim=-1), probes.GRID)
        energies[scale] = metrics.energy_inside(maps, features.regions).mean().item()
    assert reference["scale"] == max(energies, key=energies.get)
    assert reference["energy"] == pytest.approx(max(energies.values()), abs=1e-6)


ROWS = [  # alignment, scale, rate, seed, and the validation's accuracy, pointing and loss
    ("softmax", 0.1, 0.01, 0, 0.95, 0.5, 0.3),
    ("softmax", 0.1, 0.01, 1, 0.97, 0.5, 0.3),
    ("softmax", 0.1, 0.1, 0, 0.955, 0.6, 0.1),
    ("softmax", 0.1, 0.1, 1, 0.955, 0.6, 0.1),  # within one standard error, 0.0062
    ("softmax", 0.1, 1.0, 0, 0.953, 0.4, 0.05),
    ("softmax", 0.1, 1.0, 1, 0.953, 0.4, 0.05),  # not within it
    ("average", None, 0.1, 0, 0.5, 0.1, 1.0),
    ("average", None, 0.2, 0, 0.6, 0.1, 2.0),
]


def test_of_settings_that_accuracy_cannot_tell_apart_the_one_with_the_lowest_loss_is_best():
    columns = ["alignment", "scale", "rate", "seed", "val_accuracy", "val_pointing", "val_loss"]
    table = pd.DataFrame(ROWS, columns=columns)
    assert study.at_best(table, "accuracy").rate.tolist() == [0.1, 0.1, 0.2]
    assert study.at_best(table, "pointing").rate.tolist() == [0.1, 0.1, 0.1]
    assert study.swept(table, "accuracy").rate.tolist() == [0.1, 0.1]
    closer = table.assign(val_accuracy=table.val_accuracy.replace(0.955, 0.95))
    assert study.at_best(closer, "accuracy").rate.tolist() == [0.01, 0.01, 0.2]


def test_each_shipped_row_is_one_setting_and_seed():
    table = study.runs()
    wanted = {
        (*setting, seed)
        for name in ("average", *study.ALIGNMENTS)
        for setting in study.settings(name)
        for seed in study.SEEDS
    }
    rows = table[[*Setting._fields, "seed"]].itertuples(index=False, name=None)
    found = [tuple(None if value != value else value for value in row) for row in rows]
    assert len(found) == len(set(found))
    assert set(found) == wanted
    shares = table[["accuracy", "pointing", "energy", "zeros", "shuffled"]]
    assert shares.min(axis=None) >= 0
    assert shares.max(axis=None) <= 1


def test_all_alignments_have_the_same_grid_and_the_control_a_finer_one():
    table = study.runs()
    scaled = table[table.alignment != "average"].groupby("alignment")
    grids = {name: set(zip(rows.scale, rows.rate)) for name, rows in scaled}
    assert set(grids) == set(study.ALIGNMENTS)
    assert len({frozenset(grid) for grid in grids.values()}) == 1
    assert set(study.RATES) < set(table[table.alignment == "average"].rate)
    for measure in ("accuracy", "pointing"):
        best = study.at_best(table, measure)
        assert best.groupby("alignment").seed.apply(sorted).map(tuple).unique().tolist() == [
            tuple(study.SEEDS)
        ]
        assert best.groupby("alignment").rate.nunique().max() == 1
    for name, rows in study.at_best(table, "pointing").groupby("alignment"):
        own = table[table.alignment == name]
        means = own.groupby(["scale", "rate"], dropna=False).val_pointing.mean()
        assert rows.val_pointing.mean() == pytest.approx(means.max())


def test_the_best_maps_of_all_seeds_are_compared_at_equal_sharpness():
    best = study.at_best(study.runs(), "pointing")
    equal = study.equal_sharpness().set_index(["alignment", "seed"])
    assert equal.index.is_unique
    assert len(equal) == len(study.ALIGNMENTS) * len(study.SEEDS)
    same = best.set_index(["alignment", "seed"]).loc[equal.index]
    assert_close(torch.tensor(same.scale.to_numpy()), torch.tensor(equal.scale.to_numpy()))
    assert equal[["equal_pointing", "equal_energy"]].notna().all(axis=None)
