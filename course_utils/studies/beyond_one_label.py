"""The study of the chapter Beyond one label: five ways to weight positions, from five seeds each.

``python -m experiments.beyond_one_label`` trains the networks; the package ships the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, cast

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader

from course_utils.core.eval_mode import evaluating
from course_utils.core.seeds import epoch_seed, split_seed
from course_utils.core.tensor_checks import as_masks
from course_utils.data.several_digits import SeveralDigits
from course_utils.explain import metrics
from course_utils.models.label_attention import LabelAttention
from course_utils.models.weights import load_weights
from course_utils.studies.variants import Variant, check_variant
from course_utils.training.classification import average_precision
from course_utils.training.evaluation import EVALUATION_BATCH
from course_utils.training.recipes import Recipe

SHIPPED = Path(__file__).parents[1] / "shipped" / "beyond_one_label"
SEEDS = (0, 1, 2, 3, 4)
CLASSES = len(SeveralDigits.classes)


def _label_attention(variant: str) -> Variant:
    return Variant(LabelAttention, {"variant": variant}, SEEDS)


VARIANTS = {
    name: _label_attention(name) for name in ("average", "sigmoid", "softmax", "dual", "by_class")
}


@dataclass(frozen=True)
class Size:
    """The size of the study: images, training and test set.

    Attributes:
        data: Arguments of `SeveralDigits`: canvas, fragments, most digits per image, curriculum.
        train: Images per epoch.
        test: Images to score.
        recipe: How to train, with a schedule that changes the rate after every batch. Its loss is
            ignored: the loss is always binary cross-entropy.
    """

    data: dict[str, Any]
    train: int
    test: int
    recipe: Recipe


# (canvas, fragments, most digits) of the first epochs: one digit without clutter, then two, then
# the full task. An untrained network on the full task stays at chance for many epochs.
EASY_FIRST = ((32, 0, 1),) * 3 + ((48, 3, 2),) * 3
SIZE = Size({"curriculum": EASY_FIRST}, 3200, 1000, Recipe())


class _Training(NamedTuple):
    """A network in training, with the optimiser and the schedule that update it."""

    model: LabelAttention
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler

    def step(self, images: Float[Tensor, "B 1 S S"], targets: Float[Tensor, "B classes"]) -> float:
        """Train on one batch, and return the loss before the update."""
        self.model.train()
        loss = F.binary_cross_entropy_with_logits(self.model(images).logits, targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.item()


def build(variant: str, *, seed: int = 0) -> LabelAttention:
    """Return the network of a variant, freshly initialised.

    The backbone of a seed starts from the same weights in all variants.

    Raises:
        ValueError: If the variant is unknown; the message lists the valid ones.
    """
    check_variant(variant, VARIANTS)
    return _fresh(VARIANTS[variant], seed)


def _fresh(variant: Variant, seed: int) -> LabelAttention:
    # Small enough to have one size in all presets.
    return cast(LabelAttention, variant.build(CLASSES, seed=seed))


def without_sigmoid(dual: LabelAttention) -> LabelAttention:
    """Return a trained dual network whose sigmoid map is replaced by a uniform map of ones.

    All other weights stay. The network is in evaluation mode.

    Raises:
        ValueError: If the network is of another variant.
    """
    if dual.variant != "dual":
        raise ValueError(f"expected a network of variant 'dual', got {dual.variant!r}")
    model = _fresh(_label_attention("average_softmax"), 0)
    weights = dual.state_dict()
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    return model.eval()


def train(models: Mapping[str, LabelAttention], size: Size, *, seed: int = 0) -> pd.DataFrame:
    """Train networks side by side, on the same images in the same order.

    Each has its own optimiser. The loss is binary cross-entropy: one yes or no per label. No epoch
    is selected; the networks keep their last weights, and are in evaluation mode.

    Args:
        models: The networks, by name.
        size: The images and the recipe.
        seed: Seed of the images and of their order.

    Returns:
        The log, one row per epoch and network: ``variant``, ``epoch``, ``train_loss``, and
        ``seconds`` since the start, spent on this network alone.

    Raises:
        ValueError: If there are fewer training images than one batch needs.
    """
    if size.train < size.recipe.batch_size:
        raise ValueError(
            f"expected at least a batch of {size.recipe.batch_size} images, got {size.train}"
        )
    # No batch comes from this data set itself: it only composes the images of each epoch, which
    # follow the curriculum.
    source = SeveralDigits("train", 1, seed=seed, **size.data)
    trainings = {name: _training(model, size) for name, model in models.items()}
    rows = []
    seconds = dict.fromkeys(models, 0.0)
    for epoch in range(size.recipe.epochs):
        loader = _batches(source.fresh(epoch, size.train), size, seed, epoch)
        losses = dict.fromkeys(models, 0.0)
        for images, targets, _ in loader:
            for name, training in trainings.items():
                start = perf_counter()
                loss = training.step(images, targets)
                seconds[name] += perf_counter() - start
                losses[name] += loss / len(loader)
        for name, loss in losses.items():
            rows.append((name, epoch + 1, loss, seconds[name]))
        print(f"epoch {epoch + 1}:", *(f"{k} {v:.3f} " for k, v in losses.items()), flush=True)
    for model in models.values():
        model.eval()
    return pd.DataFrame(rows, columns=["variant", "epoch", "train_loss", "seconds"])


def _training(model: LabelAttention, size: Size) -> _Training:
    steps = size.train // size.recipe.batch_size * size.recipe.epochs
    # The recipe returns what Lightning expects: the schedule is nested with the times of its steps.
    parts = size.recipe.optimizers(model.parameters(), size.recipe.epochs, steps)
    return _Training(model, parts["optimizer"], parts["lr_scheduler"]["scheduler"])


def _batches(data: SeveralDigits, size: Size, seed: int, epoch: int) -> DataLoader:
    order = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    return DataLoader(data, size.recipe.batch_size, shuffle=True, generator=order, drop_last=True)


def class_maps(
    model: LabelAttention, images: Float[Tensor, "B 1 S S"]
) -> dict[str, Float[Tensor, "B classes h w"]]:
    """Return all maps of a network by name, with one map per class.

    - ``sigmoid`` and ``softmax``: the map of that branch, which is the same for all classes.
    - ``by class``: the map of each class's own query.
    - ``contributions``: the positive part of `LabelAttention.contributions`.
    """
    with evaluating(model):
        maps = model(images).maps
        added = model.contributions(images)
    names = list(model.branches) or ["by class"]  # only learned branches have maps
    found = {name: a.expand(-1, CLASSES, -1, -1) for name, a in zip(names, maps)}
    return found | {"contributions": added.relu()}


def localise(
    maps: Float[Tensor, "B classes h w"], regions: Shaped[Tensor, "B classes S S"]
) -> pd.DataFrame:
    """Score the map of each label that is present against the box of that label.

    Returns:
        One row per present label, with these columns:

        - ``image`` and ``label``, and ``labels``, the number of labels in the image;
        - ``pointing`` and ``energy`` in the label's own box, and ``chance``, its share of the area;
        - ``others``, the energy in the boxes of the other labels, and ``others_chance``;
        - ``found``, 1 if the map reaches half of its maximum somewhere in the box;
        - ``spread``, the map's effective share of the positions.
    """
    regions = as_masks("masks", regions)
    present = regions.any(dim=(2, 3))
    image, label = present.nonzero(as_tuple=True)
    own = regions[image, label][:, None]  # (present labels, 1, S, S)
    every = regions.any(dim=1)[image][:, None]
    each = maps[image, label][:, None]  # (present labels, 1, h, w)
    scores = {
        "labels": present.sum(dim=1)[image],
        "pointing": metrics.pointing_game(each, own),
        "energy": metrics.energy_inside(each, own),
        "chance": metrics.area_share(own),
        "others": metrics.energy_inside(each, every & ~own),
        "others_chance": metrics.area_share(every & ~own),
        "found": metrics.covered(each, own) > 0,
        "spread": metrics.effective_share(each),
    }
    return pd.DataFrame(
        {"image": image, "label": label} | {name: v.double() for name, v in scores.items()}
    )


def judge(model: LabelAttention, data: SeveralDigits) -> tuple[pd.Series, pd.DataFrame]:
    """Return all scores of a network that the study reports.

    Returns:
        The scores of its answers: ``mAP``; the AP of each class, as ``AP 0`` …; and ``exact``, the
        share of images with every label right at a threshold of one half. Also the means of
        `localise`, one row per map and number of labels in the image.
    """
    batches, tables = [], []
    for some in torch.arange(len(data)).split(EVALUATION_BATCH):
        images, regions = data.images[some] / 255, data.regions(some.tolist())
        with evaluating(model):
            batches.append(model(images).logits)
        for name, maps in class_maps(model, images).items():
            tables.append(localise(maps, regions).assign(map=name))
    logits = torch.cat(batches)
    each = average_precision(logits, data.targets)
    answers = {"mAP": each.nanmean().item()} | {
        f"AP {c}": value.item() for c, value in enumerate(each)
    }
    answers["exact"] = ((logits > 0) == (data.targets > 0)).all(dim=1).double().mean().item()
    means = (
        pd.concat(tables)
        .drop(columns=["image", "label"])
        .groupby(["map", "labels"], sort=False)
        .mean()
    )
    return pd.Series(answers), means.reset_index().astype({"labels": int})


def held_out(size: Size) -> SeveralDigits:
    """Return the test images of a size, composed of source digits that training never uses."""
    options = {name: value for name, value in size.data.items() if name != "curriculum"}
    return SeveralDigits("test", size.test, seed=split_seed(0, 2), **options)


def network(variant: str, home: Path = SHIPPED) -> LabelAttention:
    """Return the trained network of a variant's first seed, in evaluation mode.

    Raises:
        ValueError: If the variant is unknown; the message lists the valid ones.
    """
    model = build(variant)
    load_weights(model.eval(), load_file(home / f"{variant}.safetensors"))
    return model


def scores(home: Path = SHIPPED) -> pd.DataFrame:
    """Return one row per variant and seed: the scores of its answers, and its parameters."""
    return pd.read_csv(home / "scores.csv")


def localised(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the means of `localise`: one row per variant, seed, map and number of labels."""
    return pd.read_csv(home / "maps.csv")


def histories(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the logs of all runs: one row per variant, seed and epoch."""
    return pd.read_csv(home / "histories.csv")
