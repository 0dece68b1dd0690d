"""The experiment of Kinds of attention in miniature: choices, resuming, collecting."""

from functools import partial

import pytest

import experiments.kinds_of_attention as make
from course_utils.data.splits import load
from course_utils.studies import kinds_of_attention as study
from course_utils.studies import probes, scenes


@pytest.fixture
def small(monkeypatch):
    """Two kinds, two steps per training, and little to train and test on."""
    data = load(counts={"train": 64, "val": 40, "test": 40})
    parts = [scenes.halved(probes.frozen(d)) for d in (data.train, data.val, data.test)]
    whole = tuple(scenes.scaled(*parts))
    monkeypatch.setattr(make, "features", lambda: whole)
    monkeypatch.setattr(make, "PAIRS", [("both", "two heads"), ("chain", "one hop")])
    monkeypatch.setattr(study, "train", partial(study.train, steps=2))
    monkeypatch.setattr(
        study, "judge", lambda t, m, f, n=20, judge=study.judge: judge(t, m, f, n=20)
    )
    monkeypatch.setattr(study, "SEEDS", (0, 1, 2, 3))


def test_rates_are_added_while_the_best_one_is_at_an_end(monkeypatch):
    def stand_in(by_rate):
        return lambda task, kind, rate, seeds: [
            {"rate": rate, "seed": s, "accuracy": by_rate(rate)} for s in seeds
        ]

    monkeypatch.setattr(make, "tried", stand_in(lambda rate: -rate))
    assert sorted(set(make.choose("both", "one head").rate)) == list(study.RATES[:5])
    monkeypatch.setattr(make, "tried", stand_in(lambda rate: rate))
    assert sorted(set(make.choose("both", "one head").rate)) == list(study.RATES[2:])
    monkeypatch.setattr(make, "tried", stand_in(lambda rate: -abs(rate - 0.01)))
    assert sorted(set(make.choose("both", "one head").rate)) == list(study.RATES[2:5])


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_kinds_are_trained_once_and_collected(tmp_path):
    for pair in make.PAIRS:
        make.one(*pair, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.csv")}
    assert len(before) == 4
    make.one("chain", "one hop", tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.csv")} == before
    make.collect(tmp_path, tmp_path / "collected")
    runs = study.runs(tmp_path / "collected")
    assert list(runs.groupby(["task", "kind"], sort=False).seed.apply(list)) == [[0, 1, 2, 3]] * 2
    heads = study.of(runs, "both")
    assert heads.overlap_before.notna().all()
    assert "flag_1" not in heads
    chosen = study.of(study.choices(tmp_path / "collected"), "chain")
    assert study.best_rate(chosen) == runs.rate.iloc[-1]
