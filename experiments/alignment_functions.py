"""Train and score the probes of the chapter Alignment functions.

`python -m experiments.alignment_functions` trains probes with ten alignments, each at nine scales
of the scores and three learning rates of the classifier, and the control at seven learning rates,
from ten seeds. It takes about forty minutes on one core, and puts its tables into the package. What
is finished is kept, so the same command again completes the experiment.
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import pandas as pd

from course_utils.studies import alignment_functions as study
from experiments import common
from experiments.score_functions import features

RUNS = common.RUNS / "alignment_functions"
NAMES = ("average", *study.ALIGNMENTS)


def path_of(name: str, seed: int, home: Path) -> Path:
    """Return where the results of an alignment and a seed are kept."""
    return home / f"{NAMES.index(name)}_{seed}.csv"


def settings_left(name: str, table: pd.DataFrame) -> list[study.Setting]:
    """Return the settings of an alignment that a table doesn't have yet."""
    done = set(zip(table.scale.fillna(0), table.rate))
    return [s for s in study.settings(name) if (s.scale or 0, s.rate) not in done]


def one(name: str, seed: int, home: Path) -> None:
    """Train and score an alignment from a seed in the settings that its table doesn't have."""
    path = path_of(name, seed, home)
    old = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["scale", "rate"])
    left, rows = settings_left(name, old), []
    if not left:
        return
    train, val, test = features()
    for setting in left:
        probe = study.train(setting, train, seed=seed)
        rows.append(setting._asdict() | {"seed": seed} | study.judge(probe, val, test))
    table = pd.DataFrame(rows) if old.empty else pd.concat([old, pd.DataFrame(rows)])
    common.write_csv(table, path, index=False, float_format="%.5g")


def equally_sharp(table: pd.DataFrame) -> pd.DataFrame:
    """Train the probes that are best for pointing once more, and make their maps equally sharp."""
    train, _, test = features()
    best = study.at_best(table[table.alignment != "average"], "pointing")
    rows = []
    for *setting, seed in best[[*study.Setting._fields, "seed"]].itertuples(index=False):
        probe = study.train(study.Setting(*setting), train, seed=seed)
        row = dict(zip(study.Setting._fields, setting)) | {"seed": seed}
        rows.append(row | study.sharpened(probe, test))
    return pd.DataFrame(rows)


def collect(home: Path, into: Path) -> None:
    """Put all tables together, and compare the best maps with each other and with the lengths."""
    pairs = itertools.product(NAMES, study.SEEDS)
    table = pd.concat([pd.read_csv(path_of(*pair, home)) for pair in pairs])
    common.write_csv(table, into / "runs.csv", index=False, float_format="%.5g")
    sharp = equally_sharp(table)
    common.write_csv(sharp, into / "equal_sharpness.csv", index=False, float_format="%.5g")
    common.write_json(study.length_reference(*features()[1:]), into / "length.json")


def main() -> None:
    """Train what is missing, and collect."""
    options = common.parse(__doc__, study.SEEDS)
    pairs = list(itertools.product(options.seeds, NAMES))
    jobs = {f"{name}, seed {seed}": partial(one, name, seed, RUNS) for seed, name in pairs}
    common.run_jobs(jobs, options.workers)
    every = itertools.product(NAMES, study.SEEDS)
    needed = [path_of(*pair, RUNS) for pair in every]
    out = common.destination(options, study.SHIPPED, RUNS / "collected")
    common.collect_if_whole(needed, partial(collect, RUNS), out)


if __name__ == "__main__":
    main()
