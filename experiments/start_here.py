"""Score the maps of the chapter Start here: of trained networks and of freshly initialised ones.

`python -m experiments.start_here` scores eleven networks in about a minute and puts the table into
the package. Nothing is trained: the trained networks are those that `experiments.attn_vgg` made.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pandas as pd

from course_utils.data import load
from course_utils.studies import start_here as study
from course_utils.studies.presets import PRESETS
from experiments import common

RUNS = common.RUNS / "start_here"


def one(training: str, seed: int, home: Path) -> None:
    """Score a network on the test images, unless its results exist already."""
    path = home / f"{training}_{seed}" / "judged.json"
    if path.exists():
        return
    test = load(**PRESETS["cpu"].data).test
    rows = study.judge(study.network(training, seed), test).reset_index().to_dict("records")
    common.write_json(rows, path)


def collect(home: Path, into: Path) -> None:
    """Put the scores of all networks together."""
    rows = [
        {"training": training, "seed": seed} | row
        for training, seeds in study.SEEDS.items()
        for seed in seeds
        for row in json.loads((home / f"{training}_{seed}" / "judged.json").read_text("utf-8"))
    ]
    common.write_csv(pd.DataFrame(rows), into / "scores.csv", index=False, float_format="%.5f")


def main() -> None:
    """Score what is missing, and collect."""
    options = common.parse(__doc__, study.SEEDS["untrained"])
    runs = [(training, seed) for training, seeds in study.SEEDS.items() for seed in seeds]
    jobs = {
        f"{training}, seed {seed}": partial(one, training, seed, RUNS)
        for training, seed in runs
        if seed in options.seeds
    }
    common.run_jobs(jobs, options.workers)
    common.collect_if_whole(
        [RUNS / f"{training}_{seed}" / "judged.json" for training, seed in runs],
        partial(collect, RUNS),
        common.destination(options, study.SHIPPED, RUNS / "collected"),
    )


if __name__ == "__main__":
    main()
