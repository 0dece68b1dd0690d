"""Train the comparison of chapter 09: `python -m experiments.results`.

Every variant of `scoreboard.VARIANTS` from five seeds, at the cpu preset on cluttered digits: about an hour on two cores.
What the chapter reads goes into the package. A run that is there already is kept, and one that was stopped goes on, so
the same command again finishes what is left. With `--data` another data set, and with `--preset gpu` the full width;
these go into `runs/results/`, where the chapter finds them too.
"""

import argparse
import itertools
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import torch

from course_utils.data.splits import DOWNLOADED, Splits, load
from course_utils.studies import results
from course_utils.studies.presets import PRESETS, Preset

RUNS = Path("runs") / "results"


def load_data(name: str, preset: Preset) -> Splits:
    """The digits as the preset has them; photographs at the same size."""
    if name == "cluttered_digits":
        return load(**preset.data)
    return load(name, size=preset.image_size)


def one(variant: str, seed: int, name: str, preset: Preset, home: Path) -> None:
    """One training, in a process of its own."""
    results.one(variant, seed, preset, load_data(name, preset), home / f"{variant}_{seed}")


def ask(description: str) -> tuple[str, Preset, int, bool]:
    """What the command line says: the data, the preset, how many processes, and whether the package carries that."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data", choices=("cluttered_digits", *DOWNLOADED), default="cluttered_digits"
    )
    parser.add_argument("--preset", choices=tuple(PRESETS), default="cpu")
    parser.add_argument(
        "--workers", type=int, default=2, help="networks at a time, each with one thread"
    )
    given = parser.parse_args()
    shipped = (given.data, given.preset) == ("cluttered_digits", "cpu")
    return given.data, results.adapt(PRESETS[given.preset]), given.workers, shipped


def run(jobs: dict[str, Callable[[], None]], workers: int) -> None:
    """Do jobs in processes of their own, several at a time, in the order given; the first that fails ends it."""
    with ProcessPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting = {pool.submit(job): name for name, job in jobs.items()}
        for done in as_completed(waiting):
            if done.exception():
                pool.shutdown(cancel_futures=True)
            done.result()
            print("done:", waiting[done], flush=True)


def main() -> None:
    """Train what is missing and collect."""
    name, preset, workers, shipped = ask(__doc__.splitlines()[0])
    home = RUNS / name / preset.name
    networks = itertools.product(results.SEEDS, results.VARIANTS)  # first the first of each
    run(
        {
            f"{variant}, seed {seed}": partial(one, variant, seed, name, preset, home)
            for seed, variant in networks
        },
        workers,
    )
    into = results.SHIPPED if shipped else home
    results.collect(load_data(name, preset).classes, preset, home, into)
    print(f"wrote {into}")


if __name__ == "__main__":
    main()
