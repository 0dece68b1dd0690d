"""The comparison of chapter 12: five ways to weigh positions when an image has several labels, from five seeds each.

``python -m experiments.beyond_one_label`` makes it; what that wrote is carried by the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader

from course_utils.core.eval_mode import evaluating
from course_utils.data.several_digits import SeveralDigits
from course_utils.explain import metrics
from course_utils.models.label_attention import BRANCHES, LabelAttention
from course_utils.models.weights import load_weights
from course_utils.training.classification import average_precision
from course_utils.training.recipes import Recipe

SHIPPED = Path(__file__).parents[1] / "shipped" / "beyond_one_label"
VARIANTS = ("average", "sigmoid", "softmax", "dual", "by_class")
SEEDS = (0, 1, 2, 3, 4)
CLASSES = len(SeveralDigits.classes)
EVALUATION_BATCH = 100


@dataclass(frozen=True)
class Size:
    """How large the comparison is: of the images, the training and the test.

    Attributes:
        data: canvas, fragments, digits at most and curriculum of `SeveralDigits`.
        train: images an epoch.
        test: images to score.
        recipe: how to train; its loss is not read, it is always binary cross-entropy.
    """

    data: dict
    train: int
    test: int
    recipe: Recipe


# One digit without clutter, then two, then the task: from a cold start the loss stays at chance for many epochs.
EASY_FIRST = ((32, 0, 1),) * 3 + ((48, 3, 2),) * 3
SIZE = Size({"curriculum": EASY_FIRST}, 3200, 1000, Recipe())


def build(variant: str, seed: int) -> LabelAttention:
    """A fresh network of a variant; the trunk of a seed begins the same in all variants.

    Raises:
        ValueError: unknown variant; the message lists the valid ones.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LabelAttention(CLASSES, variant=variant)


def without_sigmoid(dual: LabelAttention) -> LabelAttention:
    """A trained dual network with an even map of ones in the place of its sigmoid map; all else stays.

    Raises:
        ValueError: a network of another variant.
    """
    if dual.variant != "dual":
        raise ValueError(f"expected a network of variant 'dual', got {dual.variant!r}")
    model, weights = build("average_softmax", 0), dual.state_dict()
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    return model.eval()


def train(models: Mapping[str, LabelAttention], size: Size, seed: int) -> pd.DataFrame:
    """Train networks side by side on the same images in the same order, each with its own optimiser.

    The loss is binary cross-entropy: a yes or no for each label. No epoch is chosen: the last weights are kept.

    Returns:
        The log: a row an epoch and network with its ``train_loss``, and the ``seconds`` it has trained so far.

    Raises:
        ValueError: fewer images than a batch has.
    """
    if size.train < size.recipe.batch_size:
        raise ValueError(
            f"expected at least a batch of {size.recipe.batch_size} images, got {size.train}"
        )
    images_of = SeveralDigits(
        "train", 1, seed=seed, **size.data
    )  # says what each epoch is composed of
    steps = size.train // size.recipe.batch_size * size.recipe.epochs
    rules = {
        name: size.recipe.optimizers(m.parameters(), size.recipe.epochs, steps)
        for name, m in models.items()
    }
    rows, seconds = [], dict.fromkeys(models, 0.0)
    for epoch in range(size.recipe.epochs):
        order = torch.Generator().manual_seed(1009 * seed + epoch)
        data = images_of.fresh(epoch, size.train)
        loader = DataLoader(
            data, size.recipe.batch_size, shuffle=True, generator=order, drop_last=True
        )
        losses = dict.fromkeys(models, 0.0)
        for images, targets, _ in loader:
            for name, model in models.items():
                start = perf_counter()
                loss = _step(model.train(), images, targets, rules[name])
                seconds[name] += perf_counter() - start
                losses[name] += loss / len(loader)
        rows += [
            {
                "variant": name,
                "epoch": epoch + 1,
                "train_loss": losses[name],
                "seconds": seconds[name],
            }
            for name in models
        ]
        print(
            f"epoch {epoch + 1}:",
            *(f"{name} {loss:.3f} " for name, loss in losses.items()),
            flush=True,
        )
    for model in models.values():
        model.eval()
    return pd.DataFrame(rows)


def _step(
    model: LabelAttention,
    images: Float[Tensor, "B 1 S S"],
    targets: Float[Tensor, "B classes"],
    rule,
) -> float:
    """One step of an optimiser and its schedule, as `Recipe.optimizers` gives them; returns the loss before it."""
    loss = F.binary_cross_entropy_with_logits(model(images).logits, targets)
    rule["optimizer"].zero_grad()
    loss.backward()
    rule["optimizer"].step()
    rule["lr_scheduler"]["scheduler"].step()
    return loss.item()


def class_maps(
    model: LabelAttention, images: Float[Tensor, "B 1 S S"]
) -> dict[str, Float[Tensor, "B classes h w"]]:
    """Every map that a network has, by name, one for each class.

    - ``sigmoid`` and ``softmax``: the shared map of that branch, the same for all classes;
    - ``by class``: the map of each class's own query;
    - ``contributions``: what of `LabelAttention.contributions` speaks for the class.
    """
    with evaluating(model):
        maps, added = model(images).maps, model.contributions(images)
    names = [name for name in BRANCHES[model.variant] if name != "even"] or ["by class"]
    found = {name: a.expand(-1, CLASSES, -1, -1) for name, a in zip(names, maps)}
    return found | {"contributions": added.relu()}


def localise(
    maps: Float[Tensor, "B classes h w"], regions: Bool[Tensor, "B classes S S"]
) -> pd.DataFrame:
    """Score the map of each label that is there against the box of that label: a row a label.

    Returns:
        ``image`` and ``label``; ``labels``, how many the image has; ``pointing`` and ``energy`` in the label's own box,
        and ``chance``, its share of the area; ``others``, the energy in the boxes of the other labels, and
        ``others_chance``; ``found``, 1 where the map reaches half of its maximum somewhere in the box; ``spread``,
        the map's effective share of the positions.
    """
    present = regions.any(dim=(2, 3))
    image, label = present.nonzero(as_tuple=True)
    own, every = regions[image, label][:, None], regions.any(dim=1)[image][:, None]
    each = maps[image, label][:, None]
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
    """Everything that the comparison reports of one network.

    Returns:
        ``mAP``, the AP of each class as ``AP 0`` …, and ``exact``, the share of images with every yes and no right at a
        probability of one half; and the means of `localise`, a row a map and number of labels.
    """
    logits, tables = [], []
    for some in torch.arange(len(data)).split(EVALUATION_BATCH):
        images, regions = data.images[some] / 255, data.regions(some.tolist())
        with evaluating(model):
            logits.append(model(images).logits)
        for name, maps in class_maps(model, images).items():
            tables.append(localise(maps, regions).assign(map=name))
    logits = torch.cat(logits)
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
    """The test images of a size: from digits that no training saw."""
    options = {name: value for name, value in size.data.items() if name != "curriculum"}
    return SeveralDigits("test", size.test, seed=2_000_006, **options)


def network(variant: str, home: Path = SHIPPED) -> LabelAttention:
    """The trained network of a variant's first seed, in evaluation mode.

    Raises:
        ValueError: unknown variant; the message lists the valid ones.
    """
    if variant not in VARIANTS:
        raise ValueError(
            f"no network of variant {variant!r} was trained; choose one of {', '.join(VARIANTS)}"
        )
    model = build(variant, SEEDS[0])
    load_weights(model.eval(), load_file(home / f"{variant}.safetensors"))
    return model


def scores(home: Path = SHIPPED) -> pd.DataFrame:
    """A row a variant and seed: the scores of its answers and its number of parameters."""
    return pd.read_csv(home / "scores.csv")


def localised(home: Path = SHIPPED) -> pd.DataFrame:
    """A row a variant, seed, map and number of labels in the image: the means of `localise`."""
    return pd.read_csv(home / "maps.csv")


def histories(home: Path = SHIPPED) -> pd.DataFrame:
    """The logs of all trainings: a row a variant, seed and epoch."""
    return pd.read_csv(home / "histories.csv")
