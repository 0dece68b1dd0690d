"""Train and measure the networks that ask whether the same digit is in an image twice.

`python -m experiments.digit_pairs` tunes and trains them in about half an hour on two cores, and
puts the tables and the networks of the first seed into the package. With another `--preset`, all of
it goes to `runs/digit_pairs/`. Finished runs are kept and a stopped run continues, so the same
command again completes the experiment.
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save_file

from course_utils.attention.non_local import NonLocal
from course_utils.core.files import replacing
from course_utils.core.profiling import parameters
from course_utils.data.cluttered_digits import ClutteredDigits
from course_utils.data.digit_pairs import DigitPairs
from course_utils.models.resnet import Depth
from course_utils.models.weights import halved
from course_utils.studies import digit_pairs as study
from course_utils.studies.channel_and_spatial_attention import TUNED, best_factor
from course_utils.studies.presets import PRESETS, Preset
from course_utils.training.evaluation import evaluate
from course_utils.training.run import Run
from experiments import common

SHIPPED_NETWORKS = (
    "plain",
    "non_local",
    "relative",
    "average",
    "global_context",
    "digits_non_local",
)


def begin(depth: Depth, seed: int, preset: Preset, home: Path) -> None:
    """Train the network that the others of this depth and seed start from."""
    folder = home / "start" / f"{depth}_{seed}"
    if not (folder / "run").exists():
        run = study.start(depth, preset, folder, seed=seed)
        with replacing(folder / "run") as new:
            run.save(new)


def folder_of(name: str, factor: float, seed: int, home: Path) -> Path:
    """Return the folder of a run."""
    return home / name / f"{factor:g}_{seed}"


def train(name: str, factor: float, seed: int, preset: Preset, home: Path) -> None:
    """Train, score and measure a network, unless that is done already."""
    folder = folder_of(name, factor, seed, home)
    if (folder / "scores.csv").exists():
        return
    contender = study.CONTENDERS[name]
    begun = None
    if contender.task == "pairs":
        begun = Run.load(home / "start" / f"{contender.depth}_{seed}" / "run")
    model, run, data = study.train(name, factor, preset, folder, begun, seed=seed)
    with replacing(folder / "run") as new:
        run.save(new)
    best = run.history.loc[run.history.val_accuracy.idxmax()]
    test = data.test
    assert isinstance(test, DigitPairs | ClutteredDigits)
    row = {
        "task": contender.task,
        "variant": name,
        "factor": factor,
        "seed": seed,
        "parameters": parameters(model),
        "val_accuracy": best.val_accuracy,
        "val_loss": best.val_loss,
        "accuracy": evaluate(model, test)["accuracy"],
    }
    boxes = test.boxes[:2000].view(-1, 1 if contender.task == "digits" else 2, 4)
    measured = study.interventions(model, test.images[:2000] / 255, test.labels[:2000], boxes)
    common.write_csv(measured, folder / "interventions.csv", index=False)
    if isinstance(study.block_of(model), NonLocal):
        maps = pd.DataFrame([study.describe(model, test)])
        common.write_csv(maps, folder / "maps.csv", index=False)
    # Last, because it marks the run as finished.
    common.write_csv(pd.DataFrame([row]), folder / "scores.csv", index=False)


def tuned(name: str, home: Path) -> pd.DataFrame | None:
    """Return the scores of the runs that choose a learning rate; None if some are missing."""
    pairs = itertools.product(study.CONTENDERS[name].factors, TUNED)
    paths = [folder_of(name, *pair, home) / "scores.csv" for pair in pairs]
    if not all(path.exists() for path in paths):
        return None
    return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)


def factor_of(name: str, home: Path) -> float | None:
    """Return the factor on the learning rate that was chosen; None if it is not known yet."""
    scores = tuned(study.CONTENDERS[name].like or name, home)
    return None if scores is None else best_factor(scores)


def needed(home: Path) -> list[Path]:
    """Return one file per run at a chosen rate, which exists once the run is measured."""
    paths = []
    for name in study.CONTENDERS:
        factor = factor_of(name, home)
        if factor is None:
            return [home / name / "scores.csv"]  # no such file: it is not tuned
        seeds = study.CONTENDERS[name].seeds
        paths += [folder_of(name, factor, seed, home) / "scores.csv" for seed in seeds]
    return paths


def collect(home: Path, into: Path) -> None:
    """Write the tables, and the networks of the first seed."""
    tables: dict[str, list[pd.DataFrame]] = {"runs": [], "interventions": [], "maps": []}
    for name, contender in study.CONTENDERS.items():
        factor = factor_of(name, home)
        assert factor is not None
        scores = []
        for seed in contender.seeds:
            folder = folder_of(name, factor, seed, home)
            scores.append(pd.read_csv(folder / "scores.csv"))
            front = {"task": contender.task, "variant": name, "seed": seed}
            for table in ("interventions", "maps"):
                if (folder / f"{table}.csv").exists():
                    rows = pd.read_csv(folder / f"{table}.csv")
                    tables[table].append(pd.DataFrame(front, index=rows.index).join(rows))
        others = None if contender.like else tuned(name, home)
        found = pd.concat([*scores, others]).drop_duplicates(["factor", "seed"])
        tables["runs"].append(
            found.assign(chosen=found.factor == factor).sort_values(["factor", "seed"])
        )
        if name in SHIPPED_NETWORKS:
            run = Run.load(folder_of(name, factor, study.SEEDS[0], home) / "run")
            with replacing(into / f"{name}.safetensors") as new:
                save_file(halved(run.weights), new)
    for table, rows in tables.items():
        common.write_csv(pd.concat(rows), into / f"{table}.csv", index=False, float_format="%.5f")


def main() -> None:
    """Train the starts, choose the learning rates, train the rest, and collect."""
    options = common.parse(__doc__ or "", study.SEEDS, presets=True)
    preset = PRESETS[options.preset]
    home = common.RUNS / "digit_pairs" / preset.name
    into = common.destination(options, study.SHIPPED, home / "collected")
    seeds = sorted(options.seeds)
    starts = itertools.product(sorted({c.depth for c in study.CONTENDERS.values()}), seeds)
    common.run_jobs(
        {f"start, depth {d}, seed {s}": partial(begin, d, s, preset, home) for d, s in starts},
        options.workers,
    )
    jobs = {
        f"{name}, rate × {factor:g}, seed {seed}": partial(train, name, factor, seed, preset, home)
        for seed in TUNED
        if set(TUNED) <= set(seeds)
        for name, contender in study.CONTENDERS.items()
        if contender.like is None
        for factor in contender.factors
    }
    common.run_jobs(jobs, options.workers)
    jobs = {}
    for seed, name in itertools.product(seeds, study.CONTENDERS):
        factor = factor_of(name, home)
        if factor is not None and seed in study.CONTENDERS[name].seeds:
            job = partial(train, name, factor, seed, preset, home)
            jobs[f"{name}, chosen rate × {factor:g}, seed {seed}"] = job
    common.run_jobs(jobs, options.workers)
    common.collect_if_whole(needed(home), partial(collect, home), into)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
