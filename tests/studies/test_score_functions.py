import pandas as pd
import pytest
import torch
from torch.testing import assert_close

from course_utils.data.splits import load
from course_utils.studies import probes
from course_utils.studies import score_functions as study
from course_utils.studies.score_functions import Setting


@pytest.fixture(scope="module")
def features():
    return probes.frozen(load(counts={"train": 64, "val": 1, "test": 1}).train)


@pytest.mark.parametrize("score", study.SCORES)
@pytest.mark.parametrize("by", ["temperature", "weights"])
def test_scores_start_at_the_standard_deviation_that_is_asked_for(features, score, by):
    setting = Setting(score, by, start=0.7)
    if by == "weights" and score not in study.LAST_LAYERS:
        with pytest.raises(ValueError, match=score):
            study.build(setting, features)
        return
    pool = study.build(setting, features).pool
    assert study.deviation(pool, features) == pytest.approx(0.7, rel=1e-4)
    queries = pool.project(features.g)[:, None]
    r = pool.attention.score(queries, features.local)
    if by == "weights":  # nothing divides the scores after that
        assert_close(pool(features.local, features.g).weights, r.softmax(dim=-1))
        return
    natural = study.build(Setting(score), features).pool
    assert_close(r, natural.attention.score(natural.project(features.g)[:, None], features.local))


@pytest.mark.parametrize("score", study.LAST_LAYERS)
def test_a_temperature_is_a_start_and_a_step_at_once(features, score):
    """In double precision, training with a temperature and with the two knobs is the same."""
    wide = probes.Features(features.local.double(), features.g.double(), *features[2:])
    divided = study.build(Setting(score, start=0.3), features).double()
    temperature = divided.pool.attention.alignment.keywords["temperature"]
    twin = study.build(Setting(score), features).double()
    layer = twin.pool.get_submodule(study.LAST_LAYERS[score])
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter /= temperature
    before = twin(wide.local, wide.g)[0]
    assert_close(divided(wide.local, wide.g)[0], before)
    probes.fit(divided, wide, epochs=4)
    probes.fit(twin, wide, epochs=4, factors={layer: 1 / temperature})
    after = twin(wide.local, wide.g)[0]
    # Only the tiny constant in Adam's denominator tells them apart.
    assert_close(divided(wide.local, wide.g)[0], after, rtol=1e-3, atol=1e-3)
    assert (after - before).abs().max() > 0.1
    slower = study.build(Setting(score), features).double()
    probes.fit(slower, wide, epochs=4)
    assert (slower(wide.local, wide.g)[0] - after).abs().max() > 0.01


def test_a_factor_changes_the_learning_rate_of_its_part_alone(features):
    """The first step of Adam moves each weight by the learning rate, less a little decay."""
    probe = study.build(Setting("multiplicative"), features)
    before = [p.detach().clone() for p in probe.parameters()]
    probes.fit(probe, features, epochs=1, factors={probe.pool: 0.1})  # one batch: one step
    moved = {
        name: (new - old).detach().abs().median().item()
        for (name, new), old in zip(probe.named_parameters(), before)
    }
    ratio = moved["classifier.weight"] / moved["pool.project.weight"]
    assert ratio == pytest.approx(10, rel=0.05)


def test_a_factor_of_one_changes_nothing(features):
    plain, same = (study.build(Setting("general"), features) for _ in range(2))
    probes.fit(plain, features, epochs=2)
    probes.fit(same, features, epochs=2, factors={same.pool: 1.0})
    for one, other in zip(plain.parameters(), same.parameters()):
        assert torch.equal(one, other)


def test_training_is_reproducible_and_leaves_the_random_state_alone(features):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, again = (study.train(Setting("cosine"), features, epochs=1) for _ in range(2))
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters()))


def test_the_control_has_a_learning_rate_of_its_own(features):
    slow, fast = (
        study.train(Setting("average", rate=rate), features, epochs=1) for rate in (1e-2, 1e-1)
    )
    start = study.build(Setting("average"), features).classifier.weight
    moved = [(probe.classifier.weight - start).abs().median().item() for probe in (slow, fast)]
    assert moved[1] / moved[0] == pytest.approx(10, rel=0.05)


def test_judging_compares_maps_with_the_boxes_of_other_images(features):
    probe = study.build(Setting("average"), features)
    few = probes.Features(*(column[:20] for column in features))
    judged = study.judge(probe, few, features)
    expected = probes.score(probe, features)
    assert {name: judged[name] for name in expected.index} == expected.to_dict()
    on_few = probes.score(probe, few)
    assert judged["val_accuracy"] == on_few["accuracy"]
    assert judged["val_pointing"] == on_few["pointing"]
    loss = torch.nn.functional.cross_entropy(probe(few.local, few.g)[0], few.labels)
    assert judged["val_loss"] == pytest.approx(loss.item())
    # A uniform map uses all positions, and points into its own box and into others equally often.
    assert judged["positions"] == pytest.approx(256, rel=1e-4)
    assert judged["shuffled"] == pytest.approx(judged["pointing"], abs=1e-6)


@pytest.mark.parametrize(("measure", "best"), [("accuracy", [0, 1]), ("pointing", [2, 3])])
def test_the_best_scale_has_the_highest_mean_on_validation_images(measure, best):
    rows = [
        ("cosine", 0.3, 0, 0.9, 0.5),
        ("cosine", 0.3, 1, 0.9, 0.5),
        ("cosine", 1.0, 0, 0.95, 0.6),
        ("cosine", 1.0, 1, 0.7, 0.6),
        ("general", 3.0, 0, 0.1, 0.1),
    ]
    columns = ["score", "start", "seed", "val_accuracy", "val_pointing"]
    chosen = study.at_best(pd.DataFrame(rows, columns=columns), measure)
    assert chosen.index.tolist() == [*best, 4]


def test_each_shipped_row_is_one_setting_and_seed():
    table = study.runs()
    wanted = {
        (*setting, seed)
        for name in ("average", *study.SCORES)
        for setting in study.settings(name)
        for seed in study.SEEDS
    }
    rows = table[[*Setting._fields, "seed"]].itertuples(index=False, name=None)
    found = [tuple(None if value != value else value for value in row) for row in rows]
    assert len(found) == len(set(found))
    assert set(found) == wanted
    numbers = table.drop(columns=["score", "by", "start", "before", "after"])
    assert numbers.notna().all(axis=None)
    shares = table[["accuracy", "pointing", "energy", "shuffled"]]
    assert shares.min(axis=None) >= 0
    assert shares.max(axis=None) <= 1
    started = table.dropna(subset=["start"])
    assert (started.before / started.start - 1).abs().max() < 1e-3


def test_the_classifiers_rate_is_what_validation_images_choose_for_the_plain_average():
    table = study.runs()
    losses = table[table.score == "average"].groupby("rate").val_loss.mean()
    assert losses.idxmin() == study.RATE
    assert min(study.RATES) < study.RATE < max(study.RATES)
    assert len(study.control(table)) == len(study.SEEDS)


def test_each_score_is_compared_at_its_own_scale():
    """The sweep has every scale of every score, and the best of each score has all seeds."""
    table = study.runs()
    swept = study.swept(table)
    assert set(swept.start) == set(study.SCALES)
    assert len(swept) == len(study.SCORES) * len(study.SCALES) * len(study.SEEDS)
    assert set(swept.rate) == {study.RATE}
    for measure in ("accuracy", "pointing"):
        best = study.at_best(swept, measure)
        assert len(best) == len(study.SCORES) * len(study.SEEDS)
        for name, runs in best.groupby("score"):
            means = swept[swept.score == name].groupby("start")[f"val_{measure}"].mean()
            assert runs.start.unique().tolist() == [means.idxmax()]
    for rate in (study.RATE, study.LOW_RATE):
        natural = study.as_initialised(table, rate)
        assert len(natural) == len(study.SCORES) * len(study.SEEDS)
        assert natural.before.notna().all()
