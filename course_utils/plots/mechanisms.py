"""Drawings of kinds of attention: what is asked, what is read, and how many maps come out.

- `multi_dimensional`: one map per feature of a value.
- `self_attention`: one context per position.
- `heads`: several maps side by side.
- `hops`: several maps, one after the other.
- `class_queries`: one map per class.

Each drawing runs the module that it shows, so its maps and its shapes are those of that run. The
maps are those of the first input of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.plots.drawing import SMALL, Diagram, Number, Symbol

SHEET_WIDTH = 740
MAP_SIDE = 92  # of a map


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
        ValueError: If the positions don't form a grid with so many rows.
    """
    context, weights = _run(attention, queries, keys, values)  # (B, Q, d_v), (B, Q, K, d_v)
    maps = _as_maps(weights[0, 0].mT[list(features)], rows)
    height = 14 + 84 * len(maps)
    drawing = Diagram(
        SHEET_WIDTH,
        height,
        alt=f"Multi-dimensional attention: {weights.shape[-1]} maps, one per feature of a value. "
        "Each feature of the values is averaged with the weights of its own map, and the averages "
        "together are the context.",
        caption=caption,
    )
    _inputs(drawing, height / 2 + 10, [("query", queries), ("key", keys), ("value", values)])
    drawing.box(270, height / 2 + 10, 110, 54, ["scores", "one per feature"], "scores")
    drawing.arrow((120, height / 2 + 10), (214, height / 2 + 10), symbol="key")
    for i, (feature, grid) in enumerate(zip(features, maps)):
        y = 52 + 84 * i
        drawing.arrow((325, height / 2 + 10), (375, y), symbol="weights")
        _map(drawing, 430, y, grid, f"feature {feature}")
        drawing.arrow((485, y), (560, y), symbol="value")
        drawing.text(522, y - 14, "mean of", size=SMALL)
        drawing.text(522, y + 16, f"feature {feature}", size=SMALL)
        drawing.box(590, y, 56, 26, [f"{context[0, 0, feature]:.2f}".replace("-", "−")], "context")
    drawing.text(690, height / 2 - 4, "context *c*")
    drawing.text(690, height / 2 + 18, _shape(context), size=SMALL)
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
        300,
        alt=f"Self-attention of {positions} positions. Three projections of the same input are "
        f"queries, keys and values; every query is compared with every key, which gives a grid of "
        f"{positions} × {positions} weights, and every position gets a context of its own.",
        caption=caption,
    )
    _stack(drawing, 60, 150, "l", "inputs *x*", inputs)
    projected: list[tuple[str, Symbol]] = [
        ("queries", "query"),
        ("keys", "key"),
        ("values", "value"),
    ]
    for i, (name, symbol) in enumerate(projected):
        y = 70 + 80 * i
        drawing.arrow((100, 150), (150, y), symbol="l")
        drawing.box(205, y, 108, 36, [name], symbol)
    drawing.arrow((259, 70), (352, 130), symbol="query")
    drawing.arrow((259, 150), (352, 150), symbol="key")
    _map(drawing, 430, 145, weights[0], "", side=150)
    drawing.text(430, 44, "weights *a*: one row per query")
    drawing.text(430, 244, _shape(weights), size=SMALL)
    drawing.arrow((259, 230), (300, 272), (560, 272), (600, 172), symbol="value")
    drawing.arrow((508, 145), (590, 145), symbol="weights")
    _stack(drawing, 650, 150, "context", "contexts *c*_i", context)
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
    size = queries.shape[-1] // len(maps)
    height = 20 + 90 * max(2, len(maps))
    middle = height / 2 + 6
    drawing = Diagram(
        SHEET_WIDTH,
        height,
        alt=f"Multi-head attention with {len(maps)} heads. Queries, keys and values are projected "
        f"and cut into slices of {size} features. Each head has a map and a context of its own; "
        "the contexts are joined and projected.",
        caption=caption,
    )
    _inputs(drawing, middle, [("query", queries), ("key", keys), ("value", values)])
    drawing.box(216, middle, 92, 54, ["project", "and cut"])
    drawing.arrow((120, middle), (169, middle))
    drawing.text(216, middle + 42, f"{size} features each", size=SMALL)
    for i, grid in enumerate(maps):
        y = middle + 90 * (i - (len(maps) - 1) / 2)
        drawing.arrow((262, middle), (310, y))
        _map(drawing, 375, y, grid, f"head {i + 1}")
        drawing.arrow((430, y), (478, y), symbol="weights")
        drawing.vector(512, y, "context", width=60)
        drawing.arrow((545, y), (584, middle), symbol="context")
    drawing.box(626, middle, 80, 54, ["join", "and project"])
    drawing.arrow((666, middle), (690, middle), symbol="context")
    drawing.text(700, middle - 44, "context *c*")
    drawing.text(696, middle + 44, _shape(context), size=SMALL)
    drawing.vector(715, middle, "context", width=44)
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
        ValueError: If the positions don't form a grid with so many rows.
    """
    context, weights = _run(attention, queries, keys, values)  # (B, Q, d), (B, n, Q, K)
    maps = _as_maps(weights[0, :, 0], rows)
    pitch = (SHEET_WIDTH - 120) / len(maps)
    drawing = Diagram(
        SHEET_WIDTH,
        235,
        alt=f"Multi-hop attention with {len(maps)} hops over the same keys and values. The context "
        "of a hop is added to its query, and the sum is the query of the next hop. The last "
        "context is the result.",
        caption=caption,
    )
    drawing.box(60 + pitch * len(maps) / 2, 205, pitch * len(maps), 34, [], "key")
    drawing.text(60 + pitch * len(maps) / 2, 205, f"the same keys and values, {_shape(keys)}")
    _query(drawing, 42, 60, "query *q*", queries)
    for i, grid in enumerate(maps):
        x, last = 60 + pitch * (i + 0.5), i + 1 == len(maps)
        drawing.arrow((x - pitch / 2 + 18, 60), (x - 56, 60), symbol="query")
        _map(drawing, x, 60, grid, f"hop {i + 1}")
        drawing.arrow(
            (x, 188), (x, 64 + MAP_SIDE * grid.shape[0] / max(grid.shape) / 2 + 4), symbol="value"
        )
        drawing.arrow((x + 50, 60), (x + pitch / 2 - 12, 60), symbol="context")
        if last:
            _query(drawing, x + pitch / 2 + 24, 60, "context *c*", context, "context")
            continue
        at = x + pitch / 2
        drawing.arrow(
            (x - pitch / 2 + 30, 60), (x - pitch / 2 + 30, 148), (at, 148), (at, 74), symbol="query"
        )
        drawing.text(at, 60, "+", size=24)
        drawing.text(at, 32, "*q* + *c*", size=SMALL)
    return drawing


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
        ValueError: If the positions don't form a grid with so many rows.
    """
    _, weights, logits, *_ = _run(attention, inputs)  # (B, n, d), (B, n, K), (B, n)
    maps, height = _as_maps(weights[0, list(classes)], rows), 40 + 88 * len(classes)
    middle = height / 2 + 12
    drawing = Diagram(
        SHEET_WIDTH,
        height,
        alt=f"Attention with one query per class, for {weights.shape[1]} classes. Each query has a "
        "map and a context of its own, and a classifier of its own says yes or no.",
        caption=caption,
    )
    _stack(drawing, 60, middle, "l", "inputs *x*", inputs)
    for label, grid, y in zip(classes, maps, (78 + 88 * i for i in range(len(maps)))):
        drawing.text(180, y - 20, f"query {label}", size=SMALL)
        drawing.vector(180, y, "query")
        drawing.arrow((100, middle), (140, y + 3), symbol="l")
        drawing.arrow((216, y), (290, y), symbol="weights")
        _map(drawing, 345, y, grid, f"map {label}")
        drawing.arrow((400, y), (450, y), symbol="weights")
        drawing.vector(488, y, "context")
        drawing.arrow((524, y), (566, y), symbol="context")
        probability = logits[0, label].sigmoid()
        drawing.box(640, y, 140, 40, [f"is there a {label}?", f"probability {probability:.2f}"])
    drawing.text(345, 14, f"weights *a*, {_shape(weights)}", size=SMALL)
    drawing.text(488, 14, "context *c*_m", size=SMALL)
    return drawing


def _run(attention: Any, *inputs: Any) -> Any:
    with torch.no_grad():
        return attention(*inputs)


def _as_maps(weights: Float[Tensor, "n K"], rows: int) -> Float[Tensor, "n H W"]:
    if rows < 1 or weights.shape[-1] % rows:
        raise ValueError(
            f"expected rows that divide {weights.shape[-1]} positions, got {rows} rows"
        )
    return weights.unflatten(-1, (rows, -1))


def _map(
    drawing: Diagram, x: Number, y: Number, grid: Tensor, name: str, *, side: Number = MAP_SIDE
) -> None:
    """Draw weights as a grid whose darkest cell is the largest weight, with a name above it."""
    rows, columns = grid.shape
    drawing.grid(x, y, side, 0.05 + 0.95 * grid / grid.max().clamp(min=1e-12), "weights")
    if name:
        drawing.text(x, y - side * rows / max(rows, columns) / 2 - 11, name, size=SMALL)


def _inputs(drawing: Diagram, y: Number, named: Sequence[tuple[Symbol, Tensor]]) -> None:
    """Draw the queries, keys and values, one above the other, with their shapes."""
    for i, (symbol, tensor) in enumerate(named):
        top = y + 62 * (i - (len(named) - 1) / 2)
        name = "queries" if symbol == "query" and tensor.shape[1] > 1 else symbol
        plural = name if name in ("queries", "query") else f"{name}s"
        drawing.text(80, top - 17, f"{plural} {_shape(tensor)}", size=SMALL)
        drawing.vector(80, top, symbol)


def _stack(
    drawing: Diagram, x: Number, y: Number, symbol: Symbol, name: str, tensor: Tensor
) -> None:
    """Draw some of the vectors of all positions, with a name and the shape."""
    for i in (-3, -1, 0, 1, 3):
        drawing.vector(x, y + 14 * i, symbol)
    for i in (-2, 2):
        drawing.text(x, y + 14 * i, "⋮", size=SMALL)
    drawing.text(x, y - 68, name)
    drawing.text(x, y + 66, _shape(tensor), size=SMALL)


def _query(
    drawing: Diagram, x: Number, y: Number, name: str, tensor: Tensor, symbol: Symbol = "query"
) -> None:
    """Draw one vector with its name and shape."""
    drawing.vector(x, y, symbol)
    drawing.text(x, y - 20, name)
    drawing.text(x, y + 20, _shape(tensor), size=SMALL)


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"
