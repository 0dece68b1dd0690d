"""The experiment on gates in miniature: it tunes, trains, measures, resumes and collects."""

import argparse
from dataclasses import replace

import pandas as pd
import pytest
import torch

import experiments.channel_and_spatial_attention as command
from course_utils.studies import channel_and_spatial_attention as study
from course_utils.studies.presets import Preset
from course_utils.training.recipes import Recipe
from course_utils.training.run import Run

DATA = {"size": 32, "fragments": 1, "counts": {"train": 96, "val": 60, "test": 100}}
TINY = Preset("smoke", 0.125, DATA, Recipe(epochs=1, batch_size=32))


def few():
    """Three contenders, one of which takes the rate of another, from two seeds."""
    some = {name: study.CONTENDERS[name] for name in ("none", "cbam", "none_long")}
    some = {n: replace(c, variant=replace(c.variant, seeds=(0, 1))) for n, c in some.items()}
    return {n: replace(c, factors=c.factors[:2]) for n, c in some.items()}


def times(folder):
    """The time at which each file of a folder was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "CONTENDERS", few())
    monkeypatch.setattr(command, "PRESETS", {"smoke": TINY})
    monkeypatch.setattr(command.common, "RUNS", tmp_path / "runs")

    def run_here(jobs, workers):  # in this process, where the contenders are few
        for job in jobs.values():
            job()

    monkeypatch.setattr(command.common, "run_jobs", run_here)
    return argparse.Namespace(
        seeds=[0, 1], workers=1, preset="smoke", out=tmp_path / "into", data="cluttered_digits"
    )


@pytest.mark.slow
def test_contenders_are_tuned_trained_measured_and_collected(options, tmp_path):
    options.seeds = [0]
    command.compare(options)
    assert not options.out.exists()  # a rate is chosen on two seeds
    options.seeds = [0, 1]
    command.compare(options)
    before = times(tmp_path / "runs")
    command.compare(options)
    assert times(tmp_path / "runs") == before

    runs = study.runs(options.out)
    assert runs.groupby("variant", sort=False).size().to_dict() == {
        "none": 4,
        "cbam": 4,
        "none_long": 2,
    }
    chosen = runs[runs.chosen].set_index("variant").factor
    for name in ("none", "cbam"):
        assert set(chosen[name]) == {study.best_factor(runs[runs.variant == name])}
    assert set(chosen["none_long"]) == set(chosen["none"])
    assert runs.drop(columns="dead").notna().all(axis=None)

    histories = study.histories(options.out)
    assert histories.groupby("variant").epoch.max().to_dict() == {
        "none": 1,
        "cbam": 1,
        "none_long": 2,
    }
    described = study.described(options.out)
    assert described.groupby("variant").size().to_dict() == {"cbam": 2 * 6}
    assert described.columns.tolist() == ["variant", "seed", *study.DESCRIBED]


@pytest.mark.slow
def test_the_tables_have_the_values_of_the_collected_networks(options):
    command.compare(options)
    table = study.intervened(options.out)
    assert table.groupby("variant").size().to_dict() == {
        "cbam": 2 * (1 + 8 * 3),
        "none": 2,
        "none_long": 2,
    }
    data = command.common.load_data("cluttered_digits", TINY)
    images = study.first(data.test, command.MEASURED)
    for seed in (0, 1):
        model = study.build("cbam", study.CONTENDERS["cbam"].adapt(TINY)).eval()
        weights = Run.load(options.out / "cbam" / f"seed_{seed}").weights
        model.load_state_dict(weights)
        again = study.interventions(model, images)
        kept = table.query(f"variant == 'cbam' and seed == {seed}").reset_index(drop=True)
        pd.testing.assert_frame_equal(kept[["scope", "weights"]], again[["scope", "weights"]])
        # Weights are in half precision.
        difference = (kept.accuracy - again.accuracy).abs()
        assert difference.max() <= 2 / 100 + 1e-6
        assert all(value.dtype != torch.float64 for value in weights.values())
    assert not (options.out / "none_long").exists()


def test_contenders_without_finished_runs_have_no_rate(options, tmp_path):
    assert command.factor_of("none", tmp_path) is None
    (missing,) = command.needed(["none", "cbam"], tmp_path)
    assert not missing.exists()
    assert command.final_jobs(["none"], [0], TINY, tmp_path) == {}


def test_groups_are_in_the_order_of_the_questions():
    assert list(command.groups()) == ["gates", "start", "longer", "deep", "soft"]
    jobs = command.tuning_jobs(["none", "se", "none_long"], TINY, command.common.RUNS)
    assert len(jobs) == 2 * 2 * 3  # the long one is like another
    assert next(iter(jobs)) == "none, rate × 0.4, seed 0"
