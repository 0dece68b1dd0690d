"""Train the networks of the chapter AttnVGG.

`python -m experiments.attn_vgg` trains nine networks at the cpu
preset, in about 20 minutes on two cores, and puts them and their logs into the package. Then it
trains those of the two experiments, ablation and supervision, from five seeds, and puts their
scores beside them: about two hours on two cores. With another `--preset`, all of it goes to
`runs/attn_vgg/`. Finished runs are kept and a stopped run continues, so the same command again
completes the experiment.
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import pandas as pd

from course_utils.studies import attn_vgg, shipped
from course_utils.studies.presets import PRESETS, Preset
from experiments import _shipped_variants, common

STEM = "attn_vgg"
VARIANTS = {"ablation": tuple(attn_vgg.ABLATION), "supervision": tuple(attn_vgg.SUPERVISION)}
TRAIN = {"ablation": attn_vgg.train_ablation, "supervision": attn_vgg.train_supervised}


def one(table: str, name: str, seed: int, preset: Preset, home: Path) -> None:
    """Train and score a network of a table, unless its scores exist already."""
    folder = home / table / f"{name}_{seed}"
    if (folder / "scores.csv").exists():
        return
    data = common.load_data(common.DIGITS, preset)
    model, _ = TRAIN[table](name, preset, data, folder, seed=seed)
    scores = attn_vgg.judge(model, data.test)
    chosen_by = attn_vgg.judge(model, data.val).add_prefix("val ")
    row = pd.concat([scores, chosen_by]).rename_axis("score").rename("value")
    common.write_csv(row, folder / "scores.csv")  # last, because it marks the run as finished


def collect(table: str, home: Path, into: Path) -> None:
    """Put the scores of a table into one file, one row per network."""
    rows = [
        {"variant": name, "seed": seed}
        | pd.read_csv(home / table / f"{name}_{seed}" / "scores.csv", index_col=0)[
            "value"
        ].to_dict()
        for name, seed in itertools.product(VARIANTS[table], attn_vgg.SEEDS)
    ]
    common.write_csv(pd.DataFrame(rows), into / f"{table}.csv", index=False, float_format="%.5f")


def main() -> None:
    """Train what is missing, and collect."""
    _shipped_variants.main(STEM, __doc__)
    options = common.parse(__doc__, attn_vgg.SEEDS, presets=True)
    preset = shipped.adapt(STEM, PRESETS[options.preset])
    home = common.RUNS / STEM / preset.name
    jobs = {
        f"{table}: {name}, seed {seed}": partial(one, table, name, seed, preset, home)
        for table, variants in VARIANTS.items()
        for name, seed in itertools.product(variants, options.seeds)
    }
    common.run_jobs(jobs, options.workers)
    into = common.destination(options, shipped.SHIPPED / STEM, home / "collected")
    for table, variants in VARIANTS.items():
        pairs = itertools.product(variants, attn_vgg.SEEDS)
        needed = [home / table / f"{name}_{seed}" / "scores.csv" for name, seed in pairs]
        common.collect_if_whole(needed, partial(collect, table, home), into)


if __name__ == "__main__":
    main()
