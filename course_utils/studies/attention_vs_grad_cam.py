"""The comparison of chapter 11: attention maps, Grad-CAM and its relatives, of the same networks on the same images.

``python -m experiments.attention_vs_grad_cam`` makes it of the networks of chapter 09; what that wrote for the cluttered digits
is carried by the package. Every map is the one for the class that the network predicts: no label is looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from course_utils.core.checks import check_choice
from course_utils.core.eval_mode import evaluating
from course_utils.data.splits import Splits
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
from course_utils.models import VGG, AttnVGG
from course_utils.studies.presets import Preset
from course_utils.studies.results import describe
from course_utils.training.recipes import Recipe
from course_utils.training.run import Run
from course_utils.training.trainer import fit

SHIPPED = Path(__file__).parents[1] / "shipped" / "attention_vs_grad_cam"
VARIANTS = ("sigmoid", "softmax", "sparsemax", "repaired", "average", "vgg")  # of `scoreboard`
BLOCKS = {
    "block 3": "features.22",
    "block 4": "features.32",
    "block 5": "features.42",
}  # the last ReLU of each
OTHERS = "another image's "
Labels = Literal["true", "random"]
LABELS = get_args(Labels)
LABELS_VARIANTS = ("softmax", "repaired")
LABELS_SEEDS = (0, 1, 2)
LABELS_RECIPE = Recipe(epochs=40, lr=1e-3)  # enough to learn the labels of 1,000 images by heart
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
    """The maps of a network on the trunk of VGG16, by method; none has values below 0.

    Args:
        model: an `AttnVGG`, or a `VGG` with an average for its head, which has no attention but can be asked for CAM.
        images: grey or RGB.
        classes: one an image; without, those that the network predicts.

    Raises:
        ValueError: another network.
    """
    if not isinstance(model, AttnVGG | VGG):
        raise ValueError(f"expected an AttnVGG or a VGG, got {type(model).__name__}")
    with evaluating(model):
        output = model(images)
    classes = output.logits.argmax(dim=1) if classes is None else classes
    found = {f"attention {tap}": m for tap, m in enumerate(output.maps, start=1)}
    found |= {
        f"Grad-CAM, {block}": gradcam(model, images, layer, classes)
        for block, layer in BLOCKS.items()
    }
    found["Grad-CAM++, block 5"] = gradcam_plus_plus(model, images, BLOCKS["block 5"], classes)
    if isinstance(model, VGG):
        found["CAM"] = class_activation_map(model, images, classes).relu()
    found["input gradient"] = input_gradient(model, images, classes)
    found["guided backprop"] = input_gradient(model, images, classes, guided=True)
    return found


def controls(images: Float[Tensor, "B C H W"]) -> dict[str, Float[Tensor, "B 1 H W"]]:
    """Maps that know nothing of a network: even everywhere, a bump in the middle, the edges of the image."""
    prior = centre_prior(images.shape[-1]).expand(len(images), -1, -1, -1)
    return {"uniform": torch.ones_like(prior), "centre prior": prior, "edges": edge_map(images)}


def with_others(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The maps, and each once more for the image before it: as smooth, and as much in the middle, but of no use."""
    return found | {OTHERS + method: m.roll(1, 0) for method, m in found.items()}


def localise(found: dict[str, Tensor], regions: Bool[Tensor, "B 1 H W"]) -> dict[str, pd.DataFrame]:
    """The scores of maps against regions: for each method a row an image, and the columns of `SCORES` and ``spread``.

    ``spread`` is the `effective_share` of the map at the size of the regions.
    """
    scores = {}
    for method, m in found.items():
        columns = {name: score(m, regions).double() for name, score in SCORES.items()}
        large = F.interpolate(m, size=regions.shape[-2:], mode="bilinear", align_corners=False)
        scores[method] = pd.DataFrame(columns | {"spread": effective_share(large)})
    return scores


def probe(
    model: nn.Module, images: Float[Tensor, "B C H W"], found: dict[str, Tensor], *, steps: int = 16
) -> dict[str, pd.DataFrame]:
    """What happens to the predicted class if the maps decide what is taken away or kept: a row an image.

    The columns are ``deletion`` and ``insertion``, the areas under the curves; ``drop`` and ``increase``.
    """
    with evaluating(model):
        classes = model(images).logits.argmax(dim=1)
    scores = {}
    for method, m in found.items():
        curves = [
            way(model, images, m, classes, steps=steps).mean(dim=1) for way in (deletion, insertion)
        ]
        both = (*curves, *drop_and_increase(model, images, m, classes))
        scores[method] = pd.DataFrame(
            dict(zip(("deletion", "insertion", "drop", "increase"), both))
        )
    return scores


def randomise(
    trained: nn.Module, fresh: nn.Module, images: Float[Tensor, "B C H W"]
) -> pd.DataFrame:
    """How the maps of a network change while it loses what it has learned, from the output down.

    Returns:
        A row for each method and step: ``layer`` (the last that was randomised, with its batch norm), and
        ``correlation``, the mean rank correlation with the maps of the trained network. Step 0 is that of a map with
        the one of another image: how alike maps are that have only the network and the data set in common.
    """
    with evaluating(trained):
        classes = trained(images).logits.argmax(dim=1)
    before, rows = maps(trained, images, classes), []

    def note(step: int, layer: str, now: dict[str, Tensor]) -> None:
        for method, m in now.items():
            rows.append((method, step, layer, rank_correlation(before[method], m).mean().item()))

    note(0, "", {method: m.roll(1, 0) for method, m in before.items()})
    steps = 0
    for layer, network in cascade(trained, fresh):
        if not isinstance(
            network.get_submodule(layer), nn.BatchNorm2d
        ):  # its convolution comes next
            note(steps := steps + 1, layer, maps(network, images, classes))
    return pd.DataFrame(rows, columns=["method", "step", "layer", "correlation"])


def memorise(
    variant: str, seed: int, labels: Labels, preset: Preset, data: Splits, folder: Path | str
) -> tuple[nn.Module, Run]:
    """Train a variant on the same few images with their own labels, or with these dealt out at random.

    Nothing but learning by heart leads to random labels. The accuracy of the log is that on the training images: there
    is nothing to validate.

    Raises:
        ValueError: other labels, or an unknown variant; the message lists the valid ones.
    """
    check_choice("labels", labels, Labels)
    images, own = _tensors(data.train)
    if labels == "random":
        own = own[torch.randperm(len(own), generator=torch.Generator().manual_seed(seed))]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = describe(variant, data.classes, preset).build()
    same = TensorDataset(images, own)
    return model, fit(
        model,
        data._replace(train=same, val=same),
        LABELS_RECIPE,
        folder=folder,
        seed=seed,
        resume=True,
    )


def _tensors(dataset: Dataset) -> tuple[Float[Tensor, "N C H W"], Int[Tensor, " N"]]:
    images, labels = zip(*(item[:2] for item in (dataset[i] for i in range(len(dataset)))))
    return torch.stack(images), torch.tensor(labels)


def scores(home: Path = SHIPPED) -> pd.DataFrame:
    """A row a variant, seed and method: the mean of `localise` over the test images."""
    return pd.read_csv(home / "scores.csv")


def faithfulness(home: Path = SHIPPED) -> pd.DataFrame:
    """A row a variant, seed and method: the mean of `probe` over some test images."""
    return pd.read_csv(home / "faithfulness.csv")


def cascades(home: Path = SHIPPED) -> pd.DataFrame:
    """The rows of `randomise` for each variant and seed."""
    return pd.read_csv(home / "cascades.csv", keep_default_na=False)


def labels(home: Path = SHIPPED) -> pd.DataFrame:
    """A row a variant, seed, method and kind of labels, ``true`` or ``random``, that the network was trained on.

    ``train_accuracy`` says how many of its labels it has learned, ``accuracy`` how it does on new images; ``pointing``
    and ``energy`` are those of its maps there, and ``correlation`` is the mean rank correlation of these with the maps
    of the network with the same seed and the other labels.
    """
    return pd.read_csv(home / "labels.csv")
