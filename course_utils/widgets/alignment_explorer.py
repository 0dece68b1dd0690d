"""AlignmentExplorer: move scores and see the weights that each alignment makes of them."""

from __future__ import annotations

import math

import anywidget
import torch
import traitlets
from jaxtyping import Bool, Float, Int
from torch import Tensor

from course_utils.explain.metrics import area_share, energy_inside
from course_utils.widgets._source import module, palette, style

ALIGNMENTS = ("softmax", "entmax", "sparsemax", "sigmoid", "local")
START = [1.0, -0.5, 2.0, 0.5, -1.0, 1.5, 0.0, -2.0]  # the scores of eight positions, in no order


class AlignmentExplorer(anywidget.AnyWidget):
    """Eight scores under the reader's hand, and the scores of real test images, through the same alignment.

    All scores are divided by the temperature first, whatever the alignment, and `added` is added to those of the
    images. Position i of the eight lies at i = 1 … 8 and has a value from −1 to 1.
    """

    _esm = module("alignment_explorer")
    _css = style()

    scores = traitlets.List(traitlets.Float(), START, minlen=8, maxlen=8).tag(sync=True)
    alignment = traitlets.Int(0, min=0, max=4, help="index into `ALIGNMENTS`").tag(sync=True)
    log_temperature = traitlets.Float(0.0, help="its base-10 logarithm").tag(sync=True)
    alpha = traitlets.Float(1.5, min=1, max=2).tag(sync=True)
    window = traitlets.Float(2.0).tag(sync=True)
    centre = traitlets.Float(3.0).tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    place = traitlets.Int(0, help="the centre on the grid, row by row").tag(sync=True)
    added = traitlets.Float(0.0).tag(sync=True)

    names = traitlets.List(traitlets.Unicode(), ALIGNMENTS).tag(sync=True)
    start = traitlets.List(traitlets.Float(), START).tag(sync=True)
    size = traitlets.Int().tag(sync=True)
    grid = traitlets.Int().tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)  # (N,)
    boxes = traitlets.List().tag(sync=True)  # (N, 4) x0, y0, x1, y1
    chances = traitlets.List(traitlets.Float()).tag(sync=True)  # (N,)
    map_scores = traitlets.Bytes().tag(sync=True)  # (N, K) float32
    inside = traitlets.Bytes().tag(sync=True)  # (N, K) float32
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_scores(
        cls,
        map_scores: Float[Tensor, "N K"],
        images: Float[Tensor, "N 1 S S"],
        labels: Int[Tensor, " N"],
        regions: Bool[Tensor, "N 1 S S"],
        boxes: Int[Tensor, "N 4"],
    ) -> AlignmentExplorer:
        """Show the scores of images, one a position of a square grid, row by row.

        Raises:
            ValueError: scores that are not finite, or do not form a square grid whose side divides that of the images;
                another number of images, labels, regions or boxes than rows of scores.
        """
        count, positions = map_scores.shape
        grid, size = math.isqrt(positions), images.shape[-1]
        if grid**2 != positions or not grid or size % grid:
            raise ValueError(
                f"expected a square grid of scores whose side divides {size}, got {positions} scores an image"
            )
        if not map_scores.isfinite().all():
            raise ValueError("expected finite scores, got NaN or ∞ among them")
        given = [len(part) for part in (images, labels, regions, boxes)]
        if given != [count] * 4:
            raise ValueError(
                f"expected {count} images, labels, regions and boxes, one a row of scores, got {given}"
            )
        # Enlarging a map is linear and, by a whole factor, gives each position as many pixels: the energy inside is
        # the mean, weighted by the map, of the energy of each position alone.
        alone = torch.eye(positions).view(-1, 1, grid, grid)
        inside = torch.stack(
            [energy_inside(alone, region.expand(positions, 1, -1, -1)) for region in regions]
        )
        return cls(
            size=size,
            grid=grid,
            place=(grid // 2) * grid + grid // 2,
            images=(images * 255).round().to(torch.uint8).numpy().tobytes(),
            labels=[str(int(label)) for label in labels],
            boxes=boxes.tolist(),
            chances=area_share(regions).tolist(),
            map_scores=map_scores.detach().float().numpy().tobytes(),
            inside=inside.float().numpy().tobytes(),
        )
