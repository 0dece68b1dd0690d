"""GateExplorer: change the features in a window and see which weights of a gate change."""

from __future__ import annotations

from typing import NamedTuple

import anywidget
import torch
import traitlets
from jaxtyping import Float, Int
from torch import Tensor

from course_utils.attention.gates import (
    ConvGate,
    Gate,
    SecondOrder,
    SpatialAttention,
    SqueezeExcitation,
    Streamlined,
)
from course_utils.widgets import packing
from course_utils.widgets._source import module, palette, style

CELLS = 8  # the window moves in eighths of the image and is two eighths wide
GATES = {
    "conv": ConvGate,
    "squeeze": SqueezeExcitation,
    "spatial": SpatialAttention,
    "second_order": SecondOrder,
    "streamlined": Streamlined,
}

Features = Float[Tensor, "N _ _ _"]
Gated = tuple[Gate, Features, str]


class GateExplorer(anywidget.AnyWidget):
    """The weights of a gate before and after the features in one window are multiplied.

    The page computes every weight from the features and from the learned parameters of the gate.
    Features are rounded to 256 steps of their range.
    """

    _esm = module("gate_explorer")
    _css = style()

    gate = traitlets.Int(1, min=0, max=4, help="index into `GATES`").tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    row = traitlets.Int(3, min=0, max=CELLS - 2, help="window's top, in eighths").tag(sync=True)
    column = traitlets.Int(3, min=0, max=CELLS - 2, help="window's left edge").tag(sync=True)
    strength = traitlets.Float(2.0, min=0, max=3, help="factor in the window").tag(sync=True)

    size = traitlets.Int(help="height and width of an image in pixels").tag(sync=True)
    cells = traitlets.Int(CELLS).tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    boxes = traitlets.List(traitlets.Any()).tag(sync=True)  # (N, 4) x0, y0, x1, y1
    # All traits below have one entry per gate, in the order of `GATES`.
    features = traitlets.Bytes().tag(sync=True)  # each (N, C, H, H) uint8
    grids = traitlets.List(traitlets.Any(), help="channels and side of the features").tag(sync=True)
    lows = traitlets.List(traitlets.Float(), help="value stored as 0").tag(sync=True)
    steps = traitlets.List(traitlets.Float(), help="size of one of the 255 steps").tag(sync=True)
    sources = traitlets.List(traitlets.Unicode(), help="where the gate is from").tag(sync=True)
    # A list of pairs and not a dict: notebooks sort the keys of the dicts that they store.
    shapes = traitlets.List(traitlets.Any(), help="name and shape of each parameter").tag(sync=True)
    parameters = traitlets.Bytes(help="in the order of `shapes`").tag(sync=True)  # float32
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_gates(
        cls,
        images: Float[Tensor, "N 1 S S"],
        labels: Int[Tensor, " N"],
        boxes: Int[Tensor, "N 4"],
        *,
        conv: Gated,
        squeeze: Gated,
        spatial: Gated,
        second_order: Gated,
        streamlined: Gated,
    ) -> GateExplorer:
        """Show five gates, each as a tuple: the gate, the features that reach it, and its source.

        The window starts on the box of the first image.

        Args:
            images: Grey images with values in [0, 1].
            labels: The digit in each image.
            boxes: x0, y0, x1, y1 around the whole digits, in pixels.
            conv: A `ConvGate` with sigmoid.
            squeeze: A `SqueezeExcitation`.
            spatial: A `SpatialAttention`.
            second_order: A `SecondOrder`.
            streamlined: A `Streamlined`.

        Raises:
            ValueError: If a gate is of another class or doesn't align with sigmoid; if its features
                don't form a square grid whose side is a multiple of 8; or if images, labels, boxes
                and features differ in number.
        """
        gates = dict(zip(GATES, (conv, squeeze, spatial, second_order, streamlined)))
        for name, (gate, features, _) in gates.items():
            _check_gate(name, gate, features)
            counts = [len(images), len(labels), len(boxes), len(features)]
            if len(set(counts)) > 1:
                raise ValueError(
                    f"expected as many images, labels, boxes and features in {name}, got {counts}"
                )
        stored = [_stored(features) for _, features, _ in gates.values()]
        learned = {
            f"{name}.{part}": _as_rows(value)
            for name, (gate, *_) in gates.items()
            for part, value in gate.state_dict().items()
        }
        row, column = _window(boxes[0].tolist(), images.shape[-1])
        return cls(
            row=row,
            column=column,
            size=images.shape[-1],
            images=packing.pixels(images),
            labels=packing.texts(labels),
            boxes=boxes.tolist(),
            features=b"".join(features.packed for features in stored),
            grids=[[x.shape[1], x.shape[-1]] for _, x, _ in gates.values()],
            lows=[features.low for features in stored],
            steps=[features.step for features in stored],
            sources=[source for *_, source in gates.values()],
            shapes=[[name, list(value.shape)] for name, value in learned.items()],
            parameters=packing.floats(*learned.values()),
        )


def _check_gate(name: str, gate: Gate, features: Tensor) -> None:
    """Raise if the page can't compute the gate's weights, or can't place the window on its grid."""
    alignment = getattr(gate, "align", torch.sigmoid)  # gates without a choice use sigmoid
    if type(gate) is not GATES[name] or alignment is not torch.sigmoid:
        raise ValueError(f"expected {name} to be {GATES[name].__name__} with sigmoid, got {gate}")
    height, width = features.shape[-2:]
    if height != width or not width or width % CELLS:
        raise ValueError(
            f"expected a square grid whose side is a multiple of {CELLS} in {name}, "
            f"got {tuple(features.shape)}"
        )


class _Stored(NamedTuple):
    """Features in steps above their lowest value."""

    packed: bytes
    low: float
    step: float


def _stored(features: Tensor) -> _Stored:
    low = features.min().item()
    step = (features.max().item() - low) / 255 or 1.0  # any step will do if all values are equal
    return _Stored(packing.in_steps(features, step, low), low, step)


def _as_rows(value: Tensor) -> Tensor:
    """Return a parameter as a matrix: one row per output, and a vector as a single row."""
    return value.flatten(1) if value.ndim > 1 else value[None]


def _window(box: list[int], size: int) -> tuple[int, int]:
    """Return the row and column, in eighths of the image, of the window centred on a box."""
    x0, y0, x1, y1 = box
    cell = size / CELLS
    tops = [round((low + high) / 2 / cell - 1) for low, high in ((y0, y1), (x0, x1))]
    row, column = (min(CELLS - 2, max(0, top)) for top in tops)
    return row, column
