"""The experiment on the small transformer in miniature: it tunes, trains, measures and collects."""

import argparse
from dataclasses import replace

import pytest

import experiments.self_attention_in_cnns as command
from course_utils.studies import self_attention_in_cnns as study
from course_utils.studies.presets import Preset
from course_utils.training.recipes import Recipe

DATA = {"size": 32, "fragments": 1, "counts": {"train": 64, "val": 40, "test": 60}}
TINY = Preset("smoke", 0.125, DATA, Recipe(epochs=1, batch_size=32))


def times(folder):
    """The time at which each file of a folder was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}


@pytest.fixture
def options(tmp_path, monkeypatch):
    few = {name: replace(plan, rates=plan.rates[:2]) for name, plan in study.PLANS.items()}
    few["vit_long"] = replace(few["vit_long"], seeds=(0, 1))
    monkeypatch.setattr(study, "PLANS", few)
    monkeypatch.setattr(command, "PRESETS", {"smoke": TINY})
    monkeypatch.setattr(command.common, "RUNS", tmp_path / "runs")

    def run_here(jobs, workers):  # in this process, where the plans are few
        for job in jobs.values():
            job()

    monkeypatch.setattr(command.common, "run_jobs", run_here)
    return argparse.Namespace(
        seeds=[1], workers=1, preset="smoke", out=tmp_path / "into", data="cluttered_digits"
    )


@pytest.mark.slow
def test_the_experiment_from_tuning_to_its_tables(options, tmp_path):
    command.main(options)
    assert not options.out.exists()  # the rate is chosen on the first seed
    options.seeds = [0, 1]
    command.main(options)
    before = times(tmp_path / "runs")
    command.main(options)
    assert times(tmp_path / "runs") == before

    runs = study.runs(options.out)
    assert runs.groupby("network").size().to_dict() == {"vit": 2, "vit_long": 2}
    chosen = study.best_rate(runs[runs.network == "vit"])
    assert set(runs[runs.chosen].rate) == {chosen}
    assert runs.chosen.sum() == 3
    assert runs.groupby("network").epochs.max().to_dict() == {"vit": 1, "vit_long": 2}
    assert len(study.histories(options.out)) == 1 + 2 * 2
    assert study.localised(options.out).groupby(["network", "seed"]).size().tolist() == [10] * 3
    changed = study.intervened(options.out)
    assert changed.groupby(["network", "seed"]).size().tolist() == [21] * 3

    # The shipped network is the one that was measured, in half precision.
    home = tmp_path / "runs" / command.STEM / "smoke"
    kept = command.folder_of("vit_long", chosen, 0, home) / "network.safetensors"
    model, same = study.network(options.out), study.load("vit_long", kept)
    for name, value in same.state_dict().items():
        assert value.equal(model.state_dict()[name])
        assert value.equal(value.half().float())
    test = command.common.load_data("cluttered_digits", TINY).test
    images = command.first(test, 60)
    again = study.interventions(model, images)
    rows = changed[(changed.network == "vit_long") & (changed.seed == 0)]
    assert rows.accuracy.tolist() == pytest.approx(again.accuracy.tolist(), abs=1e-4)


def test_without_finished_runs_there_is_no_rate(options, tmp_path):
    assert command.rate_of("vit_long", tmp_path) is None
    (missing,) = command.needed(tmp_path)
    assert not missing.exists()
    assert command.final_jobs([0], TINY, tmp_path) == {}
    assert len(command.tuning_jobs(TINY, tmp_path)) == 2
