import pytest

import experiments.hard_attention as experiment
from course_utils.data.cluttered_digits import ClutteredDigits
from course_utils.studies import hard_attention as study


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """The experiment on few images, with two networks, two rates and three seeds."""
    tiny = ClutteredDigits("train", 40, canvas=64)
    few = {name: study.VARIANTS[name] for name in ("first look only", "soft")}
    monkeypatch.setattr(experiment, "images", lambda _: ([tiny, tiny], tiny, tiny))
    monkeypatch.setattr(experiment, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(study, "VARIANTS", few)
    monkeypatch.setattr(study, "RATES", (0.001, 0.01))
    monkeypatch.setattr(study, "SEEDS", (0, 1, 2))
    monkeypatch.setattr(study, "LONGER", ("soft",))
    (tmp_path / "runs" / "longer").mkdir(parents=True)
    return tmp_path


def test_runs_are_kept_and_collected_at_the_chosen_rates(runs):
    first = experiment.tuning()
    assert len(first) == 8
    for key in first:
        experiment.one(*key)
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*.csv")}
    assert len(before) == 24
    for key in first:
        experiment.one(*key)
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*.csv")} == before
    rates = study.chosen_rates(experiment.read("scores", first))
    later = [(name, rates[name], 2) for name in study.VARIANTS]
    for key in later:
        experiment.one(*key)
    for seed in study.SEEDS:
        experiment.one("soft", rates["soft"], seed, longer=True)
    experiment.collect(first + later, runs)
    best = study.at_best(study.runs(runs))
    assert best.groupby("variant").seed.apply(sorted).to_dict() == {
        "first look only": [0, 1, 2],
        "soft": [0, 1, 2],
    }
    longer = study.longer(runs)
    assert longer[["variant", "seed"]].to_numpy().tolist() == [["soft", n] for n in range(3)]
    curves = study.curves(runs)
    assert curves.groupby(["variant", "seed"]).epoch.apply(list).tolist() == [[0, 1]] * 6
    windows = study.shipped_windows(runs)
    assert set(windows.variant) == {"soft"}
    assert windows.groupby("seed").image.apply(list).tolist() == [list(range(12))] * 3
