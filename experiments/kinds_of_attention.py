"""Train and score the kinds of attention of the chapter, and their controls.

`python -m experiments.kinds_of_attention` chooses the learning rate of each kind from three seeds
on validation images, and then trains the kind from ten seeds. It takes about an hour on one core,
and puts two tables into the package. A kind that is finished is kept, so the same command again
completes the experiment.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import cast

import pandas as pd
from torch.utils.data import Dataset, Subset

from course_utils.data.splits import load
from course_utils.studies import kinds_of_attention as study
from course_utils.studies import probes, scenes
from course_utils.studies.presets import PRESETS
from experiments import common

RUNS = common.RUNS / "kinds_of_attention"
PAIRS = [(task, kind) for task, about in study.TASKS.items() for kind in about.kinds]
TRAINED_ON = 2000  # images, as in the chapter
FIRST = study.RATES[2:5]  # learning rates
TABLES = ("choices", "runs")


@cache  # once per process
def features() -> tuple[probes.Features, ...]:
    """Return the halved features to train, validate and test on."""
    data = load(**PRESETS["cpu"].data)
    train, val, test = cast(tuple[Dataset, ...], (data.train, data.val, data.test))
    parts: list[Dataset] = [Subset(train, range(TRAINED_ON)), val, test]
    return tuple(scenes.scaled(*(scenes.halved(probes.frozen(part)) for part in parts)))


def choose(task: str, kind: str) -> pd.DataFrame:
    """Return the validation accuracy of all learning rates that were tried.

    While the best learning rate has a neighbour that wasn't tried, that one is added.
    """
    rows: list[dict] = []
    waiting = list(FIRST)
    while waiting:
        rows += [row for rate in waiting for row in tried(task, kind, rate, study.CHOOSING)]
        table = pd.DataFrame(rows)
        at = study.RATES.index(study.best_rate(table))
        around = study.RATES[max(at - 1, 0) : at + 2]
        waiting = [rate for rate in around if rate not in set(table.rate)]
    return table


def tried(task: str, kind: str, rate: float, seeds: Iterable[int]) -> list[dict]:
    """Return the validation accuracy of one learning rate, one row per seed."""
    train, val, _ = features()
    rows = []
    for seed in seeds:
        model = study.train(task, kind, train, rate=rate, seed=seed)
        accuracy = study.judge(task, model, val, n=1000)["accuracy"]
        rows.append({"rate": rate, "seed": seed, "accuracy": accuracy})
    return rows


def one(task: str, kind: str, home: Path) -> None:
    """Choose the learning rate of a kind, and train and score it from all seeds, unless done."""
    paths = {name: path_of(home, task, kind, name) for name in TABLES}
    if all(path.exists() for path in paths.values()):
        return
    train, _, test = features()
    chosen = choose(task, kind)
    rate, rows = study.best_rate(chosen), []
    for seed in study.seeds_of(task):
        model = study.train(task, kind, train, rate=rate, seed=seed)
        row = {"rate": rate, "seed": seed, "parameters": study.parameters(model)}
        row |= study.judge(task, model, test)
        if "overlap" in row:
            before = study.judge(task, study.fresh(task, kind, seed), test)
            row["overlap_before"] = before["overlap"]
        rows.append(row)
    for name, table in zip(TABLES, (chosen, pd.DataFrame(rows))):
        table.insert(0, "task", task)
        table.insert(1, "kind", kind)
        common.write_csv(table, paths[name], index=False, float_format="%.5g")


def path_of(home: Path, task: str, kind: str, name: str) -> Path:
    """Return the file of one table of a kind."""
    return home / f"{task}_{kind.replace(' ', '_').replace(',', '')}_{name}.csv"


def collect(home: Path, into: Path) -> None:
    """Put all tables together."""
    for name in TABLES:
        table = pd.concat([pd.read_csv(path_of(home, *pair, name)) for pair in PAIRS])
        common.write_csv(table, into / f"{name}.csv", index=False, float_format="%.5g")


def main() -> None:
    """Train what is missing, and collect."""
    options = common.parse(__doc__, study.SEEDS)
    jobs = {", ".join(pair): partial(one, *pair, RUNS) for pair in PAIRS}
    common.run_jobs(jobs, options.workers)
    needed = [path_of(RUNS, *pair, name) for pair in PAIRS for name in TABLES]
    out = common.destination(options, study.SHIPPED, RUNS / "collected")
    common.collect_if_whole(needed, partial(collect, RUNS), out)


if __name__ == "__main__":
    main()
