"""The benchmarks run; what they measure is no test's business."""

import pytest

from benchmarks import bench_gpu, bench_models, bench_training, run_scoreboard
from course_utils import scoreboard
from course_utils.data import load
from course_utils.presets import Preset
from course_utils.recipes import Recipe


@pytest.mark.parametrize("group", bench_models.GROUPS)
def test_every_group_is_measured(group):
    table = bench_models.compare(group, 0.125, batch=2, repetitions=1)
    assert list(table.network) == list(bench_models.GROUPS[group])
    assert (table[["parameters", "GMAC", "forward ms", "step ms", "forward ratio", "step ratio"]] > 0).all(axis=None)
    assert table["step ratio"][0] == 1


def test_the_gpu_benchmark_says_that_there_is_no_gpu_and_would_run(capsys):
    assert bench_gpu.main() == 0
    assert "there is none here" in capsys.readouterr().out
    speed = bench_gpu.speed("cpu", size=32, batch=2, repetitions=1, channels_last=True, bf16=True)
    assert min(speed.values()) > 0


def test_both_ways_to_train_are_measured():
    table = bench_training.compare(images=130, size=32, epochs=2, turns=1)
    assert list(table.way) == ["plain loop", "fit"]
    numbers = table[["seconds an epoch", "images/s", "loading", "peak MB", "ratio"]]
    assert (numbers > 0).all(axis=None)
    assert (table.loading < 1).all()


def test_the_scoreboard_is_trained_and_collected(tmp_path, monkeypatch):
    """Two forms, two seeds, two epochs; the numbers in the tables are those of the networks beside them."""
    few = {"sigmoid": scoreboard.FORMS["sigmoid"], "vgg": scoreboard.FORMS["vgg"]}
    monkeypatch.setattr(scoreboard, "FORMS", few)
    monkeypatch.setattr(scoreboard, "SEEDS", (0, 1))
    data = {"size": 32, "fragments": 1, "counts": {"train": 96, "val": 20, "test": 100}}
    preset = Preset("smoke", 0.0625, data, Recipe(epochs=2, batch_size=32))
    for form in few:
        for seed in (0, 1):
            run_scoreboard.one(form, seed, "cluttered_digits", preset, tmp_path / "runs")
    before = (tmp_path / "runs/sigmoid_0/scores.csv").stat().st_mtime_ns
    run_scoreboard.one("sigmoid", 0, "cluttered_digits", preset, tmp_path / "runs")
    assert (tmp_path / "runs/sigmoid_0/scores.csv").stat().st_mtime_ns == before  # what is there is kept
    home, digits = tmp_path / "home", load(**data)
    scoreboard.collect(digits.classes, preset, tmp_path / "runs", home)
    scores = scoreboard.scores(home).set_index(["form", "seed"])
    assert len(scores) == 4
    for form in few:
        again = scoreboard.judge(scoreboard.network(form, home), digits.test)
        for name in ("accuracy", "AUC", "loss"):
            assert scores.loc[(form, 0), name] == pytest.approx(again[name], abs=0.02)  # weights in half precision
    assert scoreboard.histories(home).groupby(["form", "seed"]).epoch.max().tolist() == [2] * 4
    maps = scoreboard.maps("sigmoid", 1, home)
    assert [len(maps[epoch]) for epoch in scoreboard.EPOCHS_SHOWN] == [2, 0, 0]
