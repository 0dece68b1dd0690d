"""Train the comparison of chapter 12: `python -m experiments.beyond_one_label`.

Every variant of `beyond_one_label.VARIANTS` from five seeds, about 40 minutes on one core. The networks of a seed are trained
side by side on the same images. What the chapter reads goes into the package. A network that is there already is kept,
so the same command again finishes what is left.
"""

import argparse
import shutil
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from course_utils.data.several_digits import SeveralDigits
from course_utils.models.weights import halved, load_weights
from course_utils.studies import beyond_one_label as comparison

RUNS = Path("runs") / "beyond_one_label"


def one(seed: int, size: comparison.Size, home: Path) -> None:
    """Train the networks of a seed that the folder's log does not have yet, and judge all of them."""
    folder = home / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    log = (
        pd.read_csv(folder / "log.csv")
        if (folder / "log.csv").exists()
        else pd.DataFrame({"variant": []})
    )
    missing = [variant for variant in comparison.VARIANTS if variant not in set(log.variant)]
    if missing:
        models = {
            variant: comparison.build(variant, seed).to(memory_format=torch.channels_last)
            for variant in missing
        }
        new = comparison.train(models, size, seed).assign(seed=seed)
        for variant, model in models.items():
            weights = {name: value.contiguous() for name, value in model.state_dict().items()}
            save_file(halved(weights), folder / f"{variant}.safetensors")
        log = pd.concat([log, new]) if len(log) else new
        log.to_csv(
            folder / "log.csv", index=False, float_format="%.5f"
        )  # last: it says that these are trained
    if missing or not (folder / "scores.csv").exists():
        judge(seed, comparison.held_out(size), folder)


def judge(seed: int, data: SeveralDigits, folder: Path) -> None:
    """Write the scores of a seed's networks, in half precision as they are kept."""
    answers, maps, models = (
        [],
        [],
        {variant: comparison.build(variant, seed).eval() for variant in comparison.VARIANTS},
    )
    for variant, model in models.items():
        load_weights(model, load_file(folder / f"{variant}.safetensors"))
    if "dual" in models:
        models["dual_even"] = comparison.without_sigmoid(
            models["dual"]
        )  # its control, which needs no training
    for variant, model in models.items():
        scores, means = comparison.judge(model.to(memory_format=torch.channels_last), data)
        count = sum(p.numel() for p in model.parameters())
        answers.append({"variant": variant, "seed": seed, "parameters": count, **scores})
        maps.append(means.assign(variant=variant, seed=seed))
    pd.concat(maps).to_csv(folder / "maps.csv", index=False, float_format="%.5f")
    pd.DataFrame(answers).to_csv(folder / "scores.csv", index=False, float_format="%.5f")


def collect(seeds: list[int], home: Path, into: Path) -> None:
    """Put the tables of all seeds together, beside the networks of the first."""
    into.mkdir(parents=True, exist_ok=True)
    for file, kept in (("scores", "scores"), ("maps", "maps"), ("log", "histories")):
        table = pd.concat([pd.read_csv(home / str(seed) / f"{file}.csv") for seed in seeds])
        first = table.columns.intersection(
            ["variant", "seed", "map", "labels", "epoch"], sort=False
        )
        order = [
            *sorted(first, key=["variant", "seed", "map", "labels", "epoch"].index),
            *table.columns.drop(first),
        ]
        table[order].to_csv(into / f"{kept}.csv", index=False, float_format="%.5f")
    for variant in comparison.VARIANTS:
        shutil.copyfile(
            home / str(seeds[0]) / f"{variant}.safetensors", into / f"{variant}.safetensors"
        )


def main() -> None:
    """Train what is missing and collect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=comparison.SEEDS, help="0 1 2 3 4, unless said"
    )
    seeds = list(parser.parse_args().seeds)
    torch.set_num_threads(1)
    for seed in seeds:
        one(seed, comparison.SIZE, RUNS)
        print(f"done: seed {seed}", flush=True)
    if missing := [
        seed for seed in comparison.SEEDS if not (RUNS / str(seed) / "scores.csv").exists()
    ]:
        print(f"not collected: the package carries all of its seeds, and {missing} are missing")
    else:
        collect(list(comparison.SEEDS), RUNS, comparison.SHIPPED)
        print(f"wrote {comparison.SHIPPED}")


if __name__ == "__main__":
    main()
