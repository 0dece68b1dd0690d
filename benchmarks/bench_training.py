"""Compare a training step of `fit` with other loops, and train the cpu preset.

Run it with ``python -m benchmarks.bench_training``; ``--only`` chooses some of its tables. Each is
written to ``benchmarks/results/<table>_<device>.csv``:

- ``bench_training``: one step of the full AttnVGG at 224 pixels on a processor. A plain loop, the
  loop of the network's authors and `fit` take turns, one step each, so other load on the machine
  slows all of them alike. Each is a process of its own, because how memory is kept, and its peak,
  belong to a process. A speed-up is the median, over the turns, of one loop's seconds divided by
  the other's.
- ``bench_training_epochs``: whole epochs of the cpu preset's network by `fit` and by the loop of
  any tutorial (a DataLoader that reads image by image, zero_grad, backward, step). The log and the
  checkpoints of `fit` count too. On a GPU, `fit` computes in mixed precision and the loop in
  float32. The table has the share of the time that loading the images takes.
- ``bench_training_layouts``: one step in each memory format, for three families of networks. `fit`
  uses channels_last.
- ``bench_training_precision``: the test accuracy after training in float32 and in bfloat16, from
  the same ten seeds.
- ``bench_training_curve``: the log of AttnVGG at the cpu preset (minutes, so only if you ask).

The loop of the authors is that of Yan, Kawahara and Hamarneh 2019 in the state 0ba9a3d of
https://github.com/SaoYan/IPMI2019-AttnMel (``train.py``), written anew from its form: SGD with
Nesterov momentum, focal loss, gradients reset twice, a wrapper for several GPUs. Their network has
the layers of our `AttnVGG`, so every loop trains that. Every tenth step of theirs also runs the
network once more, with gradients, to print an accuracy. It is not counted here, in their favour.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from benchmarks.bench_models import CLASSES, GROUPS, SIZES, clock, report, training_step
from course_utils.core.allocator import keeping_freed_memory
from course_utils.data.splits import Splits, load
from course_utils.models import AttnVGG
from course_utils.studies import shipped
from course_utils.studies.presets import PRESETS
from course_utils.studies.statistics import differences, verdicts
from course_utils.training.evaluation import evaluate
from course_utils.training.precision import Precision, has_fast_bfloat16
from course_utils.training.recipes import RECIPES, Recipe
from course_utils.training.trainer import fit

BATCH = 4  # of the full network, which is slow on a processor
# The layouts of memory, as `Module.to` knows them
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
SMALL_EFFECT = 0.01  # one point of accuracy
# One network of each family, by its group and name in `bench_models`
FAMILIES = (("VGG16", "AttnVGG, softmax"), ("ResNet", "no gate"), ("ResNet", "vision transformer"))
BATCHES = {0.125: 64, 1.0: BATCH}  # by width


class Turns(Dataset):
    """Random images whose reading waits for its turn, so that processes take turns step by step.

    A loop asks for its next batch when it has finished a step. The other side is told how long that
    took, and says when to go on.
    """

    def __init__(self, connection: Connection, images: int, size: int):
        self.connection = connection
        self.images = torch.rand(BATCH, 3, size, size)  # the same in every step
        self.labels = torch.arange(BATCH) % 2
        self.count = images
        self.start = time.perf_counter()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.images[i % BATCH], self.labels[i % BATCH]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        self.connection.send((time.perf_counter() - self.start, peak_memory()))
        self.connection.recv()
        self.start = time.perf_counter()
        return [self[i] for i in range(len(indices))]


def peak_memory() -> float:
    """Return the peak memory of this process in MB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def plain_steps(model: nn.Module, data: Turns, folder: str) -> None:
    """Train as a tutorial does."""
    optimizer = optim.SGD(model.parameters(), 0.01, 0.9, weight_decay=1e-4, nesterov=True)
    for images, labels in DataLoader(data, BATCH):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images).logits, labels)
        loss.backward()
        optimizer.step()
        loss.item()  # as a loop that prints its loss does


def channels_last_steps(model: nn.Module, data: Turns, folder: str) -> None:
    """Train as a tutorial does, with the channels of a pixel side by side in memory."""
    plain_steps(model.to(memory_format=torch.channels_last), data, folder)


def kept_memory_steps(model: nn.Module, data: Turns, folder: str) -> None:
    """Train like `channels_last_steps`, and don't return freed memory to the system."""
    with keeping_freed_memory():
        channels_last_steps(model, data, folder)


def published_steps(model: nn.Module, data: Turns, folder: str) -> None:
    """Train in the form of the published code; see the top of this file."""
    wrapped = nn.DataParallel(model)  # passes the images on if there is no GPU
    optimizer = optim.SGD(wrapped.parameters(), 0.01, 0.9, weight_decay=1e-4, nesterov=True)
    for images, labels in DataLoader(data, BATCH):
        wrapped.train()
        wrapped.zero_grad()
        optimizer.zero_grad()
        log_p = -F.cross_entropy(wrapped(images).logits, labels, reduction="none")  # (B)
        loss = ((1 - log_p.exp()) ** 2 * -log_p).mean()  # focal loss with γ = 2
        loss.backward()
        optimizer.step()


def fit_steps(model: nn.Module, data: Turns, folder: str, precision: Precision = "float32") -> None:
    """Train by `fit`, with the recipe of the published network."""
    recipe = replace(RECIPES["yan2019"], epochs=1, batch_size=BATCH)
    few = TensorDataset(data.images, data.labels)
    fit(model, Splits(data, few, few, ("a", "b")), recipe, folder=folder, precision=precision)


def bfloat16_steps(model: nn.Module, data: Turns, folder: str) -> None:
    """Train by `fit` in bfloat16."""
    fit_steps(model, data, folder, "bfloat16")


PLAIN, PUBLISHED, BFLOAT16 = "plain loop", "published step", "fit, bfloat16"
STEPS = {
    PLAIN: plain_steps,
    PUBLISHED: published_steps,
    "plain loop, channels_last": channels_last_steps,
    "plain loop, channels_last, memory kept": kept_memory_steps,
    "fit": fit_steps,
    BFLOAT16: bfloat16_steps,
}


def work(
    way: str, end: Connection, images: int, size: int, width: float, folder: str, threads: int
) -> None:
    """Train in this process, in turns with the others."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # this table is about processors
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    STEPS[way](AttnVGG(2, width=width).train(), Turns(end, images, size), folder)


@contextmanager
def taking_turns(
    ways: list[str], images: int, size: int, width: float
) -> Iterator[dict[str, Connection]]:
    """Start one process per way to train, and stop them all in the end."""
    spawn = multiprocessing.get_context("spawn")
    ends, started = {}, []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for i, way in enumerate(ways):
                ends[way], theirs = spawn.Pipe()
                run = str(Path(folder) / str(i))
                arguments = (way, theirs, images, size, width, run, torch.get_num_threads())
                started.append(spawn.Process(target=work, args=arguments, daemon=True))
                started[-1].start()
                theirs.close()  # so that the end of a process ends the wait for its messages
            yield ends
        finally:
            for process in started:
                process.kill()
                process.join()


def steps(turns: int = 6, size: int = 224, width: float = 1.0) -> pd.DataFrame:
    """Return one row per way to train the full network step by step."""
    ways = [way for way in STEPS if way != BFLOAT16 or has_fast_bfloat16()]
    measured: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    # One step more for the warm-up, and one more batch, whose request ends the last step
    with taking_turns(ways, BATCH * (turns + 2), size, width) as ends:
        for end in ends.values():
            end.recv()  # the request for the first batch
        for _ in range(turns + 1):
            for way, end in ends.items():
                end.send("go")
                measured[way].append(end.recv())
    seconds = {way: [s for s, _ in values[1:]] for way, values in measured.items()}
    rows = []
    for way in ways:
        step = median(seconds[way])
        row = {"way": way, "pixels": size, "batch": BATCH, "seconds per step": step}
        row |= {"images/s": BATCH / step, "peak MB": measured[way][-1][1]}
        for name, other in (("plain loop", PLAIN), ("published", PUBLISHED)):
            ratios = [theirs / ours for theirs, ours in zip(seconds[other], seconds[way])]
            row |= {f"speed-up over {name}": median(ratios)}
            row |= {f"{name}, lowest": min(ratios), f"{name}, highest": max(ratios)}
        rows.append(row)
    return pd.DataFrame(rows)


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
    return seconds, load_seconds, peak_memory()


def compare(images: int = 2000, size: int = 64, epochs: int = 3, turns: int = 2) -> pd.DataFrame:
    """Return one row per way to train whole epochs."""
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


def layouts(turns: int = 3, widths: tuple[float, ...] = (0.125, 1.0)) -> pd.DataFrame:
    """Return one row per network, size and number format: one step in each memory format."""
    formats = [torch.float32] + [torch.bfloat16] * has_fast_bfloat16()
    rows = []
    for width in widths:
        for group, network in FAMILIES:
            for dtype in formats:
                seconds = layout_seconds(group, network, width, dtype, turns)
                ratios = [usual / last for usual, last in zip(*seconds.values())]
                row = {"network": network, "width": width, "pixels": SIZES[group][width]}
                row |= {"batch": BATCHES[width], "dtype": str(dtype).removeprefix("torch.")}
                row |= {f"{name} ms": 1e3 * median(values) for name, values in seconds.items()}
                row |= {"speed-up": median(ratios), "lowest": min(ratios), "highest": max(ratios)}
                rows.append(row)
    return pd.DataFrame(rows)


def layout_seconds(
    group: str, network: str, width: float, dtype: torch.dtype, turns: int
) -> dict[str, list[float]]:
    """Return the seconds of the steps in each memory format, which take turns."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size, batch = SIZES[group][width], BATCHES[width]
    images = torch.rand(batch, 3, size, size, device=device)
    labels = torch.randint(CLASSES, (batch,), device=device)
    made = {}
    for name, layout in LAYOUTS.items():
        model = GROUPS[group][network](width).to(device, memory_format=layout)
        made[name] = model, optim.SGD(model.parameters(), 1e-6, fused=True)
    seconds: dict[str, list[float]] = {name: [] for name in made}
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        for _ in range(turns + 1):
            for name, (model, optimizer) in made.items():
                seconds[name].append(clock(training_step, model, optimizer, images, labels))
    return {name: values[1:] for name, values in seconds.items()}


def precisions(seeds: int = 10, epochs: int = 8) -> pd.DataFrame:
    """Return the difference in test accuracy between bfloat16 and float32, paired by seed."""
    data = load(size=32, fragments=0, counts={"train": 512, "val": 200, "test": 2000})
    rows = []
    for seed in range(seeds):
        for precision in ("float32", "bfloat16"):
            model = shipped.build("repaired", PRESETS["cpu"], seed=seed)
            with tempfile.TemporaryDirectory() as folder:
                recipe = Recipe(epochs=epochs)
                fit(model, data, recipe, folder=folder, seed=seed, precision=precision)
            accuracy = evaluate(model, data.test)["accuracy"]  # in float32
            rows.append({"variant": precision, "seed": seed, "accuracy": accuracy})
    scores = pd.DataFrame(rows)
    table = verdicts(differences(scores, [("bfloat16", "float32")], ["accuracy"]), SMALL_EFFECT)
    means = scores.groupby("variant").accuracy.mean()
    return table.reset_index().assign(**means, seeds=seeds, epochs=epochs)


def curve() -> pd.DataFrame:
    """Return the log of the cpu preset; its last row has the test accuracy of the best epoch."""
    preset = PRESETS["cpu"]
    data = load(**preset.data)
    with tempfile.TemporaryDirectory() as folder:
        model, run = shipped.train("repaired", preset, data, folder)
    unmeasured = [None] * (len(run.history) - 1)
    accuracy = evaluate(model, data.test)["accuracy"]
    return run.history.assign(test_accuracy=[*unmeasured, accuracy])


TABLES = {
    "bench_training": steps,
    "bench_training_epochs": compare,
    "bench_training_layouts": layouts,
    "bench_training_precision": precisions,
    "bench_training_curve": curve,
}


def main() -> None:
    """Make the tables, print and write each as soon as it is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    usual = [name for name in TABLES if name != "bench_training_curve"]
    parser.add_argument("--only", nargs="+", choices=TABLES, default=usual, metavar="TABLE")
    for name in parser.parse_args().only:
        report(name, TABLES[name]())


if __name__ == "__main__":
    main()
