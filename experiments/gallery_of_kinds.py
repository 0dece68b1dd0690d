"""Train and score the kinds of attention of the gallery, each on its task.

`python -m experiments.gallery_of_kinds` chooses the learning rate of each kind, and one more knob
where there is one, from three seeds on validation images, and then trains the kind from ten seeds.
It takes about a quarter of an hour on one core, and puts three tables into the package. A kind that
is finished is kept, so the same command again completes the experiment.
"""

from __future__ import annotations

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
    """Return the validation accuracy of all settings; rates are added while an end is best."""
    train, val, *_ = materials()
    rates, rows = list(study.RATES[1:-1]), []
    for rate in rates:  # grows while we go
        for knob in study.knobs(task, kind):
            for seed in study.CHOOSING:
                model = study.train(task, kind, train, rate=rate, knob=knob, seed=seed)
                accuracy = study.judge(task, model, val, of_maps=False)["accuracy"]
                rows.append({"rate": rate, "knob": knob, "seed": seed, "accuracy": accuracy})
        if rate == rates[-1] and len(rates) >= len(study.RATES) - 2:
            at = study.RATES.index(study.best(pd.DataFrame(rows))[0])
            around = study.RATES[max(at - 1, 0) : at + 2]
            rates.extend(r for r in around if r not in rates)
    return pd.DataFrame(rows)


def one(task: str, kind: str, home: Path) -> None:
    """Choose the setting of a kind, and train and score it from all seeds, unless that's done."""
    paths = {name: _path(home, task, kind, name) for name in TABLES}
    if all(path.exists() for path in paths.values()):
        return
    train, _, test, first = materials()
    chosen = choose(task, kind)
    rate, knob = study.best(chosen)
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
