"""The networks of the chapter AttnVGG: as published, repaired, supervised, and without attention.

`VARIANTS` are shipped as networks, the two experiments as tables. `python -m experiments.attn_vgg`
makes all of them:

- `ABLATION` changes AttnVGG in three steps, alone and together: finer taps, a loss for each
  descriptor, and softmax instead of sigmoid.
- `SUPERVISION` trains the published network with masks of the digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.data import Dataset

from course_utils.core.eval_mode import evaluating
from course_utils.data.cluttered_digits import ClutteredDigits, digit_pool
from course_utils.data.parts import SizedDataset, Splits
from course_utils.models import AttnVGG, Output
from course_utils.models.output import as_rgb
from course_utils.models.vgg import POOLS, tapped
from course_utils.studies.presets import Preset
from course_utils.studies.variants import Variant, check_variant, fit_with_gallery
from course_utils.training.evaluation import predict, score
from course_utils.training.run import Run

SHIPPED = Path(__file__).parents[1] / "shipped" / "attn_vgg"
CLASSES = 10  # digits

_PUBLISHED = {"taps": "after", "head": "concat"}
_REPAIRED = {"taps": "before", "head": "independent"}
_FINER = {"taps": "before", "head": "concat"}
_LOSSES = {"taps": "after", "head": "independent"}
_SEEDS = (0, 1, 2)  # of the networks that are shipped

VARIANTS = {
    "sigmoid": Variant(AttnVGG, {"alignment": "sigmoid", **_PUBLISHED}),
    "softmax": Variant(AttnVGG, {"alignment": "softmax", **_PUBLISHED}),
    "repaired": Variant(AttnVGG, {"alignment": "softmax", **_REPAIRED}, _SEEDS),
    "no_attention": Variant(AttnVGG, {"alignment": None, **_FINER}),
    "no_attention_losses": Variant(AttnVGG, {"alignment": None, **_REPAIRED}, _SEEDS),
}

SEEDS = (0, 1, 2, 3, 4)  # of both experiments
_TUNED = (0, 1)  # of the networks on which the weight of the masks was chosen


def _seeds(alignment: str | None, parts: Mapping[str, Any]) -> Variant:
    return Variant(AttnVGG, {"alignment": alignment, **parts}, SEEDS)


# Names that `VARIANTS` has too mean the same networks.
ABLATION = {
    "sigmoid": _seeds("sigmoid", _PUBLISHED),
    "sigmoid_finer": _seeds("sigmoid", _FINER),
    "sigmoid_losses": _seeds("sigmoid", _LOSSES),
    "softmax": _seeds("softmax", _PUBLISHED),
    "repaired": _seeds("softmax", _REPAIRED),
    "no_attention_losses": _seeds(None, _REPAIRED),
}


def adapt(preset: Preset) -> Preset:
    """Return the preset as it is."""
    return preset


class UnusedMaps(AttnVGG):
    """AttnVGG whose maps can be supervised, but whose contexts are plain averages.

    It separates two effects of masks: better maps, and better features. The maps of this network
    train its features, but its classifier can't use them.
    """

    def forward(self, images: Float[Tensor, "B C H W"]) -> Output:
        """Classify images by the averages of the taps; the maps are returned, not used."""
        local, g = tapped(self.features, as_rgb(images, self.least_size), POOLS[2:4], self.taps)
        maps = tuple(attend(l, g)[1] for attend, l in zip(self.attention, local))
        return self.classifiers([features.mean(dim=(2, 3)) for features in (*local, g)], maps)


MASK_WEIGHTS = (0.001, 0.01)  # of the two maps, in the published code of Yan et al. 2019


@dataclass(frozen=True)
class Supervision:
    """How the masks of the digits are used in training.

    Attributes:
        factor: Factor on the published `MASK_WEIGHTS`; 0 trains without masks.
        digits: How many of the 4,000 source digits for training have masks.
        parts: Taps and head of the network, which has sigmoid maps.
        network: The class of the network.
        seeds: The seeds from which it is trained.
    """

    factor: float
    digits: int = 4000
    parts: Mapping[str, Any] = field(default_factory=_PUBLISHED.copy)
    network: type[AttnVGG] = AttnVGG
    seeds: tuple[int, ...] = SEEDS

    def build(self, preset: Preset, *, seed: int) -> AttnVGG:
        """Return the network, freshly initialised like its namesake without masks in `ABLATION`."""
        options = {"alignment": "sigmoid", **self.parts}
        return _network(Variant(self.network, options), preset, seed)


def _network(variant: Variant, preset: Preset, seed: int) -> AttnVGG:
    model = variant.build(CLASSES, preset, seed=seed)
    assert isinstance(model, AttnVGG)
    return model


class MaskedDigits(Dataset):
    """Cluttered digits whose region is the mask of the digit, or empty if it has none.

    Attributes:
        digits: The images.
        annotated: How many source digits have masks, the same number from each class.
    """

    def __init__(self, digits: ClutteredDigits, annotated: int):
        self.digits, self.annotated = digits, annotated
        pool = len(digit_pool(digits.split)[1])
        per_class = pool // len(digits.classes)
        position = torch.arange(pool) % per_class  # in its class, because the pool is sorted
        self.has_mask = position < annotated / len(digits.classes)  # (digits of the pool)

    def fresh(self, epoch: int) -> MaskedDigits:
        """Compose new images from the same digits, of which the same ones have masks."""
        return MaskedDigits(self.digits.fresh(epoch), self.annotated)

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(
        self, i: int
    ) -> tuple[Float[Tensor, "1 S S"], Int[Tensor, ""], Bool[Tensor, "1 S S"]]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return the items of a whole batch at once, for the DataLoader."""
        known = self.has_mask[self.digits.sources[indices]][:, None, None, None]
        masks = self.digits.masks[indices] & known  # (B, 1, S, S)
        items = self.digits.__getitems__(indices)
        return [(image, label, mask) for (image, label, _), mask in zip(items, masks)]


# Factor on the published weights, chosen on the validation images: with 100 and 1,000 the maps are
# equally good, and 100 costs less accuracy.
CHOSEN = 100.0

SUPERVISION = {
    "masks ×1": Supervision(1.0),
    "masks ×10": Supervision(10.0),
    "masks ×100": Supervision(CHOSEN),
    "masks ×1000": Supervision(1000.0, seeds=_TUNED),
    "40 digits": Supervision(CHOSEN, digits=40),
    "400 digits": Supervision(CHOSEN, digits=400),
    "masks and losses": Supervision(CHOSEN, parts=_LOSSES),
    "maps not used": Supervision(CHOSEN, network=UnusedMaps),
}


def train(
    name: str, preset: Preset, data: Splits, folder: Path | str, *, seed: int
) -> tuple[AttnVGG, Run]:
    """Train a network of one of the experiments; a stopped run continues from its last epoch.

    Args:
        name: A name of `ABLATION` or `SUPERVISION`.
        preset: Size of the network and recipe of the training.
        data: Cluttered digits to train and validate on.
        folder: Folder for the log and the checkpoints.
        seed: Seed of the initial weights and of the order of the images.

    Raises:
        ValueError: If the name is unknown; the message lists the valid ones.
    """
    check_variant(name, (*ABLATION, *SUPERVISION))
    recipe = preset.recipe
    if name in SUPERVISION:
        how = SUPERVISION[name]
        model = how.build(preset, seed=seed)
        assert isinstance(data.train, ClutteredDigits)
        data = data._replace(train=MaskedDigits(data.train, how.digits))
        weights = tuple(how.factor * weight for weight in MASK_WEIGHTS)
        recipe = replace(recipe, map_weights=weights)
    else:
        model = _network(ABLATION[name], preset, seed)
    return model, fit_with_gallery(model, data, recipe, folder, seed=seed, epochs=(), resume=True)


# Descriptors that are replaced: the contexts of the two maps, and the average of the last features.
REMOVED = {
    "without context 1": (0,),
    "without context 2": (1,),
    "without g": (2,),
    "without both contexts": (0, 1),
    "without context 1 and g": (0, 2),
    "without context 2 and g": (1, 2),
}


def descriptors_of(model: AttnVGG, dataset: SizedDataset) -> tuple[Float[Tensor, "N _"], ...]:
    """Return what the classifiers read: two contexts and the average of the last features.

    Args:
        model: The network.
        dataset: N images.

    Returns:
        One tensor per descriptor.
    """
    kept: list[tuple[Tensor, ...]] = []

    def keep(_: nn.Module, given: tuple[Any, ...]) -> None:
        kept.append(tuple(descriptor.cpu() for descriptor in given[0]))

    with model.classifiers.register_forward_pre_hook(keep):
        predict(model, dataset)
    return tuple(torch.cat(batches) for batches in zip(*kept))


def without(
    model: AttnVGG, descriptors: tuple[Float[Tensor, "N _"], ...], removed: tuple[int, ...]
) -> Float[Tensor, "N classes"]:
    """Return the logits if descriptors are replaced by their mean, so that they say nothing.

    Args:
        model: The network.
        descriptors: What its classifiers read, see `descriptors_of`.
        removed: Which of them are replaced by their mean over the images.
    """
    given = [d.mean(dim=0).expand_as(d) if i in removed else d for i, d in enumerate(descriptors)]
    with evaluating(model), torch.inference_mode():
        return model.classifiers(given, ()).logits


def judge(model: AttnVGG, dataset: SizedDataset) -> pd.Series:
    """Return the scores of `evaluate`, and the accuracies without some of the descriptors."""
    output, labels, regions = predict(model, dataset)
    descriptors = descriptors_of(model, dataset)
    lacking = {
        name: (without(model, descriptors, removed).argmax(dim=1) == labels).double().mean().item()
        for name, removed in REMOVED.items()
    }
    return pd.concat([score(output, labels, regions), pd.Series(lacking)])


def ablation(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the results of `ABLATION`: one row per variant and seed.

    The columns are those of `judge` for the test images, and the same with ``val`` before them for
    the validation images.
    """
    return pd.read_csv(home / "ablation.csv")


def supervision(home: Path = SHIPPED) -> pd.DataFrame:
    """Return the results of `SUPERVISION`, with the same columns as `ablation`."""
    return pd.read_csv(home / "supervision.csv")
