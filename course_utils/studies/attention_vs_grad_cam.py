"""The study of the chapter Attention against Grad-CAM: maps of the same networks and images.

``python -m experiments.attention_vs_grad_cam`` measures the networks of the chapter Results, each
from five seeds, and answers three questions about each map:

- Is it on the object? `localise`, `sharpen`, `twins` and `disagree`.
- Does the network use it? `perturb` takes pixels away, `replace_maps` replaces attention maps.
- Was it learned? `randomise` replaces layers, `memorise` replaces the labels.

The package ships the tables for the cluttered digits. Every map is for the class that the network
predicts, so no map depends on a label, except in `twins` and after `memorise`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, cast, get_args

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchvision.transforms.v2.functional import gaussian_blur

from course_utils.attention.spatial import GridAttention, weighted_context
from course_utils.core.checks import check_choice
from course_utils.core.eval_mode import evaluating
from course_utils.data.parts import SizedDataset, Splits
from course_utils.explain.faithfulness import deletion, drop_and_increase, insertion
from course_utils.explain.grad_cam import gradcam, gradcam_plus_plus
from course_utils.explain.metrics import (
    best_iou,
    centre_prior,
    covered,
    edge_map,
    effective_share,
    energy_inside,
    fit_to,
    iou,
    pointing_game,
    sharpened,
)
from course_utils.explain.saliency import input_gradient
from course_utils.explain.sanity_checks import cascade, rank_correlation
from course_utils.models import POOLS, VGG, AttnVGG
from course_utils.models.output import as_rgb
from course_utils.models.vgg import tapped
from course_utils.studies import results
from course_utils.studies.presets import Preset
from course_utils.training.recipes import Recipe
from course_utils.training.run import Run
from course_utils.training.trainer import fit

SHIPPED = Path(__file__).parents[1] / "shipped" / "attention_vs_grad_cam"
VARIANTS = ("sigmoid", "softmax", "repaired", "vgg")  # of `results`
ATTENTIVE = VARIANTS[:3]
SEEDS = results.SEEDS
# The last ReLU of each block: what the next max-pool reads, at the highest resolution.
BLOCKS = {"block 3": "features.22", "block 4": "features.32", "block 5": "features.42"}
LAYERS = BLOCKS | {"last pool": "features.43"}
OTHERS = "another image's "
# Shares of the pixels that have been removed or added when the probability is recorded. A digit has
# about 120 pixels of ink, of 4,096. Up to an eighth of the image, a step is about a quarter of it.
SHARES = (*(i / 128 for i in range(16)), *(i / 64 for i in range(8, 65)))
BLUR = 6.0  # pixels, standard deviation: no digit can be read
CURVES = {"deletion": deletion, "insertion": insertion}
TAPS = {"1": (0,), "2": (1,), "both": (0, 1)}  # attention maps that are replaced
Labels = Literal["true", "random"]
LABELS = get_args(Labels)
LABELS_VARIANT = "softmax"
LABELS_SEEDS = (0, 1, 2, 3)
LABELS_RECIPE = Recipe(epochs=40, lr=1e-3)  # enough to memorise the labels of 1,000 images
SCORES = {
    "pointing": pointing_game,
    "energy": energy_inside,
    "iou": iou,
    "best_iou": best_iou,
    "covered": covered,
}


def maps(
    model: nn.Module, images: Float[Tensor, "B C H W"], classes: Int[Tensor, " B"] | None = None
) -> dict[str, Float[Tensor, "B 1 _ _"]]:
    """Return all maps of a network with the backbone of VGG16, by method; none has negative values.

    Args:
        model: An `AttnVGG`, or a `VGG`, which has no attention.
        images: Grey or RGB.
        classes: One per image. If None, the classes that the network predicts.

    Raises:
        ValueError: If the network is of another kind.
    """
    if not isinstance(model, AttnVGG | VGG):
        raise ValueError(f"expected an AttnVGG or a VGG, got {type(model).__name__}")
    with evaluating(model):
        output = model(images)
    classes = output.logits.argmax(dim=1) if classes is None else classes
    found = {f"attention {tap}": m for tap, m in enumerate(output.maps, start=1)}
    for name, layer in LAYERS.items():
        found[f"Grad-CAM, {name}"] = gradcam(model, images, layer, classes)
    for name, layer in BLOCKS.items():
        found[f"Grad-CAM++, {name}"] = gradcam_plus_plus(model, images, layer, classes)
    found["input gradient"] = input_gradient(model, images, classes)
    found["guided backprop"] = input_gradient(model, images, classes, guided=True)
    return found


def controls(images: Float[Tensor, "B C H W"]) -> dict[str, Float[Tensor, "B 1 H W"]]:
    """Return maps that use no network: uniform, a bump in the centre, the edges of the image."""
    prior = centre_prior(images.shape[-1]).expand(len(images), -1, -1, -1)
    return {"uniform": torch.ones_like(prior), "centre prior": prior, "edges": edge_map(images)}


def with_others(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the maps, and for each method also the maps of the previous image in the batch.

    A map of another image has the method's smoothness and its preference for the centre, but no
    information about this image. It is therefore the level of chance.
    """
    return found | {OTHERS + method: m.roll(1, 0) for method, m in found.items()}


def localise(
    found: dict[str, Tensor], regions: Shaped[Tensor, "B 1 H W"]
) -> dict[str, pd.DataFrame]:
    """Score maps against the regions of the objects.

    Returns:
        For each method, a table with one row per image, the columns of `SCORES`, and ``spread``:
        the `effective_share` of the map at the size of the regions.
    """
    scores = {}
    for method, m in found.items():
        columns = {name: score(m, regions).double() for name, score in SCORES.items()}
        spread = effective_share(fit_to(m, regions))
        scores[method] = pd.DataFrame(columns | {"spread": spread})
    return scores


def sharpen(
    found: dict[str, Tensor], regions: Shaped[Tensor, "B 1 H W"], methods: Iterable[str]
) -> pd.DataFrame:
    """Raise maps of Grad-CAM to the power that makes them as concentrated as an attention map.

    That changes neither the pointing game nor the best IoU, because the pixels keep their order.

    Returns:
        One row per attention map and method: ``power``, ``energy`` of the sharpened maps, and
        ``spread``, the mean effective share that they then have.
    """
    rows = []
    for attention in (name for name in found if name.startswith("attention")):
        large = fit_to(found[attention], regions)
        share = effective_share(large).nanmean().item()
        for method in methods:
            sharp, power = sharpened(fit_to(found[method], regions), share)
            energy = energy_inside(sharp, regions).mean().item()
            spread = effective_share(sharp).nanmean().item()
            rows.append((attention, method, power, energy, spread))
    return pd.DataFrame(rows, columns=["attention", "method", "power", "energy", "spread"])


def twins(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    labels: Int[Tensor, " B"],
    regions: Shaped[Tensor, "B 1 H W"],
) -> pd.Series:
    """Ask Grad-CAM for each of two digits in one image: does its map find the right one?

    Each image stands to the left of the next one whose digit differs.

    Returns:
        For each of `LAYERS`, the share of questions for which the map has more energy in the box of
        the digit it is asked for than in the other box; equal energies count as a half.
    """
    pair, boxes, classes = side_by_side(images, labels, regions)
    found = {}
    for name, layer in LAYERS.items():
        right = []
        for side in (0, 1):
            m = gradcam(model, pair, layer, classes[side])
            own, other = (energy_inside(m, boxes[which]) for which in (side, 1 - side))
            right.append((own > other).double() + 0.5 * (own == other))
        found[name] = torch.cat(right).mean().item()
    return pd.Series(found)


def side_by_side(
    images: Float[Tensor, "B C H W"],
    labels: Int[Tensor, " B"],
    regions: Shaped[Tensor, "B 1 H W"],
) -> tuple[Float[Tensor, "P C H W2"], list[Shaped[Tensor, "P 1 H W2"]], list[Int[Tensor, " P"]]]:
    """Join each image with the next one, if that shows another digit.

    Returns:
        The joined images, and for the left and for the right digit the regions and the classes.
    """
    pairs = labels != labels.roll(-1)
    joined = torch.cat([images, images.roll(-1, 0)], dim=3)[pairs]  # (P, C, H, 2 W)
    empty = torch.zeros_like(regions)
    left = torch.cat([regions, empty], dim=3)[pairs]
    right = torch.cat([empty, regions.roll(-1, 0)], dim=3)[pairs]
    return joined, [left, right], [labels[pairs], labels.roll(-1)[pairs]]


def partner(found: dict[str, Tensor], attention: str = "attention 1") -> str:
    """Return the method whose Grad-CAM maps have the grid of an attention map."""
    blocks = (f"Grad-CAM, {block}" for block in BLOCKS)
    return next(name for name in blocks if found[name].shape == found[attention].shape)


def disagree(
    found: dict[str, Tensor], right: Bool[Tensor, " B"], labels: Int[Tensor, " B"]
) -> pd.DataFrame:
    """Compare the first attention map of each image with the Grad-CAM map of the same grid.

    Args:
        found: The maps of a network with attention, as `maps` returns them.
        right: Whether the network's answers are right.
        labels: The classes of the images.

    Returns:
        One row per image: ``agreement``, the rank correlation of the two maps, ``right`` and
        ``label``.
    """
    agreement = rank_correlation(found["attention 1"], found[partner(found)])
    return pd.DataFrame({"agreement": agreement, "right": right, "label": labels})


def fills(images: Float[Tensor, "B C H W"]) -> dict[str, Float[Tensor, "B C H W"]]:
    """Return what replaces removed pixels: black, and the image itself, too blurred to be read."""
    size = 2 * round(2 * BLUR) + 1
    return {
        "black": torch.zeros_like(images),
        "blurred": gaussian_blur(images, [size, size], [BLUR, BLUR]),
    }


def perturb(
    model: nn.Module, images: Float[Tensor, "B C H W"], found: dict[str, Tensor]
) -> pd.DataFrame:
    """Record the probability of the predicted class while pixels are removed or added.

    Returns:
        One row per method, curve (deletion or insertion) and fill, with the mean probability over
        the images after each of `SHARES` in the columns ``0``, ``1`` and so on.
    """
    with evaluating(model):
        classes = model(images).logits.argmax(dim=1)
    rows = []
    for name, fill in fills(images).items():
        for method, m in found.items():
            for way, curve in CURVES.items():
                p = curve(model, images, m, classes, steps=SHARES, fill=fill).mean(dim=0)
                rows.append({"method": method, "curve": way, "fill": name} | _numbered(p))
    return pd.DataFrame(rows)


def _numbered(values: Tensor) -> dict[str, float]:
    return {str(i): value for i, value in enumerate(values.tolist())}


def drops(
    model: nn.Module, images: Float[Tensor, "B C H W"], found: dict[str, Tensor]
) -> pd.DataFrame:
    """Return the average drop and the increase of the predicted class, one row per method."""
    with evaluating(model):
        classes = model(images).logits.argmax(dim=1)
    means = {
        method: [column.nanmean().item() for column in drop_and_increase(model, images, m, classes)]
        for method, m in found.items()
    }
    table = pd.DataFrame(means, index=["drop", "increase"]).T
    return table.rename_axis("method").reset_index()


def replace_maps(
    model: AttnVGG, images: Float[Tensor, "B C H W"], labels: Int[Tensor, " B"]
) -> pd.DataFrame:
    """Replace attention maps in a trained network, and measure its accuracy.

    - ``uniform``: each map by its own mean at every position;
    - ``another image's map``: by the map of the previous image;
    - ``mean context``: not the map but the context that it gives, by the mean over all images,
      which says nothing about any of them.

    Returns:
        One row per replacement and ``taps`` (``1``, ``2`` or ``both``), with the ``accuracy``. In
        the first row both are ``nothing``: the network as it is.
    """
    with evaluating(model):
        rgb = as_rgb(images, model.least_size)
        local, x = tapped(model.features, rgb, POOLS[2:4], model.taps)
        own, weights = zip(*(attend(l, x) for attend, l in zip(model.attention, local)))
        blocks = [cast(GridAttention, block) for block in model.attention]

        def with_weights(change: Callable[[Tensor], Tensor]) -> list[Tensor]:
            return [
                weighted_context(change(a), l, block.alignment)
                for block, l, a in zip(blocks, local, weights)
            ]

        contexts = {
            "uniform": with_weights(lambda a: a.mean(dim=(2, 3), keepdim=True)),
            OTHERS + "map": with_weights(lambda a: a.roll(1, 0)),
            "mean context": [context.mean(dim=0).expand_as(context) for context in own],
        }
        g = x.mean(dim=(2, 3))
        rows = [("nothing", "nothing", _accuracy(model, [*own, g], labels))]
        for kind, replaced in contexts.items():
            for taps, which in TAPS.items():
                given = [replaced[tap] if tap in which else own[tap] for tap in range(len(own))]
                rows.append((kind, taps, _accuracy(model, [*given, g], labels)))
    return pd.DataFrame(rows, columns=["replacement", "taps", "accuracy"])


def _accuracy(model: AttnVGG, descriptors: list[Tensor], labels: Int[Tensor, " B"]) -> float:
    answers = model.classifiers(descriptors, ()).logits.argmax(dim=1)
    return (answers == labels).double().mean().item()


def randomise(
    trained: nn.Module, fresh: nn.Module, images: Float[Tensor, "B C H W"]
) -> pd.DataFrame:
    """Measure how maps change while a network's layers are randomised, from the output down.

    Args:
        trained: The trained network.
        fresh: The same architecture, freshly initialised.
        images: The images to map.

    Returns:
        One row per method and step: ``layer``, the last one that was randomised (a convolution
        together with its batch norm), and ``correlation``, the mean rank correlation with the maps
        of the trained network. Step 0 compares each map with that of another image instead, which
        shows how similar maps are that share only the network and the data set.
    """
    with evaluating(trained):
        classes = trained(images).logits.argmax(dim=1)
    before = maps(trained, images, classes)
    rows = _correlations(before, {method: m.roll(1, 0) for method, m in before.items()}, 0, "")
    step = 0
    for layer, network in cascade(trained, fresh):
        # The batch norm comes before its convolution; the two together make one step.
        if not isinstance(network.get_submodule(layer), nn.BatchNorm2d):
            step += 1
            rows += _correlations(before, maps(network, images, classes), step, layer)
    return pd.DataFrame(rows, columns=["method", "step", "layer", "correlation"])


def _correlations(
    before: dict[str, Tensor], now: dict[str, Tensor], step: int, layer: str
) -> list[tuple[str, int, str, float]]:
    return [
        (method, step, layer, rank_correlation(before[method], m).mean().item())
        for method, m in now.items()
    ]


def memorise(
    variant: str, labels: Labels, preset: Preset, data: Splits, folder: Path | str, *, seed: int = 0
) -> tuple[nn.Module, Run]:
    """Train a variant on a few images, with their true labels or with the same labels shuffled.

    Shuffled labels can only be memorised. There is nothing to validate, so the validation accuracy
    of the log is that on the training images.

    Args:
        variant: One of `results.VARIANTS`.
        labels: ``true`` or ``random``.
        preset: Sets the width.
        data: The images, of which only the training split is used.
        folder: Folder for the log and the checkpoints; a run that was stopped continues.
        seed: Seed of the initial weights, the order of the images and the shuffled labels.

    Raises:
        ValueError: If the variant or the kind of labels is unknown; the message lists the valid
            ones.
    """
    check_choice("labels", labels, Labels)
    images, own = _tensors(data.train)
    if labels == "random":
        own = own[torch.randperm(len(own), generator=torch.Generator().manual_seed(seed))]
    model = results.build(variant, data.classes, preset, seed=seed)
    same = TensorDataset(images, own)
    run = fit(
        model,
        data._replace(train=same, val=same),
        LABELS_RECIPE,
        folder=folder,
        seed=seed,
        resume=True,
    )
    return model, run


def _tensors(dataset: SizedDataset) -> tuple[Float[Tensor, "N C H W"], Int[Tensor, " N"]]:
    images, labels = zip(*(item[:2] for item in (dataset[i] for i in range(len(dataset)))))
    return torch.stack(images), torch.tensor(labels)


def scores(home: Path = SHIPPED) -> pd.DataFrame:
    """Return one row per variant, seed and method: the mean of `localise` over the test images."""
    return pd.read_csv(home / "scores.csv")


def equally_sharp(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the rows of `sharpen` for each attentive variant and seed."""
    return pd.read_csv(home / "sharpened.csv")


def two_digits(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the results of `twins`: one row per variant and seed, one column per layer."""
    return pd.read_csv(home / "twins.csv")


def disagreements(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the rows of `disagree` for each attentive variant and seed."""
    return pd.read_csv(home / "disagreements.csv")


def curves(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the rows of `perturb` for each variant and seed."""
    return pd.read_csv(home / "curves.csv")


def average_drops(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the rows of `drops` for each variant and seed."""
    return pd.read_csv(home / "drops.csv")


def replacements(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the rows of `replace_maps` for each attentive variant and seed."""
    return pd.read_csv(home / "replacements.csv", dtype={"taps": str})


def cascades(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the rows of `randomise` for each variant and seed."""
    return pd.read_csv(home / "cascades.csv", keep_default_na=False)


def labels(home: Path = SHIPPED) -> pd.DataFrame:
    """Return one row per method and pair of networks that have memorised labels.

    Each network is named by its kind of labels and its seed: ``labels``, ``seed``, ``other_labels``
    and ``other_seed``. ``correlation`` is the mean rank correlation of their maps of new images.
    Rows that compare a network with itself have its ``train_accuracy``, its ``accuracy`` on new
    images, and the ``pointing`` and ``energy`` of its maps instead.
    """
    return pd.read_csv(home / "labels.csv")
