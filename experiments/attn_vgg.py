"""Train the networks of the chapter AttnVGG.

`python -m experiments.attn_vgg` trains nine networks at the cpu preset, in about 20 minutes on two
cores, and puts them and their logs into the package. Then it trains those of the two experiments,
ablation and supervision, and puts their scores beside them: about 70 minutes on two cores. With
another `--preset`, all of it goes to `runs/attn_vgg/`. Finished runs are kept and a stopped run
continues, so the same command again completes the experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from course_utils.studies import attn_vgg, shipped
from course_utils.studies.presets import PRESETS, Preset
from experiments import _shipped_variants, common

STEM = "attn_vgg"
VARIANTS: dict[str, Mapping[str, Any]] = {
    "ablation": attn_vgg.ABLATION,
    "supervision": attn_vgg.SUPERVISION,
}


def runs_of(table: str) -> list[tuple[str, int]]:
    """Return the networks of a table with their seeds, the first seed of each network first."""
    pairs = [(name, seed) for name, how in VARIANTS[table].items() for seed in how.seeds]
    return sorted(pairs, key=lambda pair: pair[1])


def one(table: str, name: str, seed: int, preset: Preset, home: Path) -> None:
    """Train and score a network of a table, unless its scores exist already."""
    folder = home / table / f"{name}_{seed}"
    if (folder / "scores.csv").exists():
        return
    data = common.load_data(common.DIGITS, preset)
    model, _ = attn_vgg.train(name, preset, data, folder, seed=seed)
    scores = attn_vgg.judge(model, data.test)
    chosen_by = attn_vgg.judge(model, data.val).add_prefix("val ")
    row = pd.concat([scores, chosen_by]).rename_axis("score").rename("value")
    common.write_csv(row, folder / "scores.csv")  # last, because it marks the run as finished


def collect(table: str, home: Path, into: Path) -> None:
    """Put the scores of a table into one file, one row per network."""
    rows = []
    for name, seed in runs_of(table):
        scores = pd.read_csv(home / table / f"{name}_{seed}" / "scores.csv", index_col="score")
        rows.append({"variant": name, "seed": seed} | scores["value"].to_dict())
    common.write_csv(pd.DataFrame(rows), into / f"{table}.csv", index=False, float_format="%.5f")


def main() -> None:
    """Train what is missing, and collect."""
    _shipped_variants.main(STEM, __doc__)
    options = common.parse(__doc__, attn_vgg.SEEDS, presets=True)
    preset = shipped.adapt(STEM, PRESETS[options.preset])
    home = common.RUNS / STEM / preset.name
    jobs = {
        f"{table}: {name}, seed {seed}": partial(one, table, name, seed, preset, home)
        for table in VARIANTS
        for name, seed in runs_of(table)
        if seed in options.seeds
    }
    common.run_jobs(jobs, options.workers)
    into = common.destination(options, shipped.SHIPPED / STEM, home / "collected")
    for table in VARIANTS:
        folders = [home / table / f"{name}_{seed}" for name, seed in runs_of(table)]
        needed = [folder / "scores.csv" for folder in folders]
        common.collect_if_whole(needed, partial(collect, table, home), into)


if __name__ == "__main__":
    main()
