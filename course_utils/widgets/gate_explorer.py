"""GateExplorer: change the features in a window, and see which weights of a gate change with them."""

from __future__ import annotations

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
from course_utils.widgets._source import module, palette, style

CELLS = 8  # the window moves by an eighth of the image, and is two of these wide
KINDS = {
    "conv": ConvGate,
    "squeeze": SqueezeExcitation,
    "spatial": SpatialAttention,
    "second_order": SecondOrder,
    "streamlined": Streamlined,
}

Features = Float[Tensor, "N _ _ _"]
Gated = tuple[Gate, Features, str]


class GateExplorer(anywidget.AnyWidget):
    """One gate × one image × one window whose features are multiplied: the weights before and after.

    The page computes every weight from the features and from what the gates have learned; features are kept in 256
    steps of their range.
    """

    _esm = module("gate_explorer")
    _css = style()

    gate = traitlets.Int(1, min=0, max=4, help="in the order of `KINDS`").tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    row = traitlets.Int(
        3, min=0, max=CELLS - 2, help="upper edge of the window, in eighths of the image"
    ).tag(sync=True)
    column = traitlets.Int(3, min=0, max=CELLS - 2, help="its left edge").tag(sync=True)
    strength = traitlets.Float(
        2.0, min=0, max=3, help="what the features in the window are multiplied by"
    ).tag(sync=True)

    size = traitlets.Int(help="side of an image in pixels").tag(sync=True)
    cells = traitlets.Int(CELLS).tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    boxes = traitlets.List().tag(sync=True)  # (N, 4) x0, y0, x1, y1
    features = traitlets.Bytes().tag(sync=True)  # (N, C, H, H) uint8, one gate after the other
    grids = traitlets.List(help="channels and side of the features, a gate").tag(sync=True)
    lows = traitlets.List(traitlets.Float(), help="what a stored 0 stands for, a gate").tag(
        sync=True
    )
    steps = traitlets.List(traitlets.Float(), help="size of one of the 255 steps, a gate").tag(
        sync=True
    )
    sources = traitlets.List(traitlets.Unicode(), help="where gate and features come from").tag(
        sync=True
    )
    shapes = traitlets.List(
        help="name and shape of what was learned, in order; a stored dict has none"
    ).tag(sync=True)
    numbers = traitlets.Bytes().tag(sync=True)  # float32
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
        """Show gates, each with the features that reach it and a word on where the two come from.

        The window starts on the box of the first image.

        Args:
            images: grey, in [0, 1].
            labels: of the images.
            boxes: of the whole digits.
            conv: a `ConvGate` with sigmoid.
            squeeze: a `SqueezeExcitation`.
            spatial: a `SpatialAttention`.
            second_order: a `SecondOrder`.
            streamlined: a `Streamlined`.

        Raises:
            ValueError: a gate of another kind or alignment, features of another grid than a square one whose side is a
                multiple of 8, or another number of images, labels, boxes and features.
        """
        given = dict(zip(KINDS, (conv, squeeze, spatial, second_order, streamlined)))
        learned, stored, lows, steps = {}, [], [], []
        for name, (gate, x, _) in given.items():
            if (
                type(gate) is not KINDS[name]
                or getattr(gate, "align", torch.sigmoid) is not torch.sigmoid
            ):
                raise ValueError(
                    f"expected {name} to be {KINDS[name].__name__} with sigmoid, got {gate}"
                )
            if x.shape[-1] != x.shape[-2] or not x.shape[-1] or x.shape[-1] % CELLS:
                raise ValueError(
                    f"expected a square grid, a multiple of {CELLS} wide, in {name}, got {tuple(x.shape)}"
                )
            counts = [len(images), len(labels), len(boxes), len(x)]
            if len(set(counts)) > 1:
                raise ValueError(
                    f"expected as many images, labels, boxes and features in {name}, got {counts}"
                )
            lows.append(x.min().item())
            steps.append(
                (x.max().item() - lows[-1]) / 255 or 1.0
            )  # of features that are all equal: any
            stored.append(((x - lows[-1]) / steps[-1]).round().to(torch.uint8).numpy().tobytes())
            for part, value in gate.state_dict().items():
                learned[f"{name}.{part}"] = value.flatten(1) if value.ndim > 1 else value[None]
        x0, y0, x1, y1 = boxes[0].tolist()
        cell = images.shape[-1] / CELLS
        column, row = (
            min(CELLS - 2, max(0, round((a + b) / 2 / cell - 1))) for a, b in ((x0, x1), (y0, y1))
        )
        return cls(
            row=row,
            column=column,
            size=images.shape[-1],
            images=(images * 255).round().to(torch.uint8).numpy().tobytes(),
            labels=[str(int(label)) for label in labels],
            boxes=boxes.tolist(),
            features=b"".join(stored),
            grids=[[x.shape[1], x.shape[-1]] for _, x, _ in given.values()],
            lows=lows,
            steps=steps,
            sources=[source for *_, source in given.values()],
            shapes=[[name, list(value.shape)] for name, value in learned.items()],
            numbers=torch.cat([value.float().flatten() for value in learned.values()])
            .numpy()
            .tobytes(),
        )
