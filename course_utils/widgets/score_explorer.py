"""ScoreExplorer: drag a query, choose a score function, and see which keys it answers to."""

from __future__ import annotations

import math
from collections.abc import Mapping

import anywidget
import torch
import traitlets
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from course_utils.attention import scores
from course_utils.explain import metrics
from course_utils.studies import probes
from course_utils.widgets._source import module, palette, style

SCORES = {
    "multiplicative": scores.multiplicative,
    "scaled multiplicative": scores.scaled_multiplicative,
    "cosine": scores.cosine,
    "Euclidean": scores.euclidean,
    "additive": scores.Additive,
    "general": scores.General,
    "biased general": scores.BiasedGeneral,
    "activated general": scores.ActivatedGeneral,
}
LEARNED = [name for name, score in SCORES.items() if isinstance(score, type)]
KEYS = [
    [2.4, 0.6],
    [0.9, 0.7],
    [0.2, 1.6],
    [-1.2, 1.8],
    [-2.2, -0.4],
    [-0.6, -1.1],
    [0.7, -2.0],
    [2.0, -1.3],
]
SIDE, EXTENT = 61, 3.0  # places on a side of the plane, and the coordinate at its edge


class ScoreExplorer(anywidget.AnyWidget):
    """Eight keys in a plane and one query under the reader's hand; below, the same score on real features.

    In the plane the keys are the values too, and W, b and the offset are the reader's. On an image each score has the
    parameters that its probe has learned; the query is what that probe makes of g, or the key at a dragged place.
    Keys of images are kept in 256 steps of their range, which is what the page computes with.
    """

    _esm = module("score_explorer")
    _css = style()

    score = traitlets.Int(0, min=0, max=len(SCORES) - 1, help="index into `SCORES`").tag(sync=True)
    place = traitlets.Int(16 * SIDE + 42, help="of the query on the plane, row by row").tag(
        sync=True
    )
    log_temperature = traitlets.Float(0.0, help="its base-10 logarithm").tag(sync=True)
    angle = traitlets.Float(0.0, help="in degrees: W turns the query by it").tag(sync=True)
    stretch = traitlets.Float(1.0, help="W makes the query longer by it").tag(sync=True)
    bias_across = traitlets.Float(1.0).tag(sync=True)
    bias_up = traitlets.Float(-2.0).tag(sync=True)
    offset = traitlets.Float(0.0).tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    asks = traitlets.Int(0, help="0: the query made from g; 1: the key at `image_place`").tag(
        sync=True
    )
    image_place = traitlets.Int(0, help="on the grid of the image, row by row").tag(sync=True)

    names = traitlets.List(traitlets.Unicode(), list(SCORES)).tag(sync=True)
    learned_names = traitlets.List(traitlets.Unicode(), LEARNED).tag(sync=True)
    plane_keys = traitlets.List(default_value=KEYS).tag(sync=True)  # (8, 2)
    side = traitlets.Int(SIDE).tag(sync=True)
    extent = traitlets.Float(EXTENT).tag(sync=True)
    plane = traitlets.Bytes(help="parameters of the additive score in the plane").tag(
        sync=True
    )  # float32
    size = traitlets.Int().tag(sync=True)
    grid = traitlets.Int().tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    boxes = traitlets.List().tag(sync=True)  # (N, 4) x0, y0, x1, y1
    chances = traitlets.List(traitlets.Float()).tag(sync=True)  # (N,)
    inside = traitlets.Bytes().tag(sync=True)  # (N, K) float32
    features = traitlets.Bytes().tag(sync=True)  # (N, K, d_k) uint8
    step = traitlets.Float(help="size of one of the 256 steps of a key").tag(sync=True)
    queries = traitlets.Bytes(help="what each probe makes of g").tag(
        sync=True
    )  # (8, N, d_k) float32
    learned = traitlets.Bytes(help="parameters of each of `LEARNED`, one after the other").tag(
        sync=True
    )  # float32
    learned_sizes = traitlets.List(traitlets.Int(), help="numbers in each of them").tag(sync=True)
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    @torch.inference_mode()
    def from_pools(
        cls,
        images: Float[Tensor, "N 1 S S"],
        boxes: Int[Tensor, "N 4"],
        features: probes.Features,
        pools: Mapping[str, nn.Module],
        plane: scores.Additive,
    ) -> ScoreExplorer:
        """Show images, in [0, 1], with what trained pools make of their features.

        Args:
            images: grey.
            boxes: around the digits, in pixels.
            features: of these images; the local ones are keys on a square grid, not negative.
            pools: a `probes.Guided` for each of `SCORES`, by its name.
            plane: the additive score for the plane.

        Raises:
            ValueError: another number of images, boxes or features; keys that are no square grid whose side divides
                that of the images, or negative; pools that are not those of `SCORES`; a plane that is not of size 2.
        """
        count, positions, _ = features.local.shape
        grid, size = math.isqrt(positions), images.shape[-1]
        if [len(images), len(boxes)] != [count] * 2:
            raise ValueError(
                f"expected {count} images and boxes, as many as features, got {len(images), len(boxes)}"
            )
        if grid**2 != positions or size % grid:
            raise ValueError(
                f"expected keys of a square grid whose side divides {size}, got {positions} keys an image"
            )
        if features.local.min() < 0:
            raise ValueError(
                f"expected keys that are not negative, got {features.local.min().item():.3g}"
            )
        if {name: _kind(pool.attention.score) for name, pool in pools.items()} != SCORES:
            raise ValueError(
                f"expected a pool for each of {', '.join(SCORES)}, got {', '.join(pools) or 'none'}"
            )
        sizes = plane.project_query.in_features, plane.project_key.in_features
        if sizes != (2, 2):
            raise ValueError(
                f"expected an additive score for queries and keys of size 2 in the plane, got {sizes}"
            )
        parameters = [
            parameters_to_vector(pools[name].attention.score.parameters()) for name in LEARNED
        ]
        step = features.local.max().item() / 255
        # Enlarging a map is linear and, by a whole factor, gives each position as many pixels: the energy inside is
        # the mean, weighted by the map, of the energy of each position alone.
        alone = torch.eye(positions).view(-1, 1, grid, grid)
        inside = [
            metrics.energy_inside(alone, region.expand(positions, 1, -1, -1))
            for region in features.regions
        ]
        return cls(
            plane=_float32(parameters_to_vector(plane.parameters())),
            size=size,
            grid=grid,
            image_place=(grid // 2) * grid + grid // 2,
            images=(images * 255).round().to(torch.uint8).numpy().tobytes(),
            boxes=boxes.tolist(),
            chances=metrics.area_share(features.regions).tolist(),
            inside=_float32(torch.stack(inside)),
            features=(features.local / step).round().to(torch.uint8).numpy().tobytes(),
            step=step,
            queries=_float32(torch.stack([pools[name].project(features.g) for name in SCORES])),
            learned=_float32(torch.cat(parameters)),
            learned_sizes=[len(vector) for vector in parameters],
        )


def _kind(score: object) -> object:
    """A module's class, and a function itself: what stands in `SCORES`."""
    return type(score) if isinstance(score, nn.Module) else score


def _float32(values: Tensor) -> bytes:
    return values.float().numpy().tobytes()
