"""Tables of scores, and tables drawn as heat maps."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from course_utils.plots.canvas import DPI, MAP_COLOURS, WIDTH, finished
from course_utils.plots.escapes import printable
from course_utils.plots.text import drawable, shortened

CEILING = "ceiling of "  # starts the names of the scores that `training.score` adds
LONGEST = 40  # characters in the name of a row or column


def score_table(rows: Mapping[str, pd.Series]) -> Styler:
    """Put the results of `training.evaluate` into one table, one row per network.

    The chance level is the last column. A dash marks a score that a network doesn't have. If the
    rows have ceilings, each score of a map is printed with the best that its grid allows: "0.719 of
    0.87".
    """
    # Columns in order of first appearance; pandas would sort them if it were given the mapping.
    table = pd.DataFrame([row.to_dict() for row in rows.values()], index=[*map(printable, rows)])
    ceilings = table.filter(regex=f"^{CEILING}").rename(columns=lambda name: name[len(CEILING) :])
    table = table.drop(columns=CEILING + ceilings.columns)
    last = table.columns.intersection(["chance"])
    styled = table[[*table.columns.drop(last), *last]].style.format("{:.3f}", na_rep="–")
    for name, row in ceilings.iterrows():
        for column, ceiling in row.dropna().items():
            styled.format(f"{{:.3f}} of {ceiling:.2f}", subset=([name], [column]))
    # Names of networks are text, neither HTML nor formulas.
    styled.set_table_attributes('class="mathjax_ignore tex2jax_ignore"')
    return styled.format_index(escape="html").format_index(escape="html", axis=1)


def show_heat_map(
    table: pd.DataFrame,
    *,
    label: str,
    text: pd.DataFrame | None = None,
    limits: tuple[float | int | None, float | int | None] = (0, None),
) -> Figure:
    """Draw a table as a heat map with one number per cell.

    The axes take their labels from the names of the table's index and columns; see
    `pandas.DataFrame.rename_axis`. Long names of rows and columns are shortened in the middle.

    Args:
        table: The values that colour the cells.
        label: Label of the colour scale.
        text: Text of the cells; if None, the values with two decimals.
        limits: Ends of the colour scale; None for the lowest or the highest value.

    Raises:
        ValueError: If the table has no row or no column.
    """
    if table.empty:
        raise ValueError(f"expected a table with rows and columns, got {table.shape}")
    table = _with_labels(table)
    longest = max(map(len, table.columns))
    height = 1.4 + 0.4 * len(table) + 0.03 * max(0, longest - 20)  # inches
    figure, axis = plt.subplots(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    with plt.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        # Looking for labels that overlap, seaborn draws the figure before its text is small.
        warnings.filterwarnings("ignore", "constrained_layout not applied")
        sns.heatmap(
            table,
            vmin=limits[0],
            vmax=limits[1],
            cmap=MAP_COLOURS,
            annot=True if text is None else text.map(drawable),
            fmt=".2f" if text is None else "",
            annot_kws={"fontsize": 8},
            cbar_kws={"label": drawable(label), "pad": 0.02},
            ax=axis,
        )
    axis.tick_params(labelsize=7, length=0)
    axis.tick_params(axis="x", rotation=30)
    axis.tick_params(axis="y", rotation=0)
    figure.axes[-1].tick_params(labelsize=6)  # the colour bar
    return finished(figure)


def _with_labels(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose names of rows, columns and axes can be drawn."""
    short = partial(shortened, longest=LONGEST)
    axes = {"index": table.index.name, "columns": table.columns.name}
    named = {axis: None if name is None else drawable(name) for axis, name in axes.items()}
    return table.rename(index=short, columns=short).rename_axis(**named)
