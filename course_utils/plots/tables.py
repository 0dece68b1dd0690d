"""Tables of scores, and tables drawn as heat maps."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from course_utils.plots.canvas import DPI, MAP_COLOURS, WIDTH, finished


def score_table(rows: Mapping[str, pd.Series]) -> Styler:
    """Put the results of `training.evaluate` into one table, one row per network.

    The chance level is the last column. A dash marks a score that a network doesn't have.
    """
    # Columns in order of first appearance; pandas would sort them if it were given the mapping.
    table = pd.DataFrame([row.to_dict() for row in rows.values()], index=list(rows))
    last = table.columns.intersection(["chance"])
    return table[[*table.columns.drop(last), *last]].style.format("{:.3f}", na_rep="–")


def show_heat_map(
    table: pd.DataFrame,
    *,
    label: str,
    text: pd.DataFrame | None = None,
    limits: tuple[float | int | None, float | int | None] = (0, None),
) -> Figure:
    """Draw a table as a heat map with one number per cell.

    The axes take their labels from the names of the table's index and columns; see
    `pandas.DataFrame.rename_axis`.

    Args:
        table: The values that colour the cells.
        label: Label of the colour scale.
        text: Text of the cells; if None, the values with two decimals.
        limits: Ends of the colour scale; None for the lowest or the highest value.
    """
    figure, axis = plt.subplots(
        figsize=(WIDTH, 1.4 + 0.4 * len(table)), dpi=DPI, layout="constrained"
    )
    sns.heatmap(
        table,
        vmin=limits[0],
        vmax=limits[1],
        cmap=MAP_COLOURS,
        annot=True if text is None else text,
        fmt=".2f" if text is None else "",
        annot_kws={"fontsize": 8},
        cbar_kws={"label": label, "pad": 0.02},
        ax=axis,
    )
    axis.tick_params(labelsize=7, length=0)
    axis.tick_params(axis="x", rotation=30)
    axis.tick_params(axis="y", rotation=0)
    figure.axes[-1].tick_params(labelsize=6)  # the colour bar
    return finished(figure)
