"""Drawings of a training run: what it saves along the way, and how a batch can be shared.

- `timeline`: epochs, checkpoints, an interruption and the resumed run.
- `shared_batch`: one batch as a whole, in parts one after the other, and on two processes.

The numbers are those of a real run. A chapter ends a cell with one call::

    run_drawings.timeline(
        run.history.val_accuracy, stopped=4, images=(4000, 1000, 4000), caption="Nothing is lost."
    )
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from course_utils.plots.drawing import SMALL, Diagram, Number, Symbol

PAGE = 740
TRAINING: Symbol = "l"  # the colour of what images give
VALIDATION: Symbol = "value"
GRADIENT: Symbol = "context"
STATISTICS: Symbol = "g"  # means over images, as in the drawings of gates

# Of `timeline`: heights of the rows, and the columns of epochs.
_STOPPED, _LAST, _BEST, _RESUMED, _WHOLE = 124, 204, 252, 330, 414
_LEFT, _RIGHT = 112, 630
_MOST_COLUMNS = 6
# Of `shared_batch`.
_TALL = 128  # of the whole batch
_WIDEST = 32  # of the images
_NETWORK = 36  # least height
_FIRST, _STEP = 150, 699  # left edge of the brackets, and the middle of the steps
_OUT = _FIRST + 24 + _WIDEST + 152  # right of the wide networks
_MOST_PASSES = 4


class _Column(NamedTuple):
    """An epoch of a run and its place in the drawing."""

    epoch: int
    accuracy: float
    is_best: bool  # so far
    left: float
    width: float

    @property
    def right(self) -> float:
        """Where the epoch ends."""
        return self.left + self.width

    def at(self, share: float) -> float:
        """Return the place that a share of the epoch has passed at."""
        return self.left + share * self.width


def timeline(
    val_accuracy: Iterable[float],
    *,
    stopped: int,
    images: tuple[int, int, int],
    caption: str,
) -> Diagram:
    """Draw a run that is interrupted in the middle of an epoch and resumed.

    After each epoch the run writes ``last.ckpt``, and ``best.ckpt`` if the validation accuracy is
    higher than ever before. Of many epochs, some are left out.

    Args:
        val_accuracy: The validation accuracy after each epoch, in [0, 1].
        stopped: The epoch in which the run is interrupted, counted from 1; at least 2, because
            before there is no checkpoint.
        images: Number of images to train on, to validate on and to test on.
        caption: One line that says what to see.

    Raises:
        ValueError: If an accuracy lies outside [0, 1], or no epoch that ends before the
            interruption is left.
    """
    accuracies = [float(value) for value in val_accuracy]
    if not all(0 <= value <= 1 for value in accuracies):
        raise ValueError(f"expected accuracies in [0, 1], got {accuracies}")
    if not 2 <= stopped <= len(accuracies):
        raise ValueError(f"expected an epoch from 2 to {len(accuracies)}, got {stopped}")
    columns, gaps = _columns(accuracies, stopped)
    alt = _alt_of_timeline(accuracies, stopped, images)
    drawing = Diagram(PAGE, _WHOLE + 32, alt=alt, caption=caption)
    _one_epoch(drawing, images, columns[0])
    _folder(drawing, columns)
    _stopped_run(drawing, columns, stopped)
    _resumed_run(drawing, columns, stopped)
    _never_stopped(drawing, columns)
    _testing(drawing, columns, images[2])
    for x, epoch in gaps:
        running = _STOPPED if epoch < stopped else _RESUMED
        for y in (running, _LAST, _WHOLE):
            drawing.text(x, y, "⋯")
    return drawing


def _columns(
    accuracies: Sequence[float], stopped: int
) -> tuple[list[_Column], list[tuple[float, int]]]:
    """Return the epochs that are drawn, and where others are left out: place and first epoch."""
    count = len(accuracies)
    best = accuracies.index(max(accuracies)) + 1
    # The epochs that matter, then their neighbours, as long as there is room.
    near = [stopped + i for i in (0, -1, 1, -2, 2, -3, 3, -4, 4, -5, 5)]
    wanted = [1, count, best, *near, *range(1, count + 1)]
    inside = dict.fromkeys(epoch for epoch in wanted if 1 <= epoch <= count)
    epochs = sorted(list(inside)[:_MOST_COLUMNS])
    skips = [after for before, after in pairwise(epochs) if after > before + 1]
    unit = min((_RIGHT - _LEFT) / (len(epochs) + 0.4 * len(skips)), 120)
    columns: list[_Column] = []
    gaps: list[tuple[float, int]] = []
    x = float(_LEFT)
    for epoch in epochs:
        if epoch in skips:
            gaps.append((x + 0.2 * unit - 3, columns[-1].epoch + 1))
            x += 0.4 * unit
        accuracy = accuracies[epoch - 1]
        is_best = accuracy > max(accuracies[: epoch - 1], default=-1)
        columns.append(_Column(epoch, accuracy, is_best, x, unit - 7))
        x += unit
    return columns, gaps


def _one_epoch(drawing: Diagram, images: tuple[int, int, int], first: _Column) -> None:
    """Draw what one epoch does, and what a checkpoint holds."""
    drawing.text(0, 30, "one epoch", anchor="start")
    train, val, _ = images
    drawing.box(202, 30, 180, 48, ["train", f"on all {train:,} images"], TRAINING)
    drawing.box(376, 30, 148, 48, ["validate", f"on {val:,} images"], VALIDATION)
    drawing.arrow((292, 30), (302, 30), head=False)
    drawing.arrow((450, 30), (476, 30))
    held = ["last.ckpt", "weights, optimiser, schedule, epoch"]
    drawing.box(607, 30, 262, 48, held)
    top = _STOPPED - 20
    for start, end in ((_LEFT, first.left), (450, first.right)):
        drawing.arrow((start, 56), (end, top - 2), head=False, thickness=0.8, dashed=True)


def _block(drawing: Diagram, column: _Column, y: Number, height: Number = 40) -> None:
    """Draw an epoch: its training, and its validation with the accuracy in percent."""
    cut = column.at(0.5)
    drawing.box((column.left + cut) / 2, y, cut - column.left, height, [], TRAINING)
    drawing.text((column.left + cut) / 2, y, str(column.epoch))
    drawing.box((cut + 2 + column.right) / 2, y, column.right - cut - 2, height, [], VALIDATION)
    accuracy = f"{100 * column.accuracy:.1f}"
    drawing.text((cut + 2 + column.right) / 2, y, accuracy, size=SMALL)


def _folder(drawing: Diagram, columns: Sequence[_Column]) -> None:
    """Draw the checkpoints that the folder gets, epoch by epoch."""
    middle, end = (_LAST + _BEST) / 2, columns[-1].right + 8
    drawing.box(end / 2 + 1, middle, end, 100, [])
    names = (("last.ckpt", "every epoch", _LAST), ("best.ckpt", "each new best", _BEST))
    for name, when, y in names:
        drawing.text(10, y - 8, name, anchor="start")
        drawing.text(10, y + 10, when, size=SMALL, anchor="start")
    final = max(columns, key=lambda column: column.accuracy)
    for column in columns:
        is_last = column is columns[-1]
        x, width = column.at(0.22), column.at(0.44) - column.left
        drawing.box(x, _LAST, width, 30, [str(column.epoch)], strong=is_last)
        if column.is_best:
            x, width = column.at(0.75), column.at(0.5) - column.left
            drawing.box(x, _BEST, width, 30, [], "weights", strong=column is final)
            drawing.text(x, _BEST, f"{100 * column.accuracy:.1f}", size=SMALL)


def _saving(drawing: Diagram, column: _Column, start: Number) -> None:
    """Draw the arrows from an epoch to its checkpoints, from above or from below."""
    side = 1 if start < _LAST else -1
    drawing.arrow((column.at(0.22), start), (column.at(0.22), _LAST - 17 * side))
    if column.is_best:
        drawing.arrow((column.at(0.75), start), (column.at(0.75), _BEST - 17 * side))


def _stopped_run(drawing: Diagram, columns: Sequence[_Column], stopped: int) -> None:
    """Draw the run up to its interruption."""
    drawing.text(0, _STOPPED - 8, "first run", anchor="start")
    drawing.text(0, _STOPPED + 10, "accuracy in %", size=SMALL, anchor="start")
    for column in columns:
        if column.epoch < stopped:
            _block(drawing, column, _STOPPED)
            _saving(drawing, column, _STOPPED + 21)
    lost = next(column for column in columns if column.epoch == stopped)
    cut = lost.at(0.3)
    drawing.box((lost.left + cut) / 2, _STOPPED, cut - lost.left, 40, [str(stopped)], dashed=True)
    jags = [(cut + 4 + dx, _STOPPED + dy) for dx, dy in ((5, -25), (-2, -4), (5, 2), (-2, 25))]
    drawing.arrow(*jags, symbol="query", head=False, thickness=2.6)
    drawing.text(cut + 18, _STOPPED - 8, "interrupted:", anchor="start")
    drawing.text(cut + 18, _STOPPED + 10, "this part is lost", size=SMALL, anchor="start")


def _resumed_run(drawing: Diagram, columns: Sequence[_Column], stopped: int) -> None:
    """Draw the run that reads the last checkpoint and repeats the lost epoch from its start."""
    drawing.text(0, _RESUMED - 8, "resumed", anchor="start")
    drawing.text(0, _RESUMED + 10, "from last.ckpt", size=SMALL, anchor="start")
    for column in columns:
        if column.epoch >= stopped:
            _block(drawing, column, _RESUMED)
            _saving(drawing, column, _RESUMED - 21)
    before, again = (
        next(column for column in columns if column.epoch == epoch)
        for epoch in (stopped - 1, stopped)
    )
    corner = before.at(0.22)
    drawing.arrow((corner, _LAST + 16), (corner, _RESUMED), (again.left - 1, _RESUMED))
    drawing.arrow((columns[-1].right + 1, _RESUMED), (642, _RESUMED))
    drawing.box(690, _RESUMED, 96, 40, ["weights"])


def _never_stopped(drawing: Diagram, columns: Sequence[_Column]) -> None:
    """Draw the same run without an interruption, and the equality of the weights."""
    drawing.text(0, _WHOLE, "uninterrupted", anchor="start")
    for column in columns:
        _block(drawing, column, _WHOLE)
    drawing.arrow((columns[-1].right + 1, _WHOLE), (642, _WHOLE))
    drawing.box(690, _WHOLE, 96, 40, ["weights"])
    drawing.text(690, (_RESUMED + _WHOLE) / 2, "= the same")


def _testing(drawing: Diagram, columns: Sequence[_Column], images: int) -> None:
    """Draw the test split, which is read once at the end, with the best weights."""
    final = max(columns, key=lambda column: column.accuracy)
    y = (_LAST + _BEST) / 2
    drawing.arrow((final.right + 2, _BEST), (642, _BEST), symbol="weights")
    lines = ["test split", f"{images:,} images", "read once,", "at the end"]
    drawing.box(690, y, 96, 100, lines, dashed=True)


def _alt_of_timeline(
    accuracies: Sequence[float], stopped: int, images: tuple[int, int, int]
) -> str:
    """Describe `timeline` in words."""
    best = accuracies.index(max(accuracies)) + 1
    train, val, test = images
    return (
        f"A run of {len(accuracies)} epochs along time. Each epoch trains on all {train:,} images "
        f"and validates on {val:,}, and then writes last.ckpt with weights, optimiser, schedule "
        f"and epoch. best.ckpt is written at each new best validation accuracy, the last time "
        f"after epoch {best}, with {100 * max(accuracies):.1f} %. The run is interrupted in the "
        f"middle of epoch {stopped}, and what that epoch had done is lost. The resumed run reads "
        f"the last.ckpt of epoch {stopped - 1}, repeats epoch {stopped} from its start, and ends "
        f"at the same weights as a run without interruption. The {test:,} test images are read "
        "once, at the end."
    )


def shared_batch(batch: int, parts: int, *, caption: str) -> Diagram:
    """Draw three ways to compute the gradient of one batch, and where batch norm takes its means.

    The heights of the images are what a device holds at once. The ways are: the whole batch in one
    pass; its parts one after the other, with gradients that add up (``accumulate``); and two
    processes, each with half of the batch.

    Args:
        batch: Images in the batch.
        parts: Number of parts in the second way.
        caption: One line that says what to see.

    Raises:
        ValueError: If the batch can't be cut into so many parts or two halves evenly, or there are
            fewer than two parts.
    """
    if parts < 2 or batch < 2 or batch % parts or batch % 2:
        raise ValueError(
            f"expected an even batch that two or more parts can share evenly, "
            f"got {batch} images and {parts} parts"
        )
    each, half = batch // parts, batch // 2
    alt = (
        f"Three ways to take one step with a batch of {batch} images. First, the whole batch "
        f"passes the network at once; batch norm takes the mean and variance of all {batch} "
        f"images, and there is one gradient. Second, {parts} parts of {_images(each)} pass one "
        "after the other; batch norm takes the mean and variance of each part, and the gradients, "
        f"each divided by {parts}, are added before the step. Third, two processes get "
        f"{_images(half)} each; the gradients are averaged, and both take the same step; batch "
        f"norm takes the mean and variance of each half, or of all {batch} images with "
        "SyncBatchNorm. Without batch norm, all three steps are the same."
    )
    middle = 208 + max(_TALL / parts, _NETWORK) / 2  # of the second way, and its lower end
    bottom = 2 * middle - 208
    drawing = Diagram(PAGE, bottom + 328, alt=alt, caption=caption)
    cells = _cells(batch, parts)
    _in_one_pass(drawing, 96, batch, cells)
    _one_after_the_other(drawing, middle, batch, parts, cells)
    _on_two_processes(drawing, bottom + 194, batch, cells)
    drawing.text(PAGE / 2, bottom + 312, "Without batch norm, all three take the same step.")
    return drawing


class _Cells(NamedTuple):
    """How images are drawn: in so many columns, as squares of so many units."""

    columns: int
    side: float


def _cells(batch: int, parts: int) -> _Cells:
    """Return how images are drawn, so each part and each half of the batch has whole rows."""
    whole = [n for n in range(1, batch + 1) if not (batch // parts % n or batch // 2 % n)]
    columns = max(n for n in whole if n == 1 or _TALL * n * n <= _WIDEST * batch)
    return _Cells(columns, _TALL * columns / batch)


def _in_one_pass(drawing: Diagram, y: Number, batch: int, cells: _Cells) -> None:
    drawing.text(0, y - 82, f"the whole batch: {batch} images at once", anchor="start")
    _statistics_of(drawing, y, ["batch norm:", "mean and variance", f"of all {batch} images"])
    _pass(drawing, _FIRST, y, batch, cells, 150)
    drawing.arrow((_OUT, y), (_OUT + 70, y), symbol=GRADIENT)
    drawing.vector(_OUT + 106, y, GRADIENT)
    drawing.text(_OUT + 106, y - 20, "gradient", size=SMALL)
    _step(drawing, _OUT + 142, y, "one step")


def _one_after_the_other(
    drawing: Diagram, y: Number, batch: int, parts: int, cells: _Cells
) -> None:
    each, half = batch // parts, max(_TALL / parts, _NETWORK) / 2
    name = f"in {parts} parts, one after the other: {_images(each)} at once"
    drawing.text(0, y - half - 18, name, anchor="start")
    lines = ["batch norm:", "mean and variance", f"of each {_images(each)}"]
    _statistics_of(drawing, y - half + 30, lines)
    shown = [*range(parts)] if parts <= _MOST_PASSES else [0, 1, parts - 1]
    unit = (646 - _FIRST) / max(len(shown), 3)
    below, middle = y + half + 34, 0.0
    for i, part in enumerate(shown):
        middle = _pass(drawing, _FIRST + i * unit, y, each, cells, 56)
        drawing.arrow((middle, y + half + 1), (middle, below - 8), symbol=GRADIENT)
        drawing.vector(middle, below, GRADIENT, width=48)
        if i:
            sign = "+" if part == shown[i - 1] + 1 else "+ ⋯ +"
            drawing.text(middle - unit / 2, below, sign)
    _step(drawing, middle + 28, below, "one step")
    drawing.text(_OUT + 20, below + 22, f"each counts 1/{parts}", size=SMALL)


def _on_two_processes(drawing: Diagram, y: Number, batch: int, cells: _Cells) -> None:
    half = batch // 2
    name = f"on two processes, side by side: {_images(half)} at once in each"
    drawing.text(0, y - 100, name, anchor="start")
    lines = ["batch norm:", "mean and variance", f"of each {_images(half)}"]
    _statistics_of(drawing, y - 50, lines)
    _statistics_of(drawing, y + 18, ["or SyncBatchNorm:", f"of all {batch} images"])
    for i, side in enumerate((-1, 1)):
        lane = y + 50 * side
        _pass(drawing, _FIRST, lane, half, cells, 150, f"process {i + 1}")
        drawing.arrow((_OUT, lane), (_OUT + 70, lane), symbol=GRADIENT)
        drawing.vector(_OUT + 106, lane, GRADIENT)
        corner = _OUT + 190
        drawing.arrow((_OUT + 142, lane), (corner, lane), (corner, y + 17 * side), symbol=GRADIENT)
    ends = (_FIRST, y - 16), (_FIRST, y + 18)
    drawing.arrow(*ends, symbol=STATISTICS, head=False, thickness=2.4, dashed=True)
    drawing.box(corner, y, 60, 32, ["mean"], GRADIENT)
    _step(drawing, corner + 31, y, "the same", "step in both")


def _images(count: int) -> str:
    return f"{count} image{'s' * (count > 1)}"


def _statistics_of(drawing: Diagram, y: Number, lines: Sequence[str]) -> None:
    for i, line in enumerate(lines):
        shift = 18 * (i - (len(lines) - 1) / 2)
        drawing.text(_FIRST - 10, y + shift, line, size=SMALL, anchor="end")


def _pass(
    drawing: Diagram,
    x: Number,
    y: Number,
    images: int,
    cells: _Cells,
    width: Number,
    name: str = "",
) -> float:
    """Draw images that pass the network together, and a bracket for the statistics they share.

    Returns:
        The middle of the network.
    """
    rows = images // cells.columns
    half, wide = rows * cells.side / 2, cells.columns * cells.side
    bracket = (x + 5, y - half), (x, y - half), (x, y + half), (x + 5, y + half)
    drawing.arrow(*bracket, symbol=STATISTICS, head=False, thickness=2.4)
    shades = torch.full((rows, cells.columns), 0.35)
    longer = cells.side * max(shades.shape)
    drawing.grid(x + 8 + _WIDEST / 2, y, longer, shades, TRAINING)
    left = x + 16 + _WIDEST
    drawing.arrow((x + 9 + (_WIDEST + wide) / 2, y), (left + 8, y), symbol=TRAINING)
    middle = left + 8 + width / 2
    drawing.box(middle, y, width, max(2 * half, _NETWORK), [])
    lines = ["network", name] if name else ["network"]
    for i, line in enumerate(lines):
        drawing.text(middle, y + 18 * (i - (len(lines) - 1) / 2), line, size=SMALL)
    return middle


def _step(drawing: Diagram, start: Number, y: Number, *lines: str) -> None:
    drawing.arrow((start, y), (_STEP - 40, y), symbol=GRADIENT)
    drawing.box(_STEP, y, 80, 44, [])
    for i, line in enumerate(lines):
        drawing.text(_STEP, y + 18 * (i - (len(lines) - 1) / 2), line, size=SMALL)
