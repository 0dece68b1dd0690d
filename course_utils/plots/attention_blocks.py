"""Drawings of the inside of an attention block, from its two inputs to its context.

- `grid_attention`: the block of AttnVGG, which is guided by a grid of deeper features.
- `pay_attention`: the block of "Learn to Pay Attention", which is guided by one vector.

Each function runs the block that it draws. The shapes are those of the tensors of that run, written
without the batch, and the grids of scores and weights are those of its first input. A chapter ends
a cell with one call::

    block = GridAttention(32, 64, hidden=32)
    attention_blocks.grid_attention(block, l, g, caption="From two inputs to a context.")
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.plots.block_labels import half_of, numeral, size_of
from course_utils.plots.drawing import SMALL, Diagram, Number, Point, Symbol
from course_utils.plots.inputs import check_parts, check_pictures

SHEET = 740, 452
IMAGE_COLUMN = 100  # width of the column that the image takes at the left
VECTOR_TOP = 36  # height at the top that stays empty where g is a vector, and is cut off
GUIDE_ROW, LOCAL_ROW, CONTEXT_ROW = 94, 252, 372  # g, l and the scores, the sum over positions
GRID_SIDE = 84  # the longer side of the grids of scores and weights
FEATURE_SIDE = 72  # the longer side of l and g, which are drawn as sheets, one behind the other


class _Block(NamedTuple):
    """An attention block as it was run."""

    inside: dict[str, tuple[Tensor, Tensor]]  # input and output of each layer
    alignment: str
    l: Tensor  # (B, C, H, W)
    values: Tensor  # what is summed over the positions: l, or l projected
    g: Tensor  # (B, D, h, w) or (B, D)
    scores: Tensor  # (B, 1, H, W)
    weights: Tensor  # (B, 1, H, W)
    context: Tensor  # (B, C)

    @property
    def combination(self) -> str:
        """Whether the context is the sum of the weighted values or their mean."""
        weighted = self.weights * self.values
        summed, averaged = (
            (self.context - total).norm()
            for total in (weighted.sum(dim=(2, 3)), weighted.mean(dim=(2, 3)))
        )
        return "sum" if summed <= averaged else "mean"


def grid_attention(
    block: nn.Module,
    l: Float[Tensor, "B C H W"],
    g: Float[Tensor, "B D h w"],
    *,
    caption: str,
    image: Float[Tensor, "c h_image w_image"] | None = None,
) -> Diagram:
    """Draw the attention block of AttnVGG: two projections, their sum, scores, weights, context.

    The sheets of l and g are shaded by the mean of their channels' absolute values.

    Args:
        block: A `GridAttention`.
        l: Local features.
        g: Guiding features.
        caption: One line that says what to see.
        image: The first image of the batch, grey or RGB, in [0, 1], to show it at the left.

    Raises:
        ValueError: If the block is of another kind or can't be run on l and g, if its scores are
            not finite, or if the image can't be drawn.
    """
    layers = "project_local", "project_global", "score"
    check_parts(block, (*layers, "scores", "alignment"), "GridAttention")
    run = _run(block, layers, l, g)
    parts = _Parts(run, image, caption, _alt_of_grid(run))
    _, added = run.inside["project_local"]
    parts.features(GUIDE_ROW, "g", g)
    parts.arrow((92, GUIDE_ROW), (112, GUIDE_ROW), symbol="g")
    parts.layer(GUIDE_ROW, "*W*_g", block.get_submodule("project_global"), "g")
    parts.arrow((188, GUIDE_ROW), (210, GUIDE_ROW), symbol="g")
    parts.box(243, GUIDE_ROW, 66, ["up", "bilinear"], "g", shape=added)
    parts.arrow((243, GUIDE_ROW + 24), (243, LOCAL_ROW - 14), symbol="g")
    parts.arrow((92, LOCAL_ROW), (112, LOCAL_ROW), symbol="l")
    parts.layer(LOCAL_ROW, "*W*_l", block.get_submodule("project_local"), "l")
    parts.arrow((188, LOCAL_ROW), (229, LOCAL_ROW), symbol="l")
    parts.box(243, LOCAL_ROW, 28, ["+"], height=28)
    parts.arrow((257, LOCAL_ROW), (272, LOCAL_ROW))
    parts.box(299, LOCAL_ROW, 54, ["ReLU"], shape=run.inside["score"][0])
    parts.arrow((326, LOCAL_ROW), (342, LOCAL_ROW))
    score: Any = block.get_submodule("score")
    lines = ["*φ*", _kind_of(score), *(["with bias"] if score.bias is not None else [])]
    parts.box(381, LOCAL_ROW, 78, lines, "scores", height=66)
    parts.weighing()
    parts.combining(42, "*l* itself")
    return parts.drawing


def pay_attention(
    layer: nn.Module,
    l: Float[Tensor, "B C H W"],
    g: Float[Tensor, "B D"],
    *,
    caption: str,
    image: Float[Tensor, "c h_image w_image"] | None = None,
) -> Diagram:
    """Draw the attention block of "Learn to Pay Attention": compatibility, weights, context.

    With the parameterised compatibility, g is drawn beside the vector of every position, because
    the same g is added to all of them. The sheets of l are shaded by the mean of the channels'
    absolute values.

    Args:
        layer: A `PayAttention`.
        l: Local features.
        g: Global vector.
        caption: One line that says what to see.
        image: The first image of the batch, grey or RGB, in [0, 1], to show it at the left.

    Raises:
        ValueError: If the layer is of another kind or can't be run on l and g, if its scores are
            not finite, or if the image can't be drawn.
    """
    layers = "project_local", "project_global"
    check_parts(layer, (*layers, "scores", "compatibility", "alignment"), "PayAttention")
    run = _run(layer, layers, l, g, guide_is_vector=True)
    compatibility = str(layer.compatibility)
    parts = _Parts(run, image, caption, _alt_of_pay(run, compatibility))
    size = run.inside["project_global"][1].shape[1]  # of the vectors that are compared
    meeting = _parameterised(parts, size) if compatibility == "pc" else _dot(parts, layer, size)
    parts.guide_vector(layer.get_submodule("project_global"), meeting)
    projected = _is_learned(layer.get_submodule("project_local"))
    if projected:
        parts.arrow((92, LOCAL_ROW), (112, LOCAL_ROW), symbol="l")
        parts.layer(LOCAL_ROW, "*W*_l", layer.get_submodule("project_local"), "l")
    parts.arrow((188 if projected else 92, LOCAL_ROW), (203, LOCAL_ROW), symbol="l")
    parts.text(232, 172, "*l*_i")
    parts.text(232, 190, f"at {math.prod(l.shape[2:])} positions", size=SMALL)
    parts.stack(232, "l")
    parts.weighing()
    parts.combining(*((150, "projected *l*") if projected else (42, "*l* itself")))
    return parts.drawing


def _parameterised(parts: _Parts, size: int) -> Point:
    """Draw the compatibility pc: g is added at every position, and u scores the sums.

    Returns:
        Where the arrow of g ends.
    """
    parts.text(272, LOCAL_ROW, "+", size=22)
    parts.stack(312, "g")
    parts.text(312, LOCAL_ROW + 62, "the same *g*", size=SMALL)
    parts.text(312, LOCAL_ROW + 79, "at every position", size=SMALL)
    parts.arrow((341, LOCAL_ROW), (356, LOCAL_ROW))
    parts.box(388, LOCAL_ROW, 64, ["⟨*u*, · ⟩", f"*u*: {size}"], "scores")
    return 312, LOCAL_ROW - 49


def _dot(parts: _Parts, layer: Any, size: int) -> Point:
    """Draw the compatibility dp, scaled or not.

    Returns:
        Where the arrow of g ends.
    """
    scale = [f"÷ √{size}"] if layer.compatibility == "scaled_dp" else []
    lines = ["⟨*l*_i, *g*⟩", "dot product", *scale]
    parts.arrow((261, LOCAL_ROW), (312, LOCAL_ROW), symbol="l")
    parts.box(366, LOCAL_ROW, 108, lines, "scores", height=66)
    return 366, LOCAL_ROW - 33


class _Parts:
    """The layout that both drawings share.

    Every x and y is that of a drawing without an image and with sheets for g; `_at` moves it.
    """

    def __init__(self, run: _Block, image: Tensor | None, caption: str, alt: str):
        self.run = run
        self.left = 0 if image is None else IMAGE_COLUMN
        self.top = VECTOR_TOP if run.g.ndim == 2 else 0
        width, height = SHEET[0] + self.left, SHEET[1] - self.top
        self.drawing = Diagram(width, height, alt=alt, caption=caption)
        self.features(LOCAL_ROW, "l", run.l)
        if image is not None:
            self._image(image)

    def _image(self, image: Tensor) -> None:
        """Draw the image, from which both inputs come."""
        check_pictures(image[None])
        x, y = 42 - self.left, (GUIDE_ROW + LOCAL_ROW) / 2
        wide, tall = half_of(image[None], 76)
        self.drawing.picture(*self._at(x, y), 76, image)
        self.text(x, y - tall - 12, size_of(image[None]), size=SMALL)
        rows: tuple[tuple[Number, Tensor, Symbol], ...] = (
            (GUIDE_ROW, self.run.g, "g"),
            (LOCAL_ROW, self.run.l, "l"),
        )
        for row, features, symbol in rows:
            half = 33 if features.ndim == 2 else half_of(features, FEATURE_SIDE)[0]
            corners = ((x + wide + 2, y), (-9, y), (-9, row), (40 - half, row))
            self.arrow(*corners, symbol=symbol)

    def _at(self, x: Number, y: Number) -> Point:
        return self.left + x, y - self.top

    def text(self, x: Number, y: Number, text: str, **options: Any) -> None:
        self.drawing.text(*self._at(x, y), text, **options)

    def arrow(self, *points: Point, symbol: Symbol | None = None, head: bool = True) -> None:
        self.drawing.arrow(*(self._at(x, y) for x, y in points), symbol=symbol, head=head)

    def box(
        self,
        x: Number,
        y: Number,
        width: Number,
        lines: list[str],
        symbol: Symbol | None = None,
        *,
        height: Number = 48,
        shape: Tensor | None = None,
    ) -> None:
        """Draw a box, and above it the shape of what leaves it."""
        self.drawing.box(*self._at(x, y), width, height, lines, symbol)
        if shape is not None:
            self.text(x, y - 38, size_of(shape), size=SMALL)

    def layer(self, y: Number, name: str, layer: nn.Module, symbol: Symbol) -> None:
        """Draw one of the two projections, with the shape of its output."""
        output = self.run.inside["project_local" if symbol == "l" else "project_global"][1]
        self.box(150, y, 76, [name, _kind_of(layer)], symbol, shape=output)

    def stack(self, x: Number, symbol: Symbol) -> None:
        """Draw the vectors of some positions: there are more than the drawing has room for."""
        for i in (-3, -1, 0, 1, 3):
            self.drawing.vector(*self._at(x, LOCAL_ROW + 14 * i), symbol, width=54)
        for i in (-2, 2):
            self.text(x, LOCAL_ROW + 14 * i, "⋮", size=SMALL)

    def features(self, y: Number, symbol: Symbol, features: Tensor) -> None:
        """Draw features as sheets, one behind the other, with their name and their shape."""
        strength = features[0].abs().mean(dim=0)  # (H, W)
        shades = 0.8 * strength / strength.max().clamp(min=1e-12)
        self.drawing.grid(*self._at(42, y), FEATURE_SIDE, shades, symbol)
        wide, tall = half_of(features, FEATURE_SIDE)
        for back in (6, 12):  # the edges of a sheet that one sees behind the sheet before it
            x0, x1 = 42 - wide + back, 42 + wide + back
            y0, y1 = y - tall - back, y + tall - back
            corners = ((x0, y0 + 6), (x0, y0), (x1, y0), (x1, y1), (x1 - 6, y1))
            self.arrow(*corners, symbol=symbol, head=False)
        self._heading(42, y - tall - 48, f"*{symbol}*", features)

    def guide_vector(self, layer: nn.Module, end: Point) -> None:
        """Draw g as a vector, its projection if there is one, and the arrow to where g is used."""
        self._heading(42, GUIDE_ROW - 44, "*g*", self.run.g)
        self.drawing.vector(*self._at(42, GUIDE_ROW), "g")
        start = 79
        if _is_learned(layer):
            self.arrow((start, GUIDE_ROW), (112, GUIDE_ROW), symbol="g")
            self.layer(GUIDE_ROW, "*W*_g", layer, "g")
            start = 188
        self.arrow((start, GUIDE_ROW), (end[0], GUIDE_ROW), end, symbol="g")

    def weighing(self) -> None:
        """Draw the scores, the alignment and the weights."""
        y, run = LOCAL_ROW, self.run
        scores, weights = run.scores[0, 0], run.weights[0, 0]  # (H, W)
        half, tall = (length + 2 for length in half_of(run.scores, GRID_SIDE))
        low, high = scores.min(), scores.max()
        shades = (scores - low) / (high - low).clamp(min=1e-12)
        self.arrow((420, y), (478 - half, y), symbol="scores")
        self._map(478, "scores", shades, run.scores)
        self.text(478, y + tall + 14, f"largest {numeral(high.item())}", size=SMALL)
        self.arrow((478 + half, y), (533, y), symbol="scores")
        self.box(576, y, 86, [run.alignment], "weights", height=40)
        self.arrow((619, y), (679 - half, y), symbol="weights")
        largest = weights.max()
        self._map(679, "weights", weights / largest.clamp(min=1e-12), run.weights)
        number = f"largest {numeral(largest.item())}"
        self.text(670, y + tall + 14, number, size=SMALL, anchor="end")

    def combining(self, x: Number, name: str) -> None:
        """Draw the sum over the positions, with the arrow of the values from x, and the context."""
        run, y = self.run, CONTEXT_ROW
        _, tall = half_of(run.scores, GRID_SIDE)
        top = LOCAL_ROW + (24 if x > 42 else half_of(run.l, FEATURE_SIDE)[1] + 2)
        self.arrow((x, top), (x, y), (609, y), symbol="l")
        self.text(x + 12, y - 14, f"{name},  {size_of(run.values)}", size=SMALL, anchor="start")
        self.arrow((679, LOCAL_ROW + tall + 2), (679, y - 24), symbol="weights")
        over = f"over {math.prod(run.scores.shape[2:])} positions"
        self.box(674, y, 130, [f"{run.combination} of *a*_i *l*_i", over], "context")
        self.arrow((679, y + 24), (679, y + 58), symbol="context")
        self.drawing.vector(*self._at(679, y + 66), "context")
        self.text(636, y + 66, f"context *c*,  {size_of(run.context)}", anchor="end")

    def _map(self, x: Number, symbol: Symbol, shades: Tensor, tensor: Tensor) -> None:
        """Draw one weight or one score per position, with the name and the shape."""
        self.drawing.grid(*self._at(x, LOCAL_ROW), GRID_SIDE, 0.05 + 0.95 * shades, symbol)
        letter = {"scores": "*r*_i", "weights": "*a*_i"}[symbol]
        top = LOCAL_ROW - half_of(tensor, GRID_SIDE)[1]
        self._heading(x, top - 42, f"{symbol} {letter}", tensor)

    def _heading(self, x: Number, y: Number, name: str, tensor: Tensor) -> None:
        self.text(x, y, name)
        self.text(x, y + 18, size_of(tensor), size=SMALL)


def _run(
    block: Any, layers: tuple[str, ...], l: Tensor, g: Tensor, *, guide_is_vector: bool = False
) -> _Block:
    """Run a block, and keep the input and the output of each of its layers.

    With a vector g, the block is the one that sums the projected features, if it projects any.

    Raises:
        ValueError: If l or g has another number of dimensions, the block can't be run on them, or
            a score is NaN or infinite.
    """
    shapes = f"l of shape {tuple(l.shape)} and g of shape {tuple(g.shape)}"
    if (l.ndim, g.ndim) != (4, 2 if guide_is_vector else 4):
        guide = "(B, D)" if guide_is_vector else "(B, D, h, w)"
        raise ValueError(f"expected l of shape (B, C, H, W) and g of shape {guide}, got {shapes}")
    inside: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            inside[name] = inputs[0], output

        return hook

    hooks = [block.get_submodule(n).register_forward_hook(keep(n)) for n in layers]
    try:
        with torch.no_grad():
            context, weights = block(l, g)
            scores = block.scores(l, g)
    except RuntimeError as error:
        raise ValueError(f"the block can't be run on {shapes}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not scores.isfinite().all():
        raise ValueError("expected finite scores, got NaN or infinite ones")
    l, g = l.detach(), g.detach()
    values = inside["project_local"][1] if guide_is_vector else l
    return _Block(inside, str(block.alignment), l, values, g, scores, weights, context)


def _is_learned(layer: nn.Module) -> bool:
    """Return whether a projection has parameters; without any, it leaves its input as it is."""
    return next(layer.parameters(), None) is not None


def _kind_of(layer: nn.Module) -> str:
    """Return what a layer is, in words."""
    if isinstance(layer, nn.Conv2d):
        return f"{' × '.join(map(str, layer.kernel_size))} conv"
    return type(layer).__name__.lower()


def _alt_of_grid(run: _Block) -> str:
    """Describe `grid_attention` in words."""
    hidden = size_of(run.inside["project_local"][1])
    return (
        f"Attention block. Local features l, {size_of(run.l)}, and guiding features g, "
        f"{size_of(run.g)}, are each projected by a 1 × 1 convolution; the projection of g is "
        f"enlarged to {hidden} and added to the projection of l. ReLU and the convolution φ turn "
        f"the sum into scores, {size_of(run.scores)}. {_alt_of_end(run)}"
    )


def _alt_of_pay(run: _Block, compatibility: str) -> str:
    """Describe `pay_attention` in words."""
    scored = {
        "pc": "The same g is added to the vector of every position, and the dot product of each "
        "sum with the learned vector u is the score of the position",
        "dp": "The dot product of each position's vector with g is the score of the position",
        "scaled_dp": "The dot product of each position's vector with g, divided by the square root "
        "of their size, is the score of the position",
    }[compatibility]
    return (
        f"Attention block. It reads local features l, {size_of(run.l)}, and a global vector g of "
        f"{size_of(run.g)} entries. {scored}. {_alt_of_end(run)}"
    )


def _alt_of_end(run: _Block) -> str:
    return (
        f"{run.alignment.capitalize()} turns the scores into weights, {size_of(run.weights)}, and "
        f"the {run.combination} of the weighted local features over all positions is the context, "
        f"of {size_of(run.context)} entries."
    )
