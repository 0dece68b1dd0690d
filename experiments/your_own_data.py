"""Train and score the networks of the chapter Your own data.

`python -m experiments.your_own_data` trains two variants from ten seeds on photographs of solar
cells, and five networks on their eight kinds, in about a quarter of an hour on two cores, and puts
the tables into the package. The package ``elpv-dataset`` must be installed. Finished runs are kept
and a stopped run continues, so the same command again completes the experiment.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from course_utils.data import Splits, elpv_splits
from course_utils.studies import your_own_data as study
from experiments import common

RUNS = common.RUNS / "your_own_data"
DEGREE = "degree"  # the name of the runs with eight kinds of cells


def load_data(name: str) -> Splits:
    """Return the photographs in two classes, or in eight for the runs named `DEGREE`."""
    classes = "degree" if name == DEGREE else "defect"
    return elpv_splits(classes, size=study.IMAGE_SIZE)


def one(name: str, seed: int, home: Path) -> None:
    """Train and score a network, unless its results exist already.

    Args:
        name: A variant, or `DEGREE` for the variant with attention on eight kinds of cells.
        seed: Seed of the training.
        home: Folder of the runs.
    """
    folder = home / f"{name}_{seed}"
    if (folder / "judged.json").exists():
        return
    data = load_data(name)
    model, _ = study.train("attention" if name == DEGREE else name, data, folder, seed=seed)
    common.write_json(study.judge(model, data), folder / "judged.json")


def judged(name: str, seed: int, home: Path) -> dict[str, Any]:
    """Return the results that `one` wrote."""
    return json.loads((home / f"{name}_{seed}" / "judged.json").read_text(encoding="utf-8"))


def collect(home: Path, into: Path) -> None:
    """Put the scores of all runs together, and the preset that they were trained with."""
    rows, blanks = [], []
    for seed, variant in itertools.product(study.SEEDS, study.VARIANTS):
        result = judged(variant, seed, home)
        rows.append({"variant": variant, "seed": seed} | result["scores"][0])
        blanks += [{"seed": seed} | row for row in result["blanks"]]
    degrees = [judged(DEGREE, seed, home) for seed in study.DEGREE_SEEDS]
    degree_rows = [
        {"seed": seed} | result["scores"][0] for seed, result in zip(study.DEGREE_SEEDS, degrees)
    ]
    for name, table in (("scores", rows), ("blanked", blanks), ("degree_scores", degree_rows)):
        path = into / f"{name}.csv"
        common.write_csv(pd.DataFrame(table), path, index=False, float_format="%.5f")
    classes = load_data(DEGREE).classes
    total = sum(torch.tensor(result["confusion"]) for result in degrees)
    matrix = pd.DataFrame(total.numpy(), pd.Index(classes, name="truth"), classes)
    common.write_csv(matrix, into / "degree_confusion.csv")
    preset = {"size": study.IMAGE_SIZE, "width": study.PRESET.width, "recipe": asdict(study.RECIPE)}
    common.write_json(preset, into / "preset.json")


def main() -> None:
    """Train what is missing, and collect."""
    options = common.parse(__doc__, study.SEEDS)
    runs = list(itertools.product(study.SEEDS, study.VARIANTS))
    runs += [(seed, DEGREE) for seed in study.DEGREE_SEEDS]
    for name in {name for _, name in runs}:
        load_data(name)  # copies the photographs once, before several processes need them
    jobs = {
        f"{name}, seed {seed}": partial(one, name, seed, RUNS)
        for seed, name in runs
        if seed in options.seeds
    }
    common.run_jobs(jobs, options.workers)
    common.collect_if_whole(
        [RUNS / f"{name}_{seed}" / "judged.json" for seed, name in runs],
        partial(collect, RUNS),
        common.destination(options, study.SHIPPED, RUNS / "collected"),
    )


if __name__ == "__main__":
    main()
