"""Train what stands on a frozen backbone, from feature maps that are already computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from course_utils.core.eval_mode import evaluating
from course_utils.core.seeds import epoch_seed
from course_utils.models.attended_backbone import AttendedBackbone
from course_utils.models.output import Output
from course_utils.training.losses import heads_loss
from course_utils.training.recipes import Recipe

AT_ONCE = 200  # images per batch when nothing is trained


def fit_on_features(
    model: AttendedBackbone,
    taps: Sequence[Float[Tensor, "N _ _ _"]],
    labels: Int[Tensor, " N"],
    recipe: Recipe,
    *,
    seed: int = 0,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> pd.DataFrame:
    """Train the pools and the classifiers of a network; its backbone isn't run.

    Args:
        model: The network, which is trained in place and left in evaluation mode.
        taps: What `frozen_features` returns for its backbone and the training images.
        labels: The classes of the images.
        recipe: How to train. Its ``augment`` and ``map_weights`` need images and can't be used;
            its ``patience`` and ``accumulate`` have no effect.
        seed: Seed of the order of the images.
        after_epoch: Called with the number of each finished epoch, from 1.

    Returns:
        One row per epoch, with the columns ``epoch`` and ``train_loss``.

    Raises:
        ValueError: If the recipe needs images, the numbers of maps and labels differ, a label isn't
            a class of the network, or the loss becomes NaN or infinite.
    """
    if recipe.augment or recipe.map_weights:
        raise ValueError("frozen features can't be augmented or supervised: train on the images")
    if any(len(maps) != len(labels) for maps in taps):
        counts = ", ".join(f"{len(maps)}" for maps in taps)
        raise ValueError(f"expected maps of {len(labels)} images, one per label, got {counts}")
    parameters = list(model.own_parameters())
    steps = math.ceil(len(labels) / recipe.batch_size) * recipe.epochs
    tools = recipe.optimizers(parameters, recipe.epochs, steps)
    optimizer, schedule = tools["optimizer"], tools.get("lr_scheduler", {})
    rows = []
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        order = torch.randperm(
            len(labels), generator=torch.Generator().manual_seed(epoch_seed(seed, epoch))
        )
        total = 0.0
        for chosen in order.split(recipe.batch_size):
            output = model.on_maps([maps[chosen].float() for maps in taps])
            loss = heads_loss(output, labels[chosen], recipe.gamma, loss=recipe.loss)
            if not loss.isfinite():
                raise ValueError(f"the loss is {loss.item()} in epoch {epoch}: lower the rate")
            optimizer.zero_grad()
            loss.backward()
            if recipe.clip:
                torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
            optimizer.step()
            if schedule.get("interval") == "step":
                schedule["scheduler"].step()
            total += loss.item() * len(chosen)
        if schedule.get("interval") == "epoch":
            schedule["scheduler"].step()
        model.eval()
        rows.append({"epoch": epoch, "train_loss": total / len(labels)})
        after_epoch(epoch)
    return pd.DataFrame(rows)


def predict_on_features(
    model: AttendedBackbone, taps: Sequence[Float[Tensor, "N _ _ _"]]
) -> Output:
    """Return the output of a network for images whose maps are already computed."""
    with evaluating(model):
        batches = [
            model.on_maps([maps.float() for maps in batch])
            for batch in zip(*(maps.split(AT_ONCE) for maps in taps))
        ]
    logits, maps, heads = zip(*batches)
    return Output(torch.cat(logits), tuple(map(torch.cat, zip(*maps))), torch.cat(heads))
