"""Tune, train and score the networks of the chapter Results.

`python -m experiments.results` trains each variant at four learning rates from one seed (the dense
layers at a fifth one, because the lowest of the four suited them best), and at the better two from
a second seed. The rate with the best mean accuracy on 4,000 validation images, four times as many
as choose an epoch, is chosen. Then it trains the variant at that rate from the other seeds, and
scores it on the test images: about 70 runs of two to four minutes each, one and a half hours on two
cores. The tables, the maps and the networks of the first seed go into the package. With another
`--data` or `--preset`, such as gpu for networks of the published width, these go to
`runs/results/`, where the chapter reads them too. Finished runs are kept and a stopped run
continues, so the same command again completes the experiment.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from course_utils.core.files import replacing
from course_utils.core.tensor_files import write_tensors
from course_utils.models import checkpoints
from course_utils.models.weights import load_weights
from course_utils.studies import results
from course_utils.studies.presets import PRESETS, Preset
from course_utils.training.checkpointing import BEST, LAST
from course_utils.training.evaluation import predict
from course_utils.training.run import Run
from experiments import common

RUNS = common.RUNS / "results"
VALIDATED = 4000  # images that choose a learning rate


class Task(NamedTuple):
    """One run: a variant, a learning rate and a seed."""

    variant: str
    rate: float
    seed: int

    def folder(self, home: Path) -> Path:
        """Return the folder of the run."""
        return home / self.variant / f"{self.rate:g}_{self.seed}"


def one(task: Task, name: str, preset: Preset, home: Path) -> None:
    """Train and score a network, unless its results exist already."""
    folder = task.folder(home)
    if (folder / "scores.csv").exists():
        return
    data = common.load_data(name, preset)
    model, run = results.train(task.variant, task.rate, preset, data, folder, seed=task.seed)
    with replacing(folder / "run") as new:
        run.save(new, half=True)
    judged, right = results.judge(model, data.test)
    write_tensors(folder / "correct.safetensors", {"correct": right})
    judged = judged.rename_axis("score").rename("value")
    common.write_csv(judged, folder / "scores.csv")  # last, because it marks the run as finished


def first_tuning() -> list[Task]:
    """Return the runs that try all learning rates, from one seed."""
    return [
        Task(variant, rate, results.TUNED[0])
        for variant in results.TRAINED
        for rate in results.rates(variant)
    ]


def second_tuning(home: Path) -> list[Task]:
    """Return the runs that try the better rates from another seed; none before the first."""
    if not _finished(first_tuning(), home):
        return []
    tried = validated(first_tuning(), home).groupby("variant")
    return [
        Task(variant, rate, results.TUNED[1])
        for variant in results.TRAINED
        for rate in results.better_half(tried.get_group(variant))
    ]


def tuning(home: Path) -> list[Task]:
    """Return all runs that choose the learning rates, as far as they are known."""
    return first_tuning() + second_tuning(home)


def _finished(tasks: list[Task], home: Path) -> bool:
    return bool(tasks) and all((task.folder(home) / "validation.csv").exists() for task in tasks)


def validate(task: Task, name: str, preset: Preset, home: Path) -> None:
    """Score a trained network on many validation images, unless that is done already."""
    folder = task.folder(home)
    if (folder / "validation.csv").exists():
        return
    counts = {"train": 1, "val": VALIDATED, "test": 1}
    data = common.load_data(name, replace(preset, data=preset.data | {"counts": counts}))
    model = results.build(task.variant, data.classes, preset)
    load_weights(model, Run.load(folder / "run").weights)
    output, labels, _ = predict(model.to(memory_format=torch.channels_last), data.val)
    row = {
        "val_accuracy": (output.logits.argmax(dim=1) == labels).double().mean().item(),
        "val_loss": F.cross_entropy(output.logits, labels).item(),
    }
    common.write_csv(pd.DataFrame([row]), folder / "validation.csv", index=False)


def train_and_validate(task: Task, name: str, preset: Preset, home: Path) -> None:
    """Train a network, score it, and score it on the images that choose a learning rate."""
    one(task, name, preset, home)
    validate(task, name, preset, home)
    for checkpoint in (BEST, LAST):  # at full width, those of all runs would fill a free Drive
        (task.folder(home) / checkpoint).unlink(missing_ok=True)


def validated(tasks: list[Task], home: Path) -> pd.DataFrame:
    """Return what `validate` has found for some runs."""
    found = [pd.read_csv(task.folder(home) / "validation.csv").iloc[0] for task in tasks]
    return pd.DataFrame([task._asdict() | row.to_dict() for task, row in zip(tasks, found)])


def final(home: Path) -> list[Task]:
    """Return the runs at the chosen rates; none if not all rates have been tried."""
    if not _finished(second_tuning(home), home):
        return []
    tried = validated(tuning(home), home)
    rates = {variant: results.best_rate(rows) for variant, rows in tried.groupby("variant")}
    # All variants of a seed before the next seed: a stopped experiment is balanced.
    return [
        Task(variant, rates[variant], seed)
        for seed in results.SEEDS
        for variant in results.TRAINED
        if seed in results.VARIANTS[variant].seeds
    ]


def collect(
    tasks: list[Task], classes: tuple[str, ...], preset: Preset, home: Path, into: Path
) -> None:
    """Put the runs together: tables, maps, the networks of the first seed, and the preset.

    Args:
        tasks: The runs at the chosen rates.
        classes: Names of the classes.
        preset: Preset of the runs.
        home: Folder that `one` wrote to.
        into: Folder from which the study reads its results.
    """
    tasks = sorted(tasks, key=lambda task: (results.TRAINED.index(task.variant), task.seed))
    rows, logs, correct = [], [], {}
    for variant, group in itertools.groupby(tasks, key=lambda task: task.variant):
        kept: dict[str, Tensor] = {}
        right = []
        for task in group:
            folder = task.folder(home)
            run = Run.load(folder / "run")
            judged = pd.read_csv(folder / "scores.csv", index_col="score")["value"]
            rows.append({"variant": variant, "seed": task.seed, **judged, "seconds": run.seconds})
            logs.append(run.history.assign(variant=variant, seed=task.seed))
            right.append(load_file(folder / "correct.safetensors")["correct"])
            kept |= _named_maps(run, task.seed)
            if task.seed == results.SEEDS[0] and variant in results.KEPT:
                save_network(run, results.describe(variant, classes, preset), into, variant)
        correct[variant] = torch.stack(right)
        write_tensors(into / f"{variant}_maps.safetensors", kept)
    results.write_correct(into, correct)
    tried = [task for task in tuning(home) if task not in tasks]
    found = pd.concat(
        [validated(tasks, home).assign(chosen=True), validated(tried, home).assign(chosen=False)]
    ).sort_values(["variant", "rate", "seed"])
    _write_tables(into, scores=pd.DataFrame(rows), histories=pd.concat(logs), runs=found)
    common.write_json(asdict(preset), into / "preset.json")


def _write_tables(into: Path, **tables: pd.DataFrame) -> None:
    first = ["variant", "seed"]
    for name, table in tables.items():
        table = table[[*first, *table.columns.drop(first)]]
        common.write_csv(table, into / f"{name}.csv", index=False, float_format="%.5f")


def _named_maps(run: Run, seed: int) -> dict[str, Tensor]:
    return {
        f"{seed}/{epoch}/{tap}": m.half()
        for epoch, taps in run.snapshots.items()
        for tap, m in enumerate(taps)
    }


def save_network(run: Run, description: checkpoints.Description, into: Path, variant: str) -> None:
    """Write the network of a run in half precision, with its description."""
    model = description.build()
    load_weights(model, run.weights)
    with replacing(into / f"{variant}.safetensors") as new:
        checkpoints.write(new, model, description, half=True)


def main() -> None:
    """Train what is missing, and collect."""
    options = common.parse(__doc__, results.SEEDS, presets=True, data=True)
    preset = results.adapt(PRESETS[options.preset])
    home = RUNS / options.data / preset.name

    def train(tasks: list[Task]) -> None:
        jobs = {
            f"{task.variant}, rate {task.rate:g}, seed {task.seed}": partial(
                train_and_validate, task, options.data, preset, home
            )
            for task in tasks
            if task.seed in options.seeds
        }
        common.run_jobs(jobs, options.workers)

    train(first_tuning())
    train(second_tuning(home))
    tasks = final(home)
    train(tasks)
    needed = [task.folder(home) / "validation.csv" for task in tasks or tuning(home)]
    common.collect_if_whole(
        needed,
        lambda into: collect(
            tasks, common.load_data(options.data, preset).classes, preset, home, into
        ),
        common.destination(options, results.SHIPPED, home),
    )


if __name__ == "__main__":
    main()
