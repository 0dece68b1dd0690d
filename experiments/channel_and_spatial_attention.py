"""Train and measure the networks of the chapter Channel and spatial attention.

`python -m experiments.channel_and_spatial_attention` first makes the tables of the experiment, in
about 90 minutes on two cores: it tunes and trains networks with and without gates, replaces the
weights of their gates, and puts the tables and 24 networks, three seeds each, into the package.
Each group of networks is collected as soon as it is whole. Then it trains the soft gate of the
chapter's widget, in a minute or two. With another `--preset`, all of it goes to
`runs/channel_and_spatial_attention/`. Finished runs are kept and a stopped run continues, so the
same command again completes the experiment.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from course_utils.core.files import replacing
from course_utils.core.profiling import parameters
from course_utils.data.cluttered_digits import ClutteredDigits
from course_utils.models.weights import load_weights
from course_utils.studies import channel_and_spatial_attention as study
from course_utils.studies.presets import PRESETS, Preset
from course_utils.training.evaluation import evaluate
from course_utils.training.run import Run
from experiments import _shipped_variants, common

STEM = "channel_and_spatial_attention"
MEASURED = 2000  # test images on which weights are replaced


def folder_of(name: str, factor: float, seed: int, home: Path) -> Path:
    """Return the folder of a run."""
    return home / "contenders" / name / f"{factor:g}_{seed}"


def train(name: str, factor: float, seed: int, preset: Preset, home: Path) -> None:
    """Train and score a network, unless its scores exist already."""
    folder = folder_of(name, factor, seed, home)
    if (folder / "scores.csv").exists():
        return
    contender = study.CONTENDERS[name]
    adapted = contender.adapt(preset)
    data = common.load_data(common.DIGITS, adapted)
    assert isinstance(data.test, ClutteredDigits)
    model, run = study.train(name, factor, adapted, data, folder, seed=seed)
    with replacing(folder / "run") as new:
        run.save(new)
    best = run.history.loc[run.history.val_accuracy.idxmax()]
    row = {
        "group": contender.group,
        "variant": name,
        "factor": factor,
        "seed": seed,
        "parameters": parameters(model),
        "val_accuracy": best.val_accuracy,
        "val_loss": best.val_loss,
        "accuracy": evaluate(model, data.test)["accuracy"],
        "dead": study.dead_units(model, study.first(data.test, MEASURED).pixels),
    }
    # Last, because it marks the run as finished.
    common.write_csv(pd.DataFrame([row]), folder / "scores.csv", index=False)


def measure(name: str, factor: float, seed: int, preset: Preset, home: Path) -> None:
    """Measure the gates of a trained network, unless that is done already."""
    folder = folder_of(name, factor, seed, home)
    if (folder / "weights.csv").exists():
        return
    adapted = study.CONTENDERS[name].adapt(preset)
    counts = adapted.data["counts"] | {"train": 1}
    data = common.load_data(common.DIGITS, replace(adapted, data=adapted.data | {"counts": counts}))
    fresh = study.build(name, adapted, seed=seed)
    model = study.build(name, adapted, seed=seed).eval()
    load_weights(model, Run.load(folder / "run").weights)
    assert isinstance(data.val, ClutteredDigits)
    assert isinstance(data.test, ClutteredDigits)
    val, test = study.first(data.val, len(data.val)), study.first(data.test, MEASURED)
    common.write_csv(study.interventions(model, test), folder / "interventions.csv", index=False)
    described = study.describe(model, fresh, val, test)
    common.write_csv(described, folder / "weights.csv", index=False)


def train_and_measure(name: str, factor: float, seed: int, preset: Preset, home: Path) -> None:
    """Train a network at its chosen learning rate, and measure its gates."""
    train(name, factor, seed, preset, home)
    measure(name, factor, seed, preset, home)


def tuned(name: str, home: Path) -> pd.DataFrame | None:
    """Return the scores of the runs that choose a learning rate; None if some are missing."""
    pairs = itertools.product(study.CONTENDERS[name].factors, study.TUNED)
    paths = [folder_of(name, *pair, home) / "scores.csv" for pair in pairs]
    if not all(path.exists() for path in paths):
        return None
    return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)


def factor_of(name: str, home: Path) -> float | None:
    """Return the factor on the learning rate that was chosen; None if it is not known yet."""
    like = study.CONTENDERS[name].like
    scores = tuned(like or name, home)
    return None if scores is None else study.best_factor(scores)


def groups() -> dict[str, list[str]]:
    """Return the contenders by group, in the order in which they are trained."""
    found: dict[str, list[str]] = {}
    for name, contender in study.CONTENDERS.items():
        found.setdefault(contender.group, []).append(name)
    return found


def tuning_jobs(names: list[str], preset: Preset, home: Path) -> dict[str, partial[None]]:
    """Return the runs that choose the learning rates, the first seed of all contenders first."""
    runs = [
        (name, factor, seed)
        for seed in study.TUNED
        for name in names
        if study.CONTENDERS[name].like is None
        for factor in study.CONTENDERS[name].factors
    ]
    return {f"{n}, rate × {f}, seed {s}": partial(train, n, f, s, preset, home) for n, f, s in runs}


def final_jobs(
    names: list[str], seeds: list[int], preset: Preset, home: Path
) -> dict[str, partial[None]]:
    """Return the runs at the chosen rates, the first seed of each contender first."""
    jobs = {}
    for seed, name in itertools.product(sorted(seeds), names):
        factor = factor_of(name, home)
        if factor is not None and seed in study.CONTENDERS[name].seeds:
            job = partial(train_and_measure, name, factor, seed, preset, home)
            jobs[f"{name}, chosen rate × {factor}, seed {seed}"] = job
    return jobs


def needed(names: list[str], home: Path) -> list[Path]:
    """Return one file per run at a chosen rate, which exists once the run is measured."""
    paths = []
    for name in names:
        factor = factor_of(name, home)
        if factor is None:
            return [home / "contenders" / name / "scores.csv"]  # no such file: it is not tuned
        paths += [
            folder_of(name, factor, seed, home) / "weights.csv"
            for seed in study.CONTENDERS[name].seeds
        ]
    return paths


def rows_of(name: str, home: Path) -> dict[str, pd.DataFrame]:
    """Return the rows of a contender for each of the four tables."""
    factor = factor_of(name, home)
    assert factor is not None
    parts: dict[str, list[pd.DataFrame]] = {"interventions": [], "weights": [], "histories": []}
    scores = []
    for seed in study.CONTENDERS[name].seeds:
        folder = folder_of(name, factor, seed, home)
        scores.append(pd.read_csv(folder / "scores.csv"))
        tables = {n: pd.read_csv(folder / f"{n}.csv") for n in ("interventions", "weights")}
        tables["histories"] = Run.load(folder / "run").history.drop(columns="seconds")
        for table, rows in tables.items():
            parts[table].append(rows.assign(variant=name, seed=seed))
    others = None if study.CONTENDERS[name].like else tuned(name, home)
    found = pd.concat([*scores, others]).drop_duplicates(["factor", "seed"])
    runs = found.assign(chosen=found.factor == factor).sort_values(["factor", "seed"])
    return {table: pd.concat(rows) for table, rows in parts.items()} | {"runs": runs}


def collect(names: list[str], home: Path, into: Path) -> None:
    """Write the tables of some contenders, and the gated networks of the first seeds."""
    rows = [rows_of(name, home) for name in names]
    for table in ("runs", "histories", "interventions", "weights"):
        whole = pd.concat([parts[table] for parts in rows])
        front = [column for column in ("group", "variant", "factor", "seed") if column in whole]
        whole = whole[front + [column for column in whole if column not in front]]
        common.write_csv(whole, into / f"{table}.csv", index=False, float_format="%.5f")
    for name in names:
        contender, factor = study.CONTENDERS[name], factor_of(name, home)
        for seed in set(study.SEEDS) & set(contender.seeds) if contender.group == "gates" else ():
            assert factor is not None
            run = Run.load(folder_of(name, factor, seed, home) / "run")
            with replacing(into / name / f"seed_{seed}") as new:
                run.save(new, half=True)


def compare(options: argparse.Namespace | None = None) -> None:
    """Tune, train and measure the contenders, and collect each group when it is whole.

    Args:
        options: What `common.parse` returns; by default, the command line is parsed.
    """
    options = options or common.parse(__doc__ or "", study.FIVE, presets=True)
    preset = PRESETS[options.preset]
    home = common.RUNS / STEM / preset.name
    into = common.destination(options, study.SHIPPED, home / "collected")
    finished: list[str] = []
    for names in groups().values():
        if set(study.TUNED) <= set(options.seeds):
            common.run_jobs(tuning_jobs(names, preset, home), options.workers)
        common.run_jobs(final_jobs(names, options.seeds, preset, home), options.workers)
        finished += names
        common.collect_if_whole(
            needed(finished, home), partial(collect, list(finished), home), into
        )


def main() -> None:
    """Compare the contenders, and train the gate of the widget."""
    compare()
    _shipped_variants.main(STEM, __doc__)


if __name__ == "__main__":
    main()
