"""Figures and tables from tensors and scores: perceptual colours, shared scales, raw ranges. Nothing is shown here."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch.nn.functional as F
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from pandas.io.formats.style import Styler
from torch import Tensor

MAP_COLOURS = "viridis"
BOX_COLOUR = "#ff6e6e"
WIDTH, DPI = 7.4, 150  # inches: a page's column, so that text keeps its size


def show_images(
    images: Float[Tensor, "N C H W"], titles: Sequence[str], boxes: Int[Tensor, "N 4"] | None = None
) -> Figure:
    """A row of images, as many as are given, each under its title and with its box where there is one."""
    figure, axes = _grid(1, len(images))
    for i, axis in enumerate(axes[0]):
        _image(axis, images[i], None if boxes is None else boxes[i])
        axis.set_title(titles[i], fontsize=8)
    return _finished(figure)


def show_maps(
    images: Float[Tensor, "N C H W"],
    maps: Sequence[Float[Tensor, "N 1 _ _"]],
    titles: Sequence[str],
    boxes: Int[Tensor, "N 4"] | None = None,
    *,
    own_scale: bool = False,
) -> Figure:
    """Attention maps in their raw values, a column an image and a row a tap, below the images.

    Args:
        images: grey or RGB, in [0, 1].
        maps: one tensor a tap.
        titles: one an image.
        boxes: x0, y0, x1, y1 in pixels of the images, drawn on images and maps.
        own_scale: stretch each map from its own minimum to its own maximum, as papers often do. Otherwise all maps of
            a tap share one scale that starts at 0. The raw range stands under each map either way.
    """
    n = len(images)
    figure, axes = _grid(1 + len(maps), n)
    for i in range(n):
        box = None if boxes is None else boxes[i]
        _image(axes[0, i], images[i], box)
        axes[0, i].set_title(titles[i], fontsize=8)
        for tap, tap_maps in enumerate(maps, start=1):
            low, high = tap_maps[i].min().item(), tap_maps[i].max().item()
            limits = (low, high) if own_scale else (0.0, tap_maps.max().item())
            enlarged = F.interpolate(tap_maps[i : i + 1].float(), size=images.shape[-2:], mode="bilinear")
            drawn = axes[tap, i].imshow(enlarged[0, 0], cmap=MAP_COLOURS, vmin=limits[0], vmax=limits[1])
            axes[tap, i].set_xlabel(f"{low:.2g}\nto {high:.2g}", fontsize=7)
            _bare(axes[tap, i], box)
            if i == 0:
                axes[tap, i].set_ylabel(f"map {tap}, {tap_maps.shape[-2]} × {tap_maps.shape[-1]}", fontsize=7)
            if i == n - 1 and not own_scale:
                figure.colorbar(drawn, ax=list(axes[tap]), pad=0.01).ax.tick_params(labelsize=6)
    return _finished(figure)


def show_row(
    image: Float[Tensor, "1 C H W"], maps: Mapping[str, Float[Tensor, "1 1 _ _"]], title: str, *, shared: bool = False
) -> Figure:
    """One image and its maps side by side, each on a scale from 0 to its maximum, or all on one.

    Args:
        image: grey or RGB, in [0, 1].
        maps: by what is written over them; their raw ranges stand under them.
        title: over the image.
        shared: one colour scale for all maps.
    """
    figure, axes = _grid(1, 1 + len(maps))
    _image(axes[0, 0], image[0], None)
    axes[0, 0].set_title(title, fontsize=8)
    highest = max((m.max().item() for m in maps.values()), default=0.0)
    for axis, (name, m) in zip(axes[0, 1:], maps.items()):
        enlarged = F.interpolate(m.float(), size=image.shape[-2:], mode="bilinear")[0, 0]
        axis.imshow(enlarged, cmap=MAP_COLOURS, vmin=0, vmax=highest if shared else m.max().item())
        axis.set_xlabel(f"{m.min().item():.2g} to {m.max().item():.2g}", fontsize=7)
        axis.set_title(name, fontsize=8)
        _bare(axis, None)
    return _finished(figure)


def show_histories(histories: Mapping[str, pd.DataFrame], *, chance: float) -> Figure:
    """Validation accuracy by epoch, a line a run, beside the level of chance."""
    figure, axis = plt.subplots(figsize=(WIDTH, 3.4), dpi=DPI, layout="constrained")
    for (name, history), marker in zip(histories.items(), itertools.cycle("osD^vP*X")):
        axis.plot(history.epoch, history.val_accuracy, marker=marker, markersize=4, label=name)
    axis.axhline(chance, color="0.5", linestyle="--", label="chance")
    axis.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1.02))
    axis.legend(fontsize=8, loc="lower right")
    return _finished(figure)


def score_table(rows: Mapping[str, pd.Series]) -> Styler:
    """The results of `training.evaluate`, a row a network; chance stands last, – where a network has no such score."""
    table = pd.DataFrame([row.to_dict() for row in rows.values()], index=list(rows))  # columns as they come
    last = table.columns.intersection(["chance"])
    return table[[*table.columns.drop(last), *last]].style.format("{:.3f}", na_rep="–")


def _grid(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    """Axes (rows, columns) for square pictures, with room for a line or two of text under each."""
    height = rows * (WIDTH / columns + 0.25)
    return plt.subplots(rows, columns, figsize=(WIDTH, height), dpi=DPI, squeeze=False, layout="constrained")


def _image(axis: Axes, image: Float[Tensor, "C H W"], box: Int[Tensor, "4"] | None) -> None:
    axis.imshow(image.movedim(0, -1), cmap="gray", vmin=0, vmax=1)
    _bare(axis, box)


def _bare(axis: Axes, box: Int[Tensor, "4"] | None) -> None:
    """No ticks, and the box where there is one."""
    axis.set(xticks=[], yticks=[])
    if box is not None:
        x0, y0, x1, y1 = box.tolist()
        axis.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, color=BOX_COLOUR, linewidth=1.2))


def _finished(figure: Figure) -> Figure:
    """Taken off pyplot's list, so that a notebook shows it once: as the value of the cell."""
    plt.close(figure)
    return figure
