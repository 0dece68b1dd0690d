"""Train and score the networks of the chapter Results.

`python -m experiments.results` trains eight variants from five seeds on the cluttered digits at the
cpu preset, in about an hour and a half on two cores, and puts the tables, the maps and the networks
of the first seed into the package. With another `--data` or `--preset`, such as gpu for networks of
the published width, these go to `runs/results/`, where the chapter reads them too. Finished runs
are kept and a stopped run continues, so the same command again completes the experiment.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pandas as pd
from torch import Tensor

from course_utils.core.files import replacing
from course_utils.core.tensor_files import write_tensors
from course_utils.models import checkpoints
from course_utils.models.weights import load_weights
from course_utils.studies import results
from course_utils.studies.presets import PRESETS, Preset
from course_utils.training.run import Run
from experiments import common

RUNS = common.RUNS / "results"


def one(variant: str, seed: int, name: str, preset: Preset, home: Path) -> None:
    """Train and score a variant from a seed, unless its results exist already."""
    folder = home / f"{variant}_{seed}"
    if (folder / "scores.csv").exists():
        return
    data = common.load_data(name, preset)
    model, run = results.train(variant, preset, data, folder, seed=seed)
    with replacing(folder / "run") as new:
        run.save(new, half=True)
    judged = results.judge(model, data.test).rename_axis("score").rename("value")
    common.write_csv(judged, folder / "scores.csv")  # last, because it marks the run as finished


def collect(classes: tuple[str, ...], preset: Preset, runs: Path, into: Path) -> None:
    """Put the runs together: tables, maps, the networks of the first seed, and the preset.

    Args:
        classes: Names of the classes.
        preset: Preset of the runs.
        runs: Folder that `one` wrote to.
        into: Folder from which the study reads its results.
    """
    rows, logs = [], []
    for variant in results.VARIANTS:
        kept: dict[str, Tensor] = {}
        for seed in results.SEEDS:
            folder = runs / f"{variant}_{seed}"
            run = Run.load(folder / "run")
            judged = pd.read_csv(folder / "scores.csv", index_col="score")["value"]
            rows.append({"variant": variant, "seed": seed, **judged, "seconds": run.seconds})
            logs.append(run.history.assign(variant=variant, seed=seed))
            kept |= _named_maps(run, seed)
            if seed == results.SEEDS[0]:
                _save_network(run, results.describe(variant, classes, preset), into, variant)
        write_tensors(into / f"{variant}_maps.safetensors", kept)
    histories = pd.concat(logs)
    first = ["variant", "seed"]
    histories = histories[[*first, *histories.columns.drop(first)]]
    for name, table in (("scores", pd.DataFrame(rows)), ("histories", histories)):
        common.write_csv(table, into / f"{name}.csv", index=False, float_format="%.5f")
    common.write_json(asdict(preset), into / "preset.json")


def _named_maps(run: Run, seed: int) -> dict[str, Tensor]:
    return {
        f"{seed}/{epoch}/{tap}": m.half()
        for epoch, taps in run.snapshots.items()
        for tap, m in enumerate(taps)
    }


def _save_network(run: Run, description: checkpoints.Description, into: Path, variant: str) -> None:
    model = description.build()
    load_weights(model, run.weights)
    with replacing(into / f"{variant}.safetensors") as new:
        checkpoints.write(new, model, description, half=True)


def main() -> None:
    """Train what is missing, and collect."""
    options = common.parse(__doc__, results.SEEDS, presets=True, data=True)
    preset = results.adapt(PRESETS[options.preset])
    home = RUNS / options.data / preset.name
    # All variants of a seed before the next seed: a stopped experiment is balanced.
    runs = itertools.product(options.seeds, results.VARIANTS)
    jobs = {
        f"{variant}, seed {seed}": partial(one, variant, seed, options.data, preset, home)
        for seed, variant in runs
    }
    common.run_jobs(jobs, options.workers)
    pairs = itertools.product(results.VARIANTS, results.SEEDS)
    common.collect_if_whole(
        [home / f"{variant}_{seed}" / "scores.csv" for variant, seed in pairs],
        lambda into: collect(common.load_data(options.data, preset).classes, preset, home, into),
        common.destination(options, results.SHIPPED, home),
    )


if __name__ == "__main__":
    main()
