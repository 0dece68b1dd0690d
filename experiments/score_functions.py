"""Train and score the probes of the chapter Score functions.

`python -m experiments.score_functions` trains probes with eight score functions, whose scores start
at several scales and move in several steps, and the control at six learning rates, from ten seeds.
It takes about half an hour on two cores, and puts one table into the package. A score and seed that
are finished are kept, so the same command again completes the experiment.
"""

from __future__ import annotations

import itertools
from functools import cache, partial
from pathlib import Path
from typing import cast

import pandas as pd
from torch.utils.data import Dataset, Subset

from course_utils.data.splits import load
from course_utils.studies import probes
from course_utils.studies import score_functions as study
from course_utils.studies.presets import PRESETS
from experiments import common

RUNS = common.RUNS / "score_functions"
NAMES = ("average", *study.SCORES)
TRAINED_ON = 2000  # images, as in the chapter


@cache  # once per process
def features() -> tuple[probes.Features, probes.Features, probes.Features]:
    """Return the frozen features to train, validate and test on."""
    data = load(**PRESETS["cpu"].data)
    train, val, test = cast(tuple[Dataset, ...], (data.train, data.val, data.test))
    first = Subset(train, range(TRAINED_ON))
    return probes.frozen(first), probes.frozen(val), probes.frozen(test)


def one(name: str, seed: int, home: Path) -> None:
    """Train and score a score function from a seed in all its settings, unless a table exists."""
    path = home / f"{name.replace(' ', '_')}_{seed}.csv"
    if path.exists():
        return
    train, val, test = features()
    rows = []
    for setting in study.settings(name):
        new, trained = (make(setting, train, seed=seed) for make in (study.build, study.train))
        row = setting._asdict() | {"seed": seed} | study.judge(trained, val, test)
        if name != "average":
            row["before"], row["after"] = (study.deviation(p.pool, train) for p in (new, trained))
        rows.append(row)
    common.write_csv(pd.DataFrame(rows), path, index=False, float_format="%.5g")


def collect(home: Path, into: Path) -> None:
    """Put all tables together."""
    paths = [home / f"{n.replace(' ', '_')}_{s}.csv" for n in NAMES for s in study.SEEDS]
    table = pd.concat([pd.read_csv(path) for path in paths])
    common.write_csv(table, into / "runs.csv", index=False, float_format="%.5g")


def main() -> None:
    """Train what is missing, and collect."""
    options = common.parse(__doc__, study.SEEDS)
    pairs = list(itertools.product(options.seeds, NAMES))
    jobs = {f"{n}, seed {s}": partial(one, n, s, RUNS) for s, n in pairs}
    common.run_jobs(jobs, options.workers)
    needed = [RUNS / f"{n.replace(' ', '_')}_{s}.csv" for n in NAMES for s in study.SEEDS]
    out = common.destination(options, study.SHIPPED, RUNS / "collected")
    common.collect_if_whole(needed, partial(collect, RUNS), out)


if __name__ == "__main__":
    main()
