"""Measure the comparison of chapter 11: `python -m benchmarks.run_comparison`.

It looks at the networks that `python -m benchmarks.run_scoreboard` has trained, five seeds of each form, and trains
twelve small ones on true and on random labels: about an hour on two cores. What the chapter reads goes into the
package. What is there already is kept, so the same command again finishes what is left. `--data` and `--preset` as for
`run_scoreboard`: these results go into `runs/comparison/`, and have no random labels.
"""

import itertools
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from benchmarks.run_scoreboard import RUNS as TRAINED
from benchmarks.run_scoreboard import ask, load_data, run
from course_utils import checkpoints, comparison, scoreboard
from course_utils.classification import classification
from course_utils.comparison import OTHERS
from course_utils.data import load
from course_utils.evaluation import predict
from course_utils.presets import Preset
from course_utils.runs import Run, load_weights
from course_utils.sanity import rank_correlation

RUNS = Path("runs") / "comparison"
LOCALISED, PROBED, RANDOMISED = 1000, 100, 100  # the first test images
PROBED_METHODS = (
    "attention 1",
    "attention 2",
    "Grad-CAM, block 3",
    "Grad-CAM, block 4",
    "Grad-CAM, block 5",
    "guided backprop",
    "uniform",
    "edges",
    OTHERS + "attention 1",
    OTHERS + "Grad-CAM, block 4",
)


def one(form: str, seed: int, name: str, preset: Preset, home: Path) -> None:
    """All measurements of one network, in a process of its own."""
    into = home / f"{form}_{seed}"
    if (into / "cascades.csv").exists():
        return
    into.mkdir(parents=True, exist_ok=True)
    data = load_data(name, preset)
    model = scoreboard.describe(form, data.classes, preset).build()
    load_weights(model.eval(), Run.load(TRAINED / name / preset.name / f"{form}_{seed}" / "run").weights)
    items = [data.test[i] for i in range(min(LOCALISED, len(data.test)))]
    images, regions = (torch.stack([item[part] for item in items]) for part in (0, 2))
    localised, probed = [], []
    for some, own in zip(images.split(100), regions.split(100)):
        found = comparison.with_others(comparison.maps(model, some) | comparison.controls(some))
        localised.append(pd.concat(comparison.localise(found, own), names=["method", "image"]))
    for some in images[:PROBED].split(100):
        found = comparison.with_others(comparison.maps(model, some) | comparison.controls(some))
        kept = {method: found[method] for method in PROBED_METHODS if method in found}
        probed.append(pd.concat(comparison.probe(model, some, kept), names=["method", "image"]))
    for file, tables in (("scores", localised), ("faithfulness", probed)):
        pd.concat(tables).groupby("method", sort=False).mean().to_csv(into / f"{file}.csv", float_format="%.5f")
    with torch.random.fork_rng():
        torch.manual_seed(1000 + seed)  # not the state that its training began with
        fresh = scoreboard.describe(form, data.classes, preset).build()
    randomised = comparison.randomise(model, fresh, images[:RANDOMISED])
    randomised.to_csv(into / "cascades.csv", index=False, float_format="%.5f")


def both_labels(form: str, seed: int, preset: Preset, home: Path) -> None:
    """Train on true and on random labels, and score and compare the maps of both on test images."""
    into = home / f"labels_{form}_{seed}"
    if (into / "labels.csv").exists():
        return
    into.mkdir(parents=True, exist_ok=True)
    data = load(size=preset.image_size, counts={"train": 1000, "val": 1, "test": 500})
    images, regions = (torch.stack([data.test[i][part] for i in range(len(data.test))]) for part in (0, 2))
    rows, found = [], {}
    for labels in comparison.LABELS:
        model, log = comparison.memorise(form, seed, labels, preset, data, into / labels)
        checkpoints.save(
            into / f"{labels}.safetensors", model, scoreboard.describe(form, data.classes, preset), half=True
        )
        output, truth, _ = predict(model, data.test)
        accuracy = classification(output.logits, truth)["value"]["accuracy"]
        found[labels] = comparison.maps(model, images, truth)  # both are asked for the same class
        for method, scores in comparison.localise(found[labels], regions).items():
            means = scores[["pointing", "energy"]].mean()
            learned = log.history.val_accuracy.max()
            rows.append({"labels": labels, "method": method, "train_accuracy": learned, "accuracy": accuracy, **means})
    true, random = (found[labels] for labels in comparison.LABELS)
    alike = {method: rank_correlation(true[method], random[method]).mean().item() for method in true}
    table = pd.DataFrame(rows)
    table["correlation"] = table.method.map(alike)
    table.to_csv(into / "labels.csv", index=False, float_format="%.5f")


def collect(home: Path, into: Path) -> None:
    """Put the tables of all networks together."""
    into.mkdir(parents=True, exist_ok=True)
    networks = list(itertools.product(comparison.FORMS, scoreboard.SEEDS))
    for file in ("scores", "faithfulness", "cascades"):
        _join({(form, seed): home / f"{form}_{seed}" / f"{file}.csv" for form, seed in networks}, into / f"{file}.csv")
    pairs = itertools.product(comparison.LABELS_FORMS, comparison.LABELS_SEEDS)
    folders = {(form, seed): home / f"labels_{form}_{seed}" for form, seed in pairs}
    folders = {key: folder for key, folder in folders.items() if folder.exists()}
    if folders:
        _join({key: folder / "labels.csv" for key, folder in folders.items()}, into / "labels.csv")
        for labels in comparison.LABELS:  # the first seed's, to look at
            file = home / f"labels_softmax_{comparison.LABELS_SEEDS[0]}" / f"{labels}.safetensors"
            (into / f"{labels}_labels.safetensors").write_bytes(file.read_bytes())


def _join(files: dict[tuple[str, int], Path], into: Path) -> None:
    tables = [
        pd.read_csv(file, keep_default_na=False).assign(form=form, seed=seed) for (form, seed), file in files.items()
    ]
    table = pd.concat(tables)
    table[["form", "seed", *table.columns.drop(["form", "seed"])]].to_csv(into, index=False)


def main() -> None:
    """Measure what is missing and collect."""
    name, preset, workers, shipped = ask(__doc__.splitlines()[0])
    home = RUNS / name / preset.name
    networks = itertools.product(scoreboard.SEEDS, comparison.FORMS)  # first the first of each
    jobs = {f"{form}, seed {seed}": partial(one, form, seed, name, preset, home) for seed, form in networks}
    if shipped:
        pairs = itertools.product(comparison.LABELS_SEEDS, comparison.LABELS_FORMS)
        jobs |= {f"labels, {form}, seed {s}": partial(both_labels, form, s, preset, home) for s, form in pairs}
    run(jobs, workers)
    into = comparison.SHIPPED if shipped else home
    collect(home, into)
    print(f"wrote {into}")


if __name__ == "__main__":
    main()
