"""AttentionExplorer: drag a query over a real image and see where its attention weights go."""

from __future__ import annotations

import anywidget
import torch
import traitlets
from jaxtyping import Float, Shaped
from torch import Tensor

from course_utils.core.tensor_checks import as_masks
from course_utils.widgets import packing
from course_utils.widgets._source import module, palette, style


class AttentionExplorer(anywidget.AnyWidget):
    """One query on one image: scaled dot products, softmax, and the weights as a map.

    The query is the key at a position that the reader drags, or one of a few given queries. Keys
    are rounded to 256 steps of their range, and the page computes with the rounded keys.
    """

    _esm = module("attention_explorer")
    _css = style()

    image = traitlets.Int(0).tag(sync=True)
    position = traitlets.Int(0, help="dragged query on the grid, row by row").tag(sync=True)
    query = traitlets.Int(0, help="0: the key at `position`; n: the n-th given query").tag(
        sync=True
    )
    power = traitlets.Float(0.0, help="the temperature is 2 to this power").tag(sync=True)

    size = traitlets.Int(help="height and width of an image in pixels").tag(sync=True)
    grid = traitlets.Int(help="positions per row of a map").tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    features = traitlets.Bytes().tag(sync=True)  # (N, K, d_k) uint8
    step = traitlets.Float(help="size of one of the 256 steps of a key").tag(sync=True)
    names = traitlets.List(traitlets.Unicode(), help="of the given queries").tag(sync=True)
    queries = traitlets.Bytes().tag(sync=True)  # (n, d_k) float32
    regions = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_features(
        cls,
        images: Float[Tensor, "N 1 S S"],
        keys: Float[Tensor, "N K d_k"],
        regions: Shaped[Tensor, "N 1 S S"],
        queries: dict[str, Float[Tensor, " d_k"]],
    ) -> AttentionExplorer:
        """Show images with the local features of a square grid as keys.

        Args:
            images: Grey images with values in [0, 1].
            keys: Non-negative features, as they come out of a ReLU.
            regions: Masks that are true where the digits are.
            queries: Queries to choose from, by name, beside the dragged key.

        Raises:
            ValueError: If the keys don't form one square grid per image or are negative; if a query
                and the keys differ in size; or if a mask has values other than 0 and 1.
        """
        n, K, d_k = keys.shape
        grid = round(K**0.5)
        if n != len(images) or grid**2 != K:
            raise ValueError(
                f"expected keys on a square grid for {len(images)} images, got {tuple(keys.shape)}"
            )
        if keys.min() < 0:
            raise ValueError(f"expected non-negative keys, got {keys.min().item():.3g}")
        shapes = [tuple(query.shape) for query in queries.values()]
        if any(shape != (d_k,) for shape in shapes):
            raise ValueError(f"expected queries of size {d_k}, got {shapes}")
        step = keys.max().item() / 255
        vectors = torch.stack(list(queries.values())) if queries else torch.zeros(0, d_k)
        return cls(
            size=images.shape[-1],
            grid=grid,
            images=packing.pixels(images),
            features=packing.in_steps(keys, step),
            step=step,
            names=list(queries),
            queries=packing.floats(vectors),
            regions=packing.small_integers(as_masks("masks", regions)),
            position=(grid // 2) * grid + grid // 2,
        )
