"""Train and measure the small vision transformer of the chapter Self-attention in CNNs.

`python -m experiments.self_attention_in_cnns` chooses the learning rate of a small transformer on
validation images, trains it from several seeds, scores its maps, and replaces its attention. It
takes about half an hour on one core, and puts four tables and one network into the package. With
another `--preset`, all of it goes to `runs/self_attention_in_cnns/`. Finished runs are kept and a
stopped run continues, so the same command again completes the experiment.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import pandas as pd

from course_utils.core.files import replacing
from course_utils.core.profiling import parameters
from course_utils.core.tensor_files import write_tensors
from course_utils.data.cluttered_digits import ClutteredDigits
from course_utils.models.weights import halved, load_weights
from course_utils.studies import self_attention_in_cnns as study
from course_utils.studies.channel_and_spatial_attention import first
from course_utils.studies.presets import PRESETS, Preset
from course_utils.training.evaluation import evaluate
from course_utils.training.run import Run
from experiments import common

STEM = "self_attention_in_cnns"
KEYS = ("network", "epochs", "rate", "seed")  # the first columns of all tables


def folder_of(name: str, rate: float, seed: int, home: Path) -> Path:
    """Return the folder of a run."""
    return home / name / f"{rate:g}_{seed}"


def train(name: str, rate: float, seed: int, preset: Preset, home: Path) -> None:
    """Train and score a network, unless its scores exist already."""
    folder = folder_of(name, rate, seed, home)
    if (folder / "scores.csv").exists():
        return
    adapted = study.PLANS[name].adapt(preset)
    data = common.load_data(common.DIGITS, adapted)
    model, run = study.train(name, rate, adapted, data, folder, seed=seed)
    # The weights as they are kept, so that everybody can repeat the scores.
    weights = halved(run.weights)
    load_weights(model, weights)
    write_tensors(folder / "network.safetensors", weights)
    with replacing(folder / "run") as new:
        run.save(new)
    best = run.history.loc[run.history.val_accuracy.idxmax()]
    row = {
        "network": name,
        "epochs": adapted.recipe.epochs,
        "rate": rate,
        "seed": seed,
        "parameters": parameters(model),
        "val_accuracy": best.val_accuracy,
        "val_loss": best.val_loss,
        "accuracy": evaluate(model, data.test)["accuracy"],
    }
    # Last, because it marks the run as finished.
    common.write_csv(pd.DataFrame([row]), folder / "scores.csv", index=False)


def measure(name: str, rate: float, seed: int, preset: Preset, home: Path) -> None:
    """Score the maps of a trained network and replace its attention, unless that is done."""
    folder = folder_of(name, rate, seed, home)
    if (folder / "maps.csv").exists():
        return
    adapted = study.PLANS[name].adapt(preset)
    test = common.load_data(common.DIGITS, adapted).test
    assert isinstance(test, ClutteredDigits)
    images = first(test, study.MEASURED)
    model = study.load(name, folder / "network.safetensors", seed=seed)
    changed = study.interventions(model, images)
    common.write_csv(changed, folder / "interventions.csv", index=False)
    scores = study.compare_maps(model, study.build(name, seed=seed), images)
    common.write_csv(scores, folder / "maps.csv", index=False)


def train_and_measure(name: str, rate: float, seed: int, preset: Preset, home: Path) -> None:
    """Train a network at its chosen learning rate, and measure its maps."""
    train(name, rate, seed, preset, home)
    measure(name, rate, seed, preset, home)


def tuned(name: str, home: Path) -> pd.DataFrame | None:
    """Return the scores of the runs that choose a rate; None if there are none, or not all yet."""
    pairs = [(rate, seed) for rate in study.PLANS[name].rates for seed in study.TUNED]
    paths = [folder_of(name, *pair, home) / "scores.csv" for pair in pairs]
    if not paths or not all(path.exists() for path in paths):
        return None
    return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)


def rate_of(name: str, home: Path) -> float | None:
    """Return the learning rate that was chosen; None if it is not known yet."""
    scores = tuned(study.PLANS[name].like or name, home)
    return None if scores is None else study.best_rate(scores)


def tuning_jobs(preset: Preset, home: Path) -> dict[str, partial[None]]:
    """Return the runs that choose the learning rates."""
    runs = [
        (name, rate, seed)
        for name, plan in study.PLANS.items()
        for rate in plan.rates
        for seed in study.TUNED
    ]
    return {f"{n}, rate {r}, seed {s}": partial(train, n, r, s, preset, home) for n, r, s in runs}


def final_runs(home: Path) -> list[tuple[str, float, int]]:
    """Return the name, the rate and the seed of the runs at chosen rates, as far as known."""
    rates = {name: rate_of(name, home) for name in study.PLANS}
    return [
        (name, rate, seed)
        for name, rate in rates.items()
        if rate is not None
        for seed in study.PLANS[name].seeds
    ]


def final_jobs(seeds: list[int], preset: Preset, home: Path) -> dict[str, partial[None]]:
    """Return the runs of some seeds at the chosen rates."""
    return {
        f"{n}, chosen rate {r}, seed {s}": partial(train_and_measure, n, r, s, preset, home)
        for n, r, s in final_runs(home)
        if s in seeds
    }


def needed(home: Path) -> list[Path]:
    """Return one file per run at a chosen rate, which exists once the run is measured."""
    for name in study.PLANS:
        if rate_of(name, home) is None:
            return [home / name / "maps.csv"]  # no such file: it is not tuned
    return [folder_of(*run, home) / "maps.csv" for run in final_runs(home)]


def collect(home: Path, into: Path) -> None:
    """Write the tables of all runs, and the transformer of the first seed."""
    parts: dict[str, list[pd.DataFrame]] = {"maps": [], "interventions": [], "histories": []}
    chosen = []
    for name, rate, seed in final_runs(home):
        folder = folder_of(name, rate, seed, home)
        scores = pd.read_csv(folder / "scores.csv")
        chosen.append(scores.assign(chosen=True))
        tables = {"maps": pd.read_csv(folder / "maps.csv")}
        tables["interventions"] = pd.read_csv(folder / "interventions.csv")
        tables["histories"] = Run.load(folder / "run").history.drop(columns="seconds")
        for table, rows in tables.items():
            parts[table].append(rows.assign(network=name, seed=seed))
    others = [found for name in study.PLANS if (found := tuned(name, home)) is not None]
    runs = pd.concat([*chosen, *(table.assign(chosen=False) for table in others)])
    runs = runs.drop_duplicates(["network", "rate", "seed"])  # the first: the chosen one
    parts["runs"] = [runs.sort_values(["network", "rate", "seed"])]
    for table, some in parts.items():
        whole = pd.concat(some)
        front = [key for key in KEYS if key in whole and (key != "epochs" or table == "runs")]
        whole = whole[front + [column for column in whole if column not in front]]
        common.write_csv(whole, into / f"{table}.csv", index=False, float_format="%.5f")
    _copy_network(home, into)


def _copy_network(home: Path, into: Path) -> None:
    rate, seed = rate_of(study.NETWORK, home), study.SEEDS[0]
    assert rate is not None
    content = (folder_of(study.NETWORK, rate, seed, home) / "network.safetensors").read_bytes()
    with replacing(into / "vit.safetensors") as new:
        new.write_bytes(content)


def main(options: argparse.Namespace | None = None) -> None:
    """Tune, train and measure what is missing, and collect.

    Args:
        options: What `common.parse` returns; by default, the command line is parsed.
    """
    options = options or common.parse(__doc__ or "", study.SEEDS, presets=True)
    preset = PRESETS[options.preset]
    home = common.RUNS / STEM / preset.name
    if set(study.TUNED) <= set(options.seeds):
        common.run_jobs(tuning_jobs(preset, home), options.workers)
    common.run_jobs(final_jobs(options.seeds, preset, home), options.workers)
    into = common.destination(options, study.SHIPPED, home / "collected")
    common.collect_if_whole(needed(home), partial(collect, home), into)


if __name__ == "__main__":
    main()
