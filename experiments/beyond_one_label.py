"""Train and score the networks of the chapter Beyond one label.

`python -m experiments.beyond_one_label` trains five variants from five seeds, in about 20 minutes
on two cores, and puts the tables and the networks of the first seed into the package. The networks
of a seed are trained side by side on the same images. Finished seeds are kept, so the same command
again completes the experiment.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file

from course_utils.core.files import replacing
from course_utils.core.profiling import parameters
from course_utils.core.tensor_files import write_tensors
from course_utils.data.several_digits import SeveralDigits
from course_utils.models.weights import halved, load_weights
from course_utils.studies import beyond_one_label as study
from experiments import common

RUNS = common.RUNS / "beyond_one_label"
FILES = {"scores": "scores", "maps": "maps", "log": "histories"}  # name per seed: shipped name
KEYS = ["variant", "seed", "map", "labels", "epoch"]  # in the order of their columns


def one(seed: int, size: study.Size, home: Path) -> None:
    """Train the networks of a seed that its log doesn't have yet, and score all of them."""
    folder = home / str(seed)
    log = folder / "log.csv"
    done = pd.read_csv(log) if log.exists() else pd.DataFrame({"variant": []})
    missing = [variant for variant in study.VARIANTS if variant not in set(done.variant)]
    if missing:
        new = _train(missing, seed, size, folder)
        both = pd.concat([done, new]) if len(done) else new
        # After the weights, because it marks these networks as trained.
        common.write_csv(both, log, index=False, float_format="%.5f")
    if missing or not (folder / "scores.csv").exists():
        judge(seed, study.held_out(size), folder)


def _train(variants: Sequence[str], seed: int, size: study.Size, folder: Path) -> pd.DataFrame:
    models = {
        # channels last: convolutions on two CPU cores are faster
        variant: study.build(variant, seed=seed).to(memory_format=torch.channels_last)
        for variant in variants
    }
    log = study.train(models, size, seed=seed)
    for variant, model in models.items():
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        write_tensors(folder / f"{variant}.safetensors", halved(weights))
    return log.assign(seed=seed)


def judge(seed: int, data: SeveralDigits, folder: Path) -> None:
    """Write the scores of a seed's networks, with weights in half precision as they are kept."""
    models = {variant: study.build(variant, seed=seed).eval() for variant in study.VARIANTS}
    for variant, model in models.items():
        load_weights(model, load_file(folder / f"{variant}.safetensors"))
    if "dual" in models:
        models["dual_even"] = study.without_sigmoid(models["dual"])  # a control without training
    answers, maps = [], []
    for variant, model in models.items():
        scores, means = study.judge(model.to(memory_format=torch.channels_last), data)
        row = {"variant": variant, "seed": seed, "parameters": parameters(model)}
        answers.append(row | scores.to_dict())
        maps.append(means.assign(variant=variant, seed=seed))
    for name, table in (("maps", pd.concat(maps)), ("scores", pd.DataFrame(answers))):
        common.write_csv(table, folder / f"{name}.csv", index=False, float_format="%.5f")


def collect(seeds: Sequence[int], home: Path, into: Path) -> None:
    """Put the tables of all seeds together, and the networks of the first beside them."""
    for file, kept in FILES.items():
        table = pd.concat([pd.read_csv(home / str(seed) / f"{file}.csv") for seed in seeds])
        first = [key for key in KEYS if key in table.columns]
        table = table[[*first, *table.columns.drop(first)]]
        common.write_csv(table, into / f"{kept}.csv", index=False, float_format="%.5f")
    for variant in study.VARIANTS:
        with replacing(into / f"{variant}.safetensors") as new:
            shutil.copyfile(home / str(seeds[0]) / f"{variant}.safetensors", new)


def main() -> None:
    """Train what is missing, and collect."""
    options = common.parse(__doc__, study.SEEDS)
    jobs = {f"seed {seed}": partial(one, seed, study.SIZE, RUNS) for seed in options.seeds}
    common.run_jobs(jobs, options.workers)
    common.collect_if_whole(
        [RUNS / str(seed) / "scores.csv" for seed in study.SEEDS],
        partial(collect, study.SEEDS, RUNS),
        common.destination(options, study.SHIPPED, RUNS / "collected"),
    )


if __name__ == "__main__":
    main()
