"""The experiment on pairs of digits in miniature: it trains, chooses, measures and collects."""

import argparse
from dataclasses import replace

import pytest
import torch

import experiments.digit_pairs as command
from course_utils.studies import digit_pairs as study
from course_utils.studies.presets import Preset
from course_utils.training.recipes import Recipe

DATA = {"size": 32, "fragments": 1, "counts": {"train": 64, "val": 20, "test": 40}}
TINY = Preset("smoke", 0.125, DATA, Recipe(epochs=1, batch_size=32))


@pytest.fixture
def options(tmp_path, monkeypatch):
    names = ("plain", "non_local", "relative", "digits_non_local")
    some = {name: replace(study.CONTENDERS[name], factors=(1.0,), seeds=(0, 1)) for name in names}
    monkeypatch.setattr(study, "CONTENDERS", some)
    monkeypatch.setattr(study, "SEEDS", (0, 1))
    monkeypatch.setattr(command, "PRESETS", {"smoke": TINY})
    monkeypatch.setattr(command.common, "RUNS", tmp_path / "runs")

    def run_here(jobs, workers):  # in this process, where the contenders are few
        for job in jobs.values():
            job()

    monkeypatch.setattr(command.common, "run_jobs", run_here)
    given = argparse.Namespace(
        seeds=[0, 1], workers=1, preset="smoke", out=tmp_path / "into", data="cluttered_digits"
    )
    monkeypatch.setattr(command.common, "parse", lambda *args, **more: given)
    return given


@pytest.mark.slow
def test_networks_are_trained_measured_and_collected(options, tmp_path):
    options.seeds = [0]
    command.main()
    assert not options.out.exists()  # a rate is chosen on two seeds
    options.seeds = [0, 1]
    command.main()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("scores.csv")}
    command.main()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("scores.csv")} == before

    runs = study.runs(options.out)
    seeds = runs.groupby("variant").seed.apply(list).to_dict()
    assert seeds == {name: [0, 1] for name in study.CONTENDERS}
    assert runs.chosen.all()
    assert runs.notna().all(axis=None)
    kinds = study.intervened(options.out).groupby("variant").weights.unique()
    assert kinds["plain"].tolist() == ["own"]
    assert kinds["relative"].tolist() == list(study.KINDS)
    maps = study.described(options.out).set_index("variant")
    assert set(maps.index) == {"non_local", "relative", "digits_non_local"}
    assert maps.loc["relative"].notna().all(axis=None)

    network = study.network("non_local", options.out)
    assert not network.training
    with torch.inference_mode():
        assert network(torch.rand(2, 1, 32, 112)).logits.isfinite().all()
