"""The experiment of the gallery in miniature: choices, resuming, collecting."""

from functools import partial

import pandas as pd
import pytest

import experiments.gallery_of_kinds as make
from course_utils.data.splits import load
from course_utils.studies import gallery_of_kinds as study


@pytest.fixture
def small(monkeypatch):
    """Two kinds, two steps per training, and little to train and test on."""
    data = load(counts={"train": 64, "val": 40, "test": 40})
    parts = study.scaled(*(study.material(d) for d in (data.train, data.val, data.test)))
    monkeypatch.setattr(make, "materials", lambda: (*parts, parts[-1]))
    monkeypatch.setattr(make, "PAIRS", [("words", "interactive"), ("levels", "hierarchical")])
    monkeypatch.setattr(study, "train", partial(study.train, steps=2))
    monkeypatch.setattr(study, "judge", partial(study.judge, n=20))
    monkeypatch.setattr(study, "SEEDS", (0, 1, 2, 3))


def accuracies(by_setting):
    """A stand-in for `tried` whose accuracies depend on the setting and the seed alone."""

    def tried(task, kind, rate, knob, seeds):
        return [
            {"rate": rate, "knob": knob, "seed": s, "accuracy": by_setting(rate, knob, s)}
            for s in seeds
        ]

    return tried


def test_rates_are_added_while_the_best_one_is_at_an_end(monkeypatch):
    monkeypatch.setattr(make, "tried", accuracies(lambda rate, knob, seed: -rate))
    table = make.choose("levels", "fine")
    assert sorted(set(table.rate)) == list(study.RATES[:5])
    monkeypatch.setattr(make, "tried", accuracies(lambda rate, knob, seed: -abs(rate - 0.03)))
    assert sorted(set(make.choose("levels", "fine").rate)) == [0.01, 0.03, 0.1]


def test_a_setting_that_fails_from_other_seeds_is_not_chosen(monkeypatch):
    def score(rate, knob, seed):
        lucky = (rate, knob) == (0.03, 0.3)
        return 0.5 if lucky and seed > 2 else 0.95 if lucky else 0.9 - abs(rate - 0.03)

    monkeypatch.setattr(make, "tried", accuracies(score))
    table = make.choose("words", "interactive")
    ((rate, knob),) = study.best(table)
    assert (rate, knob) != (0.03, 0.3)
    assert rate == 0.03
    seeds = table[(table.rate == rate) & (table.knob == knob)].seed
    assert sorted(seeds) == list(study.SEEDS)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_kinds_are_trained_once_and_collected(tmp_path):
    for pair in make.PAIRS:
        make.one(*pair, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.csv")}
    assert len(before) == 6
    make.one("levels", "hierarchical", tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.csv")} == before
    make.collect(tmp_path, tmp_path / "collected")
    runs = study.runs(tmp_path / "collected")
    assert list(runs.groupby(["task", "kind"], sort=False).seed.apply(list)) == [[0, 1, 2, 3]] * 2
    chosen = study.choices(tmp_path / "collected").query("task == 'levels'")
    assert isinstance(chosen, pd.DataFrame)
    assert study.best(chosen)[0] == tuple(runs.iloc[-1][["rate", "knob"]])
    maps = study.maps(tmp_path / "collected")
    assert set(maps[maps.task == "words"].seed) == {0, 1, 2, 3}
