"""Training curves, and differences between variants seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from course_utils.plots.canvas import DPI, WIDTH, finished
from course_utils.plots.text import shortened

EXCLUDES_ZERO = "#d95f02"
INCLUDES_ZERO = "#2a788e"
LABEL_SIZE = 8  # points


def show_histories(histories: Mapping[str, pd.DataFrame], *, chance: float) -> Figure:
    """Draw the validation accuracy by epoch, one line per run, and the chance level.

    A history with several rows per epoch, for instance of several seeds, becomes a line for the
    mean and a band from the lowest to the highest value.

    Args:
        histories: One log per run, with columns ``epoch`` and ``val_accuracy``, by the run's name.
        chance: Accuracy of guessing, in [0, 1]; drawn as a dashed line.

    Raises:
        ValueError: If there is no history.
    """
    if not histories:
        raise ValueError("expected at least one history, got none")
    runs = pd.concat([history.assign(run=name) for name, history in histories.items()])
    figure, axis = plt.subplots(figsize=(WIDTH, 3.4), dpi=DPI, layout="constrained")
    ends = _draw_lines(axis, runs, "val_accuracy", "run", sns.color_palette("colorblind"))
    axis.axhline(chance, color="0.5", linestyle="--")
    axis.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1.02))
    _label_ends(axis, {**ends, "chance": (runs.epoch.max(), chance, "0.5")})
    return finished(figure)


def show_curves(
    histories: pd.DataFrame, variants: Mapping[str, str], columns: Mapping[str, str]
) -> Figure:
    """Draw training curves over several seeds: one panel per column, one line per variant.

    The line is the mean over the seeds, the band reaches from the lowest to the highest of them.

    Args:
        histories: One row per variant, seed and epoch.
        variants: The variants to draw, each with the name to write at its line.
        columns: The columns to draw, each with the label of its axis. Their values must be positive
            because the axes are logarithmic.
    """
    runs = histories.assign(variant=histories.variant.map(dict(variants))).dropna(
        subset=["variant"]
    )
    # The last, yellow part of viridis is hard to see on white.
    colours = [tuple(c) for c in plt.get_cmap("viridis")(np.linspace(0, 0.88, len(variants)))]
    figure, axes = plt.subplots(
        1,
        len(columns),
        figsize=(WIDTH, 3.4),
        dpi=DPI,
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    for axis, (column, label) in zip(axes[0], columns.items()):
        ends = _draw_lines(axis, runs, column, "variant", colours, list(variants.values()))
        axis.set(xlabel="epoch", ylabel=label, yscale="log")
        axis.yaxis.set(
            major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter=""
        )
    _label_ends(axes[0, -1], ends)  # colours and markers are the same in all panels
    return finished(figure)


def show_differences(
    gains: Mapping[str, Sequence[float]], margins: Mapping[str, float], *, label: str
) -> Figure:
    """Draw differences seed by seed as dots, and below them their mean with its interval.

    Args:
        gains: One value per seed for each comparison, by its name; one row per comparison.
        margins: Half the width of the interval around each mean. An interval that excludes 0 is
            drawn in orange.
        label: Label of the axis.

    Raises:
        ValueError: If there are no comparisons.
    """
    if not gains:
        raise ValueError("expected at least one comparison, got none")
    dots = pd.DataFrame(
        [(shortened(name), gain) for name, values in gains.items() for gain in values],
        columns=["comparison", "gain"],
    )
    figure, axis = plt.subplots(
        figsize=(WIDTH, 0.5 + 0.46 * len(gains)), dpi=DPI, layout="constrained"
    )
    sns.stripplot(
        dots, x="gain", y="comparison", color="0.55", alpha=0.8, size=4, jitter=False, ax=axis
    )
    # The caller passes the interval: seaborn would bootstrap one without any correction.
    for row, (name, values) in enumerate(gains.items()):
        mean = sum(values) / len(values)
        colour = EXCLUDES_ZERO if abs(mean) > margins[name] else INCLUDES_ZERO
        axis.errorbar(
            mean, row + 0.28, xerr=margins[name], fmt="D", markersize=5, capsize=4, color=colour
        )
    axis.axvline(0, color="0.4", linestyle="--", linewidth=1)
    axis.set(xlabel=label, ylabel="", ylim=(len(gains) - 0.4, -0.4))
    axis.tick_params(labelsize=LABEL_SIZE)
    return finished(figure)


def _draw_lines(
    axis: Axes,
    runs: pd.DataFrame,
    column: str,
    by: str,
    colours: Sequence,
    names: Sequence[str] | None = None,
) -> dict[str, tuple]:
    """Draw the mean of a column by epoch with a min-max band, one line per name.

    Returns:
        For each name, where its line ends and in which colour: epoch, value, colour.
    """
    names = names or list(runs[by].unique())
    palette = dict(zip(names, [*colours] * (1 + len(names) // len(colours))))
    sns.lineplot(
        runs,
        x="epoch",
        y=column,
        hue=by,
        hue_order=names,
        style=by,
        style_order=names,
        palette=palette,
        errorbar=("pi", 100),  # the interval of 100 % of the values: from minimum to maximum
        err_kws={"alpha": 0.15, "linewidth": 0},
        markers=True,
        markersize=5,
        markeredgewidth=0.4,
        dashes=False,
        linewidth=1.3,
        legend=False,
        ax=axis,
    )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    ends = {}
    for name in names:
        mean = runs[runs[by] == name].groupby("epoch")[column].mean()
        if len(mean):
            ends[name] = mean.index[-1], mean.iloc[-1], palette[name]
    return ends


def _label_ends(axis: Axes, ends: Mapping[str, tuple]) -> None:
    """Write the names of lines to the right of their ends, moved apart so that none overlap.

    Text is dark in every case, since light colours are hard to read; a thin line in the colour of
    the curve connects each name with its end.
    """
    axis.autoscale_view()
    to_fraction = axis.transScale + axis.transLimits  # from data to a share of the axes
    heights = {name: to_fraction.transform((x, y))[1] for name, (x, y, _) in ends.items()}
    points = axis.get_window_extent().height / axis.figure.dpi * 72
    order = sorted(heights, key=heights.__getitem__)
    placed = _moved_apart([heights[name] for name in order], 1.3 * LABEL_SIZE / points)
    for name, height in zip(order, placed):
        x, y, colour = ends[name]
        axis.annotate(
            shortened(name),
            (x, y),
            (1.04, height),
            textcoords=axis.transAxes,
            fontsize=LABEL_SIZE,
            va="center",
            color="0.15",
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.9,
                "shrinkA": 1,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
        )


def _moved_apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move sorted heights at least a gap apart: first upwards, then down from the upper edge, 1."""
    placed = list(heights)
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + gap)
    placed[-1] = min(placed[-1], 1.0)
    for i in reversed(range(len(placed) - 1)):
        placed[i] = min(placed[i], placed[i + 1] - gap)
    return placed
