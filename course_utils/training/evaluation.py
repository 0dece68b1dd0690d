"""Predictions of a trained model for a whole data set, and their scores."""

from __future__ import annotations

import itertools
from typing import cast

import pandas as pd
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from course_utils.core.eval_mode import evaluating
from course_utils.data.parts import SizedDataset
from course_utils.explain.metrics import area_share, energy_inside, grid_ceiling, pointing_game
from course_utils.models import Output

EVALUATION_BATCH = 100  # at full width and 224 pixels, a batch takes a few gigabytes


def predict(
    model: nn.Module, dataset: SizedDataset
) -> tuple[Output, Int[Tensor, " N"], Bool[Tensor, "N 1 H W"] | None]:
    """Run a model on every image of a data set, on a GPU if there is one.

    The model returns to its device, and each of its modules to its mode (training or evaluation).

    Args:
        model: A network of `models`.
        dataset: N items ``(image, label)`` or ``(image, label, region)``.

    Returns:
        The model's output for all N images, their labels, and their regions (None if the items have
        none), all on the CPU.

    Raises:
        ValueError: If the data set is empty, or if an image or the model's output for it contains
            NaN or infinite values.
    """
    if not len(dataset):
        raise ValueError("expected at least one image to predict, got an empty data set")
    home = next(model.parameters()).device
    device = torch.device("cuda") if torch.cuda.is_available() else home
    outputs, labels, regions = [], [], []
    try:
        with evaluating(model.to(device)):
            batches = DataLoader(cast(Dataset, dataset), EVALUATION_BATCH)
            for start, batch in zip(itertools.count(step=EVALUATION_BATCH), batches):
                images, some_labels, *some_regions = batch
                _check_finite("image", images, start)
                logits, maps, heads = model(images.to(device))
                _check_finite("the output for image", logits, start)
                # To the CPU at once: the maps of a large data set may not fit on the GPU.
                outputs.append((logits.cpu(), [m.cpu() for m in maps], heads.cpu()))
                labels.append(some_labels)
                regions += some_regions
    finally:
        model.to(home)
    logits, maps, heads = zip(*outputs)
    taps = tuple(torch.cat(batches_of_a_tap) for batches_of_a_tap in zip(*maps))
    output = Output(torch.cat(logits), taps, torch.cat(heads))
    return output, torch.cat(labels), torch.cat(regions) if regions else None


def evaluate(model: nn.Module, dataset: SizedDataset, *, ceilings: bool = False) -> pd.Series:
    """Return the scores of a model on a data set, see `score`.

    Raises:
        ValueError: See `predict`.
    """
    return score(*predict(model, dataset), ceilings=ceilings)


def score(
    output: Output,
    labels: Int[Tensor, " N"],
    regions: Shaped[Tensor, "N 1 H W"] | None = None,
    *,
    ceilings: bool = False,
) -> pd.Series:
    """Return the accuracy of predictions and, if the regions are known, the scores of the maps.

    Args:
        output: What a network returned for N images.
        labels: Their true classes.
        regions: Where their objects are, if that is known.
        ceilings: Add the best score that each grid allows, see `grid_ceiling`.

    Returns:
        ``accuracy``; then, with regions, ``chance`` (their mean share of the image, which a uniform
        map scores) and ``pointing 1``, ``energy 1``, ``pointing 2`` … for the maps in their order;
        with ceilings, each of these is followed by ``ceiling of pointing 1`` and so on; all in
        [0, 1]. An empty region counts as missed: it scores 0.

    Raises:
        ValueError: See `fit_to`.
    """
    scores = {"accuracy": output.logits.argmax(dim=1) == labels}
    if regions is not None:
        scores["chance"] = area_share(regions)
        for tap, maps in enumerate(output.maps, start=1):
            names = f"pointing {tap}", f"energy {tap}"
            scores |= zip(names, (pointing_game(maps, regions), energy_inside(maps, regions)))
            if ceilings:
                best = grid_ceiling(regions, (maps.shape[-2], maps.shape[-1]))
                scores |= zip((f"ceiling of {name}" for name in names), best)
    return pd.Series({name: values.double().mean().item() for name, values in scores.items()})


def _check_finite(what: str, values: Tensor, start: int) -> None:
    """Raise an error that names the first item of a batch with a NaN or infinite value.

    Args:
        what: Description of an item.
        values: The batch, with the items along the first dimension.
        start: Index of the batch's first item in the data set.
    """
    finite = values.isfinite().flatten(1).all(dim=1)
    if not finite.all():
        item = start + int((~finite).nonzero()[0])
        raise ValueError(f"{what} {item} contains NaN or infinite values")
