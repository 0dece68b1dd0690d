"""Drawings of algorithms and networks, whose shapes are read from the tensors of a real run.

- `query_key_value`: attention over the positions of an image, from features to contexts.
- `network`: the blocks, taps, attention and classifiers of a VGG of `models`.
- `choices`: what there is to choose from, with the choice of the present chapter marked.
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.plots.block_labels import size_of
from course_utils.plots.drawing import SMALL, Diagram, Number, Point, Symbol
from course_utils.plots.inputs import check_pictures
from course_utils.plots.wiring import Block, Branch, Wiring, wiring_of

Part = Literal["score", "alignment", "kind"]

# The choices of the course, in the words of its modules: scores, alignments and kinds.
CHOICES: dict[Part, tuple[str, ...]] = {
    "score": (
        "multiplicative",
        "scaled multiplicative",
        "cosine",
        "Euclidean",
        "additive",
        "concat",
        "general",
        "biased general",
        "activated general",
    ),
    "alignment": ("softmax", "sparsemax", "entmax", "sigmoid", "local", "hard"),
    "kind": (
        "attention pooling",
        "multi-dimensional",
        "self-attention",
        "multi-head",
        "multi-hop",
        "one query per class",
        "interactive co-attention",
        "parallel co-attention",
        "rotatory",
        "attention via attention",
        "hierarchical",
        "multi-representational",
        "capsules",
    ),
}
_HEADS: dict[Part, tuple[str, str, Symbol]] = {
    "score": ("Score", "How well does a key match?", "scores"),
    "alignment": ("Alignment", "How do scores become weights?", "weights"),
    "kind": ("Kind", "Who asks, and what is read?", "query"),
}
_SIDE = 108  # of the grids in `query_key_value`


def query_key_value(
    attention: nn.Module,
    image: Float[Tensor, "C H W"],
    queries: Float[Tensor, "B Q d_q"],
    keys: Float[Tensor, "B K d_k"],
    values: Float[Tensor, "B K d_v"],
    *,
    caption: str,
) -> Diagram:
    """Draw attention over an image: keys and values, scores, weights and context, with shapes.

    The attention is run on the tensors. The grids show the scores and the weights of the first
    query for the first image; the position with the largest weight is marked in every part.

    Args:
        attention: An `attention.Attention`.
        image: The first image of the batch, grey or RGB, in [0, 1].
        queries: Queries.
        keys: One key per position of a grid over the image, row by row.
        values: One value per key.
        caption: One line that says what to see.

    Raises:
        ValueError: If the image can't be drawn, or the keys don't form a grid of its proportions.
    """
    check_pictures(image[None])
    rows, columns = _grid_size(image, keys.shape[1])
    compare: Any = attention.score
    with torch.no_grad():
        scores = compare(queries, keys)  # (B, Q, K)
        context, weights = attention(queries, keys, values)
    marked = divmod(int(weights[0, 0].argmax()), columns)
    score, alignment = _name(compare), _name(attention.alignment)
    drawing = Diagram(
        740,
        500,
        alt=f"Attention over the {rows} × {columns} positions of an image. Each position has a key "
        f"and a value. The query is compared with every key ({score}), which gives a grid of "
        f"scores; {alignment} turns them into a grid of weights; the sum of the values with these "
        "weights is the context.",
        caption=caption,
    )
    _inputs(drawing, image, (rows, columns), marked, keys, values)
    _label(
        drawing,
        310,
        15,
        "query *q*" if queries.shape[1] == 1 else "queries *q*",
        "(*B*, *Q*, *d*_q)",
        queries,
    )
    for i in range(min(3, queries.shape[1])):
        drawing.vector(310, 76 + 14 * i, "query")
    drawing.arrow((310, 83 + 14 * i), (310, 182), symbol="query")
    grids = scores[0, 0].unflatten(0, (rows, columns)), weights[0, 0].unflatten(0, (rows, columns))
    _weighing(drawing, (score, alignment), grids, marked, scores, weights)
    _contexts(drawing, context)
    return drawing


def _inputs(
    drawing: Diagram,
    image: Tensor,
    size: tuple[int, int],
    marked: tuple[int, int],
    keys: Tensor,
    values: Tensor,
) -> None:
    """Draw the image with its grid, and the keys and values that come from it."""
    _label(drawing, 60, 110, "features *l*_i", "one per position", None)
    drawing.text(60, 276, f"*K* = {size[0]} · {size[1]}", size=SMALL)
    drawing.picture(60, 210, _SIDE, image)
    drawing.grid(60, 210, _SIDE, torch.zeros(size), "l", marked)
    drawing.arrow((118, 210), (163, 210), symbol="key")
    drawing.arrow((60, 290), (60, 395), (163, 395), symbol="value")
    _label(drawing, 200, 94, "keys *k*_i", "(*B*, *K*, *d*_k)", keys)
    _label(drawing, 200, 283, "values *v*_i", "(*B*, *K*, *d*_v)", values)
    _stack(drawing, 200, 210, "key")
    _stack(drawing, 200, 395, "value")


def _weighing(
    drawing: Diagram,
    names: tuple[str, str],
    grids: tuple[Tensor, Tensor],
    marked: tuple[int, int],
    scores: Tensor,
    weights: Tensor,
) -> None:
    """Draw the comparison of query and keys, the scores, the alignment and the weights."""
    drawing.arrow((237, 210), (261, 210), symbol="key")
    drawing.box(310, 210, 98, 54, names[0].split(" "), "scores")
    drawing.arrow((359, 210), (375, 210), symbol="scores")
    _label(drawing, 430, 94, "scores *r*_i", "(*B*, *Q*, *K*)", scores)
    low, high = grids[0].min(), grids[0].max()
    shades = (grids[0] - low) / (high - low).clamp(min=1e-12)
    drawing.grid(430, 210, _SIDE, 0.05 + 0.95 * shades, "scores", marked)
    drawing.arrow((485, 210), (506, 210), symbol="scores")
    drawing.box(547, 210, 80, 40, [names[1]], "weights")
    drawing.arrow((587, 210), (611, 210), symbol="weights")
    _label(drawing, 666, 94, "weights *a*_i", "(*B*, *Q*, *K*)", weights)
    drawing.grid(666, 210, _SIDE, 0.05 + 0.95 * grids[1] / grids[1].max(), "weights", marked)


def _contexts(drawing: Diagram, context: Tensor) -> None:
    """Draw the weighted sum of the values, and the context that comes out."""
    drawing.arrow((237, 395), (602, 395), symbol="value")
    drawing.arrow((666, 267), (666, 375), symbol="weights")
    drawing.box(666, 395, 126, 38, ["weighted sum"], "context")
    drawing.arrow((666, 414), (666, 450), symbol="context")
    for i in range(min(3, context.shape[1])):
        drawing.vector(666, 458 + 14 * i, "context")
    text = f"context *c*   (*B*, *Q*, *d*_v) = {_shape(context)}"
    drawing.text(618, 458, text, anchor="end")


def _label(
    drawing: Diagram, x: Number, y: Number, name: str, letters: str, tensor: Tensor | None
) -> None:
    """Write a name, and below it a shape in letters and in numbers."""
    drawing.text(x, y, name)
    drawing.text(x, y + 20, letters, size=SMALL)
    if tensor is not None:
        drawing.text(x, y + 37, _shape(tensor), size=SMALL)


def _stack(drawing: Diagram, x: Number, y: Number, symbol: Symbol) -> None:
    """Draw some of the vectors of all positions: the first, the marked one and the last."""
    for i in (-3, -1, 0, 1, 3):
        drawing.vector(x, y + 14 * i, symbol, marked=i == 0)
    for i in (-2, 2):
        drawing.text(x, y + 14 * i, "⋮", size=SMALL)


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"


def _name(function: Any) -> str:
    """Return the name of a function or a module in words."""
    name = str(getattr(function, "__name__", type(function).__name__)).replace("_", " ")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _grid_size(image: Tensor, positions: int) -> tuple[int, int]:
    """Return the rows and columns of a grid with the proportions of an image."""
    height, width = image.shape[-2:]
    rows = max(1, round(math.sqrt(positions * height / width)))
    if positions % rows:
        raise ValueError(
            f"expected one key per position of a grid with the proportions of the image, got "
            f"{positions} keys for {height} × {width} pixels"
        )
    return rows, positions // rows


def network(model: nn.Module, images: Float[Tensor, "B C H W"], *, caption: str) -> Diagram:
    """Draw a network of the course, from the image to its classifiers, with shapes.

    The network is run on the images, and every shape and every line is read from that run: where
    the taps are, which features guide the attention, and what each classifier reads.

    Args:
        model: `VGG`, `AttnVGG` or `PayAttentionVGG`, or another network that is built like them:
            ``features`` is a sequence of convolutions and max-pools, and ``classifiers`` is called
            with a list of descriptors.
        images: Images, in [0, 1]; the first one is shown.
        caption: One line that says what to see.

    Raises:
        ValueError: If the images can't be drawn, or the network is built differently.
    """
    check_pictures(images)
    return _Pipeline(wiring_of(model, images), images, caption).draw()


PITCH = 104  # between two blocks in `network`
ROWS = {
    "shape": 14,
    "block": 62,
    "l": 108,
    "g": 128,
    "tap": 184,
    "vector": 246,
    "classifier": 304,
    "mean": 374,
}


class _Pipeline:
    """The layout of `network`: blocks in a row, and below each tap what is made of it."""

    def __init__(self, wiring: Wiring, images: Tensor, caption: str):
        self.images = images
        self.blocks, self.branches, self.guide, self.dense, self.classifiers = wiring
        self.separate = len(self.classifiers) > 1
        tapped = {branch.column for branch in self.branches}
        self.named_pool = next(  # the word needs room below the block
            (i for i, block in enumerate(self.blocks) if block.pooled and i not in tapped), None
        )
        columns = 1 + len(self.blocks) + (self.dense is not None)
        right = 20 if self.dense is not None else 100
        height = ROWS["mean" if self.separate else "classifier"] + 26
        self.sheet = Diagram(PITCH * columns + right, height, alt=self._alt(), caption=caption)

    def draw(self) -> Diagram:
        """Draw everything, from left to right and from top to bottom."""
        y = ROWS["block"]
        self.sheet.picture(_x(0), y, 56, self.images[0])
        self.sheet.text(_x(0), ROWS["shape"], size_of(self.images), size=SMALL)
        self.sheet.arrow((_x(0) + 30, y), (_x(1) - 45, y))
        for column, block in enumerate(self.blocks):
            self._block(column, block)
        if self.dense is not None:
            x = _x(len(self.blocks) + 1)
            self.sheet.box(x - 9, y, 72, 56, ["dense"])
            self.sheet.text(x - 9, ROWS["shape"], size_of(self.dense), size=SMALL)
        if self.guide is not None:
            self._guide(self.guide)
        for number, branch in enumerate(self.branches, start=1):
            self._branch(number, branch)
        self._row_names()
        self._classifiers()
        return self.sheet

    def _block(self, column: int, block: Block) -> None:
        x, y = _x(column + 1), ROWS["block"]
        self.sheet.text(x - 4, ROWS["shape"], size_of(block.output), size=SMALL)
        self.sheet.box(x - 9, y, 72, 56, [f"block {column + 1}", f"{block.convolutions} conv"])
        if block.pooled:
            self.sheet.pool(x + 29, y, 13, 56)
            if column == self.named_pool:
                self.sheet.text(x + 35, y + 40, "pool", size=SMALL)
        if column + 1 < len(self.blocks) or self.dense is not None:
            self.sheet.arrow((x + (43 if block.pooled else 28), y), (x + PITCH - 45, y))

    def _way(self, column: int, *, before: bool = False) -> list[Point]:
        """Return the way out of the row of blocks, before or after a block's max-pool.

        The column behind the last block is that of the dense layers.
        """
        x, y = _x(column + 1), ROWS["block"]
        if column == len(self.blocks):
            return [(x - 9, y + 28)]
        if before:
            return [(x + 28, y + 28)]
        last = column + 1 == len(self.blocks)
        return [(x + 43, y), (x + 51, y)] if last else [(x + 47, y)]

    def _tap(self, branch: Branch) -> Number:
        """Return the x of the point at which a branch leaves the row of blocks."""
        return self._way(branch.column, before=branch.before)[-1][0]

    def _guide(self, g: Tensor) -> None:
        """Draw the line on which g reaches every attention block."""
        bus, top = ROWS["g"], ROWS["tap"] - 22
        way = self._way(len(self.blocks) - (g is not self.dense))
        x = way[-1][0]
        for i in (self._tap(b) + 26 for b in self.branches if b.how == "attention"):
            self.sheet.arrow(*way, (x, bus), (i, bus), (i, top), symbol="g")
        self.sheet.text(x + 8, ROWS["l"], "*g*", anchor="start")
        self.sheet.text(x + 22, ROWS["l"], size_of(g), size=SMALL, anchor="start")

    def _branch(self, number: int, branch: Branch) -> None:
        """Draw the way from a tap to its classifier."""
        way = self._way(branch.column, before=branch.before)
        x = way[-1][0]
        symbol: Symbol = "g" if branch.l is self.guide or branch.how == "dense" else "l"
        after: Symbol = "context" if branch.how == "attention" else symbol
        if branch.how == "dense":
            self.sheet.arrow(*way, (x, ROWS["vector"] - 8), symbol=symbol)
        else:
            self.sheet.arrow(*way, (x, ROWS["tap"] - 22), symbol=symbol)
            self._weighing(number, x, ROWS["tap"], branch)
            self.sheet.arrow((x, ROWS["tap"] + 22), (x, ROWS["vector"] - 8), symbol=after)
        if symbol == "l":
            self.sheet.text(x - 9, ROWS["l"], size_of(branch.l), size=SMALL, anchor="end")
            self.sheet.text(x - 9, ROWS["g"] + 14, "*l*", anchor="end")
        self.sheet.vector(x, ROWS["vector"], after, width=48)
        size = str(branch.descriptor.shape[1])
        self.sheet.text(x + 30, ROWS["vector"], size, size=SMALL, anchor="start")
        if branch.how == "attention":
            self.sheet.text(x - 30, ROWS["vector"], f"*c*_{number}", anchor="end")
        self.sheet.arrow((x, ROWS["vector"] + 6), (x, ROWS["classifier"] - 22), symbol=after)

    def _weighing(self, number: int, x: Number, y: Number, branch: Branch) -> None:
        if branch.weights is None:
            grid = "\u2009×\u2009".join(map(str, branch.l.shape[-2:]))
            self.sheet.box(x, y, 98, 44, ["average", f"of {grid}"])
        else:
            grid = "\u2009×\u2009".join(map(str, branch.weights.shape[-2:]))
            self.sheet.box(x, y, 98, 44, [f"attention {number}", f"map {grid}"], "weights")

    def _classifiers(self) -> None:
        y, classes = ROWS["classifier"], self.classifiers[0]
        places = [self._tap(branch) for branch in self.branches]
        middle, width = (places[0] + places[-1]) / 2, places[-1] - places[0] + 98
        if not self.separate:
            self.sheet.box(middle, y, max(width, 110), 44, ["classifier", f"{classes} classes"])
            return
        for number, x in enumerate(places, start=1):
            self.sheet.box(x, y, 98, 44, [f"classifier {number}", f"{classes} classes"])
            self.sheet.arrow((x, y + 22), (x, ROWS["mean"] - 17))
        self.sheet.box(middle, ROWS["mean"], width, 34, ["mean of the probabilities"])

    def _row_names(self) -> None:
        """Write at the left what there is in each row below the blocks."""
        attention = any(branch.how == "attention" for branch in self.branches)
        names = {
            "tap": "weighted average" if attention else "average over positions",
            "vector": "one vector each",
            "classifier": "one classifier each" if self.separate else "one classifier for all",
        }
        if len(self.branches) > 1:
            for row, name in names.items():
                self.sheet.text(14, ROWS[row], name, size=SMALL, anchor="start")

    def _alt(self) -> str:
        """Describe the network in words."""
        row = ", ".join(
            f"block {i} {size_of(b.output)}" for i, b in enumerate(self.blocks, start=1)
        )
        ways = []
        for i, branch in enumerate(self.branches, start=1):
            place = (
                f"{'before' if branch.before else 'after'} the pool of block {branch.column + 1}"
            )
            way = "the dense layers" if branch.how == "dense" else f"{branch.how} {place}"
            ways.append(f"vector {i} is from {way}")
        reads = "one classifier per vector" if self.separate else "one classifier for all vectors"
        guide = (
            "" if self.guide is None else f" The attention is guided by g, {size_of(self.guide)}."
        )
        return f"Network with {row}. {'; '.join(ways).capitalize()}; there is {reads}.{guide}"


def _x(column: int) -> Number:
    """Return the centre of a column; the image is in column 0."""
    return 47 + PITCH * column


def choices(here: Part, *, caption: str) -> Diagram:
    """Draw the three choices that attention is made of, with one of them marked.

    Args:
        here: The choice that the present chapter is about: ``score``, ``alignment`` or ``kind``.
        caption: One line that says what to see.

    Raises:
        ValueError: If there is no such choice; the message lists the valid ones.
    """
    if here not in CHOICES:
        raise ValueError(f"unknown part {here!r}: choose one of {', '.join(CHOICES)}")
    rows = max(map(len, CHOICES.values()))
    listed = "; ".join(f"{part}: {', '.join(names)}" for part, names in CHOICES.items())
    alt = f"Three choices make an attention. This chapter is about the {here}. {listed}."
    drawing = Diagram(740, 118 + 26 * rows, alt=alt, caption=caption)
    for i, (part, names) in enumerate(CHOICES.items()):
        x, marked = 120 + 250 * i, part == here
        title, question, symbol = _HEADS[part]
        if i:
            drawing.text(x - 125, 52, "×", size=24)
        drawing.box(x, 58, 222, 58, [title, question], symbol, strong=marked)
        if marked:
            drawing.text(x, 12, "you are here ▾", size=SMALL)
        for row, name in enumerate(names):
            drawing.box(x, 116 + 26 * row, 222, 22, [name], symbol if marked else None)
    return drawing
