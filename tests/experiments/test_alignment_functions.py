import pandas as pd
import pytest

import experiments.alignment_functions as experiment
from course_utils.data.splits import load
from course_utils.studies import alignment_functions as study
from course_utils.studies import probes


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """The experiment on few images, with two alignments, one scale, one rate and two seeds."""
    tiny = probes.frozen(load(counts={"train": 20, "val": 1, "test": 1}).train)
    monkeypatch.setattr(experiment, "features", lambda: (tiny, tiny, tiny))
    monkeypatch.setattr(experiment, "NAMES", ("average", "subset"))
    for name, few in {"SCALES": (0.1,), "RATES": (0.1,), "CONTROL_RATES": (0.1,)}.items():
        monkeypatch.setattr(study, name, few)
    monkeypatch.setattr(study, "SEEDS", (0, 1))
    return tmp_path


def test_what_is_finished_is_kept_and_what_is_missing_is_added(runs, monkeypatch):
    for name in experiment.NAMES:
        for seed in study.SEEDS:
            experiment.one(name, seed, runs)
    before = {path: path.stat().st_mtime_ns for path in runs.glob("*.csv")}
    assert len(before) == 4
    experiment.one("subset", 0, runs)
    assert {path: path.stat().st_mtime_ns for path in runs.glob("*.csv")} == before
    first = pd.read_csv(experiment.path_of("subset", 0, runs))
    monkeypatch.setattr(study, "SCALES", (0.1, 1.0))
    experiment.one("subset", 0, runs)
    both = pd.read_csv(experiment.path_of("subset", 0, runs))
    assert both.scale.tolist() == [0.1, 1.0]
    pd.testing.assert_frame_equal(both[:1], first)
    experiment.collect(runs, runs / "collected")
    table = study.runs(runs / "collected")
    assert table.alignment.tolist() == ["average"] * 2 + ["subset"] * 3
    assert table.seed.tolist() == [0, 1, 0, 0, 1]
    assert study.length(runs / "collected")["scale"] in study.LENGTHS
    equal = study.equal_sharpness(runs / "collected")
    assert set(equal.alignment) == {"subset"}
