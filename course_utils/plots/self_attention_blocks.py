"""Drawings of self-attention in CNNs: every position, or every patch, reads all the others.

- `non_local`: the non-local block, with one map per position.
- `global_context`: the global-context block, with one map for all positions.
- `vision_transformer`: a vision transformer, from the patches of an image to the logits.

Each function runs the module that it draws. The shapes are those of the tensors of that run,
written without the batch, and the maps are those of its first input. A chapter ends a cell with one
call::

    block = NonLocal(64)
    self_attention_blocks.non_local(block, x, image=images[0], caption="One map per position.")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib.colors import to_rgb
from torch import Tensor, nn

from course_utils.plots.block_labels import half_of, numeral, sizes
from course_utils.plots.canvas import SYMBOL_COLOURS
from course_utils.plots.drawing import LARGEST, SMALL, Diagram, Number, Point, Symbol
from course_utils.plots.inputs import check_parts, check_pictures

PAGE_WIDTH = 740
SHEET_SIDE = 68  # the longer side of features, which are drawn as sheets, one behind the other
MAIN = 46  # x of the features, of the sum below them and of the result: the path past the block
RESULT = 622  # x of the map and of the contexts in `non_local`
BRANCH = 102  # x where the projections branch off
ROW = 190  # y of the queries in `non_local`
MOST_LINES = 6  # lines from the positions with the largest weights to the one that reads them


class _NonLocal(NamedTuple):
    """A non-local block as it was run, for the first input of the batch."""

    x: Tensor  # (C, H, W)
    queries: Tensor  # (C', H, W); keys and values have the same shape
    values: Tensor  # (C', H, W)
    scores: Tensor  # (K, K)
    weights: Tensor  # (K, K)
    contexts: Tensor  # (C', H, W)
    added: Tensor  # (C, H, W), out of W_z
    query: tuple[int, int]
    softmax: bool
    reach: int | None  # of the relative positions

    @property
    def positions(self) -> int:
        """The number K of positions."""
        return len(self.weights)

    @property
    def row(self) -> int:
        """The row of the chosen position in the matrices."""
        return self.query[0] * self.x.shape[-1] + self.query[1]

    @property
    def map(self) -> Tensor:
        """The weights of the chosen position, (H, W)."""
        return self.weights[self.row].unflatten(0, self.x.shape[-2:])


def non_local(
    block: nn.Module,
    x: Float[Tensor, "B C H W"],
    *,
    caption: str,
    image: Float[Tensor, "c h_image w_image"] | None = None,
    query: tuple[int, int] | None = None,
) -> Diagram:
    """Draw a non-local block: one row of its K × K weights is the map of one position.

    The features go down at the left, unchanged. The block goes out from them to the right and comes
    back below. One position is marked in all of its parts, and lines lead to it from the positions
    with the largest weights. Each row of the scores is shaded from its smallest to its largest.

    Args:
        block: A `NonLocal`.
        x: Features.
        caption: One line that says what to see.
        image: The first image of the batch, grey or RGB, in [0, 1], to lay the map over it.
        query: Row and column of the position that is marked; if None, the one with the strongest
            features.

    Raises:
        ValueError: If the block is of another kind or can't be run on the features, if its weights
            are not finite, if there is no such position, or if the image can't be drawn.
    """
    names = "project_query", "project_key", "project_value", "combine", "norm", "similarity"
    check_parts(block, names, "NonLocal")
    run = _run_non_local(block, x, query)
    side = _fitting(run.map, 216, 190)
    least = 356 if run.reach is not None else 304
    below = max(least, ROW + half_of(run.map, side)[1] + 58)  # y of the values and of their sums
    drawing = Diagram(PAGE_WIDTH, below + 170, alt=_alt_of_non_local(run), caption=caption)
    _past(drawing, run.x, ROW, below + 100, marked=run.query)
    _projections(drawing, run, below)
    _comparing(drawing, run)
    _one_row(drawing, run, image, side, below)
    _coming_back(drawing, run, below)
    return drawing


def _projections(drawing: Diagram, run: _NonLocal, below: Number) -> None:
    """Draw the three 1 × 1 convolutions."""
    rows: tuple[tuple[Number, str, Symbol], ...] = (
        (62, "keys", "key"),
        (ROW, "queries", "query"),
        (below, "values", "value"),
    )
    for y, name, symbol in rows:
        corners = ((BRANCH, ROW), (BRANCH, y)) if y != ROW else ((BRANCH - 12, y),)
        drawing.arrow(*corners, (114, y), symbol="l")
        lines = [f"{name} *{symbol[0]}*", f"*W*_{symbol[0]}, 1 × 1 conv"]
        _box(drawing, 167, y, 106, lines, symbol, shape=run.queries)


def _comparing(drawing: Diagram, run: _NonLocal) -> None:
    """Draw the matrix of scores, between the queries at its left and the keys above it."""
    side, x, y = 120, 320, ROW
    left, top = x - side / 2, y - side / 2
    drawing.arrow((220, 62), (x, 62), (x, top - 22), symbol="key")
    drawing.box(x, top - 14, side, 12, [], "key")
    drawing.arrow((220, y), (left - 22, y), symbol="query")
    drawing.box(left - 14, y, 12, side, [], "query")
    low, high = run.scores.amin(dim=1, keepdim=True), run.scores.amax(dim=1, keepdim=True)
    _matrix(drawing, x, y, side, (run.scores - low) / (high - low).clamp(min=1e-12), "scores")
    cell = side / run.positions
    height = max(cell, 3)  # of a row that is too thin to be seen
    middle = top + (run.row + 0.5) * cell
    drawing.frame(left - 20, middle - height / 2, side + 20, height)
    scaled = f" ÷ √{run.queries.shape[0]}" if run.softmax else ""
    drawing.text(x + 12, 62, f"scores  *q*_i · *k*_j{scaled}", anchor="start")
    shape = f"*K*\u2009×\u2009*K* = {sizes(*run.scores.shape)}"
    drawing.text(x + 12, 81, shape, size=SMALL, anchor="start")
    rows, columns = run.x.shape[-2:]
    positions = f"*K* = {rows} · {columns} positions"
    if run.reach is None:
        drawing.text(x, 268, positions, size=SMALL)
        return
    drawing.text(x + 12, 268, positions, size=SMALL, anchor="start")
    drawing.arrow((167, y + 24), (167, 259), symbol="query")
    drawing.box(167, 280, 106, 42, ["positions", f"up to {run.reach} away"], "scores")
    drawing.arrow((220, 280), (x, 280), (x, y + side / 2 + 2), symbol="scores")
    drawing.text(x - 12, 268, "+")


def _one_row(
    drawing: Diagram, run: _NonLocal, image: Tensor | None, side: Number, below: Number
) -> None:
    """Draw the alignment, and the weights of the chosen position as a map."""
    x, y = RESULT, ROW
    lines = ["softmax", "of each row"] if run.softmax else [f"÷ {run.positions}", "no softmax"]
    drawing.arrow((382, y), (400, y), symbol="scores")
    drawing.box(440, y, 80, 48, lines, "weights")
    wide, tall = half_of(run.map, side)
    drawing.arrow((480, y), (x - wide - 2, y), symbol="weights")
    drawing.text(x, y - tall - 38, "weights *a*_i_j of position *i*")
    of_row = f"one row, as {sizes(*run.map.shape)}"
    drawing.text(x, y - tall - 18, of_row, size=SMALL)
    _overlay(drawing, x, y, side, run.map, image)
    _gathering(drawing, x, y, side, run)
    largest = f"largest {numeral(run.map.max().item())}"
    if run.map.min() < 0:
        largest += f", smallest {numeral(run.map.min().item())} (grey)"
    drawing.text(x - 10, y + tall + 16, largest, size=SMALL, anchor="end")
    drawing.arrow((x, y + tall + 2), (x, below - 24), symbol="weights")


def _gathering(drawing: Diagram, x: Number, y: Number, side: Number, run: _NonLocal) -> None:
    """Draw lines from the positions with the largest weights to the position that reads them."""
    rows, columns = run.map.shape
    cell = side / max(rows, columns)

    def place(row: int, column: int) -> Point:
        return x + (column + 0.5 - columns / 2) * cell, y + (row + 0.5 - rows / 2) * cell

    end = place(*run.query)
    values, indices = run.map.flatten().topk(min(MOST_LINES, run.positions))
    for weight, index in zip(values.tolist(), indices.tolist()):
        if index != run.row and weight > 0:
            thickness = 0.6 + 2 * weight / values[0].item()
            drawing.line(place(*divmod(index, columns)), end, "value", thickness=thickness)
    drawing.frame(end[0] - cell / 2, end[1] - cell / 2, cell)


def _coming_back(drawing: Diagram, run: _NonLocal, below: Number) -> None:
    """Draw the sums of the values, and the way of the contexts back to the features."""
    x, y = RESULT, below + 100
    drawing.arrow((220, below), (x - 68, below), symbol="value")
    over = f"over {run.positions} positions *j*"
    drawing.box(x, below, 136, 48, ["sum of *a*_i_j *v*_j", over], "context")
    wide, tall = half_of(run.contexts, SHEET_SIDE)
    drawing.arrow((x, below + 24), (x, y - tall - 12), symbol="context")
    _sheets(drawing, x, y, run.contexts, "context", marked=run.query)
    drawing.text(x - wide - 10, y + 20, "contexts *c*_i", anchor="end")
    drawing.text(x - wide - 10, y + 38, sizes(*run.contexts.shape), size=SMALL, anchor="end")
    drawing.arrow((x - wide - 2, y), (456, y), symbol="context")
    _box(drawing, 400, y, 112, ["*W*_z", "1 × 1 conv"], "context", shape=run.added)
    drawing.arrow((344, y), (306, y), symbol="context")
    drawing.box(250, y, 112, 48, ["batch norm", "starts at 0"], "context")
    drawing.arrow((194, y), (MAIN + 14, y), symbol="context")
    drawing.text(128, y - 14, "what is added", size=SMALL)


def global_context(
    block: nn.Module,
    x: Float[Tensor, "B C H W"],
    *,
    caption: str,
    image: Float[Tensor, "c h_image w_image"] | None = None,
) -> Diagram:
    """Draw a global-context block: one map for all positions, and the same addition to all of them.

    The layout is that of `non_local`; queries, keys and the K × K scores are missing.

    Args:
        block: A `GlobalContext`.
        x: Features.
        caption: One line that says what to see.
        image: The first image of the batch, grey or RGB, in [0, 1], to lay the map over it.

    Raises:
        ValueError: If the block is of another kind or can't be run on the features, if its weights
            are not finite, or if the image can't be drawn.
    """
    check_parts(block, ("score", "transform", "weights"), "GlobalContext")
    weights, context = _run_global_context(block, x)
    first: Any = block.get_submodule("transform.0")
    hidden, count = first.out_features, weights.numel()
    y, side = 138, _fitting(weights, 170, 130)
    wide, tall = half_of(weights, side)
    below = y + max(tall, SHEET_SIDE / 2) + 44  # of the line from l to the sum
    alt = _alt_of_global_context(x, count, hidden)
    drawing = Diagram(PAGE_WIDTH, below + 168, alt=alt, caption=caption)
    _past(drawing, x[0].detach(), y, below + 92)
    drawing.arrow((BRANCH - 12, y), (114, y), symbol="l")
    lines = ["scores *r*", "*w*, 1 × 1 conv"]
    _box(drawing, 167, y, 106, lines, "scores", shape=weights[None])
    drawing.arrow((220, y), (244, y), symbol="scores")
    drawing.box(305, y, 122, 48, ["softmax", f"over {count} positions"], "weights")
    drawing.arrow((366, y), (480 - wide - 2, y), symbol="weights")
    drawing.text(480, y - tall - 38, "weights *a*")
    drawing.text(480, y - tall - 18, "one map for all", size=SMALL)
    _overlay(drawing, 480, y, side, weights, image)
    drawing.text(480, y + tall + 16, f"largest {numeral(weights.max().item())}", size=SMALL)
    drawing.arrow((480 + wide + 2, y), (592, y), symbol="weights")
    drawing.box(656, y, 128, 48, ["sum of *a*_j *l*_j", f"over {count} positions"], "context")
    drawing.arrow((BRANCH, y), (BRANCH, below), (626, below), (626, y + 24), symbol="l")
    of_l = f"*l* itself,  {sizes(*x[0].shape)}"
    drawing.text(BRANCH + 12, below - 14, of_l, size=SMALL, anchor="start")
    drawing.arrow((686, y + 24), (686, below + 85), symbol="context")
    _one_vector_back(drawing, below + 92, context, hidden)
    return drawing


def _one_vector_back(drawing: Diagram, y: Number, context: Tensor, hidden: int) -> None:
    """Draw the way of the one context through two layers to every position."""
    size = len(context)
    drawing.vector(686, y, "context")
    drawing.text(686, y + 22, "context *c*")
    drawing.text(686, y + 40, str(size), size=SMALL)
    layers: tuple[tuple[Number, str, str, int], ...] = (
        (590, "*W*_1", "linear", hidden),
        (478, "layer norm", "ReLU", hidden),
        (366, "*W*_2", "starts at 0", size),
    )
    start: Number = 651
    for x, name, kind, out in layers:
        drawing.arrow((start, y), (x + 46, y), symbol="context")
        drawing.box(x, y, 92, 48, [name, kind], "context")
        drawing.text(x, y - 38, str(out), size=SMALL)
        start = x - 46
    drawing.arrow((start, y), (261, y), symbol="context")
    for i in (-3, -1, 0, 1, 3):
        drawing.vector(230, y + 14 * i, "context", width=54)
    for i in (-2, 2):
        drawing.text(230, y + 14 * i, "⋮", size=SMALL)
    drawing.text(230, y + 61, "the same at every position", size=SMALL)
    drawing.arrow((201, y), (MAIN + 14, y), symbol="context")
    drawing.text(132, y - 14, "what is added", size=SMALL)


class _Transformer(NamedTuple):
    """A vision transformer as it was run."""

    image: Tensor  # (c, h, w), cut to whole patches
    given: Tensor  # (c, H, W), as it was given
    side: int  # of a patch, in pixels
    grid: tuple[int, int]  # rows and columns of patches
    tokens: Tensor  # (N, d) after the last block
    weights: Tensor  # (n, N, N) of the last block
    depth: int
    inputs: int  # of the linear layer that makes a token of a patch
    hidden: int  # units of the MLP
    classes: int

    @property
    def map(self) -> Tensor:
        """The weights of the class token for the patches, averaged over the heads."""
        return self.weights.mean(dim=0)[0, 1:].unflatten(0, self.grid)


def vision_transformer(
    model: nn.Module, images: Float[Tensor, "B c H W"], *, caption: str
) -> Diagram:
    """Draw a vision transformer: patches, tokens, one of its blocks, and the classifier.

    Every row is a token. Attention is drawn as one box over all rows, because there the tokens read
    each other, and the MLP as one box per row. The map shows what the class token reads in the last
    block.

    Args:
        model: A `VisionTransformer`.
        images: Images, grey or RGB, in [0, 1]; the first one is shown.
        caption: One line that says what to see.

    Raises:
        ValueError: If the model is of another kind or can't be run on the images, if its attention
            is not finite, or if the image can't be drawn.
    """
    names = "embed", "class_token", "positions", "blocks", "classifiers", "encode", "patch"
    check_parts(model, names, "VisionTransformer")
    check_pictures(images)
    run = _run_transformer(model, images)
    count = run.grid[0] * run.grid[1]
    shown = [*range(min(count, 2)), *([count - 1] if count > 2 else [])]
    ys = [116 + 52 * i for i in range(1 + len(shown))]
    if count > 3:
        ys[-1] += 30  # room for the dots
    height = max(ys[-1] + 76, ys[0] + 136 + 2 * half_of(run.map, 112)[1])
    drawing = Diagram(PAGE_WIDTH, height, alt=_alt_of_transformer(run), caption=caption)
    _cutting(drawing, run, shown, ys)
    _one_block(drawing, run, shown, ys)
    _classifying(drawing, run, ys[0])
    if count > 3:
        for x in (148, 262):
            drawing.text(x, (ys[-1] + ys[-2]) / 2, "⋮", size=SMALL)
    return drawing


def _cutting(drawing: Diagram, run: _Transformer, shown: list[int], ys: Sequence[Number]) -> None:
    """Draw the image in patches, some of the patches, and the tokens that are made of them."""
    y = (ys[1] + ys[-1]) / 2
    drawing.picture(60, y, 100, _in_patches(run))
    wide, tall = half_of(run.image, 100)
    drawing.text(60, y - tall - 18, sizes(*run.given.shape), size=SMALL)
    drawing.text(60, y + tall + 18, f"{sizes(*run.grid)} patches", size=SMALL)
    drawing.arrow((62 + wide, y), (128, y), symbol="l")
    top, height = ys[1] - 22, ys[-1] - ys[1] + 44
    drawing.box(197, top + height / 2, 42, height, ["*W*"], "l")
    drawing.text(197, ys[-1] + 38, f"{run.inputs} → {run.tokens.shape[1]}", size=SMALL)
    for index, y in zip(shown, ys[1:]):
        row, column = divmod(index, run.grid[1])
        s = run.side
        patch = run.image[:, row * s : (row + 1) * s, column * s : (column + 1) * s]
        drawing.picture(148, y, 32, patch)
        drawing.arrow((165, y), (176, y), symbol="l")
        drawing.arrow((218, y), (232, y), symbol="l")
        drawing.vector(262, y, "l", width=54)
    drawing.text(222, ys[0], "class token", anchor="end")
    drawing.text(222, ys[0] + 18, "learned", size=SMALL, anchor="end")
    drawing.vector(262, ys[0], "query", width=54)
    drawing.text(262, 44, "tokens")
    drawing.text(262, 62, sizes(*run.tokens.shape), size=SMALL)


def _one_block(drawing: Diagram, run: _Transformer, shown: list[int], ys: Sequence[Number]) -> None:
    """Draw one block: attention between the tokens, an MLP for each, and a residual past both."""
    top, bottom = ys[0] - 22, ys[-1] + 22
    y, height = (top + bottom) / 2, bottom - top
    drawing.text(446, 14, f"one of {run.depth} blocks" if run.depth > 1 else "one block")
    drawing.box(446, (28 + bottom + 46) / 2, 220, bottom + 18, [])
    drawing.text(385, 44, "attention")
    heads = len(run.weights)
    drawing.text(385, 62, f"norm, {heads} head{'s' * (heads > 1)}", size=SMALL)
    drawing.text(489, 44, "MLP")
    drawing.text(489, 62, f"norm, {run.hidden} units", size=SMALL)
    drawing.box(385, y, 66, height, [], "weights")
    _reading(drawing, run, shown, ys)
    for x, corner in ((440, 343), (536, 457)):
        drawing.box(x, y, 20, height, [])
        corners = ((corner, ys[-1]), (corner, bottom + 16), (x, bottom + 16))
        drawing.arrow(*corners, (x, bottom))
    drawing.text(446, bottom + 32, "residuals", size=SMALL)
    for row in ys:
        drawing.box(312, row, 20, 20, ["+"])
        for start, end in ((291, 302), (322, 352), (418, 430), (450, 464), (514, 526)):
            drawing.arrow((start, row), (end, row))
        drawing.box(489, row, 50, 30, ["MLP"])
        for x in (440, 536):
            drawing.text(x, row, "+")
    for row in ys[1:]:
        drawing.arrow((546, row), (562, row))
    drawing.text(296, ys[-1] + 38, "+ positions,", size=SMALL)
    drawing.text(296, ys[-1] + 55, "learned", size=SMALL)


def _reading(drawing: Diagram, run: _Transformer, shown: list[int], ys: Sequence[Number]) -> None:
    """Draw a line from each token to each token that reads it, as thick as its weight."""
    tokens = [0, *(1 + index for index in shown)]
    weights = run.weights.mean(dim=0)[tokens][:, tokens]  # (query, key)
    thick = (0.6 + 2.4 * weights / weights.max().clamp(min=1e-12)).tolist()
    for of_query, end in zip(thick, ys):
        for thickness, start in zip(of_query, ys):
            corners = ((354, start), (416, end))
            drawing.arrow(*corners, symbol="weights", head=False, thickness=thickness)


def _classifying(drawing: Diagram, run: _Transformer, y: Number) -> None:
    """Draw the classifier of the class token, and the map of what that token reads."""
    drawing.arrow((546, y), (578, y), symbol="query")
    drawing.box(625, y, 94, 48, ["classifier", "norm, linear"])
    drawing.arrow((672, y), (692, y))
    drawing.text(714, y - 9, str(run.classes))
    drawing.text(714, y + 9, "logits", size=SMALL)
    x, side = 652, 112
    _, tall = half_of(run.map, side)
    drawing.text(x, y + 66, "weights *a*")
    drawing.text(x, y + 84, "of the class token,", size=SMALL)
    drawing.text(x, y + 101, f"block {run.depth}", size=SMALL)
    _overlay(drawing, x, y + 114 + tall, side, run.map, run.image)
    largest = f"largest {numeral(run.map.max().item())}"
    drawing.text(x, y + 114 + 2 * tall + 14, largest, size=SMALL)


def _past(
    drawing: Diagram, x: Tensor, y: Number, back: Number, marked: tuple[int, int] | None = None
) -> None:
    """Draw the features, their way past the block, the sum at its end, and the result."""
    _, tall = half_of(x, SHEET_SIDE)
    _sheets(drawing, MAIN, y, x, "l", marked=marked)
    drawing.text(MAIN, y - tall - 46, "*l*")
    drawing.text(MAIN, y - tall - 28, sizes(*x.shape), size=SMALL)
    drawing.arrow((MAIN, y + tall + 2), (MAIN, back - 14), symbol="l")
    drawing.text(MAIN + 10, back - 40, "unchanged", size=SMALL, anchor="start")
    drawing.box(MAIN, back, 28, 28, ["+"])
    drawing.arrow((MAIN, back + 14), (MAIN, back + 42), symbol="l")
    drawing.text(14, back + 54, f"*z*,  {sizes(*x.shape)}", anchor="start")


def _sheets(
    drawing: Diagram,
    x: Number,
    y: Number,
    features: Tensor,
    symbol: Symbol,
    marked: tuple[int, int] | None = None,
) -> None:
    """Draw features as sheets, shaded by the mean of the channels' absolute values."""
    strength = features.abs().mean(dim=0)  # (H, W)
    shades = 0.8 * strength / strength.max().clamp(min=1e-12)
    wide, tall = half_of(features, SHEET_SIDE)
    for back in (6, 12):  # the edges of a sheet that one sees behind the sheet before it
        x0, x1 = x - wide + back, x + wide + back
        y0, y1 = y - tall - back, y + tall - back
        corners = ((x0, y0 + 6), (x0, y0), (x1, y0), (x1, y1), (x1 - 6, y1))
        drawing.arrow(*corners, symbol=symbol, head=False)
    drawing.grid(x, y, SHEET_SIDE, shades, symbol, marked)


def _overlay(
    drawing: Diagram, x: Number, y: Number, side: Number, weights: Tensor, image: Tensor | None
) -> None:
    """Draw weights as a grid, over the image if there is one; negative ones are grey."""
    strongest = 0.95
    if image is not None:
        check_pictures(image[None])
        # A whole number of pixels per position: the map and its image then have the same sides.
        size = [n * max(1, pixels // n) for n, pixels in zip(weights.shape, image.shape[1:])]
        fitted = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]
        drawing.picture(x, y, side, fitted)
        strongest = 0.8
    shades = strongest * weights / weights.abs().max().clamp(min=1e-12)
    drawing.grid(x, y, side, shades.clamp(min=0), "weights")
    if weights.min() < 0:
        drawing.grid(x, y, side, (-shades).clamp(min=0), "scores")


def _matrix(
    drawing: Diagram, x: Number, y: Number, side: Number, shades: Tensor, symbol: Symbol
) -> None:
    """Draw a matrix as one picture in a frame: K × K cells of their own would be too many."""
    if len(shades) > LARGEST:
        shades = F.adaptive_avg_pool2d(shades[None], LARGEST)[0]
    colour = torch.tensor(to_rgb(SYMBOL_COLOURS[symbol]))[:, None, None]
    opaque = 0.05 + 0.95 * shades[None].float().cpu()
    drawing.picture(x, y, side, torch.cat([colour.expand(-1, *shades.shape), opaque]))
    drawing.box(x, y, side, side, [], symbol)


def _in_patches(run: _Transformer) -> Tensor:
    """Return the image with transparent gaps between its patches, (4, h, w)."""
    rows, columns = run.grid
    pitch = max(1, LARGEST // max(rows, columns))
    gap = 2 if pitch > 7 else 1 if pitch > 2 else 0
    size = [n * (pitch - gap) for n in run.grid]
    image = F.interpolate(run.image[None].float(), size, mode="bilinear", antialias=True)[0]
    opaque = torch.cat([image.expand(3, -1, -1), torch.ones_like(image[:1])])  # (4, h, w)
    tiles = opaque.unflatten(1, (rows, -1)).unflatten(3, (columns, -1))  # (4, rows, p, columns, p)
    tiles = F.pad(tiles, (0, gap, 0, 0, 0, gap))  # at the right and at the bottom of each tile
    return tiles.flatten(3).flatten(1, 2)[:, : rows * pitch - gap, : columns * pitch - gap]


def _box(
    drawing: Diagram,
    x: Number,
    y: Number,
    width: Number,
    lines: list[str],
    symbol: Symbol,
    *,
    shape: Tensor,
) -> None:
    """Draw a layer, and above it the shape of what leaves it."""
    drawing.box(x, y, width, 48, lines, symbol)
    drawing.text(x, y - 36, sizes(*shape.shape), size=SMALL)


def _check_finite(weights: Tensor) -> None:
    """Check weights before they are drawn.

    Raises:
        ValueError: If one is NaN or infinite.
    """
    if not weights.isfinite().all():
        raise ValueError("expected finite weights, got NaN or infinite ones")


def _run_non_local(block: Any, x: Tensor, query: tuple[int, int] | None) -> _NonLocal:
    """Run a non-local block on the first input, up to its batch norm.

    The norm isn't run: in training mode it would change its statistics.

    Raises:
        ValueError: If the block can't be run on the features, a weight is NaN or infinite, or there
            is no such position.
    """
    _check_features(x)
    x = x[:1].detach()
    rows, columns = x.shape[2:]
    if query is None:
        query = divmod(int(x[0].norm(dim=0).argmax()), columns)
    if not (0 <= query[0] < rows and 0 <= query[1] < columns):
        raise ValueError(f"expected a query in {rows} rows and {columns} columns, got {query}")
    softmax = block.similarity == "embedded_gaussian"
    with torch.no_grad():
        weights = block.weights(x)[0]  # (K, K)
        queries, keys, values = (
            layer(x) for layer in (block.project_query, block.project_key, block.project_value)
        )
        scaled = queries / (queries.shape[1] ** 0.5 if softmax else 1)
        scores = scaled[0].flatten(1).mT @ keys[0].flatten(1)
        if block.positions is not None:
            scores = scores + block.positions(scaled)[0]
        contexts = (weights @ values[0].flatten(1).mT).mT.unflatten(1, (rows, columns))
        added = block.combine(contexts[None])
    _check_finite(weights)
    reach = None if block.positions is None else block.positions.reach
    inside = (x[0], queries[0], values[0], scores, weights, contexts, added[0])
    return _NonLocal(*inside, query, softmax, reach)


def _run_global_context(block: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the map and the context of the first input, (H, W) and (C).

    Raises:
        ValueError: If the block can't be run on the features, or a weight is NaN or infinite.
    """
    _check_features(x)
    with torch.no_grad():
        weights = block.weights(x[:1])  # (1, 1, H, W)
    _check_finite(weights)
    context = (weights * x[:1]).sum(dim=(2, 3))
    return weights[0, 0], context[0].detach()


def _check_features(x: Tensor) -> None:
    """Check that features are a batch of maps.

    Raises:
        ValueError: If they have another number of dimensions, or there are none.
    """
    if x.ndim != 4 or not x.numel():
        raise ValueError(f"expected features of shape (B, C, H, W), got {tuple(x.shape)}")


def _run_transformer(model: Any, images: Tensor) -> _Transformer:
    """Run a vision transformer on the first image.

    Raises:
        ValueError: If the model can't be run on the image, or a weight is NaN or infinite.
    """
    side = model.patch
    with torch.no_grad():
        tokens, every = model.encode(images[:1])
        logits = model(images[:1]).logits
    _check_finite(every[-1])
    grid = (images.shape[2] // side, images.shape[3] // side)
    return _Transformer(
        image=images[0, :, : grid[0] * side, : grid[1] * side],
        given=images[0],
        side=side,
        grid=grid,
        tokens=tokens[0],
        weights=every[-1][0],
        depth=len(every),
        inputs=model.embed.in_channels * side**2,
        hidden=model.blocks[0].mlp[0].out_features,
        classes=logits.shape[-1],
    )


def _fitting(weights: Tensor, width: Number, height: Number) -> float:
    """Return the longer side of the largest grid that fits into a space."""
    rows, columns = weights.shape
    return min(width / columns, height / rows) * max(rows, columns)


def _alt_of_non_local(run: _NonLocal) -> str:
    """Describe `non_local` in words."""
    count = run.positions
    aligned = (
        f"divided by the square root of {run.queries.shape[0]}, and a softmax of each row turns "
        "the scores into weights"
        if run.softmax
        else f"and divided by {count}, without a softmax, which gives the weights"
    )
    positions = (
        ""
        if run.reach is None
        else f" Scores of relative positions, up to {run.reach} away, are added."
    )
    return (
        f"Non-local block. Three 1 × 1 convolutions of the features l, {sizes(*run.x.shape)}, are "
        f"queries, keys and values, each {sizes(*run.queries.shape)}. Every query is compared with "
        f"every key: {count} × {count} scores, {aligned}.{positions} One row of the weights is "
        "shown as the map of one position. For every position, the sum of the values with its "
        f"weights is its context, {sizes(*run.contexts.shape)}. The convolution W_z and a batch "
        "norm that starts at 0 follow, and the result is added to l, which has gone past the "
        "block unchanged."
    )


def _alt_of_global_context(x: Tensor, count: int, hidden: int) -> str:
    """Describe `global_context` in words."""
    return (
        f"Global-context block. A 1 × 1 convolution scores the {count} positions of the features "
        f"l, {sizes(*x[0].shape)}, and a softmax turns the scores into one map. The sum of l with "
        f"these weights is one context of {x.shape[1]} entries. A linear layer with {hidden} "
        "units, a layer norm with ReLU and a linear layer that starts at 0 follow, and the result "
        "is added to l at every position."
    )


def _alt_of_transformer(run: _Transformer) -> str:
    """Describe `vision_transformer` in words."""
    count, size = run.tokens.shape
    return (
        f"Vision transformer. The image, {sizes(*run.given.shape)}, is cut into {sizes(*run.grid)} "
        f"patches, and a linear layer makes a token of {size} entries of each. A learned class "
        f"token comes first, and a learned position is added to each of the {count} tokens. In "
        f"each of {run.depth} blocks, attention with {len(run.weights)} heads lets every token "
        f"read all tokens, and an MLP with {run.hidden} hidden units works on each token alone; "
        "both have a layer norm before them and a residual past them. A linear classifier reads "
        f"the class token and returns {run.classes} logits."
    )
