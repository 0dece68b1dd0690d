"""QueryExplorer: choose a position of an image and see where self-attention looks from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anywidget
import torch
import traitlets
from jaxtyping import Float, Int
from torch import Tensor

from course_utils.core.boxes import box_regions
from course_utils.core.tensor_checks import check_shape
from course_utils.explain.metrics import area_share, energy_by_position
from course_utils.widgets import packing
from course_utils.widgets._source import module, palette, style

PerQuery = Float[Tensor, "N K K"]
SomeBoxes = Int[Tensor, "N objects 4"]
OneBox = Int[Tensor, "N 4"]
# Rows in half precision sum to 1 within about a thousandth; other similarities miss 1 by far.
TOLERANCE = 0.01
OBJECTS = {1: ("digit",), 2: ("left digit", "right digit")}


class QueryExplorer(anywidget.AnyWidget):
    """The attention weights of one position over its image, beside the mean of all positions.

    All numbers that the page shows are computed here, from the weights as they are. For the
    pictures, each row of weights is rounded to 256 steps from 0 to its highest weight.
    """

    _esm = module("query_explorer")
    _css = style()

    block = traitlets.Int(0, help="index into `names`").tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    position = traitlets.Int(0, help="of the query, row by row").tag(sync=True)
    own_scale = traitlets.Bool(False, help="one colour scale per map").tag(sync=True)

    size = traitlets.List(traitlets.Int(), help="H, W of an image in pixels").tag(sync=True)
    grid = traitlets.List(traitlets.Int(), help="rows and columns of positions").tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, H, W) uint8
    titles = traitlets.List(traitlets.Unicode()).tag(sync=True)  # (N,)
    objects = traitlets.List(traitlets.Unicode(), help="what the boxes hold").tag(sync=True)
    boxes = traitlets.List(traitlets.Any()).tag(sync=True)  # (N, objects, 4) x0, y0, x1, y1
    chances = traitlets.List(traitlets.Any(), help="`shares` of a uniform map").tag(sync=True)
    names = traitlets.List(traitlets.Unicode(), help="of the blocks").tag(sync=True)
    # All traits below have one entry per block, in the order of `names`.
    weights = traitlets.Bytes(help="in 255ths of the row's highest").tag(sync=True)  # (N, K, K)
    highest = traitlets.Bytes().tag(sync=True)  # (N, K) float32
    means = traitlets.Bytes(help="over all queries").tag(sync=True)  # (N, K) float32
    distances = traitlets.Bytes(help="total variation to the mean").tag(sync=True)  # (N, K) float32
    shares = traitlets.Bytes(help="in each box, then elsewhere").tag(
        sync=True
    )  # (N, K, objects + 1) float32
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_block(
        cls,
        images: Float[Tensor, "N 1 H W"],
        weights: PerQuery | Mapping[str, PerQuery],
        titles: Sequence[str],
        boxes: SomeBoxes | OneBox | None = None,
        *,
        grid: tuple[int, int],
        objects: Sequence[str] | None = None,
        **traits,
    ) -> QueryExplorer:
        """Show the weights of one block, or of the same block in several networks.

        The query starts at the centre of the first image's first box, or of the image.

        Args:
            images: A handful of grey images with values in [0, 1]; the page stores K² bytes per
                image and block.
            weights: Weights (N, K, K) of a block, as `NonLocal.weights` returns them: row i holds
                the weights of the query at position i. A mapping from names to such weights gives
                the reader a menu.
            titles: What each image shows, for example "a 3 and a 7".
            boxes: One or more boxes per image around its objects, in pixels.
            grid: Rows and columns of the positions; K is their product.
            objects: What the boxes hold, in their order. By default the digit, or the left digit
                and the right digit.
            traits: Initial values of traits, for example ``position``.

        Raises:
            ValueError: If there is no image or no block; if the grid doesn't divide the images; if
                weights, titles, boxes or objects don't fit; if an image has values outside [0, 1];
                or if the weights of a query are negative, or don't sum to 1.
        """
        named = dict(weights) if isinstance(weights, Mapping) else {"": weights}
        _check_images(images, grid)
        _check_texts(len(images), titles, list(named))
        positions = grid[0] * grid[1]
        for name, own in named.items():
            _check_weights(name, own, len(images), positions)
        boxes = _all_boxes(boxes, len(images))
        objects = _checked_objects(objects, boxes)
        inside, chances = _regions(boxes, images.shape[-2:], grid)
        stacked = torch.stack([own.detach().cpu().double() for own in named.values()])
        means = stacked.mean(dim=2)  # (blocks, N, K, K) → (blocks, N, K)
        return cls(
            size=list(images.shape[-2:]),
            grid=list(grid),
            images=packing.pixels(images),
            titles=list(titles),
            objects=objects,
            boxes=boxes.tolist(),
            chances=chances.tolist(),
            names=list(named),
            weights=_in_row_steps(stacked),
            highest=packing.floats(stacked.amax(dim=-1)),
            means=packing.floats(means),
            distances=packing.floats((stacked - means[:, :, None]).abs().sum(dim=-1) / 2),
            shares=packing.floats(stacked @ inside),  # (blocks, N, K, K) @ (N, K, objects + 1)
            **{"position": _first_query(boxes, images.shape[-2:], grid)} | traits,
        )


def _check_images(images: Tensor, grid: tuple[int, int]) -> None:
    """Raise if the images can't be shown, or the grid doesn't divide them."""
    check_shape("images", images, None, 1, None, None)
    height, width = images.shape[-2:]
    if not len(images):
        raise ValueError("expected at least one image, got none")
    low, high = images.min().item(), images.max().item()
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"expected images with values in [0, 1], got values from {low:.3g} to {high:.3g}"
        )
    rows, columns = grid
    if rows < 1 or columns < 1 or height % rows or width % columns:
        raise ValueError(
            f"expected a grid that divides images of {height} × {width} pixels, "
            f"got {rows} × {columns}"
        )


def _check_texts(images: int, titles: Sequence[str], names: list[str]) -> None:
    """Raise unless there is a title per image, and at least one block."""
    if len(titles) != images:
        raise ValueError(f"expected {images} titles, one per image, got {len(titles)}")
    if not names:
        raise ValueError("expected the weights of at least one block, got an empty mapping")


def _check_weights(name: str, weights: Tensor, images: int, positions: int) -> None:
    """Raise unless every row of weights is a distribution over the positions."""
    whose = f"weights of {name!r}" if name else "weights"
    check_shape(whose, weights, images, positions, positions)
    lowest, sums = weights.min().item(), weights.sum(dim=-1, dtype=torch.float64)
    if not (lowest >= 0 and ((sums - 1).abs() <= TOLERANCE).all()):
        raise ValueError(
            f"expected {whose} of at least 0 that sum to 1 for each query, as from softmax, "
            f"got weights of at least {lowest:.3g} and sums from {sums.min():.3g} "
            f"to {sums.max():.3g}"
        )


def _all_boxes(boxes: Tensor | None, images: int) -> SomeBoxes:
    """Return the boxes of each image: none, one or several."""
    if boxes is None:
        return torch.zeros(images, 0, 4, dtype=torch.int64)
    boxes = boxes[:, None] if boxes.ndim == 2 else boxes
    check_shape("boxes", boxes, images, None, 4)
    return boxes.cpu()


def _checked_objects(objects: Sequence[str] | None, boxes: SomeBoxes) -> list[str]:
    """Return a name for each box of an image."""
    count = boxes.shape[1]
    names = list(OBJECTS.get(count, ()) if objects is None else objects)
    if len(names) != count:
        raise ValueError(f"expected {count} objects, one name per box, got {names}")
    return names


def _regions(
    boxes: SomeBoxes, size: Sequence[int], grid: tuple[int, int]
) -> tuple[Float[Tensor, "N K parts"], Float[Tensor, "N parts"]]:
    """Return the energy of each position in each box and elsewhere, and that of a uniform map."""
    n, objects = boxes.shape[:2]
    height, width = size
    # A square mask that covers the image, cut to it: `box_regions` makes square masks only.
    regions = box_regions(boxes.flatten(0, 1), max(height, width))[..., :height, :width]
    regions = regions.reshape(n, objects, height, width)
    elsewhere = ~regions.any(dim=1, keepdim=True)
    parts = torch.cat([regions, elsewhere], dim=1)  # (N, objects + 1, H, W)
    masks = parts.flatten(0, 1)[:, None]  # (N · (objects + 1), 1, H, W)
    inside = energy_by_position(masks, grid).view(n, objects + 1, -1)
    return inside.mT.double(), area_share(masks).view(n, objects + 1)


def _in_row_steps(weights: Float[Tensor, "*blocks K"]) -> bytes:
    """Pack each row of weights in 255ths of its highest weight."""
    return packing.small_integers((255 * weights / weights.amax(dim=-1, keepdim=True)).round())


def _first_query(boxes: SomeBoxes, size: Sequence[int], grid: tuple[int, int]) -> int:
    """Return the position at the centre of the first box, or of the image if there is none."""
    rows, columns = grid
    height, width = size
    x0, y0, x1, y1 = boxes[0, 0].tolist() if boxes.shape[1] else (0, 0, width, height)
    row = min(rows - 1, max(0, (y0 + y1) * rows // (2 * height)))
    column = min(columns - 1, max(0, (x0 + x1) * columns // (2 * width)))
    return row * columns + column
