"""LabelExplorer: the map of one label's own query beside the map that all labels share."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import traitlets
from jaxtyping import Float
from torch import Tensor

from course_utils.core.tensor_checks import check_maps
from course_utils.widgets import packing
from course_utils.widgets._source import module, palette, style

Digits = Sequence[Sequence[int]]
Boxes = Sequence[Sequence[Sequence[int]]]


class LabelExplorer(anywidget.AnyWidget):
    """One image and one label: two maps on one colour scale, and the share of each in every box.

    The page upsamples the maps bilinearly, as `metrics.fit_to` does, and computes every share from
    them. Maps are stored in half precision: its three digits are more than the page displays.
    """

    _esm = module("label_explorer")
    _css = style()

    image = traitlets.Int(0, min=0).tag(sync=True)
    label = traitlets.Int(0, min=0, help="class whose map is shown").tag(sync=True)

    size = traitlets.Int(help="height and width of an image in pixels").tag(sync=True)
    grid = traitlets.List(traitlets.Int(), help="rows and columns of a map").tag(sync=True)
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    digits = traitlets.List(traitlets.Any(), help="the classes in each image").tag(sync=True)
    boxes = traitlets.List(traitlets.Any(), help="x0, y0, x1, y1 of each digit").tag(sync=True)
    # (N, classes), in per cent
    probabilities = traitlets.List(traitlets.Any()).tag(sync=True)
    own = traitlets.Bytes().tag(sync=True)  # (N, classes, h, w) float16
    shared = traitlets.Bytes().tag(sync=True)  # (N, h, w) float16
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_maps(
        cls,
        images: Float[Tensor, "N 1 S S"],
        digits: Digits,
        boxes: Boxes,
        classes: Sequence[str],
        logits: Float[Tensor, "N classes"],
        own: Float[Tensor, "N classes h w"],
        shared: Float[Tensor, "N 1 h w"],
    ) -> LabelExplorer:
        """Show the maps of a few images, starting with the first label of the first image.

        Args:
            images: Grey images with values in [0, 1].
            digits: The classes in each image.
            boxes: x0, y0, x1, y1 around each of these digits, in pixels, ends excluded.
            classes: The names of the classes.
            logits: The output of the network with one map per class.
            own: The maps of that network.
            shared: The maps of a network with one map for all classes.

        Raises:
            ValueError: If the arguments don't fit each other; if images or boxes are out of range;
                or if a map has negative, NaN or infinite values.
        """
        n, count = len(images), len(classes)
        shapes = [tuple(part.shape) for part in (logits, own, shared)]
        expected = [(n, count), (n, count, *own.shape[2:]), (n, 1, *own.shape[2:])]
        if not n or shapes != expected or [len(digits), len(boxes)] != [n, n]:
            raise ValueError(
                f"expected logits, own and shared maps of {n} images and {count} classes, with the "
                f"digits and boxes of each image, got {shapes}, digits of {len(digits)} and boxes "
                f"of {len(boxes)} images"
            )
        _check_images(images)
        _check_boxes(digits, boxes, count, images.shape[-1])
        if not logits.isfinite().all():
            raise ValueError("expected finite logits, got NaN or infinite values")
        check_maps(own.flatten(0, 1)[:, None])
        check_maps(shared)
        return cls(
            label=int(digits[0][0]),
            size=images.shape[-1],
            grid=list(own.shape[2:]),
            classes=list(classes),
            images=packing.pixels(images),
            digits=[[int(c) for c in present] for present in digits],
            boxes=[[[int(v) for v in box] for box in of_image] for of_image in boxes],
            probabilities=[[round(100 * p) for p in row] for row in logits.sigmoid().tolist()],
            own=packing.halves(own),
            shared=packing.halves(shared),
        )


def _check_images(images: Tensor) -> None:
    """Raise if images aren't square grey images in [0, 1]."""
    size = images.shape[-1]
    if images.shape[1:] != (1, size, size) or not ((images >= 0) & (images <= 1)).all():
        raise ValueError(
            f"expected square grey images in [0, 1], got {tuple(images.shape)} "
            f"from {images.min():.3g} to {images.max():.3g}"
        )


def _check_boxes(digits: Digits, boxes: Boxes, classes: int, size: int) -> None:
    """Raise if an image has no digit, a digit isn't a class, or a box doesn't fit."""
    for present, of_image in zip(digits, boxes):
        known = all(0 <= c < classes for c in present)
        if not present or len(present) != len(of_image) or not known:
            raise ValueError(
                f"expected one or more classes from 0 to {classes - 1} with one box each, "
                f"got {list(present)} and {len(of_image)} boxes"
            )
        for box in of_image:
            x0, y0, x1, y1 = box if len(box) == 4 else [0] * 4  # an empty box never fits
            if not (0 <= x0 < x1 <= size and 0 <= y0 < y1 <= size):
                raise ValueError(
                    f"expected boxes x0, y0, x1, y1 inside the images, got {list(box)}"
                )
