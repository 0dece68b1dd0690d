"""Figures and tables from tensors and scores: perceptual colours, shared scales, raw ranges. Nothing is shown here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch.nn.functional as F
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator
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
            enlarged = F.interpolate(
                tap_maps[i : i + 1].float(), size=images.shape[-2:], mode="bilinear"
            )
            drawn = axes[tap, i].imshow(
                enlarged[0, 0], cmap=MAP_COLOURS, vmin=limits[0], vmax=limits[1]
            )
            axes[tap, i].set_xlabel(f"{low:.2g}\nto {high:.2g}", fontsize=7)
            _bare(axes[tap, i], box)
            if i == 0:
                axes[tap, i].set_ylabel(
                    f"map {tap}, {tap_maps.shape[-2]} × {tap_maps.shape[-1]}", fontsize=7
                )
            if i == n - 1 and not own_scale:
                figure.colorbar(drawn, ax=list(axes[tap]), pad=0.01).ax.tick_params(labelsize=6)
    return _finished(figure)


def show_row(
    image: Float[Tensor, "1 C H W"],
    maps: Mapping[str, Float[Tensor, "1 1 _ _"]],
    title: str,
    *,
    shared: bool = False,
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


def show_map_rows(
    images: Float[Tensor, "N C H W"],
    maps: Mapping[str, Float[Tensor, "N 1 _ _"]],
    titles: Sequence[str],
    boxes: Int[Tensor, "N 4"] | None = None,
    *,
    label: str,
    lowest: float | None = None,
) -> Figure:
    """Many maps of the same images on one colour scale: a row a name, with the raw range of the row beside it.

    Args:
        images: grey or RGB, in [0, 1]; they stand in the first row.
        maps: by the name of their row.
        titles: one an image.
        boxes: x0, y0, x1, y1 in pixels of the images.
        label: of the colour scale.
        lowest: the scale is logarithmic and starts here, and what lies below is painted like it; otherwise the scale is
            even and starts at 0.
    """
    rows, left, top, below, gap = 1 + len(maps), 1.2, 0.25, 0.6, 0.05  # inches
    height = top + rows * (WIDTH - left) / len(images) + below
    edges = {
        "left": left / WIDTH,
        "right": 0.985,
        "bottom": below / height,
        "top": 1 - top / height,
    }
    grid = {"squeeze": False, "gridspec_kw": edges | {"wspace": gap, "hspace": gap}}
    figure, axes = plt.subplots(rows, len(images), figsize=(WIDTH, height), dpi=DPI, **grid)
    highest = max(m.max().item() for m in maps.values())
    norm = Normalize(0, highest) if lowest is None else LogNorm(lowest, highest)
    for i, axis in enumerate(axes[0]):
        _image(axis, images[i], None if boxes is None else boxes[i])
        axis.set_title(titles[i], fontsize=8)
    for row, (name, tap_maps) in zip(axes[1:], maps.items()):
        enlarged = F.interpolate(tap_maps.float(), size=images.shape[-2:], mode="bilinear")
        for i, axis in enumerate(row):
            drawn = axis.imshow(enlarged[i, 0].clamp(min=lowest or 0), cmap=MAP_COLOURS, norm=norm)
            _bare(axis, None if boxes is None else boxes[i])
        text = f"{name}\n{tap_maps.min().item():.2g} to {tap_maps.max().item():.2g}"
        row[0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=7)
    place = figure.add_axes(
        (edges["left"], 0.42 / height, edges["right"] - edges["left"], 0.1 / height)
    )
    bar = figure.colorbar(drawn, cax=place, orientation="horizontal")
    bar.set_label(label, fontsize=8)
    if lowest is not None:
        ticks = [
            2.0**power
            for power in range(math.ceil(math.log2(lowest)), math.floor(math.log2(highest)) + 1)
        ]
        bar.set_ticks(ticks, labels=[f"{t:g}" if t >= 1 else f"1/{1 / t:g}" for t in ticks])
        bar.minorticks_off()
    bar.ax.tick_params(labelsize=7)
    return _finished(figure)


def show_curves(
    histories: pd.DataFrame, variants: Mapping[str, str], columns: Mapping[str, str]
) -> Figure:
    """Logs of several seeds, a panel a column and a line a variant: the mean by epoch, and between which values all lie.

    Args:
        histories: a row a variant, seed and epoch.
        variants: which variants, and what each is called.
        columns: which columns, and what each is called; their values are above zero, and on logarithmic axes.
    """
    figure, axes = plt.subplots(
        1,
        len(columns),
        figsize=(WIDTH, 3.4),
        dpi=DPI,
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    colours, markers = (
        plt.cm.viridis(np.linspace(0, 0.92, len(variants))),
        itertools.cycle("osD^vP*X"),
    )
    for (variant, name), colour, marker in zip(variants.items(), colours, markers):
        by_epoch = histories[histories.variant == variant].groupby("epoch")
        for axis, column in zip(axes[0], columns):
            mean, low, high = (by_epoch[column].agg(what) for what in ("mean", "min", "max"))
            axis.plot(
                mean.index,
                mean,
                marker=marker,
                markersize=3.5,
                linewidth=1.3,
                color=colour,
                label=name,
            )
            axis.fill_between(mean.index, low, high, color=colour, alpha=0.15, linewidth=0)
    for axis, label in zip(axes[0], columns.values()):
        axis.set(xlabel="epoch", ylabel=label, yscale="log")
        axis.yaxis.set(
            major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter=""
        )
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=min(4, len(variants)), fontsize=8)
    return _finished(figure)


def show_differences(
    gains: Mapping[str, Sequence[float]], margins: Mapping[str, float], *, label: str
) -> Figure:
    """Differences seed by seed as dots, and below them their mean with its interval, a row a comparison.

    Args:
        gains: of each comparison, one number a seed.
        margins: how far the interval of each mean reaches to either side; one that excludes 0 is drawn in orange.
        label: of the axis.
    """
    figure, axis = plt.subplots(
        figsize=(WIDTH, 0.5 + 0.46 * len(gains)), dpi=DPI, layout="constrained"
    )
    for row, (name, values) in enumerate(gains.items()):
        mean, margin = sum(values) / len(values), margins[name]
        colour = "#d95f02" if abs(mean) > margin else "#2a788e"
        axis.plot(values, [row - 0.17] * len(values), "o", color="0.55", markersize=4, alpha=0.8)
        axis.errorbar(mean, row + 0.12, xerr=margin, fmt="D", markersize=5, capsize=4, color=colour)
    axis.axvline(0, color="0.4", linestyle="--", linewidth=1)
    axis.set(
        yticks=range(len(gains)),
        yticklabels=list(gains),
        ylim=(len(gains) - 0.5, -0.5),
        xlabel=label,
    )
    axis.tick_params(labelsize=8)
    return _finished(figure)


def score_table(rows: Mapping[str, pd.Series]) -> Styler:
    """The results of `training.evaluate`, a row a network; chance stands last, – where a network has no such score."""
    table = pd.DataFrame(
        [row.to_dict() for row in rows.values()], index=list(rows)
    )  # columns as they come
    last = table.columns.intersection(["chance"])
    return table[[*table.columns.drop(last), *last]].style.format("{:.3f}", na_rep="–")


def _grid(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    """Axes (rows, columns) for square pictures, with room for a line or two of text under each."""
    height = rows * (WIDTH / columns + 0.25)
    return plt.subplots(
        rows, columns, figsize=(WIDTH, height), dpi=DPI, squeeze=False, layout="constrained"
    )


def _image(axis: Axes, image: Float[Tensor, "C H W"], box: Int[Tensor, "4"] | None) -> None:
    axis.imshow(image.movedim(0, -1), cmap="gray", vmin=0, vmax=1)
    _bare(axis, box)


def _bare(axis: Axes, box: Int[Tensor, "4"] | None) -> None:
    """No ticks, and the box where there is one."""
    axis.set(xticks=[], yticks=[])
    if box is not None:
        x0, y0, x1, y1 = box.tolist()
        axis.add_patch(
            Rectangle(
                (x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, color=BOX_COLOUR, linewidth=1.2
            )
        )


def _finished(figure: Figure) -> Figure:
    """Taken off pyplot's list, so that a notebook shows it once: as the value of the cell."""
    plt.close(figure)
    return figure
