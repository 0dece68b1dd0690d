"""What a trained model says of a whole data set, and how well it does."""

from __future__ import annotations

import itertools

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from course_utils.core.eval_mode import evaluating
from course_utils.explain.metrics import area_share, energy_inside, pointing_game
from course_utils.models import Output

EVALUATION_BATCH = 100  # at full width and 224 pixels a batch takes a few gigabytes


def predict(
    model: nn.Module, dataset: Dataset
) -> tuple[Output, Int[Tensor, " N"], Bool[Tensor, "N 1 H W"] | None]:
    """Run a model over a whole data set, on a GPU where there is one; it is left as it was, and where.

    Returns:
        What the model says of all N images, their labels, and their regions where these are known; all on the CPU.

    Raises:
        ValueError: no images; NaN or an infinity in an image, or in what the model says of good images.
    """
    if not len(dataset):
        raise ValueError("expected at least one image to predict, got an empty data set")
    home = next(model.parameters()).device
    device = torch.device("cuda") if torch.cuda.is_available() else home
    outputs, labels, regions = [], [], []
    try:
        with evaluating(model.to(device)):
            for start, batch in zip(
                itertools.count(step=EVALUATION_BATCH), DataLoader(dataset, EVALUATION_BATCH)
            ):
                images, some_labels, *some_regions = batch
                _check_finite("image", images, start)
                logits, maps, heads = model(images.to(device))
                _check_finite("the network's answer to image", logits, start)
                outputs.append((logits.cpu(), [m.cpu() for m in maps], heads.cpu()))
                labels.append(some_labels)
                regions += some_regions
    finally:
        model.to(home)
    logits, maps, heads = zip(*outputs)
    output = Output(
        torch.cat(logits), tuple(torch.cat(tap) for tap in zip(*maps)), torch.cat(heads)
    )
    return output, torch.cat(labels), torch.cat(regions) if regions else None


def evaluate(model: nn.Module, dataset: Dataset) -> pd.Series:
    """How well a model does on a data set: `score` of what it predicts.

    Raises:
        ValueError: see `predict`.
    """
    return score(*predict(model, dataset))


def score(
    output: Output, labels: Int[Tensor, " N"], regions: Bool[Tensor, "N 1 H W"] | None = None
) -> pd.Series:
    """Accuracy of a model's answers and, where the images have regions, the scores of its maps beside their chance.

    Returns:
        ``accuracy``; ``chance`` (the regions' mean share of the area); ``pointing 1``, ``energy 1``, ``pointing 2`` …
        for the maps in their order; all in [0, 1].
    """
    scores = {"accuracy": output.logits.argmax(dim=1) == labels}
    if regions is not None:
        scores["chance"] = area_share(regions)
        for tap, maps in enumerate(output.maps, start=1):
            scores[f"pointing {tap}"] = pointing_game(maps, regions)
            scores[f"energy {tap}"] = energy_inside(maps, regions)
    return pd.Series({name: values.double().mean().item() for name, values in scores.items()})


def _check_finite(what: str, values: Tensor, start: int) -> None:
    """Say which item of the data set has a number that is none."""
    finite = values.isfinite().flatten(1).all(dim=1)
    if not finite.all():
        raise ValueError(f"NaN or an infinity in {what} {start + int((~finite).nonzero()[0])}")
