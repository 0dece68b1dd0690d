"""The experiment of Start here in miniature: scored once, and collected."""

from functools import partial

import pytest

import experiments.start_here as score_networks
from course_utils.data import load
from course_utils.studies import start_here

TINY = {"size": 64, "fragments": 2, "counts": {"train": 1, "val": 1, "test": 12}}


@pytest.mark.slow
def test_networks_are_scored_once_and_collected(tmp_path, monkeypatch):
    monkeypatch.setattr(score_networks, "load", partial(load, **TINY | {"curriculum": ()}))
    monkeypatch.setattr(start_here, "SEEDS", {"untrained": (3,), "trained": (0,)})
    monkeypatch.setattr(score_networks, "PRESETS", {"cpu": type("Preset", (), {"data": {}})})
    home, into = tmp_path / "runs", tmp_path / "shipped"
    for training, seed in (("untrained", 3), ("trained", 0)):
        score_networks.one(training, seed, home)
    files = sorted(home.rglob("judged.json"))
    written = [path.stat().st_mtime_ns for path in files]
    score_networks.one("trained", 0, home)
    assert [path.stat().st_mtime_ns for path in files] == written
    into.mkdir()
    score_networks.collect(home, into)
    table = start_here.scores(into).set_index(["training", "seed", "map"])
    assert table.index.tolist() == [
        ("untrained", 3, "attention map"),
        ("untrained", 3, "feature length"),
        ("trained", 0, "attention map"),
        ("trained", 0, "feature length"),
    ]
    expected = start_here.judge(start_here.network("trained", 0), load(**TINY).test)
    assert abs(table.loc["trained"] - expected.values).max(axis=None) < 1e-4
