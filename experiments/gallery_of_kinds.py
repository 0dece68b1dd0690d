"""Train and score the kinds of attention of the gallery, each on its task.

`python -m experiments.gallery_of_kinds` chooses the learning rate of each kind, and one more knob
where there is one, from three seeds on validation images, and then trains the kind from ten seeds.
It takes about 25 minutes on one core, and puts three tables into the package. A kind that
is finished is kept, so the same command again completes the experiment.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path

import pandas as pd
from torch.utils.data import Subset

from course_utils.data.splits import load
from course_utils.studies import gallery_of_kinds as study
from course_utils.studies.presets import PRESETS
from experiments import common

RUNS = common.RUNS / "gallery_of_kinds"
IMAGES = {"train": 2000, "val": 1000, "test": 4000}
PAIRS = [(task, kind) for task, parts in study.TASKS.items() for kind in parts.kinds]
TABLES = ("choices", "runs", "maps")


@cache  # once per process
def materials() -> tuple[study.Material, ...]:
    """Return what to train, validate and test on, and the images that are shown."""
    data = load(**PRESETS["cpu"].data)
    parts = [study.material(Subset(getattr(data, k), range(n))) for k, n in IMAGES.items()]
    train, val, test = study.scaled(*parts)
    first = test._replace(
        levels=tuple(level[:100] for level in test.levels),
        **{k: getattr(test, k)[:100] for k in ("g", "labels", "regions")},
    )
    return train, val, test, first


def choose(task: str, kind: str) -> pd.DataFrame:
    """Return the validation accuracy of all settings that were tried.

    While the best learning rate has a neighbour that wasn't tried, that one is added.
    """
    rows: list[dict] = []
    waiting = list(study.RATES[2:5])
    while waiting:
        pairs = itertools.product(waiting, study.knobs(task, kind))
        rows += [row for pair in pairs for row in tried(task, kind, *pair, study.CHOOSING)]
        if task == "words" and kind != "blind":
            rows += finals(task, kind, pd.DataFrame(rows))
        table = pd.DataFrame(rows)
        at = study.RATES.index(study.best(table)[0][0])
        around = study.RATES[max(at - 1, 0) : at + 2]
        waiting = [rate for rate in around if rate not in set(table.rate)]
    return pd.DataFrame(rows)


def finals(task: str, kind: str, table: pd.DataFrame) -> list[dict]:
    """Try the settings that lead from the first seeds from all other seeds, too."""
    rows = []
    leading = study.best(table[table.seed.isin(study.CHOOSING)], study.FINALISTS)
    for rate, knob in leading:
        done = set(table[(table.rate == rate) & (table.knob == knob)].seed)
        rows += tried(task, kind, rate, knob, [s for s in study.SEEDS if s not in done])
    return rows


def tried(task: str, kind: str, rate: float, knob: float, seeds: Iterable[int]) -> list[dict]:
    """Return the validation accuracy of one setting, one row per seed."""
    train, val, *_ = materials()
    rows = []
    for seed in seeds:
        model = study.train(task, kind, train, rate=rate, knob=knob, seed=seed)
        accuracy = study.judge(task, model, val, of_maps=False)["accuracy"]
        rows.append({"rate": rate, "knob": knob, "seed": seed, "accuracy": accuracy})
    return rows


def one(task: str, kind: str, home: Path) -> None:
    """Choose the setting of a kind, and train and score it from all seeds, unless that's done."""
    paths = {name: _path(home, task, kind, name) for name in TABLES}
    if all(path.exists() for path in paths.values()):
        return
    train, _, test, first = materials()
    chosen = choose(task, kind)
    ((rate, knob),) = study.best(chosen)
    rows, drawn = [], []
    for seed in study.SEEDS:
        model = study.train(task, kind, train, rate=rate, knob=knob, seed=seed)
        setting = {"rate": rate, "knob": knob, "seed": seed}
        rows.append(setting | study.judge(task, model, test))
        if task == "words" or seed == 0:
            drawn += [{"seed": seed} | row for row in study.map_rows(task, model, first)]
    for name, table in zip(TABLES, (chosen, pd.DataFrame(rows), pd.DataFrame(drawn))):
        table.insert(0, "task", task)
        table.insert(1, "kind", kind)
        common.write_csv(table, paths[name], index=False, float_format="%.5g")


def _path(home: Path, task: str, kind: str, name: str) -> Path:
    return home / f"{task}_{kind.replace(' ', '_')}_{name}.csv"


def collect(home: Path, into: Path) -> None:
    """Put all tables together."""
    for name in TABLES:
        table = pd.concat([pd.read_csv(_path(home, *pair, name)) for pair in PAIRS])
        common.write_csv(table, into / f"{name}.csv", index=False, float_format="%.5g")


def main() -> None:
    """Train what is missing, and collect."""
    options = common.parse(__doc__, study.SEEDS)
    jobs = {", ".join(pair): partial(one, *pair, RUNS) for pair in PAIRS}
    common.run_jobs(jobs, options.workers)
    needed = [_path(RUNS, *pair, name) for pair in PAIRS for name in TABLES]
    out = common.destination(options, study.SHIPPED, RUNS / "collected")
    common.collect_if_whole(needed, partial(collect, RUNS), out)


if __name__ == "__main__":
    main()
