"""Drawings of attention: what is asked, what is read, and how many maps come out.

- `multi_dimensional`: one map per feature of a value.
- `self_attention`: one context per position.
- `heads`: several maps side by side.
- `hops`: several maps, one after the other.
- `class_queries`: one map per class.
- `soft_and_hard`: an average of all values, or one value that is drawn.

Each drawing of a kind runs the module that it shows, so its maps and its shapes are those of that
run. The maps are those of the first input of a batch. A chapter ends a cell with one call::

    attention = query_related.MultiHead(Attention(scores.scaled_multiplicative), 32, heads=2)
    mechanisms.heads(attention, queries, keys, values, rows=8, caption="Two heads, two maps.")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.plots.drawing import SMALL, Diagram, Number, Symbol

SHEET_WIDTH = 740
MAP_SIDE = 92  # the longer side of a map
MOST_HOPS = 4  # for which a sheet has room


def multi_dimensional(
    attention: nn.Module,
    queries: Float[Tensor, "B Q d_q"],
    keys: Float[Tensor, "B K d_k"],
    values: Float[Tensor, "B K d_v"],
    *,
    rows: int,
    caption: str,
    features: Sequence[int] = (0, 1, 2),
) -> Diagram:
    """Draw multi-dimensional attention: each feature of the values is averaged with its own map.

    Args:
        attention: An `attention.MultiDimensional`.
        queries: Queries; the first one is shown.
        keys: One key per position, row by row on a grid.
        values: One value per key.
        rows: Number of rows of the grid.
        caption: One line that says what to see.
        features: The features whose maps are shown.

    Raises:
        ValueError: If the positions don't form a grid with so many rows, or there is no such
            feature.
    """
    context, weights = _run(attention, queries, keys, values)  # (B, Q, d_v), (B, Q, K, d_v)
    maps = _as_maps(_chosen(weights[0, 0].mT, features, "features"), rows)
    ys, bottom = _rows_of(maps, at_least=140)
    middle = (ys[0] + ys[-1]) / 2
    drawing = Diagram(
        SHEET_WIDTH,
        bottom + 64,
        alt=f"Multi-dimensional attention: {weights.shape[-1]} maps, one per feature of a value. "
        "Each feature of the values is averaged with the weights of its own map, and the averages "
        "together are the context.",
        caption=caption,
    )
    query = "query *q*" if queries.shape[1] == 1 else "queries *q*"
    _vectors(drawing, 80, middle - 34, query, "query", queries, to=184)
    _vectors(drawing, 80, middle + 40, "keys *k*_i", "key", keys, to=184)
    _vectors(drawing, 80, bottom + 38, "values *v*_i", "value", values)
    top, height = ys[0] - 48, bottom - ys[0] + 48
    drawing.box(240, top + height / 2, 112, height, ["scores", "one per feature"], "scores")
    drawing.box(494, top + height / 2, 92, height, ["weighted", "mean of", "each feature"], "value")
    drawing.box(600, top + height / 2, 72, height, [], "context")
    drawing.arrow((117, bottom + 38), (494, bottom + 38), (494, bottom), symbol="value")
    for feature, grid, y in zip(features, maps, ys):
        _through(drawing, (296, 448), 372, y, grid, f"feature {feature}")
        drawing.arrow((540, y), (564, y), symbol="context")
        drawing.text(600, y, f"{context[0, 0, feature]:.2f}".replace("-", "−"))
    for x in (372, 600):
        drawing.text(x, bottom - 12, "⋮", size=SMALL)
    _heading(drawing, 372, "weights *a*_i", weights)
    _heading(drawing, 600, "context *c*", context)
    return drawing


def self_attention(
    attention: nn.Module, inputs: Float[Tensor, "B K d"], *, caption: str, mask: Any = None
) -> Diagram:
    """Draw self-attention: every position is a query, a key and a value.

    Args:
        attention: An `attention.SelfAttention`.
        inputs: The vectors that attend to each other.
        caption: One line that says what to see.
        mask: Where attention is allowed; see `attention.SelfAttention.forward`.

    Raises:
        ValueError: See the module.
    """
    context, weights = _run(attention, inputs, mask)  # (B, K, d_v), (B, K, K)
    positions = inputs.shape[1]
    drawing = Diagram(
        SHEET_WIDTH,
        324,
        alt=f"Self-attention of {positions} positions. Three projections of the same input are "
        f"queries, keys and values; every query is compared with every key, which gives a grid of "
        f"{positions} × {positions} weights, and every position gets a context of its own.",
        caption=caption,
    )
    _stack(drawing, 56, 170, "l", "inputs *x*_i", inputs)
    projected: list[tuple[str, Symbol, Number]] = [
        ("keys *k*_i", "key", 52),
        ("queries *q*_i", "query", 170),
        ("values *v*_i", "value", 304),
    ]
    drawing.arrow((124, 304), (124, 52), symbol="l", head=False)
    drawing.arrow((93, 170), (124, 170), symbol="l", head=False)
    for name, symbol, y in projected:
        drawing.arrow((124, y), (150, y), symbol="l")
        drawing.box(202, y, 104, 36, [name], symbol)
    drawing.arrow((254, 52), (410, 52), (410, 97), symbol="key")
    drawing.text(420, 72, "one column per key", size=SMALL, anchor="start")
    drawing.arrow((254, 170), (337, 170), symbol="query")
    drawing.text(295, 157, "one row", size=SMALL)
    drawing.text(295, 184, "per query", size=SMALL)
    _map(drawing, 410, 170, weights[0], "", side=140)
    drawing.text(410, 256, "weights *a*")
    drawing.text(410, 275, _shape(weights), size=SMALL)
    drawing.arrow((482, 170), (514, 170), symbol="weights")
    drawing.box(560, 170, 92, 54, ["weighted", "sums"], "value")
    drawing.arrow((254, 304), (560, 304), (560, 197), symbol="value")
    drawing.arrow((606, 170), (646, 170), symbol="context")
    _stack(drawing, 684, 170, "context", "contexts *c*_i", context)
    return drawing


def heads(
    attention: nn.Module,
    queries: Float[Tensor, "B Q d"],
    keys: Float[Tensor, "B K d"],
    values: Float[Tensor, "B K d"],
    *,
    rows: int,
    caption: str,
) -> Diagram:
    """Draw multi-head attention: the projected vectors are cut into slices, one per head.

    Args:
        attention: A `query_related.MultiHead`.
        queries: Queries; the first one is shown.
        keys: One key per position, row by row on a grid.
        values: One value per key.
        rows: Number of rows of the grid.
        caption: One line that says what to see.

    Raises:
        ValueError: If the positions don't form a grid with so many rows.
    """
    context, weights = _run(attention, queries, keys, values)  # (B, Q, d), (B, n, Q, K)
    maps = _as_maps(weights[0, :, 0], rows)
    ys, bottom = _rows_of(maps, at_least=190, more=False)
    middle, size = (ys[0] + ys[-1]) / 2, queries.shape[-1] // len(maps)
    height = max(ys[-1] - ys[0] + 60, 190)  # of the boxes that all heads share
    drawing = Diagram(
        SHEET_WIDTH,
        max(bottom, middle + height / 2 + 2),
        alt=f"Multi-head attention with {len(maps)} heads. Queries, keys and values are projected "
        f"and cut into slices of {size} features. Each head has a map and a context of its own; "
        "the contexts are joined and projected.",
        caption=caption,
    )
    query = "query *q*" if queries.shape[1] == 1 else "queries *q*"
    _vectors(drawing, 64, middle - 70, query, "query", queries, to=146)
    _vectors(drawing, 64, middle, "keys *k*_i", "key", keys, to=146)
    _vectors(drawing, 64, middle + 70, "values *v*_i", "value", values, to=146)
    drawing.box(198, middle, 104, height, ["project, cut", "into slices of", f"{size} features"])
    for i, (grid, y) in enumerate(zip(maps, ys), start=1):
        _through(drawing, (250, 428), 338, y, grid, f"head {i}")
        drawing.vector(460, y, "context", width=60)
        drawing.arrow((492, y), (528, y), symbol="context")
    drawing.text(460, ys[0] - 20, "one context", size=SMALL)
    drawing.text(460, ys[0] + 20, "per head", size=SMALL)
    drawing.box(572, middle, 88, height, ["join", "and project"])
    drawing.arrow((616, middle), (650, middle), symbol="context")
    _vectors(drawing, 687, middle, "context *c*", "context", context)
    return drawing


def hops(
    attention: nn.Module,
    queries: Float[Tensor, "B Q d"],
    keys: Float[Tensor, "B K d"],
    values: Float[Tensor, "B K d"],
    *,
    rows: int,
    caption: str,
) -> Diagram:
    """Draw multi-hop attention: each context is added to the query of the next hop.

    Args:
        attention: A `query_related.MultiHop`.
        queries: Queries; the first one is shown.
        keys: One key per position, row by row on a grid.
        values: One value per key, as long as a query.
        rows: Number of rows of the grid.
        caption: One line that says what to see.

    Raises:
        ValueError: If the positions don't form a grid with so many rows, or there are more hops
            than a drawing has room for.
    """
    context, weights = _run(attention, queries, keys, values)  # (B, Q, d), (B, n, Q, K)
    maps = _as_maps(weights[0, :, 0], rows)
    if len(maps) > MOST_HOPS:
        raise ValueError(f"a drawing has room for at most {MOST_HOPS} hops, got {len(maps)}")
    left, right = 84, SHEET_WIDTH - 84
    pitch = (right - left) / len(maps)
    side = min(MAP_SIDE, pitch - 103)  # leaves room for three arrows
    half = max(30, side * maps.shape[1] / max(maps.shape[1:]) / 2)
    y = 48 + half
    band = y + half + 62
    drawing = Diagram(
        SHEET_WIDTH,
        band + 20,
        alt=f"Multi-hop attention with {len(maps)} hops over the same keys and values. The context "
        "of a hop is added to its query, and the sum is the query of the next hop. The last "
        "context is the result.",
        caption=caption,
    )
    drawing.box(SHEET_WIDTH / 2, band, right - left, 34, [])
    drawing.text(SHEET_WIDTH / 2, band, f"the same keys and values, {_shape(keys)}")
    _vectors(drawing, 42, y, "query *q*", "query", queries)
    for i, grid in enumerate(maps):
        _hop(drawing, (left + pitch * i, pitch, side), (y, band), grid, (i + 1, len(maps)))
    _vectors(drawing, SHEET_WIDTH - 42, y, "context *c*", "context", context)
    return drawing


def _hop(
    drawing: Diagram,
    columns: tuple[Number, Number, Number],
    heights: tuple[Number, Number],
    grid: Tensor,
    counts: tuple[int, int],
) -> None:
    """Draw one hop: the map of its query, the sum of the values, and the query of the next hop.

    Args:
        drawing: The sheet.
        columns: The left end of the hop, its width, and the side of its map.
        heights: The y of the row and of the band of keys and values.
        grid: The weights.
        counts: The number of the hop, and of how many.
    """
    (x, width, side), (y, band), (number, hops_in_all) = columns, heights, counts
    gap = (width - 24 - side - 28) / 3  # length of the three arrows
    start, end = x + (12 if number > 1 else -8), x + width
    middle = x + 12 + gap + side / 2
    total = middle + side / 2 + gap + 14
    drawing.arrow((start, y), (middle - side / 2 - 2, y), symbol="query")
    _map(drawing, middle, y, grid, f"hop {number}", side=side)
    drawing.arrow((middle + side / 2 + 2, y), (total - 14, y), symbol="weights")
    drawing.box(total, y, 28, 34, ["Σ"], "value")
    bottom = y + side * grid.shape[0] / max(grid.shape) / 2
    drawing.arrow((middle, band - 17), (middle, bottom + 2), symbol="key")
    drawing.arrow((total, band - 17), (total, y + 17), symbol="value")
    if number == 1:
        drawing.text(middle + 8, band - 32, "keys", size=SMALL, anchor="start")
        drawing.text(total + 8, band - 32, "values", size=SMALL, anchor="start")
    if number == hops_in_all:
        drawing.arrow((total + 14, y), (end + 8, y), symbol="context")
        return
    drawing.arrow((total + 14, y), (end - 12, y), symbol="context")
    drawing.arrow((start + 4, y), (start + 4, 10), (end, 10), (end, y - 13), symbol="query")
    drawing.box(end, y, 24, 26, ["+"], "query")
    drawing.text(end, y + 27, "*q* + *c*", size=SMALL)


def class_queries(
    attention: Any,
    inputs: Float[Tensor, "B K d"],
    *,
    rows: int,
    caption: str,
    classes: Sequence[int] = (0, 1, 2),
) -> Diagram:
    """Draw attention with one query per class: one map, one context and one logit for each.

    Args:
        attention: A `query_related.ClassQueries`.
        inputs: One vector per position, row by row on a grid.
        rows: Number of rows of the grid.
        caption: One line that says what to see.
        classes: The classes that are shown.

    Raises:
        ValueError: If the positions don't form a grid with so many rows, or there is no such class.
    """
    _, weights, logits, *_ = _run(attention, inputs)  # (B, n, d), (B, n, K), (B, n)
    maps = _as_maps(_chosen(weights[0], classes, "classes"), rows)
    ys, bottom = _rows_of(maps)
    drawing = Diagram(
        SHEET_WIDTH,
        bottom + 70,
        alt=f"Attention with one query per class, for {weights.shape[1]} classes. Each query has a "
        "map and a context of its own, and a classifier of its own says yes or no.",
        caption=caption,
    )
    _vectors(drawing, 70, bottom + 44, "inputs *x*_i", "l", inputs)
    drawing.arrow((107, bottom + 44), (430, bottom + 44), (430, bottom), symbol="l")
    drawing.arrow((170, bottom + 44), (170, bottom), symbol="l")
    top, height = ys[0] - 48, bottom - ys[0] + 48
    drawing.box(170, top + height / 2, 76, height, ["scores"], "scores")
    drawing.box(430, top + height / 2, 84, height, ["weighted", "sums"], "value")
    for label, grid, y in zip(classes, maps, ys):
        drawing.text(70, y - 18, f"query {label}", size=SMALL)
        drawing.vector(70, y, "query")
        drawing.arrow((105, y), (132, y), symbol="query")
        _through(drawing, (208, 388), 296, y, grid, f"map {label}")
        drawing.arrow((472, y), (496, y), symbol="context")
        drawing.vector(528, y, "context", width=60)
        drawing.arrow((560, y), (588, y), symbol="context")
        answer = [f"is there a {label}?", f"probability {logits[0, label].sigmoid():.2f}"]
        drawing.box(660, y, 144, 44, answer)
    for x in (70, 296, 528, 660):
        drawing.text(x, bottom - 12, "⋮", size=SMALL)
    _heading(drawing, 296, f"{weights.shape[1]} maps *a*", weights)
    _heading(drawing, 528, "contexts *c*_m", None)
    _heading(drawing, 660, "classifiers", logits)
    return drawing


def soft_and_hard(
    scores: Float[Tensor, "K"],
    weights: Float[Tensor, "K"],
    drawn: int,
    *,
    rows: int,
    caption: str,
) -> Diagram:
    """Draw soft and hard attention with the same weights, and how far a gradient comes in each.

    ::

        weights = alignments.softmax(scores)
        drawn = torch.multinomial(weights, 1).item()
        mechanisms.soft_and_hard(scores, weights, drawn, rows=8, caption="An average, or a draw.")

    Args:
        scores: The scores of one query, row by row on a grid.
        weights: Their softmax, which is also the distribution that hard attention draws from.
        drawn: The position that was drawn.
        rows: Number of rows of the grid.
        caption: One line that says what to see.

    Raises:
        ValueError: If there isn't one weight per score, if they don't form a grid with so many
            rows, or if there is no such position.
    """
    if scores.shape != weights.shape:
        raise ValueError(
            f"expected one weight per score, got {_shape(weights)} weights and {_shape(scores)} "
            "scores"
        )
    one_hot = _chosen(torch.eye(len(weights)), [drawn], "a drawn position")
    grids = [_as_maps(part[None], rows)[0] for part in (scores, weights, one_hot[0])]
    drawing = Diagram(
        SHEET_WIDTH,
        336,
        alt="Scores become softmax weights. Soft attention: the sum of all values with these "
        "weights is the context, and a gradient passes back to the scores. Hard attention: one "
        "position is drawn with these weights as probabilities, and its value is the context; a "
        "gradient stops at the draw.",
        caption=caption,
    )
    _scores_to_weights(drawing, grids, divmod(drawn, grids[0].shape[1]))
    _all_or_one(drawing)
    half = 42 * grids[0].shape[0] / max(grids[0].shape)  # of the scores
    _gradients(drawing, 168 - half)
    drawing.text(56, 186 + half, "scores *r*_i")
    drawing.text(272, 186 + half, "weights *a*_i")
    return drawing


def _scores_to_weights(
    drawing: Diagram, grids: Sequence[Float[Tensor, "H W"]], marked: tuple[int, int]
) -> None:
    """Draw the scores, the softmax, the weights, and the position that is drawn with them."""
    scores, weights, one_hot = grids
    shades = (scores - scores.min()) / (scores.max() - scores.min()).clamp(min=1e-12)
    drawing.grid(56, 168, 84, 0.05 + 0.95 * shades, "scores")
    drawing.arrow((100, 168), (124, 168), symbol="scores")
    drawing.box(163, 168, 78, 38, ["softmax"], "weights")
    drawing.arrow((202, 168), (228, 168), symbol="weights")
    _map(drawing, 272, 168, weights, "", side=84)
    drawing.arrow((316, 168), (338, 168), symbol="weights", head=False)
    drawing.arrow((338, 168), (338, 78), (505, 78), symbol="weights")
    drawing.arrow((338, 168), (338, 258), (362, 258), symbol="weights")
    drawing.box(392, 258, 60, 38, ["draw"], "weights")
    drawing.arrow((422, 258), (440, 258), symbol="weights")
    drawing.grid(468, 258, 52, one_hot, "weights", marked)
    drawing.arrow((497, 258), (515, 258), symbol="weights")


def _all_or_one(drawing: Diagram) -> None:
    """Draw the values, which are all summed above, and of which one is read below."""
    _stack(drawing, 566, 168, "value", "", None)
    drawing.vector(566, 168, "value", marked=True)
    drawing.text(610, 168, "values *v*_i", anchor="start")
    drawing.arrow((566, 120), (566, 99), symbol="value")
    drawing.text(610, 112, "all of them", size=SMALL, anchor="start")
    drawing.arrow((566, 216), (566, 237), symbol="value")
    drawing.text(610, 224, "the drawn one", size=SMALL, anchor="start")
    for y, name, box in (
        (78, "soft", (566, 122, "weighted sum")),
        (258, "hard", (566, 102, "copy")),
    ):
        x, width, line = box
        drawing.text(404, y - 34 if name == "hard" else y - 16, name)
        drawing.box(x, y, width, 40, [line], "context")
        drawing.arrow((x + width / 2, y), (656, y), symbol="context")
        drawing.vector(694, y, "context", marked=name == "hard")
    drawing.text(694, 56, "context *c*")
    drawing.text(694, 278, "context *c*")


def _gradients(drawing: Diagram, scores: Number) -> None:
    """Draw the way back from each context: to the scores above, and no further than the draw."""
    drawing.arrow((694, 42), (694, 28), (56, 28), (56, scores - 2))
    drawing.text(272, 14, "gradient", size=SMALL)
    drawing.arrow((694, 292), (694, 310), (398, 310))
    drawing.text(568, 325, "gradient", size=SMALL)
    drawing.text(388, 310, "×", size=24)
    drawing.text(374, 310, "stops at the draw", size=SMALL, anchor="end")


def _run(attention: Any, *inputs: Any) -> Any:
    with torch.no_grad():
        return attention(*inputs)


def _chosen(of_all: Float[Tensor, "n K"], chosen: Sequence[int], name: str) -> Float[Tensor, "m K"]:
    if not chosen or not set(chosen) <= set(range(len(of_all))):
        raise ValueError(f"expected {name} from 0 to {len(of_all) - 1}, got {list(chosen)}")
    return of_all[list(chosen)]


def _as_maps(weights: Float[Tensor, "n K"], rows: int) -> Float[Tensor, "n H W"]:
    if rows < 1 or weights.shape[-1] % rows:
        raise ValueError(
            f"expected rows that divide {weights.shape[-1]} positions, got {rows} rows"
        )
    return weights.unflatten(-1, (rows, -1))


def _rows_of(
    maps: Float[Tensor, "n H W"], *, at_least: Number = 0, more: bool = True
) -> tuple[list[Number], Number]:
    """Return the centres of maps that lie one below the other, and the end of the last one.

    Args:
        maps: The maps.
        at_least: The height that all of them take, if they alone need less.
        more: Leave room for a heading above them, and for three dots below.
    """
    tall = MAP_SIDE * maps.shape[1] / max(maps.shape[1:])
    pitch = max(tall + 30, 62, at_least / len(maps))
    top = (44 if more else 0) + 4
    bottom = top + pitch * len(maps) + (18 if more else 0)
    return [top + pitch * (i + 0.5) + 9 for i in range(len(maps))], bottom + 4


def _map(
    drawing: Diagram, x: Number, y: Number, grid: Tensor, name: str, *, side: Number = MAP_SIDE
) -> None:
    """Draw weights as a grid whose darkest cell is the largest weight, with a name above it."""
    rows, columns = grid.shape
    drawing.grid(x, y, side, 0.05 + 0.95 * grid / grid.max().clamp(min=1e-12), "weights")
    if name:
        drawing.text(x, y - side * rows / max(rows, columns) / 2 - 11, name, size=SMALL)


def _through(
    drawing: Diagram, ends: tuple[Number, Number], x: Number, y: Number, grid: Tensor, name: str
) -> None:
    """Draw a map, with an arrow from one box to it and another one from it to the next box."""
    half = MAP_SIDE * grid.shape[1] / max(grid.shape) / 2 + 2
    drawing.arrow((ends[0], y), (x - half, y), symbol="scores")
    _map(drawing, x, y, grid, name)
    drawing.arrow((x + half, y), (ends[1], y), symbol="weights")


def _heading(drawing: Diagram, x: Number, name: str, tensor: Tensor | None) -> None:
    """Write what a column holds, and below it the shape."""
    drawing.text(x, 12, name)
    if tensor is not None:
        drawing.text(x, 31, _shape(tensor), size=SMALL)


def _vectors(
    drawing: Diagram,
    x: Number,
    y: Number,
    name: str,
    symbol: Symbol,
    tensor: Tensor,
    *,
    to: Number | None = None,
) -> None:
    """Draw one vector, with the name and the shape of its tensor, and an arrow to the right."""
    drawing.text(x, y - 20, name)
    drawing.vector(x, y, symbol)
    drawing.text(x, y + 18, _shape(tensor), size=SMALL)
    if to is not None:
        drawing.arrow((x + 37, y), (to, y), symbol=symbol)


def _stack(
    drawing: Diagram, x: Number, y: Number, symbol: Symbol, name: str, tensor: Tensor | None
) -> None:
    """Draw some of the vectors of all positions, with a name and the shape."""
    for i in (-3, -1, 0, 1, 3):
        drawing.vector(x, y + 14 * i, symbol)
    for i in (-2, 2):
        drawing.text(x, y + 14 * i, "⋮", size=SMALL)
    if name:
        drawing.text(x, y - 68, name)
    if tensor is not None:
        drawing.text(x, y + 66, _shape(tensor), size=SMALL)


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"
