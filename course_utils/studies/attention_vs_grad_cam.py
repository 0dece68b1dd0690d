"""The study of the chapter Attention against Grad-CAM: maps of the same networks and images.

``python -m experiments.attention_vs_grad_cam`` measures networks that ``experiments.results`` has
trained. The package ships the results for the cluttered digits, of networks that were trained
before their learning rates were tuned: all with 8e-3, from five seeds. Every map is for the class
that the network predicts, so no map depends on a label.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from course_utils.core.checks import check_choice
from course_utils.core.eval_mode import evaluating
from course_utils.data.parts import SizedDataset, Splits
from course_utils.explain.cam import class_activation_map
from course_utils.explain.faithfulness import deletion, drop_and_increase, insertion
from course_utils.explain.grad_cam import gradcam, gradcam_plus_plus
from course_utils.explain.metrics import (
    best_iou,
    centre_prior,
    covered,
    edge_map,
    effective_share,
    energy_inside,
    iou,
    pointing_game,
)
from course_utils.explain.saliency import input_gradient
from course_utils.explain.sanity_checks import cascade, rank_correlation
from course_utils.models import VGG, AttnVGG, checkpoints
from course_utils.studies import results
from course_utils.studies.presets import Preset
from course_utils.training.recipes import Recipe
from course_utils.training.run import Run
from course_utils.training.trainer import fit

SHIPPED = Path(__file__).parents[1] / "shipped" / "attention_vs_grad_cam"
VARIANTS = {
    name: results.VARIANTS[name]
    for name in ("sigmoid", "softmax", "sparsemax", "repaired", "average", "vgg")
}
SEEDS = (0, 1, 2, 3, 4)
# The last ReLU of each block: what the next max-pool reads, at the highest resolution.
BLOCKS = {"block 3": "features.22", "block 4": "features.32", "block 5": "features.42"}
OTHERS = "another image's "
STEPS = 16  # of the deletion and insertion curves
Labels = Literal["true", "random"]
LABELS = get_args(Labels)
LABELS_VARIANTS = ("softmax", "repaired")
LABELS_SEEDS = (0, 1, 2)
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
        model: An `AttnVGG`; or a `VGG` with an average head, which has no attention, but has CAM.
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
    for block, layer in BLOCKS.items():
        found[f"Grad-CAM, {block}"] = gradcam(model, images, layer, classes)
    found["Grad-CAM++, block 5"] = gradcam_plus_plus(model, images, BLOCKS["block 5"], classes)
    if isinstance(model, VGG):
        found["CAM"] = class_activation_map(model, images, classes).relu()
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
        large = F.interpolate(m, size=regions.shape[-2:], mode="bilinear", align_corners=False)
        scores[method] = pd.DataFrame(columns | {"spread": effective_share(large)})
    return scores


def perturb(
    model: nn.Module, images: Float[Tensor, "B C H W"], found: dict[str, Tensor]
) -> dict[str, pd.DataFrame]:
    """Measure how the predicted class reacts when maps decide which pixels are removed or kept.

    Returns:
        For each method, a table with one row per image and the columns ``deletion`` and
        ``insertion`` (the areas under the curves), ``drop`` and ``increase``.
    """
    with evaluating(model):
        classes = model(images).logits.argmax(dim=1)
    scores = {}
    for method, m in found.items():
        drop, increase = drop_and_increase(model, images, m, classes)
        scores[method] = pd.DataFrame(
            {
                "deletion": deletion(model, images, m, classes, steps=STEPS).mean(dim=1),
                "insertion": insertion(model, images, m, classes, steps=STEPS).mean(dim=1),
                "drop": drop,
                "increase": increase,
            }
        )
    return scores


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
    rows = []

    def append_rows(step: int, layer: str, now: dict[str, Tensor]) -> None:
        for method, m in now.items():
            rows.append((method, step, layer, rank_correlation(before[method], m).mean().item()))

    append_rows(0, "", {method: m.roll(1, 0) for method, m in before.items()})
    step = 0
    for layer, network in cascade(trained, fresh):
        # The batch norm comes before its convolution; the two together make one step.
        if not isinstance(network.get_submodule(layer), nn.BatchNorm2d):
            step += 1
            append_rows(step, layer, maps(network, images, classes))
    return pd.DataFrame(rows, columns=["method", "step", "layer", "correlation"])


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


def network(variant: str, home: Path = SHIPPED) -> nn.Module:
    """Return the network of a variant's first seed, in evaluation mode."""
    return checkpoints.read(home / "networks" / f"{variant}.safetensors")[0]


def scores(home: Path = SHIPPED) -> pd.DataFrame:
    """Return one row per variant, seed and method: the mean of `localise` over the test images."""
    return pd.read_csv(home / "scores.csv")


def faithfulness(home: Path = SHIPPED) -> pd.DataFrame:
    """Return one row per variant, seed and method: the mean of `perturb` over some test images."""
    return pd.read_csv(home / "faithfulness.csv")


def cascades(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the rows of `randomise` for each variant and seed."""
    return pd.read_csv(home / "cascades.csv", keep_default_na=False)


def labels(home: Path = SHIPPED) -> pd.DataFrame:
    """Return one row per variant, seed, method and kind of labels that the network was trained on.

    ``train_accuracy`` is the share of its labels that the network has learned, and ``accuracy``
    that of correct answers on new images. ``pointing`` and ``energy`` score its maps of the new
    images. ``correlation`` is the mean rank correlation of these maps with those of the network
    with the same seed and the other labels.
    """
    return pd.read_csv(home / "labels.csv")
