"""Parts that all experiments share: the command line, jobs in processes, and whole files."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from course_utils.core.files import cache_dir, replacing
from course_utils.data.splits import DOWNLOADED, Splits, load
from course_utils.studies.presets import PRESETS, Preset

RUNS = Path("runs")
DIGITS = "cluttered_digits"
PETS = "oxford_pets"


def parse(
    doc: str,
    seeds: Sequence[int],
    *,
    presets: bool = False,
    data: bool = False,
    root: bool = False,
    sources: Sequence[str] = (),
) -> argparse.Namespace:
    """Parse the command line of an experiment.

    Args:
        doc: The docstring of the module; its first line is the help text.
        seeds: All seeds of the study, which is what ``--seeds`` defaults to.
        presets: Whether the experiment can be made at another preset than cpu.
        data: Whether it can be made with another data set than the cluttered digits.
        root: Whether it needs photographs that the package doesn't have.
        sources: Kinds of photographs that it can be made with, if ``root`` is true; the first is
            the default.

    Returns:
        ``seeds``, ``workers``, ``out``, ``preset``, ``data`` and ``root``.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=tuple(seeds), metavar="SEED",
        help="train these seeds only (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=int, default=2, help="networks at a time, one thread each (default: 2)"
    )
    parser.add_argument(
        "--out", type=Path,
        help="folder for the collected results (default: the package, or runs/ if the preset or the"
        " data differs from what the package ships)",
    )  # fmt: skip
    parser.set_defaults(preset="cpu", data=DIGITS)
    if presets:
        parser.add_argument("--preset", choices=tuple(PRESETS), help="default: cpu")
    if data:
        parser.add_argument(
            "--data", choices=(DIGITS, *DOWNLOADED), help=f"data set (default: {DIGITS})"
        )
    if sources:
        parser.add_argument(
            "--data", choices=sources, default=sources[0],
            help=f"photographs: {PETS} is downloaded once (0.8 GB), and a folder has train/ and "
            f"test/, but no regions (default: {sources[0]})",
        )  # fmt: skip
    if root:
        parser.add_argument("--root", type=Path, help="folder or archive of the photographs")
    options = parser.parse_args()
    if root and options.root is None:
        if options.data != PETS:
            parser.error("the following arguments are required: --root")
        options.root = cache_dir() / "photographs"
    return options


def is_shipped(options: argparse.Namespace) -> bool:
    """Return whether the package ships the results of this preset and this data set."""
    return (options.data, options.preset) == (DIGITS, "cpu")


def destination(options: argparse.Namespace, shipped: Path, home: Path) -> Path:
    """Return where the results go: ``--out``, or the package, or the folder of the runs."""
    return options.out or (shipped if is_shipped(options) else home)


def load_data(name: str, preset: Preset) -> Splits:
    """Return the digits as the preset defines them, or another data set at the same image size."""
    if name == DIGITS:
        return load(**preset.data)
    return load(name, size=preset.image_size)


def announce(trainings: int, seconds: float, workers: int, *, first: float = 0) -> None:
    """Print what an experiment will cost, before it starts.

    Args:
        trainings: Number of networks that are still to be trained.
        seconds: Duration of one training, on average.
        workers: Networks that are trained at a time.
        first: Seconds that pass before the first training.
    """
    minutes = math.ceil((first + seconds * math.ceil(trainings / workers)) / 60)
    print(f"{trainings} trainings, {workers} at a time: about {minutes} min", flush=True)


def run_jobs(jobs: Mapping[str, Callable[[], Any]], workers: int) -> None:
    """Run jobs in processes, several at a time, in their order; the first error ends them all.

    Args:
        jobs: Functions without arguments, by a name to print when they are done. They must be
            picklable: use `functools.partial`, not a lambda.
        workers: Processes, each with one thread, because small networks gain nothing from a second.
    """
    with ProcessPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting = {pool.submit(job): name for name, job in jobs.items()}
        for done in as_completed(waiting):
            if done.exception():
                pool.shutdown(cancel_futures=True)
            done.result()
            print("done:", waiting[done], flush=True)


def collect_if_whole(needed: Iterable[Path], collect: Callable[[Path], None], into: Path) -> None:
    """Collect the results if all runs have finished, and report what is missing otherwise.

    Args:
        needed: One file or folder per run, which exists once the run has finished.
        collect: Writes the results to the folder that it is given.
        into: Folder to collect into.
    """
    missing = [path for path in needed if not path.exists()]
    if missing:
        print(f"not collected: {len(missing)} runs are missing, the first is {missing[0].parent}")
        return
    collect(into)
    print(f"wrote {into}")


def write_csv(table: pd.DataFrame, path: Path, **options: Any) -> None:
    """Write a table, whole or not at all.

    Args:
        table: The table.
        path: The file.
        options: Keyword arguments of `pandas.DataFrame.to_csv`.
    """
    with replacing(path) as new:
        table.to_csv(new, **options)


def write_json(value: Any, path: Path) -> None:
    """Write JSON, whole or not at all."""
    with replacing(path) as new:
        new.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
