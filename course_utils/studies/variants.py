"""A variant: one network of a comparison, at any size, and how it is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from course_utils.data.splits import Splits
from course_utils.studies.presets import Preset
from course_utils.training.precision import Precision
from course_utils.training.recipes import Recipe
from course_utils.training.run import Run
from course_utils.training.trainer import fit

GALLERY = 8  # the first test images, so nobody has picked them for their maps


def width(preset: Preset) -> dict[str, Any]:
    """Return the only option that changes with the size of most networks."""
    return {"width": preset.width}


@dataclass(frozen=True)
class Variant:
    """One network of a comparison.

    Attributes:
        network: The class of the network; its first argument is the number of classes.
        options: The arguments that set this variant apart, by name.
        seeds: The seeds from which it is trained.
        sized: The arguments that depend on the preset.
    """

    network: Callable[..., nn.Module]
    options: Mapping[str, Any]
    seeds: tuple[int, ...] = (0,)
    sized: Callable[[Preset], Mapping[str, Any]] = width

    def build(self, classes: int, preset: Preset | None = None, *, seed: int = 0) -> nn.Module:
        """Return the network, freshly initialised from a seed.

        The global random state is left as it was, so building a network in a notebook changes
        nothing that is drawn after it.

        Args:
            classes: Number of classes.
            preset: Sets the size. If None, the network has the size that its class defaults to.
            seed: Seed of the initial weights.
        """
        sized = self.sized(preset) if preset else {}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.network(classes, **self.options, **sized)


def check_variant(variant: str, variants: Iterable[str]) -> None:
    """Check that a study has a variant.

    Raises:
        ValueError: If the variant is unknown; the message lists the valid names.
    """
    variants = tuple(variants)
    if variant not in variants:
        raise ValueError(f"unknown variant {variant!r}: choose one of {', '.join(variants)}")


def fit_with_gallery(
    model: nn.Module,
    data: Splits,
    recipe: Recipe,
    folder: Path | str,
    *,
    seed: int,
    epochs: Iterable[int],
    resume: bool,
    precision: Precision | None = None,
) -> Run:
    """Train a network and keep its maps of the first test images.

    Args:
        model: A network of `models`.
        data: Images to train and validate on. Only the first test images are used.
        recipe: How to train.
        folder: Folder that `fit` writes to.
        seed: Seed of the order of the images.
        epochs: Epochs after which the maps are kept; 0 is before training.
        resume: Continue the run in the folder.
        precision: See `fit`.
    """
    gallery = torch.stack([data.test[i][0] for i in range(GALLERY)])
    return fit(
        model,
        data,
        recipe,
        folder=folder,
        seed=seed,
        resume=resume,
        gallery=gallery,
        snapshot_epochs=epochs,
        precision=precision,
    )


def best_setting(scores: pd.DataFrame, setting: str) -> float:
    """Return the setting with the highest mean validation accuracy.

    Of several with the same accuracy, it is the one with the lowest validation loss.

    Args:
        scores: One row per run, with the columns ``val_accuracy`` and ``val_loss``.
        setting: The column of the setting.
    """
    means = scores.groupby(setting)[["val_accuracy", "val_loss"]].mean().round(6)
    order = means.sort_values(["val_accuracy", "val_loss"], ascending=[False, True])
    return float(order.index[0])
