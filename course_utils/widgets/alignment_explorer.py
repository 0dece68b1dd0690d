"""AlignmentExplorer: move scores and see the weights that each alignment turns them into."""

from __future__ import annotations

import math

import anywidget
import traitlets
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from course_utils.explain.metrics import area_share, energy_by_position
from course_utils.widgets import packing
from course_utils.widgets._source import module, palette, style

ALIGNMENTS = ("softmax", "entmax", "sparsemax", "sigmoid", "local")
START = [1.0, -0.5, 2.0, 0.5, -1.0, 1.5, 0.0, -2.0]  # eight scores, deliberately unsorted


class AlignmentExplorer(anywidget.AnyWidget):
    """Eight scores that the reader moves, and the scores of real test images, under one alignment.

    All scores are divided by the temperature before they are aligned, and `added` is added to the
    scores of the images. The eight positions lie at 1, 2, … 8 on a line and have values from −1 to
    1.
    """

    _esm = module("alignment_explorer")
    _css = style()

    scores = traitlets.List(traitlets.Float(), START, minlen=8, maxlen=8).tag(sync=True)
    alignment = traitlets.Int(0, min=0, max=4, help="index into `ALIGNMENTS`").tag(sync=True)
    log_temperature = traitlets.Float(0.0, help="base-10 logarithm").tag(sync=True)
    alpha = traitlets.Float(1.5, min=1, max=2).tag(sync=True)
    window = traitlets.Float(2.0).tag(sync=True)
    centre = traitlets.Float(3.0).tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    position = traitlets.Int(0, help="centre on the grid, counted row by row").tag(sync=True)
    added = traitlets.Float(0.0).tag(sync=True)

    names = traitlets.List(traitlets.Unicode(), list(ALIGNMENTS)).tag(sync=True)
    start = traitlets.List(traitlets.Float(), START).tag(sync=True)
    size = traitlets.Int(help="height and width of an image in pixels").tag(sync=True)
    grid = traitlets.Int(help="positions per row of a map").tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)  # (N,)
    boxes = traitlets.List(traitlets.Any()).tag(sync=True)  # (N, 4) x0, y0, x1, y1
    chances = traitlets.List(traitlets.Float()).tag(sync=True)  # (N,)
    map_scores = traitlets.Bytes().tag(sync=True)  # (N, K) float32
    inside = traitlets.Bytes(help="energy in the box by position").tag(sync=True)  # (N, K) float32
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_scores(
        cls,
        map_scores: Float[Tensor, "N K"],
        images: Float[Tensor, "N 1 S S"],
        labels: Int[Tensor, " N"],
        regions: Shaped[Tensor, "N 1 S S"],
        boxes: Int[Tensor, "N 4"],
    ) -> AlignmentExplorer:
        """Show the scores of images.

        Args:
            map_scores: One score per position of a square grid, row by row.
            images: Grey images with values in [0, 1].
            labels: The digit in each image.
            regions: Masks that are true where the digit is.
            boxes: x0, y0, x1, y1 around the digit, in pixels.

        Raises:
            ValueError: If a score is NaN or infinite; if the scores don't form a square grid whose
                side divides the side of the images; or if the arguments differ in length.
        """
        count, positions = map_scores.shape
        grid, size = math.isqrt(positions), images.shape[-1]
        if grid**2 != positions or not grid or size % grid:
            raise ValueError(
                f"expected scores on a square grid whose side divides {size}, "
                f"got {positions} scores per image"
            )
        if not map_scores.isfinite().all():
            raise ValueError("expected finite scores, got NaN or infinite values")
        lengths = [len(part) for part in (images, labels, regions, boxes)]
        if lengths != [count] * 4:
            raise ValueError(
                f"expected {count} images, labels, regions and boxes, one per row of scores, "
                f"got {lengths}"
            )
        return cls(
            size=size,
            grid=grid,
            position=(grid // 2) * grid + grid // 2,  # near the middle
            images=packing.pixels(images),
            labels=packing.texts(labels),
            boxes=boxes.tolist(),
            chances=area_share(regions).tolist(),
            map_scores=packing.floats(map_scores),
            inside=packing.floats(energy_by_position(regions, (grid, grid))),
        )
