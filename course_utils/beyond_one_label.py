"""The comparison of chapter 12."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from course_utils.models.label_attention import BRANCHES, LabelAttention
from course_utils.multi_label import mean_average_precision
from course_utils.recipes import Recipe
from course_utils.several_digits import SeveralDigits

SHIPPED = Path(__file__).parent / "shipped" / "beyond_one_label"
SEEDS = (0, 1, 2, 3, 4)
FORMS = tuple(BRANCHES)


def build(seed: int, width: float, forms: tuple[str, ...] = FORMS) -> dict[str, LabelAttention]:
    models = {}
    for form in forms:
        with torch.random.fork_rng():
            torch.manual_seed(seed)  # the trunk is drawn first: it begins the same in all forms
            models[form] = LabelAttention(len(SeveralDigits.classes), form=form, width=width)
    return models


def train(models: Mapping[str, nn.Module], train, val, recipe: Recipe, seed: int, report=None) -> pd.DataFrame:
    steps = len(train) // recipe.batch_size * recipe.epochs
    optimizers = {name: recipe.optimizers(m.parameters(), recipe.epochs, steps) for name, m in models.items()}
    rows = []
    for epoch in range(recipe.epochs):
        order = torch.Generator().manual_seed(1009 * seed + epoch)
        loader = DataLoader(train.fresh(epoch), recipe.batch_size, shuffle=True, generator=order, drop_last=True)
        losses = dict.fromkeys(models, 0.0)
        for images, targets, _ in loader:
            for name, model in models.items():
                loss = F.binary_cross_entropy_with_logits(model.train()(images).logits, targets)
                optimizers[name]["optimizer"].zero_grad()
                loss.backward()
                optimizers[name]["optimizer"].step()
                optimizers[name]["lr_scheduler"]["scheduler"].step()
                losses[name] += loss.item() / len(loader)
        for name, model in models.items():
            with torch.no_grad():
                logits = model.eval()(val.images / 255).logits
            row = {"form": name, "seed": seed, "epoch": epoch + 1, "train_loss": losses[name]}
            row |= {"val_mAP": mean_average_precision(logits, val.targets)}
            rows.append(row)
        if report: report(rows[-len(models):])
    return pd.DataFrame(rows)
