"""Train and score the networks of the chapter Hard attention.

`python -m experiments.hard_attention` trains thirteen networks on cluttered digits: two seeds at
each of four learning rates, and three more seeds at the rate that is best on the validation images.
Three of them are trained for longer, too. It takes about three quarters of an hour on one core, and
puts four tables into the package. A finished run is kept, so the same command again completes the
experiment.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import cast

import pandas as pd

from course_utils.data.cluttered_digits import ClutteredDigits
from course_utils.data.splits import load
from course_utils.studies import hard_attention as study
from course_utils.studies.presets import PRESETS
from experiments import common

RUNS = common.RUNS / "hard_attention"


@cache  # once per process
def images(epochs: int) -> tuple[list[ClutteredDigits], ClutteredDigits, ClutteredDigits]:
    """Return fresh training images for every epoch, and those to validate and test on."""
    data = load(**PRESETS["cpu"].data | {"curriculum": ()})
    train, val, test = (cast(ClutteredDigits, part) for part in (data.train, data.val, data.test))
    return [train.fresh(epoch) for epoch in range(epochs)], val, test


def path_of(
    name: str, rate: float, seed: int, what: str = "scores", *, longer: bool = False
) -> Path:
    """Return the file of a run."""
    folder = RUNS / "longer" if longer else RUNS
    return folder / f"{name.replace(', ', '_').replace(' ', '_')}_{rate:g}_{seed}_{what}.csv"


def one(name: str, rate: float, seed: int, *, longer: bool = False) -> None:
    """Train and score a network, unless its scores exist."""
    path = partial(path_of, name, rate, seed, longer=longer)
    if path().exists():
        return
    epochs, val, test = images(study.MORE_EPOCHS if longer else study.EPOCHS)
    network, history = study.fit(name, rate, epochs, seed=seed)
    head = {"variant": name, "rate": rate, "seed": seed}
    curve = history.groupby("epoch").right.mean().reset_index()
    tables = {
        "curve": curve.assign(**head),
        "windows": study.windows(network, name, test).assign(**head),
        "scores": pd.DataFrame([head | study.judge(network, name, val, test)]),
    }
    for what, table in tables.items():  # the scores are last: they mean that the run is whole
        common.write_csv(table, path(what=what), index=False, float_format="%.5g")


def read(what: str, keys: list[tuple[str, float, int]], *, longer: bool = False) -> pd.DataFrame:
    """Put tables of several runs together."""
    paths = [path_of(*key, what, longer=longer) for key in keys]
    return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)


def tuning() -> list[tuple[str, float, int]]:
    """Return the runs that choose the learning rates, seed by seed."""
    return [(n, r, s) for s in study.TUNING_SEEDS for n in study.VARIANTS for r in study.RATES]


def collect(keys: list[tuple[str, float, int]], into: Path) -> None:
    """Put all tables together."""
    table = read("scores", keys)
    best = study.at_best(table)[["variant", "rate", "seed"]].itertuples(index=False, name=None)
    chosen = list(best)
    windows = read("windows", [key for key in chosen if study.looks_twice(key[0])])
    long = read("scores", [key for key in chosen if key[0] in study.LONGER], longer=True)
    tables = {"runs": table, "longer": long, "curves": read("curve", chosen), "windows": windows}
    for name, found in tables.items():
        common.write_csv(found, into / f"{name}.csv", index=False, float_format="%.5g")


def main() -> None:
    """Train what is missing, and collect."""
    options = common.parse(__doc__, study.SEEDS)
    first = tuning()
    common.run_jobs({str(key): partial(one, *key) for key in first}, options.workers)
    rates = study.chosen_rates(read("scores", first))
    later = [(n, float(rates[n]), s) for s in study.SEEDS[2:] for n in study.VARIANTS]
    later += [key for key in study.AFTERWARDS if key not in later]
    common.run_jobs({str(key): partial(one, *key) for key in later}, options.workers)
    long = [(n, float(rates[n]), s) for s in study.SEEDS for n in study.LONGER]
    jobs = {f"{key}, longer": partial(one, *key, longer=True) for key in long}
    common.run_jobs(jobs, options.workers)
    needed = [path_of(*key, longer=True) for key in long]
    needed += [path_of(*key) for key in first + later]
    out = common.destination(options, study.SHIPPED, RUNS / "collected")
    common.collect_if_whole(needed, partial(collect, first + later), out)


if __name__ == "__main__":
    main()
