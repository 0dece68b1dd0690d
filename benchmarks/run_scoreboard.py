"""Train the comparison of chapter 09: `python -m benchmarks.run_scoreboard`.

Every form of `scoreboard.FORMS` from five seeds, at the cpu preset on cluttered digits: about an hour on two cores.
What the chapter reads goes into the package. A run that is there already is kept, and one that was stopped goes on, so
the same command again finishes what is left. With `--data` another data set, and with `--preset gpu` the full width;
these go into `runs/scoreboard/`, where the chapter finds them too.
"""

import argparse
import itertools
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import torch

from course_utils import scoreboard
from course_utils.data import DOWNLOADED, Splits, load
from course_utils.presets import PRESETS, Preset

RUNS = Path("runs") / "scoreboard"


def load_data(name: str, preset: Preset) -> Splits:
    """The digits as the preset has them; photographs at the same size."""
    if name == "cluttered_digits":
        return load(**preset.data)
    return load(name, size=preset.image_size)


def one(form: str, seed: int, name: str, preset: Preset, home: Path) -> None:
    """One training, in a process of its own."""
    scoreboard.one(form, seed, preset, load_data(name, preset), home / f"{form}_{seed}")


def main() -> None:
    """Train what is missing, several at a time, and collect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=("cluttered_digits", *DOWNLOADED), default="cluttered_digits")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="cpu")
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time, each with one thread")
    arguments = parser.parse_args()
    preset = scoreboard.adapt(PRESETS[arguments.preset])
    home = RUNS / arguments.data / preset.name
    shipped = (arguments.data, preset.name) == ("cluttered_digits", "cpu")
    train = partial(one, name=arguments.data, preset=preset, home=home)
    with ProcessPoolExecutor(arguments.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        jobs = itertools.product(scoreboard.SEEDS, scoreboard.FORMS)  # first the first of each
        waiting = {pool.submit(train, form, seed): f"{form}, seed {seed}" for seed, form in jobs}
        for done in as_completed(waiting):
            if done.exception():
                pool.shutdown(cancel_futures=True)
            done.result()
            print("done:", waiting[done], flush=True)
    into = scoreboard.SHIPPED if shipped else home
    scoreboard.collect(load_data(arguments.data, preset).classes, preset, home, into)
    print(f"wrote {into}")


if __name__ == "__main__":
    main()
