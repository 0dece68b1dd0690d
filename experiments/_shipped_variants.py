"""Train all variants of a chapter whose networks are shipped; the command is in its own module.

Used by `attn_vgg`, `learn_to_pay_attention` and `channel_and_spatial_attention`.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict
from functools import partial
from pathlib import Path

from course_utils.core.files import replacing
from course_utils.studies import shipped
from course_utils.studies.presets import PRESETS, Preset
from course_utils.training.run import Run
from experiments.common import (
    DIGITS,
    RUNS,
    collect_if_whole,
    destination,
    load_data,
    parse,
    run_jobs,
    write_json,
)


def one(variant: str, seed: int, preset: Preset, home: Path) -> None:
    """Train a variant from a seed, unless the run is finished; a stopped run continues."""
    folder = home / f"{variant}_{seed}"
    if (folder / "run").exists():
        return
    data = load_data(DIGITS, preset)
    _, run = shipped.train(variant, preset, data, folder, seed=seed, resume=True)
    with replacing(folder / "run") as new:
        run.save(new)


def collect(stem: str, preset: Preset, home: Path, into: Path) -> None:
    """Copy the runs of a chapter, and write beside them the preset that they were trained with."""
    (into / "preset.json").unlink(missing_ok=True)  # incomplete until all runs are of this preset
    for variant, seed in runs_of(stem):
        run = Run.load(home / f"{variant}_{seed}" / "run")
        with replacing(into / variant / f"seed_{seed}") as new:
            # The chapter AttnVGG prints the ranges of its maps, and half precision would round
            # their smallest values to 0.
            run.save(new, half=stem != "attn_vgg")
    write_json(asdict(preset), into / "preset.json")


def runs_of(stem: str) -> list[tuple[str, int]]:
    """Return the variants of a chapter with their seeds, the first seed of each variant first."""
    variants = shipped.STUDIES[stem].VARIANTS
    seeds = dict.fromkeys(itertools.chain.from_iterable(v.seeds for v in variants.values()))
    pairs = itertools.product(sorted(seeds), variants)
    return [(variant, seed) for seed, variant in pairs if seed in variants[variant].seeds]


def main(stem: str, doc: str) -> None:
    """Train what is missing, and collect."""
    runs = runs_of(stem)
    options = parse(doc, sorted({seed for _, seed in runs}), presets=True)
    preset = shipped.adapt(stem, PRESETS[options.preset])
    home = RUNS / stem / preset.name
    jobs = {
        f"{variant}, seed {seed}": partial(one, variant, seed, preset, home)
        for variant, seed in runs
        if seed in options.seeds
    }
    run_jobs(jobs, options.workers)
    collect_if_whole(
        [home / f"{variant}_{seed}" / "run" for variant, seed in runs],
        partial(collect, stem, preset, home),
        destination(options, shipped.SHIPPED / stem, home / "collected"),
    )
