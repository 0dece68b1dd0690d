"""ScoreExplorer: drag a query, choose a score function, and see which keys score highest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anywidget
import torch
import traitlets
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from course_utils.attention import alignments, scores
from course_utils.explain import metrics
from course_utils.widgets import packing
from course_utils.widgets._source import module, palette, style

if TYPE_CHECKING:  # the studies load the trainer, which the widget doesn't need
    from course_utils.studies.probes import Features

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
SIDE = 61  # positions along a side of the plane
EXTENT = 3.0  # the coordinate at the plane's edge


class ScoreExplorer(anywidget.AnyWidget):
    """Eight keys and a query in a plane; below them, the same score on features of images.

    In the plane the keys are also the values, and the reader sets W, b and the offset. On an image,
    each score has the parameters that its probe learned; the query is the probe's projection of g,
    or the key at a position that the reader drags. The slider multiplies the temperature that a
    probe was trained with, so at 1 its weights are those of the probe. In the plane, where nothing
    was trained, the slider is the temperature itself. Keys of images are rounded to 256 steps of
    their range, and the page computes with the rounded keys.
    """

    _esm = module("score_explorer")
    _css = style()

    score = traitlets.Int(0, min=0, max=len(SCORES) - 1, help="index into `SCORES`").tag(sync=True)
    position = traitlets.Int(16 * SIDE + 42, help="query in the plane, row by row").tag(sync=True)
    log_temperature = traitlets.Float(
        0.0, help="base-10 logarithm of the multiple of the temperature trained with"
    ).tag(sync=True)
    angle = traitlets.Float(0.0, help="by which W turns the query, in degrees").tag(sync=True)
    stretch = traitlets.Float(1.0, help="by which W stretches the query").tag(sync=True)
    bias_across = traitlets.Float(1.0).tag(sync=True)
    bias_up = traitlets.Float(-2.0).tag(sync=True)
    offset = traitlets.Float(0.0).tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    image_query = traitlets.Int(0, help="0: from g; 1: key at `image_position`").tag(sync=True)
    image_position = traitlets.Int(0, help="on the image's grid, row by row").tag(sync=True)

    names = traitlets.List(traitlets.Unicode(), list(SCORES)).tag(sync=True)
    learned_names = traitlets.List(traitlets.Unicode(), LEARNED).tag(sync=True)
    plane_keys = traitlets.List(default_value=KEYS).tag(sync=True)  # (8, 2)
    side = traitlets.Int(SIDE).tag(sync=True)
    extent = traitlets.Float(EXTENT).tag(sync=True)
    plane = traitlets.Bytes(help="of the additive score in the plane").tag(sync=True)  # float32
    size = traitlets.Int(help="height and width of an image in pixels").tag(sync=True)
    grid = traitlets.Int(help="positions per row of a map").tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    boxes = traitlets.List(traitlets.Any()).tag(sync=True)  # (N, 4) x0, y0, x1, y1
    chances = traitlets.List(traitlets.Float()).tag(sync=True)  # (N,)
    inside = traitlets.Bytes(help="energy in the box by position").tag(sync=True)  # (N, K) float32
    features = traitlets.Bytes().tag(sync=True)  # (N, K, d_k) uint8
    step = traitlets.Float(help="size of one of the 256 steps of a key").tag(sync=True)
    queries = traitlets.Bytes(help="from g, by score").tag(sync=True)  # (8, N, d_k) float32
    temperatures = traitlets.List(
        traitlets.Float(), help="that the probes were trained with, by score"
    ).tag(sync=True)  # (8,)
    learned = traitlets.Bytes(help="parameters of `LEARNED`, in order").tag(sync=True)  # float32
    learned_sizes = traitlets.List(traitlets.Int(), help="parameters of each").tag(sync=True)
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    @torch.inference_mode()
    def from_pools(
        cls,
        images: Float[Tensor, "N 1 S S"],
        boxes: Int[Tensor, "N 4"],
        features: Features,
        pools: Mapping[str, nn.Module],
        plane: scores.Additive,
        start: str = "multiplicative",
    ) -> ScoreExplorer:
        """Show images and the weights that trained pools give their features.

        Args:
            images: Grey images with values in [0, 1].
            boxes: x0, y0, x1, y1 around the digits, in pixels.
            features: The features of these images (`probes.Features`). The local ones are the keys:
                non-negative, on a square grid.
            pools: A `probes.Guided` for each of `SCORES`, by name. Its alignment is softmax, or a
                ``partial`` of softmax with the temperature that it was trained with.
            plane: The additive score for the plane.
            start: The score that is shown first, one of `SCORES`.

        Raises:
            ValueError: If images, boxes and features differ in number; if the keys are negative or
                don't form a square grid whose side divides the side of the images; if the pools
                aren't those of `SCORES`, or one has another alignment; if the score for the plane
                isn't of size 2; or if the first score is unknown.
        """
        keys, regions = features.local, features.regions
        count, positions, _ = keys.shape
        grid, size = math.isqrt(positions), images.shape[-1]
        if [len(images), len(boxes)] != [count] * 2:
            raise ValueError(
                f"expected {count} images and boxes, one per row of features, "
                f"got {len(images)} and {len(boxes)}"
            )
        if grid**2 != positions or size % grid:
            raise ValueError(
                f"expected keys on a square grid whose side divides {size}, "
                f"got {positions} keys per image"
            )
        if keys.min() < 0:
            raise ValueError(f"expected non-negative keys, got {keys.min().item():.3g}")
        _check_scores(pools, plane)
        if start not in SCORES:
            raise ValueError(f"unknown score {start!r}: choose one of {', '.join(SCORES)}")
        modules = [pools[name].get_submodule("attention.score") for name in LEARNED]
        learned = [parameters_to_vector(module.parameters()) for module in modules]
        queries = [pools[name].get_submodule("project")(features.g) for name in SCORES]
        step = keys.max().item() / 255
        return cls(
            score=list(SCORES).index(start),
            temperatures=[_temperature(pools[name]) for name in SCORES],
            plane=packing.floats(parameters_to_vector(plane.parameters())),
            size=size,
            grid=grid,
            image_position=(grid // 2) * grid + grid // 2,  # near the middle
            images=packing.pixels(images),
            boxes=boxes.tolist(),
            chances=metrics.area_share(regions).tolist(),
            inside=packing.floats(metrics.energy_by_position(regions, (grid, grid))),
            features=packing.in_steps(keys, step),
            step=step,
            queries=packing.floats(*queries),
            learned=packing.floats(*learned),
            learned_sizes=[len(vector) for vector in learned],
        )


def _check_scores(pools: Mapping[str, nn.Module], plane: scores.Additive) -> None:
    """Raise if the pools don't have the scores of `SCORES`, or the plane's score isn't 2-D."""
    if {name: _kind(pool) for name, pool in pools.items()} != SCORES:
        raise ValueError(
            f"expected one pool for each of {', '.join(SCORES)}, got {', '.join(pools) or 'none'}"
        )
    sizes = plane.project_query.in_features, plane.project_key.in_features
    if sizes != (2, 2):
        raise ValueError(
            f"expected an additive score for queries and keys of size 2 in the plane, got {sizes}"
        )


def _kind(pool: nn.Module) -> object:
    """Return what `SCORES` lists for a pool's score: the class of a module, a function itself."""
    attention: Any = pool.attention
    score = attention.score
    return type(score) if isinstance(score, nn.Module) else score


def _temperature(pool: nn.Module) -> float:
    """Return the temperature of a pool's softmax.

    Raises:
        ValueError: If the alignment is another one, or has other options.
    """
    attention: Any = pool.attention
    alignment = attention.alignment
    options = dict(getattr(alignment, "keywords", {}))  # those of a `partial`
    temperature = float(options.pop("temperature", 1.0))
    if getattr(alignment, "func", alignment) is not alignments.softmax or options:
        raise ValueError(
            "expected pools aligned by softmax, or by a partial of it with a temperature, "
            f"got {alignment}"
        )
    return temperature
