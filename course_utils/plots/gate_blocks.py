"""Drawings of gates: from the features to the weights, and back to the features.

- `gated_block`: the place of a gate in a residual block.
- `squeeze_excitation`: one weight per channel, from the means of all channels.
- `eca`: one weight per channel, from the means of its neighbours.
- `cbam`: one weight per channel, and then one per position.
- `coordinate_attention`: the weight of a row times the weight of a column.

Each function runs the module that it draws, in evaluation mode. The shapes are those of the tensors
of that run, written without the batch, and the bars and maps are those of its first input. Features
are drawn as sheets, which are shaded by the mean of their channels' absolute values. Weights have
their true size: a bar that reaches the top of its frame, and a cell in full colour, are a weight of
1. A chapter ends a cell with one call::

    gate_blocks.cbam(CBAM(32), x, caption="First the channels, then the positions.")
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from course_utils.plots.block_labels import half_of, numeral, size_of
from course_utils.plots.canvas import SYMBOL_COLOURS
from course_utils.plots.drawing import SMALL, Diagram, Number, Point, Symbol
from course_utils.plots.inputs import check_pictures

_WIDTH = 740
_IMAGE_COLUMN = 100  # width of the column that the image takes at the left
_SIDE = 72  # the longer side of features, which are drawn as sheets, one behind the other
_MOST_CELLS = 100  # maps with more are drawn as pictures: their lines would hide small cells
_Map = Float[Tensor, "B C H W"]


class _Excitation(NamedTuple):
    """Two matrices as they were run."""

    inputs: Float[Tensor, "B C"]
    hidden: Float[Tensor, "B m"]
    outputs: Float[Tensor, "B C"]


def gated_block(
    block: nn.Module,
    x: _Map,
    *,
    caption: str,
    image: Float[Tensor, "c h_image w_image"] | None = None,
) -> Diagram:
    """Draw a residual block: the gate is the last layer of the inner path, before the sum.

    Args:
        block: A `BasicBlock` of torchvision, with a gate from `models.insert`.
        x: The input of the block.
        caption: One line that says what to see.
        image: The first image of the batch, grey or RGB, in [0, 1], to show it at the left.

    Raises:
        ValueError: If the block is of another kind or has no gate, if it can't be run on x, or if
            the image can't be drawn.
    """
    last = getattr(block, "bn2", None)
    if not isinstance(block, BasicBlock) or not isinstance(last, nn.Sequential) or len(last) != 2:
        raise ValueError(
            "expected a BasicBlock with a gate after its last batch norm, as `models.insert` makes "
            f"it, got {type(block).__name__}{' without a gate' * isinstance(block, BasicBlock)}"
        )
    outputs = _run_block(block, x)
    y, left = 132, 0 if image is None else _IMAGE_COLUMN
    shortcut = "x itself" if block.downsample is None else "a projection of x"
    alt = (
        f"Residual block. Features x, {size_of(x)}, pass a convolution with batch norm and ReLU, a "
        f"second convolution with batch norm, and the gate, {type(last[1]).__name__}. Its output, "
        f"{size_of(outputs['bn2'])}, is added to the shortcut, which is {shortcut}. The ReLU of "
        f"the sum is the output, {size_of(outputs['block'])}."
    )
    drawing = Diagram(_WIDTH + left, y + 52, alt=alt, caption=caption)
    if image is not None:
        check_pictures(image[None])
        wide, tall = half_of(image, _SIDE)
        drawing.picture(46, y, _SIDE, image)
        drawing.text(46, y - tall - 14, size_of(image[None]), size=SMALL)
        drawing.arrow((46 + wide + 2, y), (left + 54 - half_of(x, _SIDE)[0], y), symbol="l")
    _features(drawing, left + 56, y, "input *x*", x)
    _inner_path(drawing, left, y, block, outputs)
    _shortcut(drawing, left, y, block.downsample, outputs.get("downsample", x))
    drawing.arrow((left + 549, y), (left + 569, y), symbol="l")
    drawing.box(left + 596, y, 54, 46, ["ReLU"])
    drawing.arrow(
        (left + 623, y), (left + 678 - half_of(outputs["block"], _SIDE)[0], y), symbol="l"
    )
    _features(drawing, left + 680, y, "output", outputs["block"])
    return drawing


def _inner_path(
    drawing: Diagram, left: Number, y: Number, block: Any, outputs: dict[str, Tensor]
) -> None:
    """Draw the two convolutions, the gate and the sum, with the shape of what leaves each."""
    convolutions = (
        (180, block.conv1, "norm, ReLU", outputs["conv1"]),
        (304, block.conv2, "norm", outputs["conv2"]),
    )
    drawing.arrow((left + 104, y), (left + 128, y), symbol="l")
    for x, layer, line, output in convolutions:
        stride = [f"stride {layer.stride[0]}"] if layer.stride[0] > 1 else []
        drawing.box(left + x, y, 104, 72, [_kind_of(layer), *stride, line])
        drawing.text(left + x, y - 50, size_of(output), size=SMALL)
        drawing.arrow((left + x + 52, y), (left + x + 72, y), symbol="l")
    lines = ["gate", type(block.bn2[1]).__name__]
    drawing.box(left + 440, y, 128, 72, lines, "weights", strong=True)
    drawing.text(left + 440, y - 50, size_of(outputs["bn2"]), size=SMALL)
    drawing.arrow((left + 504, y), (left + 523, y), symbol="l")
    drawing.box(left + 536, y, 26, 26, ["+"])


def _shortcut(
    drawing: Diagram, left: Number, y: Number, layers: Any, output: Float[Tensor, "B C H W"]
) -> None:
    """Draw the way of the input past the gate, and its projection if it has one."""
    start, row, end = (left + 114, y), y - 100, (left + 536, y - 13)
    if layers is None:
        drawing.arrow(start, (left + 114, row), (left + 536, row), end, symbol="l")
        drawing.text(left + 310, row - 14, f"shortcut: *x* itself, {size_of(output)}", size=SMALL)
        return
    drawing.arrow(start, (left + 114, row), (left + 240, row), symbol="l")
    stride = layers[0].stride[0]
    lines = [f"{_kind_of(layers[0])}, norm", *([f"stride {stride}"] if stride > 1 else [])]
    drawing.box(left + 304, row, 128, 44, lines)
    drawing.text(left + 452, row - 14, size_of(output), size=SMALL)
    drawing.arrow((left + 368, row), (left + 536, row), end, symbol="l")


def squeeze_excitation(gate: nn.Module, x: _Map, *, caption: str) -> Diagram:
    """Draw squeeze-and-excitation: means of the channels, two matrices, one weight per channel.

    Args:
        gate: A `SqueezeExcitation`.
        x: Features.
        caption: One line that says what to see.

    Raises:
        ValueError: If the gate is of another kind or can't be run on x.
    """
    _check_parts(gate, {"excite": nn.Sequential}, "SqueezeExcitation")
    with _running(gate, x):
        run = _excite(gate, x.mean(dim=(2, 3)))
        weights = run.outputs.sigmoid()
        output = _checked(gate, x, weights[..., None, None], "SqueezeExcitation")
    channels, hidden, y = x.shape[1], run.hidden.shape[1], 110
    alt = (
        f"Squeeze-and-excitation. The means of the {channels} channels of features x, "
        f"{size_of(x)}, pass a matrix to {hidden} hidden units with ReLU, and a second matrix with "
        f"a sigmoid. They give one weight per channel, {_range(weights[0])}, and each channel of x "
        "is multiplied by its weight."
    )
    drawing = Diagram(_WIDTH, 300, alt=alt, caption=caption)
    for left, name in ((159, "squeeze"), (412, "excite")):
        drawing.text(left, y - 84, name)
    _features(drawing, 56, y, "features *x*", x)
    drawing.arrow((104, y), (116, y), symbol="l")
    drawing.box(159, y, 86, 48, ["mean", "per channel"], "g")
    drawing.arrow((202, y), (212, y), symbol="g")
    _statistics(drawing, 256, y, f"{channels} means *z*", run.inputs[0], y - 52)
    drawing.arrow((300, y), (312, y), symbol="g")
    drawing.box(345, y, 66, 72, ["*W*_1", f"{channels} → {hidden}", "ReLU"], "scores")
    drawing.arrow((378, y), (389, y), symbol="scores")
    drawing.box(412, y, 46, 50, [])
    drawing.bars(412, y, 42, 46, run.hidden[0], "scores")
    drawing.text(412, y - 52, f"{hidden} hidden", size=SMALL)
    drawing.arrow((435, y), (446, y), symbol="scores")
    drawing.box(479, y, 66, 72, ["*W*_2", f"{hidden} → {channels}", "sigmoid"], "scores")
    drawing.arrow((512, y), (525, y), symbol="weights")
    _weights(drawing, (592, y), (130, 64), weights[0], f"{channels} weights *a*")
    _scale(drawing, x, output, (592, y + 34), (114, y))
    return drawing


def eca(gate: nn.Module, x: _Map, *, caption: str) -> Diagram:
    """Draw efficient channel attention: a window of k means slides over the channels.

    Args:
        gate: An `ECA`.
        x: Features.
        caption: One line that says what to see.

    Raises:
        ValueError: If the gate is of another kind or can't be run on x.
    """
    _check_parts(gate, {"slide": nn.Conv1d}, "ECA")
    slide: Any = gate.get_submodule("slide")
    with _running(gate, x):
        means = x.mean(dim=(2, 3))
        weights = slide(means[:, None])[:, 0].sigmoid()
        output = _checked(gate, x, weights[..., None, None], "ECA")
    channels, window = x.shape[1], slide.kernel_size[0]
    alt = (
        f"Efficient channel attention. A window of {window} slides over the means of the "
        f"{channels} channels of features x, {size_of(x)}. The weighted sum of the means in the "
        f"window and a sigmoid give the weight of the channel in its middle, {_range(weights[0])}."
    )
    drawing = Diagram(_WIDTH, 440, alt=alt, caption=caption)
    y, low, middle, width = 100, 236, 394, 320
    _features(drawing, 56, y, "features *x*", x)
    drawing.arrow((104, y), (116, y), symbol="l")
    drawing.box(159, y, 86, 48, ["mean", "per channel"], "g")
    drawing.arrow((202, y), (middle - width / 2 - 4, y), symbol="g")
    cell = width / channels
    # Any channel would do: the one in whose window most is to be seen, with room for text beside.
    seen = F.avg_pool1d(means[:1].abs(), window, 1, window // 2)[0, : max(1, channels // 2)]
    _window(drawing, (middle - width / 2, middle + width / 2), cell, int(seen.argmax()), window)
    _statistics(drawing, middle, y, f"{channels} means *z*", means[0], y - 56, size=(width, 56))
    name = f"{channels} weights *a*"
    _weights(drawing, (middle, low), (width, 64), weights[0], name, below=True)
    drawing.arrow((middle + width / 2 + 4, low), (592, low), (592, 353), symbol="weights")
    _multiply(drawing, x, output, (592, 366), (114, y))
    return drawing


def _window(
    drawing: Diagram, ends: tuple[Number, Number], cell: Number, channel: int, window: int
) -> None:
    """Draw the window of `eca` around a channel, and the lines from it to the channel's weight."""
    at = ends[0] + cell * (channel + 0.5)
    left = max(at - window * cell / 2, ends[0]) - 2
    right = min(at + window * cell / 2, ends[1]) + 2
    drawing.box((left + right) / 2, 100, right - left, 76, [], "scores", strong=True)
    start = min(right + 54, 572)  # of the text, which needs room at the right
    if start == right + 54:
        drawing.arrow((right + 6, 148), (right + 46, 148), symbol="scores")
    lines = f"a window of {window} slides,", "same weights everywhere;", "weighted sum, sigmoid"
    for i, line in enumerate(lines):
        drawing.text(start, 148 + 18 * i, line, size=SMALL, anchor="start")
    for end in (left, right):
        drawing.arrow((end, 140), (at, 176), symbol="scores", head=False)
    drawing.arrow((at, 176), (at, 202), symbol="scores")


def cbam(gate: nn.Module, x: _Map, *, caption: str) -> Diagram:
    """Draw CBAM: a gate with one weight per channel, then one with one weight per position.

    The three sheets of features share one scale, so a paler sheet or cell has been suppressed.

    Args:
        gate: A `CBAM`.
        x: Features.
        caption: One line that says what to see.

    Raises:
        ValueError: If the gate is of another kind or can't be run on x.
    """
    if not isinstance(gate, nn.Sequential) or len(gate) != 2:
        raise ValueError(f"expected two gates, like CBAM, got {type(gate).__name__}")
    channels, positions = gate
    _check_parts(channels, {"excite": nn.Sequential}, "ChannelAttention")
    _check_parts(positions, {"score": nn.Conv2d}, "SpatialAttention")
    with _running(gate, x):
        runs = [_excite(channels, z) for z in (x.mean(dim=(2, 3)), x.amax(dim=(2, 3)))]
        weights = (runs[0].outputs + runs[1].outputs).sigmoid()  # (B, C)
        between = _checked(channels, x, weights[..., None, None], "ChannelAttention")
        maps = between.mean(dim=1, keepdim=True), between.amax(dim=1, keepdim=True)
        spatial = positions.get_submodule("score")(torch.cat(maps, dim=1)).sigmoid()
        output = _checked(positions, between, spatial, "SpatialAttention")
    kernel = _kind_of(positions.get_submodule("score"))
    alt = (
        f"CBAM. Channel gate: the means and the maxima of the {x.shape[1]} channels of features "
        f"x, {size_of(x)}, pass the same two matrices; the sigmoid of the sum gives one weight per "
        f"channel, {_range(weights[0])}. Spatial gate: the mean and the maximum over the channels "
        f"of the gated features pass a {kernel}; its sigmoid gives one weight per position, "
        f"{size_of(spatial)}, {_range(spatial[0])}, and the features are multiplied by it."
    )
    drawing = Diagram(_WIDTH, 536, alt=alt, caption=caption)
    _channel_gate(drawing, 148, x, runs, weights)
    back = (684, 161), (684, 256), (6, 256), (6, 402), (54 - half_of(x, _SIDE)[0], 402)
    drawing.arrow(*back, symbol="l")
    _spatial_gate(drawing, 402, (x, between, output), maps, spatial, kernel)
    return drawing


def _channel_gate(
    drawing: Diagram, y: Number, x: _Map, runs: list[_Excitation], weights: Float[Tensor, "B C"]
) -> None:
    """Draw the first half of CBAM, up to the product of the features and their weights."""
    channels, hidden = x.shape[1], runs[0].hidden.shape[1]
    drawing.text(20, 14, "1. Channel gate: one weight per channel", anchor="start")
    _features(drawing, 56, y, "features *x*", x)
    drawing.arrow((104, y), (110, y), symbol="l", head=False)
    drawing.arrow((110, y), (110, 46), (684, 46), (684, y - 13), symbol="l")
    drawing.text(684 - 12, 34, f"*x* itself, {size_of(x)}", size=SMALL, anchor="end")
    for side, name, run, plural in zip((-1, 1), ("mean", "max"), runs, ("means", "maxima")):
        row = y + 42 * side
        drawing.arrow((110, y), (110, row), (124, row), symbol="l")
        drawing.box(167, row, 86, 46, [name, "per channel"], "g")
        drawing.arrow((210, row), (222, row), symbol="g")
        _statistics(drawing, 268, row, f"{channels} {plural}", run.inputs[0], row + 36 * side)
        drawing.arrow((314, row), (328, row), symbol="g")
        drawing.arrow((408, row), (438, row), (438, y + 13 * side), symbol="scores")
    drawing.box(368, y, 80, 132, [], "scores")
    _two_matrices(drawing, 368, y, channels, hidden)
    drawing.box(438, y, 26, 26, ["+"])
    drawing.arrow((451, y), (464, y), symbol="scores")
    drawing.box(496, y, 64, 40, ["sigmoid"], "weights")
    drawing.arrow((528, y), (544, y), symbol="weights")
    _weights(drawing, (596, y), (98, 64), weights[0], f"{channels} weights *a*")
    drawing.arrow((646, y), (671, y), symbol="weights")
    drawing.box(684, y, 26, 26, ["×"])


def _two_matrices(drawing: Diagram, x: Number, y: Number, channels: int, hidden: int) -> None:
    """Write the two matrices, their sizes and that the means and the maxima share them."""
    lines = "*W*_1, ReLU", f"{channels} → {hidden}", "*W*_2", f"{hidden} → {channels}", "shared"
    for line, shift, size in zip(lines, (-48, -28, -4, 16, 46), (15, SMALL, 15, SMALL, SMALL)):
        drawing.text(x, y + shift, line, size=size)


def _spatial_gate(
    drawing: Diagram,
    y: Number,
    features: tuple[_Map, _Map, _Map],
    maps: tuple[Float[Tensor, "B 1 H W"], Float[Tensor, "B 1 H W"]],
    weights: Float[Tensor, "B 1 H W"],
    kernel: str,
) -> None:
    """Draw the second half of CBAM, from the features that the channel gate returns."""
    x, between, output = features
    scale = _strength(x).max().item()
    drawing.text(20, y - 118, "2. Spatial gate: one weight per position", anchor="start")
    _features(drawing, 56, y, "*x*′", between, scale=scale)
    drawing.arrow((104, y), (110, y), symbol="l", head=False)
    row = y + 112
    drawing.arrow((110, y), (110, row), (602, row), (602, y + 13), symbol="l")
    drawing.text(590, row - 12, f"*x*′ itself, {size_of(between)}", size=SMALL, anchor="end")
    for side, name, grid in zip((-1, 1), ("mean", "max"), maps):
        at = y + 44 * side
        wide, tall = half_of(grid, _SIDE)
        drawing.arrow((110, y), (110, at), (124, at), symbol="l")
        drawing.box(169, at, 90, 46, [name, "per position"], "l")
        drawing.arrow((214, at), (264 - wide, at), symbol="l")
        low, high = grid[0].min(), grid[0].max()
        shades = (grid[0, 0] - low) / (high - low).clamp(min=1e-12)
        _cells(drawing, 266, at, _SIDE, 0.05 + 0.95 * shades, "l")
        drawing.text(266, at + side * (tall + 11), size_of(grid), size=SMALL)
        drawing.arrow((268 + wide, at), (318, at), symbol="l")
    drawing.box(355, y, 74, 134, [*kernel.rsplit(" ", 1), "2 → 1"], "scores")
    drawing.arrow((392, y), (402, y), symbol="scores")
    drawing.box(434, y, 64, 40, ["sigmoid"], "weights")
    wide, tall = half_of(weights, 84)
    drawing.arrow((466, y), (526 - wide, y), symbol="weights")
    _cells(drawing, 528, y, 84, weights[0, 0], "weights")
    drawing.text(528, y - tall - 34, "weights *a*_i")
    drawing.text(528, y - tall - 16, size_of(weights), size=SMALL)
    drawing.text(528, y + tall + 16, _range(weights[0]), size=SMALL)
    drawing.arrow((530 + wide, y), (589, y), symbol="weights")
    drawing.box(602, y, 26, 26, ["×"])
    drawing.arrow((615, y), (670 - half_of(output, _SIDE)[0], y), symbol="l")
    _features(drawing, 672, y, "output", output, scale=scale)


def coordinate_attention(
    gate: nn.Module, x: _Map, *, caption: str, channel: int | None = None
) -> Diagram:
    """Draw coordinate attention: a weight per row times a weight per column, in each channel.

    Args:
        gate: A `CoordinateAttention`.
        x: Features.
        caption: One line that says what to see.
        channel: The channel whose means and weights are shown; None for the one whose weights vary
            most between the positions.

    Raises:
        ValueError: If the gate is of another kind, it can't be run on x, or there is no such
            channel.
    """
    parts = {"squeeze": nn.Sequential, "rows": nn.Conv2d, "columns": nn.Conv2d}
    _check_parts(gate, parts, "CoordinateAttention")
    squeeze, of_rows, of_columns = (gate.get_submodule(name) for name in parts)
    with _running(gate, x):
        height, width = x.shape[-2:]
        means = x.mean(dim=3, keepdim=True), x.mean(dim=2, keepdim=True).mT  # (B, C, H or W, 1)
        hidden = squeeze(torch.cat(means, dim=2)).split([height, width], dim=2)
        rows, columns = of_rows(hidden[0]).sigmoid(), of_columns(hidden[1].mT).sigmoid()
        output = _checked(gate, x, rows * columns, "CoordinateAttention")
    weights = rows * columns  # (B, C, H, W)
    if channel is None:
        channel = int(weights[0].flatten(1).std(dim=1, correction=0).argmax())
    if not 0 <= channel < x.shape[1]:
        raise ValueError(f"expected a channel from 0 to {x.shape[1] - 1}, got {channel}")
    alt = (
        "Coordinate attention. The means of each row and of each column of features x, "
        f"{size_of(x)}, pass a shared 1 × 1 convolution with {hidden[0].shape[1]} outputs. Two "
        "more convolutions with a sigmoid give one weight per row and one per column; their "
        f"product is one weight per channel and position. In channel {channel} the weights are "
        f"{_range(weights[0, channel])}."
    )
    drawing = Diagram(_WIDTH, 420, alt=alt, caption=caption)
    kept = means[0][0, channel], means[1][0, channel].mT, rows[0, channel], columns[0, channel]
    _rows_and_columns(drawing, 154, x, kept, hidden[0].shape[1])
    wide, tall = half_of(weights, 88)
    drawing.arrow((614, 154), (668 - wide, 154), symbol="weights")
    _cells(drawing, 670, 154, 88, weights[0, channel], "weights")
    drawing.text(670, 154 - tall - 34, f"*a* of channel {channel}")
    drawing.text(670, 154 - tall - 16, f"of {size_of(weights)}", size=SMALL)
    drawing.text(670, 154 + tall + 16, _range(weights[0, channel]), size=SMALL)
    down = (670, 154 + tall + 28), (670, 276), (592, 276), (592, 333)
    drawing.arrow(*down, symbol="weights")
    _multiply(drawing, x, output, (592, 346), (110, 154))
    return drawing


def _rows_and_columns(
    drawing: Diagram, y: Number, x: _Map, strips: tuple[Tensor, Tensor, Tensor, Tensor], hidden: int
) -> None:
    """Draw the way of a channel's row means and column means to their weights."""
    _features(drawing, 56, y, "features *x*", x)
    drawing.arrow((104, y), (110, y), symbol="l", head=False)
    channels, *sides = x.shape[1:]
    for side, name, means, weights, length in zip(
        (-1, 1), ("row", "column"), strips[:2], strips[2:], sides
    ):
        row, text = y + 66 * side, -48 if side < 0 else 26
        drawing.arrow((110, y), (110, row), (124, row), symbol="l")
        drawing.box(167, row, 86, 46, ["mean", f"per {name}"], "g")
        low, high = means.min(), means.max()
        shades = 0.05 + 0.95 * (means - low) / (high - low).clamp(min=1e-12)
        half = _strip(drawing, 262, row, shades, "g")
        drawing.arrow((210, row), (260 - half, row), symbol="g")
        drawing.text(262, row + text, f"{channels}\u2009×\u2009{length}", size=SMALL)
        drawing.arrow((264 + half, row), (314, row), symbol="g")
        drawing.arrow((398, row), (412, row), symbol="scores")
        drawing.box(456, row, 88, 46, ["1 × 1 conv", "sigmoid"], "scores")
        half = _strip(drawing, 548, row, weights, "weights")
        drawing.arrow((500, row), (546 - half, row), symbol="weights")
        drawing.text(548, row + text, f"{channels}\u2009×\u2009{length}", size=SMALL)
        drawing.arrow((550 + half, row), (600, row), (600, y + 14 * side), symbol="weights")
    lines = ["1 × 1", "conv, norm", "h-swish", f"{channels} → {hidden}", "shared"]
    drawing.box(356, y, 84, 180, lines, "scores")
    drawing.box(600, y, 28, 28, ["⊗"])
    drawing.text(578, y, "outer product", size=SMALL, anchor="end")


def _scale(
    drawing: Diagram, x: _Map, output: _Map, start: Point, split: tuple[Number, Number]
) -> None:
    """Draw the arrow down from the weights to their product with the features."""
    drawing.arrow(start, (start[0], 213), symbol="weights")
    drawing.text(start[0] - 12, 182, "scale", anchor="end")
    _multiply(drawing, x, output, (start[0], 226), split)


def _multiply(drawing: Diagram, x: _Map, output: _Map, at: Point, split: Point) -> None:
    """Draw the product of the weights with the features, which come from a point on their way."""
    drawing.arrow(split, (split[0], at[1]), (at[0] - 13, at[1]), symbol="l")
    drawing.text(at[0] - 30, at[1] - 13, f"*x* itself, {size_of(x)}", size=SMALL, anchor="end")
    drawing.box(*at, 26, 26, ["×"])
    half = half_of(output, _SIDE)[0]
    drawing.arrow((at[0] + 13, at[1]), (at[0] + 72 - half, at[1]), symbol="l")
    _features(drawing, at[0] + 74, at[1], "", output, scale=_strength(x).max().item())
    tall = half_of(output, _SIDE)[1]
    drawing.text(at[0] + 74, at[1] + tall + 16, f"output, {size_of(output)}", size=SMALL)


def _features(
    drawing: Diagram, x: Number, y: Number, name: str, features: _Map, *, scale: float | None = None
) -> None:
    """Draw features as sheets, one behind the other, with their name and their shape."""
    strength = _strength(features)
    largest = max(strength.max().item() if scale is None else scale, 1e-12)
    _cells(drawing, x, y, _SIDE, (0.8 * strength / largest).clamp(max=1), "l")
    wide, tall = half_of(features, _SIDE)
    for back in (6, 12):  # the edges of a sheet that one sees behind the sheet before it
        x0, x1 = x - wide + back, x + wide + back
        y0, y1 = y - tall - back, y + tall - back
        corners = ((x0, y0 + 6), (x0, y0), (x1, y0), (x1, y1), (x1 - 6, y1))
        drawing.arrow(*corners, symbol="l", head=False)
    if name:
        drawing.text(x, y - tall - 44, name)
        drawing.text(x, y - tall - 26, size_of(features), size=SMALL)


def _statistics(
    drawing: Diagram,
    x: Number,
    y: Number,
    name: str,
    values: Float[Tensor, "C"],
    text: Number,
    *,
    size: tuple[Number, Number] = (88, 46),
) -> None:
    """Draw one number per channel as bars, with their name and the largest at another height."""
    drawing.bars(x, y, *size, values, "g")
    drawing.text(x, text, f"{name}, largest {numeral(values.max().item())}", size=SMALL)


def _weights(
    drawing: Diagram,
    at: Point,
    size: tuple[Number, Number],
    weights: Float[Tensor, "C"],
    name: str,
    *,
    below: bool = False,
) -> None:
    """Draw weights as bars in a frame from 0 to 1, with their name and their range."""
    (x, y), (width, height) = at, size
    drawing.box(x, y, width + 4, height, [])
    drawing.bars(x, y, width, height, weights, "weights", span=(0, 1))
    lines = [name, _range(weights)]
    for i, line in enumerate(lines):
        top = y + height / 2 + 16 + 18 * i if below else y - height / 2 - 34 + 18 * i
        drawing.text(x, top, line, size=SMALL)


def _strip(
    drawing: Diagram, x: Number, y: Number, shades: Float[Tensor, "H W"], symbol: Symbol
) -> float:
    """Draw a row or a column of cells as a strip.

    Returns:
        Half of its width.
    """
    thick = max(1, round(max(shades.shape) / 5))
    strip = shades.repeat(*(thick if n == 1 else 1 for n in shades.shape))
    _cells(drawing, x, y, _SIDE, strip, symbol, as_picture=True)
    return half_of(strip, _SIDE)[0]


def _cells(
    drawing: Diagram,
    x: Number,
    y: Number,
    side: Number,
    shades: Float[Tensor, "H W"],
    symbol: Symbol,
    *,
    as_picture: bool = False,
) -> None:
    """Draw a map in the colour of a symbol: as a grid, or as a picture if it has many cells."""
    if shades.numel() <= _MOST_CELLS and not as_picture:
        drawing.grid(x, y, side, shades, symbol)
        return
    colour = [int(SYMBOL_COLOURS[symbol][i : i + 2], 16) / 255 for i in (1, 3, 5)]
    solid = torch.tensor(colour, device=shades.device)[:, None, None].expand(-1, *shades.shape)
    drawing.picture(x, y, side, torch.cat([solid, shades[None]]))  # the shade is the opacity
    wide, tall = half_of(shades, side)
    corners = [(x + a * wide, y + b * tall) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    drawing.arrow(*corners, corners[0], symbol=symbol, head=False)


@contextmanager
def _running(module: nn.Module, x: Tensor) -> Iterator[None]:
    """Switch a module to evaluation mode and gradients off, and back again afterwards.

    Raises:
        ValueError: If x is not of shape (B, C, H, W), is not finite, or the module can't be run on
            it.
    """
    if x.ndim != 4 or not x.numel():
        raise ValueError(f"expected features of shape (B, C, H, W), got {tuple(x.shape)}")
    if not x.isfinite().all():
        raise ValueError("expected finite features, got NaN or infinite ones")
    modes = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in modes:
            part.training = False
        with torch.no_grad():
            yield
    except RuntimeError as error:
        raise ValueError(
            f"{type(module).__name__} can't be run on features of shape {tuple(x.shape)}"
        ) from error
    finally:
        for part, mode in modes:
            part.training = mode


def _run_block(block: BasicBlock, x: _Map) -> dict[str, Tensor]:
    """Return the output of each layer of a residual block, and that of the block."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            outputs[name] = output

        return hook

    hooks = [layer.register_forward_hook(keep(name)) for name, layer in block.named_children()]
    try:
        with _running(block, x):
            outputs["block"] = block(x)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def _excite(gate: nn.Module, inputs: Float[Tensor, "B C"]) -> _Excitation:
    """Run the two matrices of a channel gate.

    Raises:
        ValueError: If they aren't a linear layer, a ReLU and a linear layer.
    """
    layers: Any = gate.get_submodule("excite")
    kinds = [type(layer) for layer in layers]
    if kinds != [nn.Linear, nn.ReLU, nn.Linear]:
        names = ", ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"expected the layers Linear, ReLU, Linear in the gate, got {names}")
    hidden = layers[:2](inputs)
    return _Excitation(inputs, hidden, layers[2](hidden))


def _checked(gate: Any, x: _Map, weights: Tensor, kind: str) -> _Map:
    """Return the output of a gate, if it multiplies x by the weights that are drawn.

    Raises:
        ValueError: If it computes anything else.
    """
    output = gate(x)
    if output.shape != x.shape or not torch.allclose(output, weights * x, rtol=1e-3, atol=1e-5):
        raise ValueError(
            f"expected a gate like {kind}, got {type(gate).__name__}, which computes other weights"
        )
    return output


def _check_parts(gate: nn.Module, parts: dict[str, type[nn.Module]], kind: str) -> None:
    """Check that a gate has the layers that are drawn.

    Raises:
        ValueError: If one is missing or of another kind.
    """
    missing = [
        name for name, layer in parts.items() if not isinstance(getattr(gate, name, None), layer)
    ]
    if missing:
        raise ValueError(
            f"expected a gate like {kind}, got {type(gate).__name__}, which has no "
            f"{' and no '.join(missing)}"
        )


def _strength(features: _Map) -> Float[Tensor, "H W"]:
    """Return the mean of the channels' absolute values at each position of the first input."""
    return features[0].abs().mean(dim=0)


def _kind_of(layer: Any) -> str:
    """Return what a convolution is, in words."""
    return f"{' × '.join(map(str, layer.kernel_size))} conv"


def _range(weights: Tensor) -> str:
    """Return the smallest and the largest weight, with two decimals."""
    return f"{weights.min().item():.2f} to {weights.max().item():.2f}"
