"""Train networks on cats and dogs, for the chapter Photographs.

`python -m experiments.cats_and_dogs --root cats_dogs.zip` trains AttnVGG and VGG from scratch and
pools on a frozen EfficientNet-Lite0, each tuned on the validation images and trained from five
seeds, and measures them on the test images: about forty minutes on two cores. The tables go into
the package; no photograph and no feature does. Finished runs are kept in `runs/`, so the same
command again completes the experiment.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.core.tensor_files import read_tensors, write_tensors
from course_utils.data.boxed_photographs import unpacked
from course_utils.data.in_memory import Photos
from course_utils.data.splits import Splits, load
from course_utils.explain.grad_cam import gradcam
from course_utils.explain.sanity_checks import rank_correlation
from course_utils.models.attended_backbone import AttendedBackbone
from course_utils.models.backbone import Backbone
from course_utils.models.efficientnet_lite import efficientnet_lite0, prepared
from course_utils.models.feature_cache import frozen_features
from course_utils.models.output import Output
from course_utils.models.weights import load_weights
from course_utils.studies import cats_and_dogs as study
from course_utils.studies.presets import PRESETS
from course_utils.training.checkpointing import BEST, LAST
from course_utils.training.classification import classification_report
from course_utils.training.evaluation import predict
from course_utils.training.frozen import fit_on_features, predict_on_features
from course_utils.training.trainer import fit
from experiments import common

RUNS = common.RUNS / "cats_and_dogs"
GALLERY = 200  # test images whose maps are looked at after each of the epochs
HIDDEN = 400  # test images of which a part is hidden, half of them cats


class Task(NamedTuple):
    """One training: from scratch or on the frozen backbone."""

    kind: str
    variant: str
    rate: float
    scale: float
    seed: int

    @property
    def folder(self) -> Path:
        """The folder of its results."""
        return RUNS / self.kind / f"{self.variant}_{self.rate:g}_{self.scale:g}_{self.seed}"


@cache  # once per process
def _photographs(root: Path, size: int) -> Splits:
    return load("folder", root=unpacked(root), size=size)


@cache
def _features(root: Path) -> dict[str, tuple[list[Tensor], Tensor]]:
    """Return the frozen maps and the labels of each part."""
    splits = _photographs(root, study.FROZEN_SIZE)
    backbone = _backbone(study.TAPS)
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    return {name: (frozen_features(backbone, part), _labels(part)) for name, part in parts.items()}


def _labels(part: Any) -> Tensor:
    return part.labels if isinstance(part, Photos) else part.dataset.labels[part.indices]


def _backbone(taps: tuple[str, ...]) -> Backbone:
    return Backbone(efficientnet_lite0(), taps, size=study.FROZEN_SIZE, prepare=prepared)


def _taps(variant: str) -> slice:
    return slice(2, 3) if variant == "backbone" else slice(0, 3)


def _frozen_network(task: Task) -> AttendedBackbone:
    backbone = _backbone(tuple(study.TAPS)[_taps(task.variant)])
    return study.on_backbone(task.variant, backbone, task.scale, task.seed)


def _scratch_network(task: Task) -> nn.Module:
    return study.SCRATCH[task.variant].build(2, PRESETS["cpu"], seed=task.seed)


def _write_validation(logits: Tensor, labels: Tensor, into: Path) -> None:
    accuracy = (logits.argmax(dim=1) == labels).double().mean().item()
    loss = F.cross_entropy(logits, labels).item()
    common.write_json({"val_accuracy": accuracy, "val_loss": loss}, into / "val.json")


def train(task: Task, root: Path) -> None:
    """Train a network, unless that is done."""
    if not (task.folder / "val.json").exists():
        (_train_frozen if task.kind == "frozen" else _train_scratch)(task, root)


def _train_frozen(task: Task, root: Path) -> None:
    model = _frozen_network(task)
    taps, labels = _features(root)["train"]
    few = [maps[:GALLERY] for maps in _features(root)["test"][0]][_taps(task.variant)]
    rows: list[dict[str, Any]] = []

    def look(epoch: int) -> None:
        if epoch in study.EPOCHS_SHOWN:
            rows.extend(_spreads(predict_on_features(model, few).maps, epoch))

    recipe = replace(study.FROZEN_RECIPE, lr=task.rate)
    fit_on_features(
        model, taps[_taps(task.variant)], labels, recipe, seed=task.seed, after_epoch=look
    )
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("backbone.")}
    write_tensors(task.folder / "head.safetensors", weights)
    if rows:
        common.write_csv(pd.DataFrame(rows), task.folder / "spread.csv", index=False)
    taps, labels = _features(root)["val"]
    output = predict_on_features(model, taps[_taps(task.variant)])
    _write_validation(output.logits, labels, task.folder)


def _train_scratch(task: Task, root: Path) -> None:
    data = _photographs(root, study.SCRATCH_SIZE)
    model = _scratch_network(task)
    run = fit(
        model, data, replace(study.SCRATCH_RECIPE, lr=task.rate), folder=task.folder,
        seed=task.seed, resume=True, snapshot_epochs=study.EPOCHS_SHOWN,
        gallery=torch.stack([data.test[i][0] for i in range(GALLERY)]),
    )  # fmt: skip
    rows = [row for epoch, maps in run.snapshots.items() for row in _spreads(maps, epoch)]
    if rows:
        common.write_csv(pd.DataFrame(rows), task.folder / "spread.csv", index=False)
    write_tensors(task.folder / "head.safetensors", run.weights)
    output, labels, _ = predict(model, data.val)
    _write_validation(output.logits, labels, task.folder)
    for checkpoint in (BEST, LAST):
        (task.folder / checkpoint).unlink(missing_ok=True)


def _spreads(maps: Iterable[Tensor], epoch: int) -> Iterator[dict[str, Any]]:
    for tap, m in enumerate(maps, start=1):
        yield {"epoch": epoch, "tap": tap, **study.spread(m.float())}


def load_network(task: Task) -> nn.Module:
    """Return the trained network of a task, in evaluation mode."""
    weights, _ = read_tensors(task.folder / "head.safetensors")
    if task.kind == "frozen":
        model = _frozen_network(task)
        model.load_state_dict(weights, strict=False)  # the backbone's are there already
        return model.eval()
    network = _scratch_network(task)
    load_weights(network, weights)
    return network.eval()


def measure(task: Task, root: Path) -> None:
    """Measure a trained network on the test images, unless that is done."""
    if (task.folder / "scores.csv").exists():
        return
    model = load_network(task)
    size = study.FROZEN_SIZE if task.kind == "frozen" else study.SCRATCH_SIZE
    data = _photographs(root, size)
    labels = _labels(data.test)
    output = _output(task, model, root, data)
    write_tensors(task.folder / "maps.safetensors", {str(i): m for i, m in enumerate(output.maps)})
    step = len(labels) // HIDDEN  # the test images are ordered by class
    some = torch.arange(0, len(labels), step)
    images = torch.stack([data.test[i][0] for i in some.tolist()])
    found = {f"attention {tap}": m[some] for tap, m in enumerate(output.maps, start=1)}
    found["Grad-CAM"] = gradcam(model, images, last_layer(task))
    rows = study.hidden_parts(model, images, labels[some], found)
    common.write_csv(rows, task.folder / "hidden.csv", index=False)
    scores = classification_report(output.logits, labels)["value"]
    common.write_csv(scores.rename_axis("score"), task.folder / "scores.csv")


def _output(task: Task, model: nn.Module, root: Path, data: Splits) -> Output:
    if isinstance(model, AttendedBackbone):
        return predict_on_features(model, _features(root)["test"][0][_taps(task.variant)])
    return predict(model, data.test)[0]


def last_layer(task: Task) -> str:
    """Return the layer that Grad-CAM explains: the last one with a map, before any last pool."""
    return "backbone.network._bn1" if task.kind == "frozen" else "features.42"


def agreements(tasks: list[Task]) -> pd.DataFrame:
    """Correlate the maps of networks of a kind, two at a time and tap by tap."""
    rows = []
    attentive = [task for task in tasks if task.variant in ("sigmoid", "softmax")]
    maps = {t: read_tensors(t.folder / "maps.safetensors")[0] for t in attentive}
    for one, other in itertools.combinations(attentive, 2):
        if one.kind != other.kind:
            continue
        for tap in maps[one]:
            alike = rank_correlation(maps[one][tap].float(), maps[other][tap].float()).nanmean()
            rows.append((one.kind, int(tap) + 1, one.variant, one.seed, other.variant, other.seed,
                         alike.item()))  # fmt: skip
    names = ["kind", "tap", "variant", "seed", "other", "other_seed", "correlation"]
    return pd.DataFrame(rows, columns=names)


def first_tasks() -> list[Task]:
    """Return the runs that choose the rates and scales, from the first seed."""
    scratch = [
        Task("scratch", name, rate, 1.0, 0) for name in study.SCRATCH for rate in study.RATES
    ]
    return scratch + [
        Task("frozen", name, rate, scale, 0)
        for name in study.FROZEN
        for rate, scale in study.frozen_settings(name)
    ]


def validated(tasks: Iterable[Task]) -> pd.DataFrame:
    """Return what training has noted of finished runs."""
    found = [(t, t.folder / "val.json") for t in tasks]
    return pd.DataFrame(
        [t._asdict() | json.loads(p.read_text(encoding="utf-8")) for t, p in found if p.exists()]
    )


def chosen(seeds: Iterable[int]) -> list[Task]:
    """Return the runs at the best rate and scale of each variant."""
    tried = validated(first_tasks()).round({"val_accuracy": 6})
    order = tried.sort_values(["val_accuracy", "val_loss"], ascending=[False, True])
    best = order.drop_duplicates(["kind", "variant"])
    return [Task(r.kind, r.variant, r.rate, r.scale, s) for r in best.itertuples() for s in seeds]


def collect(into: Path) -> None:
    """Put the tables of all networks together."""
    tasks = chosen(study.SEEDS)
    for name in ("scores", "spread", "hidden"):
        parts = [
            pd.read_csv(path).assign(kind=t.kind, variant=t.variant, seed=t.seed)
            for t in tasks
            if (path := t.folder / f"{name}.csv").exists()
        ]
        table = pd.concat(parts)
        first = ["kind", "variant", "seed"]
        _write(table[[*first, *table.columns.drop(first)]], into / f"cats_and_dogs_{name}.csv")
    _write(validated([*first_tasks(), *(t for t in tasks if t.seed)]),
           into / "cats_and_dogs_tuning.csv")  # fmt: skip
    _write(agreements(tasks), into / "cats_and_dogs_agreement.csv")


def _write(table: pd.DataFrame, path: Path) -> None:
    common.write_csv(table, path, index=False, float_format="%.5f")


def _run(job: Callable[[Task, Path], None], tasks: list[Task], root: Path, workers: int) -> None:
    jobs = {f"{job.__name__} {t.folder.relative_to(RUNS)}": partial(job, t, root) for t in tasks}
    common.run_jobs(jobs, workers)


def main() -> None:
    """Tune, train, measure and collect."""
    options = common.parse(__doc__, study.SEEDS, root=True)
    _run(train, first_tasks(), options.root, options.workers)
    tasks = chosen(options.seeds)
    _run(train, tasks, options.root, options.workers)
    _run(measure, tasks, options.root, options.workers)
    needed = [t.folder / "scores.csv" for t in chosen(study.SEEDS)]
    common.collect_if_whole(needed, collect, options.out or study.SHIPPED)


if __name__ == "__main__":
    main()
