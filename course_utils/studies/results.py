"""The comparison of chapter 09: AttnVGG with three alignments and every fair control, each trained from five seeds.

``python -m experiments.results`` makes it; what that wrote for the cluttered digits is carried by the package.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from course_utils.data.splits import Splits
from course_utils.models import checkpoints
from course_utils.models.weights import load_weights
from course_utils.studies.presets import Preset
from course_utils.training.classification import classification_report
from course_utils.training.evaluation import predict, score
from course_utils.training.run import Run
from course_utils.training.trainer import fit

SHIPPED = Path(__file__).parents[1] / "shipped" / "results"
SEEDS = (0, 1, 2, 3, 4)
EPOCHS_SHOWN = (1, 5, 20)  # as in "How attention improves a CNN's performance"
GALLERY = 8  # the first test images: nobody chose them

_AS_PUBLISHED = {"taps": "after", "head": "concat"}
_REPAIRED = {"taps": "before", "head": "independent"}
# What is compared, and below it what it has to be compared with.
VARIANTS = {
    "sigmoid": ("attn_vgg", {"alignment": "sigmoid", **_AS_PUBLISHED}),
    "softmax": ("attn_vgg", {"alignment": "softmax", **_AS_PUBLISHED}),
    "sparsemax": ("attn_vgg", {"alignment": "sparsemax", **_AS_PUBLISHED}),
    "average": ("attn_vgg", {"alignment": None, **_AS_PUBLISHED}),  # the control of Yan et al. 2019
    "repaired": ("attn_vgg", {"alignment": "softmax", **_REPAIRED}),
    "repaired_average": ("attn_vgg", {"alignment": None, **_REPAIRED}),  # with the same losses
    "vgg": ("vgg", {"head": "average"}),
    "vgg_dense": ("vgg", {"head": "dense"}),  # the head of VGG16 as published
}
# What attention brought is read off these pairs: in each, the weights of the positions are all that differs.
ATTENTION = (
    ("sigmoid", "average"),
    ("softmax", "average"),
    ("sparsemax", "average"),
    ("repaired", "repaired_average"),
)
# Between these, something else differs.
OTHER_PARTS = (
    ("average", "vgg"),  # two more scales
    ("repaired_average", "average"),  # finer taps, a classifier and a loss for each descriptor
    ("vgg_dense", "vgg"),  # the dense layers
    ("sigmoid", "vgg_dense"),  # all that changed from VGG16 to AttnVGG at once
)


def adapt(preset: Preset) -> Preset:
    """The preset with epochs enough for the last maps, and half of the images in each; smoke stays as it is."""
    if preset.name == "smoke":
        return preset
    recipe = replace(preset.recipe, epochs=max(EPOCHS_SHOWN))
    return replace(preset, data=preset.data | {"counts": {"train": 4000}}, recipe=recipe)


def describe(variant: str, classes: tuple[str, ...], preset: Preset) -> checkpoints.Description:
    """What a variant is, at a preset's width.

    Raises:
        ValueError: unknown variant; the message lists the valid ones.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}: choose one of {', '.join(VARIANTS)}")
    network, options = VARIANTS[variant]
    return checkpoints.Description(
        network, classes, preset.image_size, {"width": preset.width, **options}
    )


def train(
    variant: str, seed: int, preset: Preset, data: Splits, folder: Path | str
) -> tuple[nn.Module, Run]:
    """Train a variant from a seed, or go on with what is in the folder; maps are kept after `EPOCHS_SHOWN`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = describe(variant, data.classes, preset).build()
    gallery = torch.stack([data.test[i][0] for i in range(GALLERY)])
    snapshots = {"gallery": gallery, "snapshot_epochs": EPOCHS_SHOWN}
    return model, fit(
        model, data, preset.recipe, folder=folder, seed=seed, resume=True, **snapshots
    )


def judge(model: nn.Module, dataset: Dataset) -> pd.Series:
    """Everything that the comparison reports of one network: the scores of its answers, and of its maps."""
    output, labels, regions = predict(model, dataset)
    answers = classification_report(output.logits, labels)["value"]
    return pd.concat([answers, score(output, labels, regions).drop("accuracy")])


def one(variant: str, seed: int, preset: Preset, data: Splits, folder: Path) -> None:
    """Train and judge a variant from a seed, unless the folder says that it has been done."""
    if (folder / "scores.csv").exists():
        return
    model, run = train(variant, seed, preset, data, folder)
    run.save(folder / "run", half=True)
    judged = judge(model, data.test)
    judged.rename_axis("score").rename("value").to_csv(folder / "scores.part")
    (folder / "scores.part").replace(
        folder / "scores.csv"
    )  # there whole or not at all: it says that all is done


def collect(classes: tuple[str, ...], preset: Preset, runs: Path, into: Path) -> None:
    """Put together what `one` left in ``runs/<variant>_<seed>``: tables, maps, the first seed's networks, the preset."""
    into.mkdir(parents=True, exist_ok=True)
    rows, logs = [], []
    for variant in VARIANTS:
        kept = {}
        for seed in SEEDS:
            folder = runs / f"{variant}_{seed}"
            run = Run.load(folder / "run")
            judged = pd.read_csv(folder / "scores.csv", index_col="score")["value"]
            rows.append({"variant": variant, "seed": seed, **judged, "seconds": run.seconds})
            logs.append(run.history.assign(variant=variant, seed=seed))
            for epoch, taps in run.snapshots.items():
                kept |= {f"{seed}/{epoch}/{tap}": m.half() for tap, m in enumerate(taps)}
            if seed == SEEDS[0]:
                description = describe(variant, classes, preset)
                model = description.build()
                load_weights(model, run.weights)
                checkpoints.save(into / f"{variant}.safetensors", model, description, half=True)
        save_file(kept, into / f"{variant}_maps.safetensors")
    pd.DataFrame(rows).to_csv(into / "scores.csv", index=False, float_format="%.5f")
    logs = pd.concat(logs)
    logs = logs[["variant", "seed", *logs.columns.drop(["variant", "seed"])]]
    logs.to_csv(into / "histories.csv", index=False, float_format="%.5f")
    (into / "preset.json").write_text(json.dumps(asdict(preset), indent=1) + "\n", encoding="utf-8")


def scores(home: Path = SHIPPED) -> pd.DataFrame:
    """A row a variant and seed: what `judge` says of it on the test images."""
    return pd.read_csv(home / "scores.csv")


def histories(home: Path = SHIPPED) -> pd.DataFrame:
    """The logs of all runs: a row a variant, seed and epoch."""
    return pd.read_csv(home / "histories.csv")


def maps(variant: str, seed: int = 0, home: Path = SHIPPED) -> dict[int, tuple[Tensor, ...]]:
    """The attention maps of the first test images, by epoch: one tensor (N, 1, h, w) a tap; no tap, none."""
    kept = load_file(home / f"{variant}_maps.safetensors")
    taps = {
        epoch: sorted(name for name in kept if name.startswith(f"{seed}/{epoch}/"))
        for epoch in EPOCHS_SHOWN
    }
    return {epoch: tuple(kept[name].float() for name in names) for epoch, names in taps.items()}


def network(variant: str, home: Path = SHIPPED) -> nn.Module:
    """The trained network of a variant's first seed."""
    return checkpoints.load(home / f"{variant}.safetensors")[0]
