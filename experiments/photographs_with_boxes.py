"""Train pools of a frozen backbone on photographs with boxes, for the chapter Photographs.

`python -m experiments.photographs_with_boxes --root tiny_imagenet_boxes.zip` computes the features
of EfficientNet-Lite0 (five minutes on two cores, once), tunes every pool on the validation images,
trains it from five seeds and measures it on the test images: about an hour on two cores. The tables
go into the package; no photograph and no feature does. Finished runs are kept in `runs/`, so the
same command again completes the experiment.

`--data oxford_pets` downloads cats and dogs with their outlines and makes the main comparison with
them, and `--data folder --root photos` makes it with photographs of your own in `train/` and
`test/`. Their regions are unknown, so only the accuracy is measured. These tables stay in `runs/`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Subset

from course_utils.core.eval_mode import evaluating
from course_utils.core.tensor_files import read_tensors, write_tensors
from course_utils.data.boxed_photographs import boxed_splits, unpacked
from course_utils.data.in_memory import Photos
from course_utils.data.splits import Splits, load
from course_utils.data.stratified import labels_of
from course_utils.explain.metrics import area_share, centre_prior
from course_utils.models.attended_backbone import AttendedBackbone
from course_utils.models.backbone import Backbone
from course_utils.models.efficientnet_lite import efficientnet_lite0, prepared
from course_utils.models.feature_cache import frozen_features
from course_utils.studies import photographs_with_boxes as study
from course_utils.studies.photographs_with_boxes import Setting
from course_utils.training.frozen import fit_on_features, predict_on_features
from experiments import common

RUNS = common.RUNS / "photographs_with_boxes"
BOXES, FOLDER = "boxes", "folder"
SOURCES = (BOXES, common.PETS, FOLDER)
TIMED = 256  # images of the short timing
DEPTHS = (Setting("last"),)
JOINED = Setting(guide="last", joined=True)
FEWER = tuple(Setting(images=n) for n in (200, 800))
COMPARED = {
    study.MAIN: tuple(study.POOLS),
    **dict.fromkeys(DEPTHS, ("average", "softmax")),
    JOINED: ("average", "softmax"),
    **dict.fromkeys(FEWER, ("average", "softmax", "hidden", "hidden, softmax")),
}


class Task(NamedTuple):
    """One training: a pool in a setting, at a rate and scale, from a seed."""

    pool: str
    setting: Setting
    rate: float
    scale: float
    seed: int

    def folder(self, home: Path) -> Path:
        """Return the folder of its results."""
        s = self.setting
        where = f"{s.tap}_{s.guide}_{'joined' if s.joined else 'alone'}_{s.images}".replace(" ", "")
        pool = self.pool.replace(", ", "_")
        return home / where / f"{pool}_{self.rate:g}_{self.scale:g}_{self.seed}"


class Source(NamedTuple):
    """Where the photographs are.

    Attributes:
        data: One of `SOURCES`.
        root: Their folder or archive.
    """

    data: str
    root: Path

    @property
    def home(self) -> Path:
        """The folder of the runs, one per set of photographs."""
        if self.data == BOXES:
            return RUNS
        if self.data == common.PETS:
            return RUNS / self.data
        root = self.root.expanduser().resolve()
        digest = hashlib.sha256(str(root).encode()).hexdigest()[:8]
        return RUNS / f"{self.data}_{root.stem}_{digest}"

    @property
    def compared(self) -> dict[Setting, tuple[str, ...]]:
        """The pools of each comparison; without regions, there are no oracles."""
        if self.data == BOXES:
            return COMPARED
        oracles = study.ORACLES if self.data == FOLDER else ()
        return {study.MAIN: tuple(pool for pool in study.POOLS if pool not in oracles)}


class _Part(NamedTuple):
    labels: Tensor
    regions: Tensor | None
    taps: dict[str, Tensor]


@cache  # once per process
def _splits(source: Source) -> Splits:
    if source.data == BOXES:
        return boxed_splits(source.root)
    root = unpacked(source.root) if source.data == FOLDER else source.root
    return load(source.data, root=root, size=study.SIZE)


@cache
def _data(source: Source) -> dict[str, _Part]:
    splits = _splits(source)
    taps = tuple(study.TAPS.values())
    backbone = Backbone(efficientnet_lite0(), taps, size=study.SIZE, prepare=prepared)
    parts = {}
    for name, photos in (("train", splits.train), ("val", splits.val), ("test", splits.test)):
        assert isinstance(photos, Photos | Subset)
        labels = torch.tensor(labels_of(photos))
        regions = photos.regions if isinstance(photos, Photos) else None
        found = dict(zip(study.TAPS, frozen_features(backbone, photos)))
        parts[name] = _Part(labels, regions, found)
    return parts


def _inputs(
    task: Task, source: Source, name: str
) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor | None]:
    """Return the local features and the guide, the labels and the regions of a part."""
    labels, regions, taps = _data(source)[name]
    l, g = taps[task.setting.tap], taps[task.setting.guide]
    if name == "train" and task.setting.images:
        rows = _few(labels, task.setting.images, task.seed)
        l, g, labels = (column[rows] for column in (l, g, labels))
        regions = None if regions is None else regions[rows]
    if regions is not None:
        g = study.guides(task.pool, g, regions, l.shape[-1])
    return (l, g), labels, regions


def _few(labels: Tensor, n: int, seed: int) -> Tensor:
    """Return the rows of n random images, equally many of each class."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    per_class = n // int(labels.max() + 1)
    return torch.cat([order[labels[order] == c][:per_class] for c in labels.unique()])


def _network(task: Task, classes: int) -> AttendedBackbone:
    backbone = study.on_efficientnet(task.setting)
    return study.build(task.pool, task.setting, backbone, classes, task.scale, task.seed)


def load_network(task: Task, home: Path) -> AttendedBackbone:
    """Return the trained network of a task, in evaluation mode."""
    weights, _ = read_tensors(task.folder(home) / "head.safetensors")
    model = _network(task, len(weights["classifiers.0.weight"]))
    model.load_state_dict(weights, strict=False)  # the backbone's are there already
    return model.eval()


def train(task: Task, source: Source, home: Path) -> None:
    """Train a network, unless that is done, and note its validation accuracy and loss."""
    into = task.folder(home)
    if (into / "val.json").exists():
        return
    model = _network(task, len(_splits(source).classes))
    taps, labels, _ = _inputs(task, source, "train")
    recipe = study.recipe(task.rate, task.setting.images)
    fit_on_features(model, taps, labels, recipe, seed=task.seed)
    taps, labels, _ = _inputs(task, source, "val")
    logits = predict_on_features(model, taps).logits
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("backbone.")}
    write_tensors(into / "head.safetensors", weights)
    common.write_json(
        {
            "val_accuracy": (logits.argmax(dim=1) == labels).double().mean().item(),
            "val_loss": torch.nn.functional.cross_entropy(logits, labels).item(),
        },
        into / "val.json",
    )


def measure(task: Task, source: Source, home: Path) -> None:
    """Measure a trained network on the test images, unless that is done."""
    into = task.folder(home)
    if (into / "scores.csv").exists():
        return
    model = load_network(task, home)
    taps, labels, regions = _inputs(task, source, "test")
    output = predict_on_features(model, taps)
    accuracy = (output.logits.argmax(dim=1) == labels).double().mean().item()
    if regions is None:
        rows = [_row("none", "all", {}, accuracy)]
        common.write_csv(pd.DataFrame(rows), into / "scores.csv", index=False)
        return
    found: dict[str, Tensor] = {"own": output.maps[0]} if output.maps else {}
    if task.pool not in study.ORACLES:
        found["Grad-CAM"] = study.grad_cams(model, taps)
    others, _ = study.partners(labels)
    found |= {study.OTHERS + name: maps[others] for name, maps in found.items()}
    rows = [_row("none", "all", {}, accuracy)]
    for name, maps in found.items():
        for which, scores in study.localise(maps, regions).iterrows():
            rows.append(_row(name, which, scores.to_dict(), accuracy))
    is_grid = task.pool in study.WITH_SCORES and task.pool != "self-attention"
    if is_grid and not task.setting.joined:
        replaced = study.replace_maps_of(model, taps, labels, regions)
        common.write_csv(replaced.rename("accuracy").rename_axis("map"), into / "interventions.csv")
    common.write_csv(pd.DataFrame(rows), into / "scores.csv", index=False)


def _row(name: str, which: str, scores: dict[str, float], accuracy: float) -> dict[str, object]:
    return {"map": name, "boxes": which, "accuracy": accuracy, **scores}


def controls(source: Source, into: Path) -> None:
    """Score maps that no training has touched, if the regions are known."""
    labels, regions, taps = _data(source)["test"]
    if regions is None:
        return
    prior = centre_prior(regions.shape[-1])
    found = {
        "centre prior": prior.expand(len(labels), -1, -1, -1),
        "uniform": torch.ones(len(labels), 1, 1, 1),
        "feature length, 10 × 10": taps["10 × 10"].float().norm(dim=1, keepdim=True),
        "feature length, last": taps["last"].float().norm(dim=1, keepdim=True),
    }
    tables = {name: study.localise(maps, regions) for name, maps in found.items()}
    table = pd.concat(tables, names=["map", "boxes"]).reset_index()
    counts = {"all": len(labels), "small": int((area_share(regions) < study.SMALL).sum())}
    table["photographs"] = table["boxes"].map(counts)
    common.write_csv(table, into / "controls.csv", index=False)


def tuning(home: Path) -> pd.DataFrame:
    """Return all finished runs: their settings, and their validation accuracy and loss."""
    rows = []
    for task in _all_tasks():
        path = task.folder(home) / "val.json"
        if path.exists():
            about = {"pool": task.pool, **task.setting._asdict(), "rate": task.rate}
            about |= {"scale": task.scale, "seed": task.seed}
            rows.append(about | json.loads(path.read_text(encoding="utf-8")))
    return pd.DataFrame(rows)


def _all_tasks() -> Iterable[Task]:
    for setting, pools in COMPARED.items():
        for pool in pools:
            for rate, scale in study.settings(pool):
                for seed in study.SEEDS:
                    yield Task(pool, setting, rate, scale, seed)


def _first_tasks(source: Source) -> list[Task]:
    return [
        task
        for task in _all_tasks()
        if task.seed == study.SEEDS[0] and task.pool in source.compared.get(task.setting, ())
    ]


def chosen(home: Path, seeds: Iterable[int]) -> list[Task]:
    """Return the tasks of the best rate and scale of each pool in each setting."""
    tried = tuning(home)
    tried = tried[tried.seed == study.SEEDS[0]].round({"val_accuracy": 6})
    order = tried.sort_values(["val_accuracy", "val_loss"], ascending=[False, True])
    names = ["pool", *Setting._fields]
    best = order.drop_duplicates(names)
    return [
        Task(row.pool, Setting(*(getattr(row, n) for n in Setting._fields)), row.rate, row.scale, s)
        for row in best.itertuples()
        for s in seeds
    ]


def collect(home: Path, into: Path) -> None:
    """Put the tables of all networks together."""
    tasks = chosen(home, study.SEEDS)
    for name, few in (("scores", tasks), ("interventions", tasks)):
        parts = [
            pd.read_csv(path).assign(
                pool=task.pool, **task.setting._asdict(), scale=task.scale, seed=task.seed
            )
            for task in few
            if (path := task.folder(home) / f"{name}.csv").exists()
        ]
        if not parts:  # without regions, no map is replaced
            continue
        table = pd.concat(parts)
        first = ["pool", *Setting._fields, "scale", "seed"]
        common.write_csv(
            table[[*first, *table.columns.drop(first)]],
            into / f"boxes_{name}.csv", index=False, float_format="%.5f",
        )  # fmt: skip
    for task in chosen(home, study.SEEDS[:1]):
        if task.setting == study.MAIN and task.pool in study.KEPT:
            path = into / f"boxes_{task.pool}.safetensors"
            study.write_network(path, load_network(task, home), task.pool, task.scale)
    tried = tuning(home)
    common.write_csv(tried, into / "boxes_tuning.csv", index=False, float_format="%.5f")
    if (home / "controls.csv").exists():
        table = pd.read_csv(home / "controls.csv")
        common.write_csv(table, into / "boxes_controls.csv", index=False, float_format="%.5f")


def cost(source: Source, seeds: Iterable[int]) -> tuple[int, float, float]:
    """Estimate an experiment from a short timing on noise.

    Returns:
        The number of trainings that are left, at most; the seconds of one, on one thread; and the
        seconds of the features, if none are in the cache.
    """
    tasks, splits = _first_tasks(source), _splits(source)
    left = sum(not (task.folder(source.home) / "val.json").exists() for task in tasks)
    pools = {(task.pool, task.setting) for task in tasks}
    left += len(pools) * len(set(seeds) - {study.SEEDS[0]})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes that train
    backbone = study.on_efficientnet(study.MAIN)
    with evaluating(backbone):
        start = time.perf_counter()
        frozen = [maps.half() for maps in backbone(torch.rand(10, 3, study.SIZE, study.SIZE))]
        features = (time.perf_counter() - start) / 10 * sum(len(part) for part in splits[:3])
    seconds = [_seconds(pool, frozen, len(splits.classes)) for pool in {pool for pool, _ in pools}]
    torch.set_num_threads(threads)
    images = len(splits.train) * study.EPOCHS
    return left, sum(seconds) / len(seconds) * images / TIMED, features


def _seconds(pool: str, frozen: Sequence[Tensor], classes: int) -> float:
    """Return the seconds in which a pool is trained on `TIMED` images for an epoch."""
    task = Task(pool, study.MAIN, *study.settings(pool)[0], study.SEEDS[0])
    model = _network(task, classes)
    labels = torch.arange(TIMED) % classes
    l, g = (maps.repeat(TIMED // len(maps) + 1, 1, 1, 1)[:TIMED] for maps in frozen)
    g = study.guides(pool, g, torch.ones(TIMED, 1, 8, 8, dtype=torch.bool), l.shape[-1])
    start = time.perf_counter()
    fit_on_features(model, (l, g), labels, replace(study.recipe(task.rate), epochs=1))
    return time.perf_counter() - start


def _run(what: str, job: Callable, tasks: Sequence[Task], source: Source, workers: int) -> None:
    home = source.home
    jobs = {f"{what} {task.folder(Path())}": partial(job, task, source, home) for task in tasks}
    common.run_jobs(jobs, workers)


def main() -> None:
    """Tune, train, measure and collect."""
    options = common.parse(__doc__, study.SEEDS, root=True, sources=SOURCES)
    source = Source(options.data, options.root)
    home, workers = source.home, options.workers
    trainings, seconds, features = cost(source, options.seeds)
    common.announce(trainings, seconds, workers, first=features)
    _run("tune", train, _first_tasks(source), source, workers)
    tasks = chosen(home, options.seeds)
    _run("train", train, tasks, source, workers)
    controls(source, home)
    _run("measure", measure, tasks, source, workers)
    needed = [t.folder(home) / "scores.csv" for t in chosen(home, study.SEEDS)]
    shipped = study.SHIPPED if source.data == BOXES else home / "collected"
    common.collect_if_whole(needed, partial(collect, home), options.out or shipped)


if __name__ == "__main__":
    main()
