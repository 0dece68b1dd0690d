"""Measure the comparison of chapter 11: `python -m experiments.attention_vs_grad_cam`.

It looks at the networks that `python -m experiments.results` has trained, five seeds of each variant, and trains
twelve small ones on true and on random labels: about an hour on two cores. What the chapter reads goes into the
package. What is there already is kept, so the same command again finishes what is left. `--data` and `--preset` as for
`run_scoreboard`: these results go into `runs/attention_vs_grad_cam/`, and have no random labels.
"""

import itertools
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from course_utils.data.splits import load
from course_utils.explain.sanity_checks import rank_correlation
from course_utils.models import checkpoints
from course_utils.models.weights import load_weights
from course_utils.studies import attention_vs_grad_cam, results
from course_utils.studies.attention_vs_grad_cam import OTHERS
from course_utils.studies.presets import Preset
from course_utils.training.classification import classification_report
from course_utils.training.evaluation import predict
from course_utils.training.run import Run
from experiments.results import RUNS as TRAINED
from experiments.results import ask, load_data, run

RUNS = Path("runs") / "attention_vs_grad_cam"
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


def one(variant: str, seed: int, name: str, preset: Preset, home: Path) -> None:
    """All measurements of one network, in a process of its own."""
    into = home / f"{variant}_{seed}"
    if (into / "cascades.csv").exists():
        return
    into.mkdir(parents=True, exist_ok=True)
    data = load_data(name, preset)
    model = results.describe(variant, data.classes, preset).build()
    load_weights(
        model.eval(), Run.load(TRAINED / name / preset.name / f"{variant}_{seed}" / "run").weights
    )
    items = [data.test[i] for i in range(min(LOCALISED, len(data.test)))]
    images, regions = (torch.stack([item[part] for item in items]) for part in (0, 2))
    localised, probed = [], []
    for some, own in zip(images.split(100), regions.split(100)):
        found = attention_vs_grad_cam.with_others(
            attention_vs_grad_cam.maps(model, some) | attention_vs_grad_cam.controls(some)
        )
        localised.append(
            pd.concat(attention_vs_grad_cam.localise(found, own), names=["method", "image"])
        )
    for some in images[:PROBED].split(100):
        found = attention_vs_grad_cam.with_others(
            attention_vs_grad_cam.maps(model, some) | attention_vs_grad_cam.controls(some)
        )
        kept = {method: found[method] for method in PROBED_METHODS if method in found}
        probed.append(
            pd.concat(attention_vs_grad_cam.probe(model, some, kept), names=["method", "image"])
        )
    for file, tables in (("scores", localised), ("faithfulness", probed)):
        pd.concat(tables).groupby("method", sort=False).mean().to_csv(
            into / f"{file}.csv", float_format="%.5f"
        )
    with torch.random.fork_rng():
        torch.manual_seed(1000 + seed)  # not the state that its training began with
        fresh = results.describe(variant, data.classes, preset).build()
    randomised = attention_vs_grad_cam.randomise(model, fresh, images[:RANDOMISED])
    randomised.to_csv(into / "cascades.csv", index=False, float_format="%.5f")


def both_labels(variant: str, seed: int, preset: Preset, home: Path) -> None:
    """Train on true and on random labels, and score and compare the maps of both on test images."""
    into = home / f"labels_{variant}_{seed}"
    if (into / "labels.csv").exists():
        return
    into.mkdir(parents=True, exist_ok=True)
    data = load(size=preset.image_size, counts={"train": 1000, "val": 1, "test": 500})
    images, regions = (
        torch.stack([data.test[i][part] for i in range(len(data.test))]) for part in (0, 2)
    )
    rows, found = [], {}
    for labels in attention_vs_grad_cam.LABELS:
        model, log = attention_vs_grad_cam.memorise(
            variant, seed, labels, preset, data, into / labels
        )
        checkpoints.save(
            into / f"{labels}.safetensors",
            model,
            results.describe(variant, data.classes, preset),
            half=True,
        )
        output, truth, _ = predict(model, data.test)
        accuracy = classification_report(output.logits, truth)["value"]["accuracy"]
        found[labels] = attention_vs_grad_cam.maps(
            model, images, truth
        )  # both are asked for the same class
        for method, scores in attention_vs_grad_cam.localise(found[labels], regions).items():
            means = scores[["pointing", "energy"]].mean()
            learned = log.history.val_accuracy.max()
            rows.append(
                {
                    "labels": labels,
                    "method": method,
                    "train_accuracy": learned,
                    "accuracy": accuracy,
                    **means,
                }
            )
    true, random = (found[labels] for labels in attention_vs_grad_cam.LABELS)
    alike = {
        method: rank_correlation(true[method], random[method]).mean().item() for method in true
    }
    table = pd.DataFrame(rows)
    table["correlation"] = table.method.map(alike)
    table.to_csv(into / "labels.csv", index=False, float_format="%.5f")


def collect(home: Path, into: Path) -> None:
    """Put the tables of all networks together."""
    into.mkdir(parents=True, exist_ok=True)
    networks = list(itertools.product(attention_vs_grad_cam.VARIANTS, results.SEEDS))
    for file in ("scores", "faithfulness", "cascades"):
        _join(
            {
                (variant, seed): home / f"{variant}_{seed}" / f"{file}.csv"
                for variant, seed in networks
            },
            into / f"{file}.csv",
        )
    pairs = itertools.product(
        attention_vs_grad_cam.LABELS_VARIANTS, attention_vs_grad_cam.LABELS_SEEDS
    )
    folders = {(variant, seed): home / f"labels_{variant}_{seed}" for variant, seed in pairs}
    folders = {key: folder for key, folder in folders.items() if folder.exists()}
    if folders:
        _join({key: folder / "labels.csv" for key, folder in folders.items()}, into / "labels.csv")
        for labels in attention_vs_grad_cam.LABELS:  # the first seed's, to look at
            file = (
                home
                / f"labels_softmax_{attention_vs_grad_cam.LABELS_SEEDS[0]}"
                / f"{labels}.safetensors"
            )
            (into / f"{labels}_labels.safetensors").write_bytes(file.read_bytes())


def _join(files: dict[tuple[str, int], Path], into: Path) -> None:
    tables = [
        pd.read_csv(file, keep_default_na=False).assign(variant=variant, seed=seed)
        for (variant, seed), file in files.items()
    ]
    table = pd.concat(tables)
    table[["variant", "seed", *table.columns.drop(["variant", "seed"])]].to_csv(into, index=False)


def main() -> None:
    """Measure what is missing and collect."""
    name, preset, workers, shipped = ask(__doc__.splitlines()[0])
    home = RUNS / name / preset.name
    networks = itertools.product(
        results.SEEDS, attention_vs_grad_cam.VARIANTS
    )  # first the first of each
    jobs = {
        f"{variant}, seed {seed}": partial(one, variant, seed, name, preset, home)
        for seed, variant in networks
    }
    if shipped:
        pairs = itertools.product(
            attention_vs_grad_cam.LABELS_SEEDS, attention_vs_grad_cam.LABELS_VARIANTS
        )
        jobs |= {
            f"labels, {variant}, seed {s}": partial(both_labels, variant, s, preset, home)
            for s, variant in pairs
        }
    run(jobs, workers)
    into = attention_vs_grad_cam.SHIPPED if shipped else home
    collect(home, into)
    print(f"wrote {into}")


if __name__ == "__main__":
    main()
