"""Measure the maps of the chapter Attention against Grad-CAM.

`python -m experiments.attention_vs_grad_cam` measures the networks of `experiments.results` at the
learning rates chosen there, and trains those that it no longer finds. It also trains eight small
networks on true and on shuffled labels. With the networks at hand it takes about fifty minutes on
two cores, without them half an hour more. The tables go into the package. With another `--data` or
`--preset`, for which `experiments.results` must have been run as well, they go to
`runs/attention_vs_grad_cam/`, without the shuffled labels. Finished parts are kept, so the same
command again completes the experiment.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from course_utils.core.eval_mode import evaluating
from course_utils.core.files import replacing
from course_utils.data.splits import Splits, load
from course_utils.explain.sanity_checks import rank_correlation
from course_utils.models import AttnVGG, checkpoints
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
LOCALISED, PERTURBED, RANDOMISED = 1000, 32, 64  # the first test images
BATCH = 100  # images at a time; "another image" is one of the same batch
PERTURBED_METHODS = (
    "attention 1",
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
    model = _network(variant, seed, name, data, preset)
    images, labels, regions = _first(data, LOCALISED)
    _measure_places(model, images, labels, regions, into)
    some = images[:PERTURBED]
    found = study.with_others(study.maps(model, some)) | study.controls(some)
    named = {method: found[method] for method in PERTURBED_METHODS if method in found}
    _write(into, curves=study.perturb(model, some, named), drops=study.drops(model, some, named))
    # Another seed than the network's, so these are not the weights that its training started from.
    fresh = results.build(variant, data.classes, preset, seed=1000 + seed)
    # Last, because it marks the network as measured.
    _write(into, cascades=study.randomise(model, fresh, images[:RANDOMISED]))


def _network(variant: str, seed: int, name: str, data: Splits, preset: Preset) -> nn.Module:
    """Return a network of `experiments.results`, and train it if it isn't there."""
    home = trained.RUNS / name / preset.name
    shipped = name == common.DIGITS and preset.name == "cpu"
    if shipped and seed == results.SEEDS[0]:
        return results.network(variant)
    tried = results.runs(results.SHIPPED if shipped else home)
    rate = float(tried[tried.chosen & (tried.variant == variant)].rate.iloc[0])
    task = trained.Task(variant, rate, seed)
    trained.one(task, name, preset, home)
    model = results.build(variant, data.classes, preset)
    load_weights(model.eval(), Run.load(task.folder(home) / "run").weights)
    return model


def _measure_places(
    model: nn.Module, images: Tensor, labels: Tensor, regions: Tensor, into: Path
) -> None:
    """Measure where the maps of a network lie, and what happens without its attention maps."""
    of_batches = [study.maps(model, x) for x in images.split(BATCH)]
    batches = list(zip(images.split(BATCH), labels.split(BATCH), regions.split(BATCH)))
    scores = _means(
        study.localise(study.with_others(found) | study.controls(x), region)
        for found, (x, _, region) in zip(of_batches, batches)
    )
    pairs = pd.DataFrame([study.twins(model, *batch) for batch in batches])
    _write(into, scores=scores.reset_index(), twins=pairs.mean().to_frame().T)
    if not isinstance(model, AttnVGG):
        return
    found = {method: torch.cat([m[method] for m in of_batches]) for method in of_batches[0]}
    with evaluating(model):
        right = model(images).logits.argmax(dim=1) == labels
    grad_cams = [f"Grad-CAM, {block}" for block in study.BLOCKS]
    _write(
        into,
        sharpened=study.sharpen(found, regions, grad_cams),
        disagreements=study.disagree(found, right, labels),
        replacements=study.replace_maps(model, images, labels),
    )


def _write(into: Path, **tables: pd.DataFrame) -> None:
    for name, table in tables.items():
        common.write_csv(table, into / f"{name}.csv", index=False, float_format="%.5f")


def _first(data: Splits, n: int) -> tuple[Tensor, Tensor, Tensor]:
    items = [data.test[i] for i in range(min(n, len(data.test)))]
    images, labels, regions = zip(*items)
    return torch.stack(images), torch.tensor([int(label) for label in labels]), torch.stack(regions)


def _means(batches: Iterable[dict[str, pd.DataFrame]]) -> pd.DataFrame:
    """Return the mean over the images of all batches, one row per method."""
    tables = [pd.concat(tables, names=["method", "image"]) for tables in batches]
    return pd.concat(tables).groupby("method", sort=False).mean()


def memorised(labels: study.Labels, seed: int, preset: Preset, home: Path) -> None:
    """Train a network on true or on shuffled labels, unless that is done already."""
    into = home / f"{labels}_labels_{seed}"
    if (into / "network.safetensors").exists():
        return
    model, run = study.memorise(study.LABELS_VARIANT, labels, preset, _few(preset), into, seed=seed)
    common.write_csv(run.history, into / "history.csv", index=False)
    description = results.describe(study.LABELS_VARIANT, _few(preset).classes, preset)
    with replacing(into / "network.safetensors") as new:
        checkpoints.write(new, model, description, half=True)


def _few(preset: Preset) -> Splits:
    return load(size=preset.image_size, counts={"train": 1000, "val": 1, "test": 500})


def compare_labels(preset: Preset, home: Path) -> pd.DataFrame:
    """Compare the maps of all networks that have memorised labels, two at a time."""
    data = _few(preset)
    images, truth, regions = _first(data, len(data.test))
    rows, found = [], {}
    for key in itertools.product(study.LABELS, study.LABELS_SEEDS):
        folder = home / "{}_labels_{}".format(*key)
        model = checkpoints.read(folder / "network.safetensors")[0]
        output, *_ = predict(model, data.test)
        about = {
            "accuracy": classification_report(output.logits, truth)["value"]["accuracy"],
            "train_accuracy": pd.read_csv(folder / "history.csv").val_accuracy.max(),
        }
        # All networks explain the same class; otherwise the maps would differ for that reason.
        found[key] = study.maps(model, images, truth)
        for method, scores in study.localise(found[key], regions).items():
            means = scores[["pointing", "energy"]].mean().to_dict()
            rows.append(_pair(key, key, method) | about | means)
    for one, other in itertools.combinations(found, 2):
        for method, m in found[one].items():
            alike = rank_correlation(m, found[other][method]).mean().item()
            rows.append(_pair(one, other, method) | {"correlation": alike})
    return pd.DataFrame(rows)


def _pair(one: tuple[str, int], other: tuple[str, int], method: str) -> dict[str, str | int]:
    names = ("labels", "seed", "other_labels", "other_seed", "method")
    return dict(zip(names, (*one, *other, method)))


TABLES = {
    "scores": study.VARIANTS,
    "twins": study.VARIANTS,
    "curves": study.VARIANTS,
    "drops": study.VARIANTS,
    "cascades": study.VARIANTS,
    "sharpened": study.ATTENTIVE,
    "disagreements": study.ATTENTIVE,
    "replacements": study.ATTENTIVE,
}


def collect(home: Path, into: Path) -> None:
    """Put the tables of all networks together."""
    for name, variants in TABLES.items():
        parts = [
            pd.read_csv(home / f"{v}_{seed}" / f"{name}.csv", keep_default_na=False).assign(
                variant=v, seed=seed
            )
            for v, seed in itertools.product(variants, study.SEEDS)
        ]
        table = pd.concat(parts)
        first = ["variant", "seed"]
        common.write_csv(
            table[[*first, *table.columns.drop(first)]], into / f"{name}.csv", index=False
        )


def main() -> None:
    """Measure what is missing, and collect."""
    options = common.parse(__doc__, study.SEEDS, presets=True, data=True)
    preset = results.adapt(PRESETS[options.preset])
    home = RUNS / options.data / preset.name
    jobs: dict[str, Callable[[], None]] = {
        f"{variant}, seed {seed}": partial(one, variant, seed, options.data, preset, home)
        for seed, variant in itertools.product(options.seeds, study.VARIANTS)
    }
    networks = itertools.product(study.VARIANTS, study.SEEDS)
    needed = [home / f"{variant}_{seed}" / "cascades.csv" for variant, seed in networks]
    shipped = common.is_shipped(options)
    if shipped:
        for labels, seed in itertools.product(study.LABELS, study.LABELS_SEEDS):
            needed.append(home / f"{labels}_labels_{seed}" / "network.safetensors")
            if seed in options.seeds:
                jobs[f"{labels} labels, seed {seed}"] = partial(
                    memorised, labels, seed, preset, home
                )
    common.run_jobs(jobs, options.workers)

    def put_together(into: Path) -> None:
        collect(home, into)
        if shipped:
            _write(into, labels=compare_labels(preset, home))

    into = common.destination(options, study.SHIPPED, home)
    common.collect_if_whole(needed, put_together, into)


if __name__ == "__main__":
    main()
