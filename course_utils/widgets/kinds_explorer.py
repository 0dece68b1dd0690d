"""KindsExplorer: one scene under six kinds of attention, each with its learned parameters."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import anywidget
import traitlets
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_utils.attention import alignments, scores
from course_utils.attention.general import MultiDimensional
from course_utils.attention.query_related import ClassQueries, MultiHead, MultiHop, SelfAttention
from course_utils.core.boxes import box_regions
from course_utils.explain.metrics import area_share, energy_by_position
from course_utils.widgets import packing
from course_utils.widgets._source import module, palette, style

Module = TypeVar("Module", bound=nn.Module)


class Scenes(NamedTuple):
    """Scenes of two digits with a grid of features over them.

    Attributes:
        images: (N, 1, H, W), grey, with values in [0, 1].
        local: (N, K, d), non-negative features, row by row on a grid of square cells.
        coordinates: (K, 2), two values that describe where each position lies.
        boxes: (N, 2, 4), x0, y0, x1, y1 around the two digits of each scene, in pixels.
        labels: (N, 2), the two digits.
    """

    images: Float[Tensor, "N 1 H W"]
    local: Float[Tensor, "N K d"]
    coordinates: Float[Tensor, "K 2"]
    boxes: Int[Tensor, "N 2 4"]
    labels: Int[Tensor, "N 2"]


class WithQuery(NamedTuple, Generic[Module]):
    """An attention module, and the learned query or queries that it's called with."""

    query: Tensor
    attention: Module


class Kinds(NamedTuple):
    """Trained attention modules of six kinds, in the order in which the widget lists them.

    All of them score by scaled dot products, except `MultiDimensional`, which has its own score;
    all align by softmax. Each kind reads either the features alone (size d), or the features and
    the coordinates (size d + 2).

    Attributes:
        learned_query: (d,), one learned query.
        multi_dimensional: A query and multi-dimensional attention.
        self_attention: Self-attention.
        multi_head: A query and multi-head attention.
        multi_hop: A query and multi-hop attention.
        class_queries: One query per digit.
    """

    learned_query: Float[Tensor, " d"]
    multi_dimensional: WithQuery[MultiDimensional]
    self_attention: SelfAttention
    multi_head: WithQuery[MultiHead]
    multi_hop: WithQuery[MultiHop]
    class_queries: ClassQueries


FIRST_SHOWN = Kinds._fields.index("multi_head")  # its two maps differ at first sight


class KindsExplorer(anywidget.AnyWidget):
    """One kind of attention on one scene of two digits: the weights, and their share in either box.

    The page computes every weight from the features and from the learned parameters. Features are
    rounded to 256 steps of their range. Wherever a kind aligns scores, it divides them by the
    temperature first.
    """

    _esm = module("kinds_explorer")
    _css = style()

    kind = traitlets.Int(FIRST_SHOWN, min=0, max=5, help="in the order of `Kinds`").tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    power = traitlets.Float(0.0, help="the temperature is 2 to this power").tag(sync=True)
    position = traitlets.Int(0, help="of the query, in self-attention").tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    hop = traitlets.Int(0).tag(sync=True)
    digit = traitlets.Int(0, help="class whose query is shown").tag(sync=True)
    feature = traitlets.Int(0, help="feature of a value, if multi-dimensional").tag(sync=True)

    size = traitlets.List(traitlets.Int(), help="H, W of a scene in pixels").tag(sync=True)
    grid = traitlets.List(traitlets.Int(), help="rows and columns of positions").tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, H, W) uint8
    features = traitlets.Bytes().tag(sync=True)  # (N, K, d) uint8
    step = traitlets.Float(help="size of one of the 256 steps of a feature").tag(sync=True)
    coordinates = traitlets.Bytes().tag(sync=True)  # (K, 2) float32
    labels = traitlets.List(traitlets.Any()).tag(sync=True)  # (N, 2)
    boxes = traitlets.List(traitlets.Any()).tag(sync=True)  # (N, 2, 4) x0, y0, x1, y1
    chances = traitlets.List(traitlets.Any()).tag(sync=True)  # (N, 2)
    inside = traitlets.Bytes(help="energy by position").tag(sync=True)  # (N, 2, K) float32
    hops = traitlets.Int().tag(sync=True)
    heads = traitlets.Int().tag(sync=True)
    # A list of pairs and not a dict: notebooks sort the keys of the dicts that they store.
    shapes = traitlets.List(traitlets.Any(), help="name and shape of each parameter").tag(sync=True)
    parameters = traitlets.Bytes(help="in the order of `shapes`").tag(sync=True)  # float32
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_kinds(cls, scenes: Scenes, kinds: Kinds) -> KindsExplorer:
        """Show scenes under six kinds of attention.

        Raises:
            ValueError: If the cells of the grid aren't square; if a feature is negative; if a scene
                doesn't have two boxes and two labels; or if a kind reads vectors of another size,
                or has another score or alignment than `Kinds` describes.
        """
        n, K, d = scenes.local.shape
        height, width = scenes.images.shape[-2:]
        rows, columns = _grid(K, height, width)
        _check_scenes(scenes)
        _check_scores(kinds)
        learned = _learned(kinds)
        _check_sizes(learned, d)
        step = scenes.local.max().item() / 255
        # A square mask that covers the scene, cut to it: `box_regions` makes square masks only.
        regions = box_regions(scenes.boxes.flatten(0, 1), max(height, width))
        regions = regions[..., :height, :width]  # (2 · N, 1, H, W)
        return cls(
            size=[height, width],
            grid=[rows, columns],
            position=K // 2 + columns // 4,  # in the left half, where the first digit is
            images=packing.pixels(scenes.images),
            features=packing.in_steps(scenes.local, step),
            step=step,
            coordinates=packing.floats(scenes.coordinates),
            labels=scenes.labels.tolist(),
            boxes=scenes.boxes.tolist(),
            chances=area_share(regions).view(n, 2).tolist(),
            inside=packing.floats(energy_by_position(regions, (rows, columns))),
            digit=int(scenes.labels[0, 0]),
            hops=kinds.multi_hop.attention.hops,
            heads=kinds.multi_head.attention.heads,
            shapes=[[name, list(part.shape)] for name, part in learned.items()],
            parameters=packing.floats(*learned.values()),
        )


def _grid(positions: int, height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of the grid whose cells are square."""
    rows = round((positions * height / width) ** 0.5)
    square = rows and height * (positions // rows) == width * rows
    if not square or positions % rows or height % rows:
        raise ValueError(
            f"expected a grid of square cells on {height} × {width} pixels, "
            f"got {positions} positions"
        )
    return rows, positions // rows


def _check_scenes(scenes: Scenes) -> None:
    """Raise if features are negative, or boxes and labels don't fit the scenes."""
    n = len(scenes.local)
    if scenes.local.min() < 0:
        raise ValueError(f"expected non-negative features, got {scenes.local.min().item():.3g}")
    counts = [len(scenes.images), *scenes.boxes.shape[:2], *scenes.labels.shape]
    if counts != [n, n, 2, n, 2]:
        raise ValueError(f"expected {n} scenes with two boxes and two labels each, got {counts}")


def _check_scores(kinds: Kinds) -> None:
    """Raise if a kind scores or aligns in another way than the page does."""
    inner = [
        kinds.self_attention.attention,
        kinds.multi_head.attention.attention,
        kinds.multi_hop.attention.attention,
        kinds.class_queries.attention,
    ]
    aligning = [*inner, kinds.multi_dimensional.attention]
    if any(part.score is not scores.scaled_multiplicative for part in inner) or any(
        part.alignment is not alignments.softmax for part in aligning
    ):
        raise ValueError("expected scaled dot products and softmax in all kinds")


def _learned(kinds: Kinds) -> dict[str, Tensor]:
    """Return the parameters of all kinds by name, as kind.part."""
    multi_dimensional_query, multi_dimensional = kinds.multi_dimensional
    return {
        "learned_query.query": kinds.learned_query,
        **_named("multi_dimensional", multi_dimensional, multi_dimensional_query),
        **_named("self_attention", kinds.self_attention),
        **_named("multi_head", kinds.multi_head.attention, kinds.multi_head.query),
        "multi_hop.query": kinds.multi_hop.query,
        **_named("class_queries", kinds.class_queries),
    }


def _named(kind: str, attention: nn.Module, query: Tensor | None = None) -> dict[str, Tensor]:
    """Return the query and the floating-point parameters of one kind by name."""
    parts = {} if query is None else {f"{kind}.query": query}
    state = attention.state_dict().items()
    return parts | {f"{kind}.{name}": part for name, part in state if part.is_floating_point()}


# For each kind, the parameter whose last dimension is the size of the vectors that it reads.
READS = (
    "learned_query.query",
    "multi_dimensional.project_key.weight",
    "self_attention.project_query.weight",
    "multi_head.query",
    "multi_hop.query",
    "class_queries.queries",
)


def _check_sizes(learned: dict[str, Tensor], d: int) -> None:
    """Raise if a kind reads neither the features nor the features and the coordinates."""
    sizes = [learned[name].shape[-1] for name in READS]
    if set(sizes) - {d, d + 2}:
        raise ValueError(
            f"expected kinds that read {d} features, or {d + 2} with the coordinates, got {sizes}"
        )
