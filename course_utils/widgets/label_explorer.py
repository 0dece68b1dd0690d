"""LabelExplorer: choose a label, and see the map of its own query beside the map that all labels share."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import torch
import traitlets
from jaxtyping import Float
from torch import Tensor

from course_utils.core.tensor_checks import check_maps
from course_utils.widgets._source import module, palette, style


class LabelExplorer(anywidget.AnyWidget):
    """One image × one label: two maps on one colour scale, and how much of each lies in the box of every digit.

    The page enlarges the maps bilinearly, as `metrics.fit_to` does, and computes every share from them. They travel in
    half precision, 3 digits, which is more than the page says.
    """

    _esm = module("label_explorer")
    _css = style()

    image = traitlets.Int(0, min=0).tag(sync=True)
    label = traitlets.Int(0, min=0, help="the class that is asked for").tag(sync=True)

    size = traitlets.Int(help="side of the images in pixels").tag(sync=True)
    grid = traitlets.List(traitlets.Int(), help="rows and columns of a map").tag(sync=True)
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    digits = traitlets.List(help="of each image, the classes that are there").tag(sync=True)
    boxes = traitlets.List(help="of each of them: x0, y0, x1, y1").tag(sync=True)
    probabilities = traitlets.List(
        help="of each image, what the network gives each class, in per cent"
    ).tag(sync=True)
    own = traitlets.Bytes().tag(sync=True)  # (N, classes, h, w) float16
    shared = traitlets.Bytes().tag(sync=True)  # (N, h, w) float16
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_maps(
        cls,
        images: Float[Tensor, "N 1 S S"],
        digits: Sequence[Sequence[int]],
        boxes: Sequence[Sequence[Sequence[int]]],
        classes: Sequence[str],
        logits: Float[Tensor, "N classes"],
        own: Float[Tensor, "N classes h w"],
        shared: Float[Tensor, "N 1 h w"],
    ) -> LabelExplorer:
        """Show the maps of a few images; it begins with the first label of the first image.

        Args:
            images: grey, in [0, 1].
            digits: of each image, the classes that are in it.
            boxes: a box for each of these: x0, y0, x1, y1, ends excluded.
            classes: their names.
            logits: what the network with a map a class says.
            own: its maps.
            shared: those of a network with one map for all classes.

        Raises:
            ValueError: parts that do not fit each other, images or boxes out of range, maps that are negative or not
                finite.
        """
        n, count = len(images), len(classes)
        shapes = [tuple(part.shape) for part in (logits, own, shared)]
        fitting = [(n, count), (n, count, *own.shape[2:]), (n, 1, *own.shape[2:])]
        if not n or shapes != fitting or [len(digits), len(boxes)] != [n, n]:
            given = f"{shapes}, digits of {len(digits)} and boxes of {len(boxes)} images"
            raise ValueError(
                f"expected logits, own and shared maps of {n} images and {count} classes, with digits and boxes of "
                f"each, got {given}"
            )
        for there, around in zip(digits, boxes):
            if not there or len(there) != len(around) or not all(0 <= c < count for c in there):
                given = f"{list(there)} and {len(around)} boxes"
                raise ValueError(
                    f"expected a class from 0 to {count - 1} or more, and a box each, got {given}"
                )
        if (
            images.shape[1:] != (1, images.shape[-1], images.shape[-1])
            or not ((images >= 0) & (images <= 1)).all()
        ):
            given = f"{tuple(images.shape)} from {images.min():.3g} to {images.max():.3g}"
            raise ValueError(f"expected square grey images in [0, 1], got {given}")
        if not logits.isfinite().all():
            raise ValueError("expected finite logits")
        for box in (box for around in boxes for box in around):
            x0, y0, x1, y1 = box if len(box) == 4 else [0] * 4
            if not (0 <= x0 < x1 <= images.shape[-1] and 0 <= y0 < y1 <= images.shape[-1]):
                raise ValueError(
                    f"expected boxes x0, y0, x1, y1 inside the images, got {list(box)}"
                )
        check_maps(own.flatten(0, 1)[:, None])
        check_maps(shared)
        return cls(
            label=int(digits[0][0]),
            size=images.shape[-1],
            grid=list(own.shape[2:]),
            classes=list(classes),
            images=(images * 255).round().to(torch.uint8).cpu().numpy().tobytes(),
            digits=[[int(c) for c in there] for there in digits],
            boxes=[[[int(v) for v in box] for box in around] for around in boxes],
            probabilities=[[round(100 * p) for p in row] for row in logits.sigmoid().tolist()],
            own=own.detach().half().cpu().contiguous().numpy().tobytes(),
            shared=shared.detach().half().cpu().contiguous().numpy().tobytes(),
        )
