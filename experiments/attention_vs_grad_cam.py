"""Measure the maps of the chapter Attention against Grad-CAM.

`python -m experiments.attention_vs_grad_cam` measures the networks that `experiments.results` has
trained, and trains twelve small ones on true and on shuffled labels: about an hour on two cores.
The tables go into the package. With another `--data` or `--preset`, for which `experiments.results`
must have been run as well, they go to `runs/attention_vs_grad_cam/`, without the shuffled labels.
Finished parts are kept, so the same command again completes the experiment.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from course_utils.core.files import replacing
from course_utils.data.splits import Splits, load
from course_utils.explain.sanity_checks import rank_correlation
from course_utils.models import checkpoints
from course_utils.models.weights import load_weights
from course_utils.studies import attention_vs_grad_cam as study
from course_utils.studies import results
from course_utils.studies.presets import PRESETS, Preset
from course_utils.training.classification import classification_report
from course_utils.training.evaluation import predict
from course_utils.training.run import Run
from experiments import common
from experiments import results as trained

RUNS = common.RUNS / "attention_vs_grad_cam"
LOCALISED, PERTURBED, RANDOMISED = 1000, 100, 100  # the first test images
BATCH = 100  # images at a time; "another image" is one of the same batch
PERTURBED_METHODS = (
    "attention 1",
    "attention 2",
    "Grad-CAM, block 3",
    "Grad-CAM, block 4",
    "Grad-CAM, block 5",
    "guided backprop",
    "uniform",
    "edges",
    study.OTHERS + "attention 1",
    study.OTHERS + "Grad-CAM, block 4",
)


def one(variant: str, seed: int, name: str, preset: Preset, home: Path) -> None:
    """Measure a network, unless it has been measured already."""
    into = home / f"{variant}_{seed}"
    if (into / "cascades.csv").exists():
        return
    data = common.load_data(name, preset)
    model = results.build(variant, data.classes, preset)
    run = _run(variant, seed, name, preset)
    load_weights(model.eval(), run.weights)
    trained.save_network(run, results.describe(variant, data.classes, preset), into, "network")
    images, regions = _first(data, LOCALISED)
    batches = zip(images.split(BATCH), regions.split(BATCH))
    localised = _means(study.localise(_all_maps(model, some), own) for some, own in batches)
    perturbed = _means(
        study.perturb(model, some, _named(_all_maps(model, some), PERTURBED_METHODS))
        for some in images[:PERTURBED].split(BATCH)
    )
    for file, table in (("scores", localised), ("faithfulness", perturbed)):
        common.write_csv(table, into / f"{file}.csv", float_format="%.5f")
    # Another seed than the network's, so these are not the weights that its training started from.
    fresh = results.build(variant, data.classes, preset, seed=1000 + seed)
    cascades = study.randomise(model, fresh, images[:RANDOMISED])
    # Last, because it marks the network as measured.
    common.write_csv(cascades, into / "cascades.csv", index=False, float_format="%.5f")


def _run(variant: str, seed: int, name: str, preset: Preset) -> Run:
    home = trained.RUNS / name / preset.name
    rates = {task.variant: task.rate for task in trained.final(home)}
    return Run.load(trained.Task(variant, rates[variant], seed).folder(home) / "run")


def _first(data: Splits, n: int) -> tuple[Tensor, Tensor]:
    items = [data.test[i] for i in range(min(n, len(data.test)))]
    images, _, regions = zip(*items)
    return torch.stack(images), torch.stack(regions)


def _all_maps(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    return study.with_others(study.maps(model, images) | study.controls(images))


def _named(found: dict[str, Tensor], methods: Iterable[str]) -> dict[str, Tensor]:
    return {method: found[method] for method in methods if method in found}


def _means(batches: Iterable[dict[str, pd.DataFrame]]) -> pd.DataFrame:
    """Return the mean over the images of all batches, one row per method."""
    tables = [pd.concat(tables, names=["method", "image"]) for tables in batches]
    return pd.concat(tables).groupby("method", sort=False).mean()


def both_labels(variant: str, seed: int, preset: Preset, home: Path) -> None:
    """Train a variant on true and on shuffled labels, and compare its maps of test images."""
    into = home / f"labels_{variant}_{seed}"
    if (into / "labels.csv").exists():
        return
    data = load(size=preset.image_size, counts={"train": 1000, "val": 1, "test": 500})
    images, regions = _first(data, len(data.test))
    rows, found = [], {}
    for labels in study.LABELS:
        model, log = study.memorise(variant, labels, preset, data, into / labels, seed=seed)
        description = results.describe(variant, data.classes, preset)
        with replacing(into / f"{labels}.safetensors") as new:
            checkpoints.write(new, model, description, half=True)
        output, truth, _ = predict(model, data.test)
        answers = classification_report(output.logits, truth)["value"]
        # Both networks explain the same class; otherwise the maps would differ for that reason
        # alone.
        found[labels] = study.maps(model, images, truth)
        for method, scores in study.localise(found[labels], regions).items():
            row = {"labels": labels, "method": method}
            row["train_accuracy"] = log.history.val_accuracy.max()
            row["accuracy"] = answers["accuracy"]
            rows.append(row | scores[["pointing", "energy"]].mean().to_dict())
    true, random = (found[labels] for labels in study.LABELS)
    alike = {m: rank_correlation(true[m], random[m]).mean().item() for m in true}
    table = pd.DataFrame(rows)
    table["correlation"] = table.method.map(alike)
    common.write_csv(table, into / "labels.csv", index=False, float_format="%.5f")


def collect(home: Path, into: Path) -> None:
    """Put the tables of all networks together, and copy the networks that the chapter shows."""
    for variant in study.VARIANTS:
        own = home / f"{variant}_{study.SEEDS[0]}" / "network.safetensors"
        _copy(own, into / "networks" / f"{variant}.safetensors")
    networks = list(itertools.product(study.VARIANTS, study.SEEDS))
    for file in ("scores", "faithfulness", "cascades"):
        files = {(v, seed): home / f"{v}_{seed}" / f"{file}.csv" for v, seed in networks}
        _join(files, into / f"{file}.csv")
    pairs = itertools.product(study.LABELS_VARIANTS, study.LABELS_SEEDS)
    files = {(v, seed): home / f"labels_{v}_{seed}" / "labels.csv" for v, seed in pairs}
    files = {pair: file for pair, file in files.items() if file.exists()}
    if not files:
        return  # another data set, or another preset
    _join(files, into / "labels.csv")
    for labels in study.LABELS:
        folder = home / f"labels_{study.LABELS_VARIANTS[0]}_{study.LABELS_SEEDS[0]}"
        _copy(folder / f"{labels}.safetensors", into / f"{labels}_labels.safetensors")


def _copy(file: Path, to: Path) -> None:
    with replacing(to) as new:
        new.write_bytes(file.read_bytes())


def _join(files: dict[tuple[str, int], Path], into: Path) -> None:
    """Join one table per variant and seed; these become the first two columns."""
    table = pd.concat(
        pd.read_csv(file, keep_default_na=False).assign(variant=variant, seed=seed)
        for (variant, seed), file in files.items()
    )
    first = ["variant", "seed"]
    common.write_csv(table[[*first, *table.columns.drop(first)]], into, index=False)


def main() -> None:
    """Measure what is missing, and collect."""
    options = common.parse(__doc__, study.SEEDS, presets=True, data=True)
    preset = results.adapt(PRESETS[options.preset])
    home = RUNS / options.data / preset.name
    jobs: dict[str, Callable[[], None]] = {
        f"{variant}, seed {seed}": partial(one, variant, seed, options.data, preset, home)
        for seed, variant in itertools.product(options.seeds, study.VARIANTS)
    }
    pairs = itertools.product(study.VARIANTS, study.SEEDS)
    needed = [home / f"{variant}_{seed}" / "cascades.csv" for variant, seed in pairs]
    if common.is_shipped(options):
        for seed, variant in itertools.product(study.LABELS_SEEDS, study.LABELS_VARIANTS):
            needed.append(home / f"labels_{variant}_{seed}" / "labels.csv")
            if seed in options.seeds:
                job = partial(both_labels, variant, seed, preset, home)
                jobs[f"labels, {variant}, seed {seed}"] = job
    common.run_jobs(jobs, options.workers)
    into = common.destination(options, study.SHIPPED, home)
    common.collect_if_whole(needed, partial(collect, home), into)


if __name__ == "__main__":
    main()
