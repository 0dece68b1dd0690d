"""KindsExplorer: the same scene under eight kinds of attention, each with what it has learned."""

from __future__ import annotations

import anywidget
import torch
import traitlets
from jaxtyping import Bool, Float, Int
from torch import Tensor

from course_utils.attention import alignments, scores
from course_utils.attention.feature_related import CoAttention, Hierarchical
from course_utils.attention.general import Attention, MultiDimensional
from course_utils.attention.query_related import Capsules, MultiHead, SelfAttention
from course_utils.explain.metrics import area_share, energy_inside
from course_utils.widgets._source import module, palette, style

Query = Float[Tensor, " _"]  # of the size of its kind


class KindsExplorer(anywidget.AnyWidget):
    """One kind × one scene of two digits × one temperature: the weights, and how much of them lies in either box.

    The page computes every weight from the features and from the numbers that the kinds have learned; features are kept
    in 256 steps of their range. Scores are divided by the temperature wherever a kind aligns.
    """

    _esm = module("kinds_explorer")
    _css = style()

    kind = traitlets.Int(0, min=0, max=7, help="in the order of the arguments of `from_kinds`").tag(
        sync=True
    )
    image = traitlets.Int(0).tag(sync=True)
    power = traitlets.Float(0.0, help="the temperature is 2 to this power").tag(sync=True)
    place = traitlets.Int(0, help="the position that asks, in self-attention").tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    hop = traitlets.Int(0).tag(sync=True)
    level = traitlets.Int(0, help="0: both levels, 1: within the blocks, 2: over the blocks").tag(
        sync=True
    )
    digit = traitlets.Int(0, help="the class of the capsule").tag(sync=True)
    number = traitlets.Int(0, help="which number of a value").tag(sync=True)
    word = traitlets.Int(0, help="the digit that is asked for").tag(sync=True)

    size = traitlets.List(traitlets.Int(), help="height and width of a scene in pixels").tag(
        sync=True
    )
    grid = traitlets.List(traitlets.Int(), help="rows and columns of positions").tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, H, W) uint8
    features = traitlets.Bytes().tag(sync=True)  # (N, K, d) uint8
    step = traitlets.Float(help="size of one of the 256 steps of a feature").tag(sync=True)
    places = traitlets.Bytes().tag(sync=True)  # (K, 2) float32
    labels = traitlets.List().tag(sync=True)  # (N, 2)
    boxes = traitlets.List().tag(sync=True)  # (N, 2, 4) x0, y0, x1, y1
    chances = traitlets.List().tag(sync=True)  # (N, 2)
    inside = traitlets.Bytes().tag(
        sync=True
    )  # (N, 2, K) float32: the energy in a box of each position alone
    hops = traitlets.Int().tag(sync=True)
    heads = traitlets.Int().tag(sync=True)
    groups = traitlets.List().tag(sync=True)  # (G, n)
    shapes = traitlets.List(
        help="name and shape of what was learned, in order; a stored dict has none"
    ).tag(sync=True)
    numbers = traitlets.Bytes().tag(sync=True)  # float32
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_kinds(
        cls,
        images: Float[Tensor, "N 1 H W"],
        local: Float[Tensor, "N K d"],
        places: Float[Tensor, "K 2"],
        boxes: Int[Tensor, "N 2 4"],
        labels: Int[Tensor, "N 2"],
        *,
        pool: Query,
        itself: SelfAttention,
        heads: tuple[Query, MultiHead],
        hops: tuple[Query, int],
        hierarchy: Hierarchical,
        capsules: Capsules,
        by_number: tuple[Query, MultiDimensional],
        together: tuple[Float[Tensor, "10 T d_y"], CoAttention],
    ) -> KindsExplorer:
        """Show scenes, in [0, 1], with a grid of features over them.

        All kinds score by scaled dot products but for `MultiDimensional`, which has a score of its own, and
        `CoAttention`, whose score is `scores.General`; all align by softmax. Each reads the features alone, or the
        features and the place, as its size says.

        Args:
            images: grey.
            local: features that are not negative, row by row on a grid of square cells.
            places: two numbers that say where each position lies.
            boxes: of the two digits of each scene.
            labels: the two digits.
            pool: a learned query.
            itself: self-attention.
            heads: a learned query and its multi-head attention.
            hops: a learned query and the number of hops.
            hierarchy: over groups of the grid.
            capsules: one a digit.
            by_number: a learned query and its multi-dimensional attention.
            together: for each digit the words that ask for it, and the co-attention of scenes and words.

        Raises:
            ValueError: a grid whose cells are not square, negative features, scenes without two boxes and labels, kinds
                of another size, or with another score or alignment.
        """
        n, K, d = local.shape
        height, width = images.shape[-2:]
        rows = round((K * height / width) ** 0.5)
        if not rows or K % rows or height % rows or height * (K // rows) != width * rows:
            raise ValueError(
                f"expected a grid of square cells on {height} × {width} pixels, got {K} positions"
            )
        if local.min() < 0:
            raise ValueError(
                f"expected features that are not negative, got {local.min().item():.3g}"
            )
        given = [len(images), *boxes.shape[:2], *labels.shape]
        if given != [n, n, 2, n, 2]:
            raise ValueError(f"expected {n} scenes with two boxes and two labels each, got {given}")
        for attention in (
            *(
                part.attention
                for part in (itself, heads[1], capsules, hierarchy.within, hierarchy.over)
            ),
            Attention(scores.scaled_multiplicative, together[1].alignment),
            Attention(scores.scaled_multiplicative, by_number[1].alignment),
        ):
            if (
                attention.score is not scores.scaled_multiplicative
                or attention.alignment is not alignments.softmax
            ):
                raise ValueError("expected scaled dot products and softmax in all kinds")
        if by_number[1].act is not torch.tanh:
            raise ValueError("expected multi-dimensional attention with tanh")
        if type(together[1].score) is not scores.General:
            raise ValueError(
                f"expected co-attention with scores.General, got {type(together[1].score).__name__}"
            )
        learned = {
            "pool.query": pool,
            **_named("itself", itself),
            **_named("heads", heads[1], heads[0]),
            "hops.query": hops[0],
            **_named("hierarchy", hierarchy),
            **_named("capsules", capsules),
            **_named("by_number", by_number[1], by_number[0]),
            **_named("together", together[1]),
            "together.words": together[0].flatten(0, 1),
        }
        sizes = [learned[name].shape[-1] for name in SIZES]
        if set(sizes) - {d, d + 2}:
            raise ValueError(
                f"expected kinds that read {d} features, or {d + 2} numbers with the place, got {sizes}"
            )
        step = local.max().item() / 255
        regions = _regions(boxes.flatten(0, 1), height, width)
        alone = torch.eye(K).view(K, 1, rows, -1)
        inside = [energy_inside(alone, region.expand(K, 1, -1, -1)) for region in regions]
        return cls(
            size=[height, width],
            grid=[rows, K // rows],
            place=K // 2 + K // rows // 4,
            images=(images * 255).round().to(torch.uint8).numpy().tobytes(),
            features=(local / step).round().to(torch.uint8).numpy().tobytes(),
            step=step,
            places=places.float().numpy().tobytes(),
            labels=labels.tolist(),
            boxes=boxes.tolist(),
            chances=area_share(regions[:, None]).view(n, 2).tolist(),
            inside=torch.stack(inside).float().numpy().tobytes(),
            digit=labels[0, 0].item(),
            word=labels[0, 0].item(),
            hops=hops[1],
            heads=heads[1].heads,
            groups=hierarchy.groups.tolist(),
            shapes=[[name, list(part.shape)] for name, part in learned.items()],
            numbers=torch.cat([part.detach().float().flatten() for part in learned.values()])
            .numpy()
            .tobytes(),
        )


SIZES = (  # of each kind, where it can be read off what it has learned
    "pool.query",
    "itself.project_query.weight",
    "heads.query",
    "hops.query",
    "hierarchy.within.query",
    "capsules.queries",
    "by_number.project_key.weight",
    "together.project_x.weight",
)


def _named(kind: str, attention: torch.nn.Module, query: Query | None = None) -> dict[str, Tensor]:
    """What a kind has learned, in floating point and by name."""
    parts = {} if query is None else {f"{kind}.query": query}
    return parts | {
        f"{kind}.{name}": part
        for name, part in attention.state_dict().items()
        if part.is_floating_point()
    }


def _regions(boxes: Int[Tensor, "n 4"], height: int, width: int) -> Bool[Tensor, "n H W"]:
    """The filled boxes as masks."""
    x0, y0, x1, y1 = boxes[:, :, None].unbind(dim=1)  # (n, 1)
    x, y = torch.arange(width), torch.arange(height)
    return ((y >= y0) & (y < y1))[:, :, None] & ((x >= x0) & (x < x1))[:, None]
