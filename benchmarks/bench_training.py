"""Compare the cost of `fit` with that of a plain loop, and train the cpu preset.

Run it with ``python -m benchmarks.bench_training``. `fit` and the loop of any tutorial (a
DataLoader that reads image by image, zero_grad, backward, step) train the same network on the same
images, in turns and each in its own process. The log and the checkpoints of `fit` count too. On a
GPU, `fit` computes in mixed precision and the loop in float32. The table has the seconds per epoch,
the images per second, the share of the time that loading the images takes, the peak memory of the
process, and the ratio to the plain loop. Then AttnVGG is trained at the cpu preset, and its
accuracy is printed epoch by epoch. The tables are written to
``benchmarks/results/bench_training_<device>.csv`` and ``bench_training_curve_<device>.csv``.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from statistics import median

import pandas as pd
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset, Subset

from benchmarks.bench_models import report
from course_utils.data.splits import Splits, load
from course_utils.studies import shipped
from course_utils.studies.presets import PRESETS
from course_utils.training.evaluation import evaluate
from course_utils.training.recipes import Recipe
from course_utils.training.trainer import fit


class OneByOne(Dataset):
    """The same images without the shortcut for batches, as most data sets are written."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int):
        return self.dataset[i]


def loading(loader: DataLoader, device: str) -> float:
    """Return the seconds to go once through all batches without using them."""
    start = time.perf_counter()
    for images, labels, *_ in loader:
        images.to(device), labels.to(device)
    return time.perf_counter() - start


def by_fit(data: Splits, recipe: Recipe) -> tuple[list[float], float]:
    """Return the seconds of each epoch except the first, and of loading one epoch."""
    model = shipped.build("repaired", PRESETS["cpu"])
    with tempfile.TemporaryDirectory() as folder:
        seconds = fit(model, data, recipe, folder=folder).history.seconds
    order = torch.randperm(len(data.train)).tolist()
    loader = DataLoader(data.train, recipe.batch_size, sampler=order)
    # The log counts seconds from the start, so differences are the times of single epochs.
    return seconds.diff().dropna().tolist(), loading(loader, "cpu")


def by_plain_loop(data: Splits, recipe: Recipe) -> tuple[list[float], float]:
    """Return the same two times for the loop of a tutorial."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loader = DataLoader(OneByOne(data.train), recipe.batch_size, shuffle=True, drop_last=True)
    model = shipped.build("repaired", PRESETS["cpu"]).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.lr, recipe.epochs * len(loader)
    )
    seconds = []
    for _ in range(recipe.epochs):
        start = time.perf_counter()
        for images, labels, _ in loader:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            heads = model(images).heads
            loss = F.cross_entropy(heads.flatten(0, 1), labels.repeat_interleave(heads.shape[1]))
            loss.backward()
            optimizer.step()
            schedule.step()
            loss.item()  # as a loop that prints its loss does
        seconds.append(time.perf_counter() - start)
    # As for `fit`, the first epoch is a warm-up.
    return seconds[1:], loading(loader, device)


WAYS = {"plain loop": by_plain_loop, "fit": by_fit}


def measure(way: str, images: int, size: int, epochs: int) -> tuple[list[float], float, float]:
    """Return the seconds of each epoch and of loading one, and this process's peak memory in MB."""
    data = load(size=size, counts={"train": images, "val": 1, "test": 1})
    # A subset has no new images for each epoch, so both ways train on the same ones.
    data = data._replace(train=Subset(data.train, range(images)))
    seconds, load_seconds = WAYS[way](data, Recipe(epochs=epochs))
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kilobytes elsewhere
    return seconds, load_seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def compare(images: int = 2000, size: int = 64, epochs: int = 4, turns: int = 3) -> pd.DataFrame:
    """Return one row per way to train."""
    got = {way: [] for way in WAYS}
    for _ in range(turns):
        for way in WAYS:
            # A new process per measurement, because peak memory never goes down within one.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                got[way].append(pool.apply(measure, (way, images, size, epochs)))
    rows = []
    for way, measured in got.items():
        epoch = median(s for seconds, *_ in measured for s in seconds)
        load_seconds, memory = (median(column) for column in list(zip(*measured))[1:])
        row = {
            "way": way,
            "images": images,
            "pixels": size,
            "seconds per epoch": epoch,
            "images/s": images / epoch,
            "loading": load_seconds / epoch,
            "peak MB": memory,
        }
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.assign(ratio=table["seconds per epoch"] / table["seconds per epoch"][0])


def curve() -> pd.DataFrame:
    """Return the log of the cpu preset; its last row has the test accuracy of the best epoch."""
    preset = PRESETS["cpu"]
    data = load(**preset.data)
    with tempfile.TemporaryDirectory() as folder:
        model, run = shipped.train("repaired", preset, data, folder)
    unmeasured = [None] * (len(run.history) - 1)
    accuracy = evaluate(model, data.test)["accuracy"]
    return run.history.assign(test_accuracy=[*unmeasured, accuracy])


def main() -> None:
    """Measure, print both tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    report("bench_training", compare(turns=parser.parse_args().turns))
    report("bench_training_curve", curve())


if __name__ == "__main__":
    main()
