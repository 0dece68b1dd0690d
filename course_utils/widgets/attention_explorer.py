"""AttentionExplorer: put a query, drag it over a real image, and see where its weights go."""

from __future__ import annotations

import anywidget
import torch
import traitlets
from jaxtyping import Bool, Float
from torch import Tensor

from course_utils.widgets._source import module, palette, style


class AttentionExplorer(anywidget.AnyWidget):
    """One query × one image × one temperature: scaled dot products, softmax, and the weights over the image.

    The query is the key at a place that the reader drags, or one of a few that are given. Keys are kept in 256 steps
    of their range, which is what the page computes with.
    """

    _esm = module("attention_explorer")
    _css = style()

    image = traitlets.Int(0).tag(sync=True)
    place = traitlets.Int(0, help="position of the dragged query on the grid, row by row").tag(
        sync=True
    )
    query = traitlets.Int(0, help="0: the key at `place`; n: the n-th of the given queries").tag(
        sync=True
    )
    power = traitlets.Float(0.0, help="the temperature is 2 to this power").tag(sync=True)

    size = traitlets.Int().tag(sync=True)
    grid = traitlets.Int().tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    features = traitlets.Bytes().tag(sync=True)  # (N, K, d_k) uint8
    step = traitlets.Float(help="size of one of the 256 steps of a key").tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)  # of the given queries
    queries = traitlets.Bytes().tag(sync=True)  # (n, d_k) float32
    regions = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_features(
        cls,
        images: Float[Tensor, "N 1 S S"],
        keys: Float[Tensor, "N K d_k"],
        regions: Bool[Tensor, "N 1 S S"],
        queries: dict[str, Float[Tensor, " d_k"]],
    ) -> AttentionExplorer:
        """Show images, in [0, 1], with the local features of a square grid over them as keys.

        Args:
            images: grey.
            keys: not negative, as features behind a ReLU are.
            regions: where the digits are.
            queries: by name, what can be asked beside the dragged key.

        Raises:
            ValueError: keys that are no square grid for each image, or negative; queries of another size.
        """
        n, K, d_k = keys.shape
        grid = round(K**0.5)
        if n != len(images) or grid**2 != K:
            raise ValueError(
                f"expected keys of a square grid for {len(images)} images, got {tuple(keys.shape)}"
            )
        if keys.min() < 0:
            raise ValueError(f"expected keys that are not negative, got {keys.min().item():.3g}")
        if any(query.shape != (d_k,) for query in queries.values()):
            raise ValueError(
                f"expected queries of size {d_k}, got {[tuple(query.shape) for query in queries.values()]}"
            )
        step = keys.max().item() / 255
        given = torch.stack(list(queries.values())) if queries else torch.zeros(0, d_k)
        return cls(
            size=images.shape[-1],
            grid=grid,
            images=(images * 255).round().to(torch.uint8).numpy().tobytes(),
            features=(keys / step).round().to(torch.uint8).numpy().tobytes(),
            step=step,
            names=list(queries),
            queries=given.float().numpy().tobytes(),
            regions=regions.to(torch.uint8).numpy().tobytes(),
            place=(grid // 2) * grid + grid // 2,
        )
