"""Drawings of attention on a pretrained backbone: what is trained, and what is weighted.

- `attended_backbone`: from a photograph through a frozen backbone to attention and a classifier.
- `four_averages`: one photograph, as four ways to weight its positions let it through.

The maps, shapes and counts are those of a real run. A chapter ends a cell with one call::

    model = attended(imagenet_backbone(), num_classes=37)
    backbone_drawings.attended_backbone(model, photograph("chelsea"), caption="...")
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torchvision.transforms.functional import to_tensor

from course_utils.plots.block_labels import half_of, numeral, size_of
from course_utils.plots.drawing import SMALL, Diagram, Number, Symbol
from course_utils.plots.inputs import check_drawn_maps, check_parts, check_pictures, check_tensor
from course_utils.plots.overlays import overlay

_WIDTH = 700
_FROZEN: Symbol = "scores"  # its colour is grey, and this drawing shows no scores
_FINEST = 20  # cells per side of a grid
# Of `attended_backbone`: heights of its rows, from the backbone to the contexts.
_PANEL, _SHEETS, _BUS, _BLOCKS, _VECTORS = 162, 100, 178, 228, 308
_SHORTER = (56, 50, 46, 42, 36)  # sides of the sheets, from the first to the last
# Of `four_averages`.
_AVERAGES = {
    "average pooling": "equal weights everywhere",
    "fixed map": "the same for all images",
    "attention": "computed from this image",
    "oracle": "only the true object",
}
_GIVEN = ("fixed map", "attention")
_SIDE, _PITCH = 160, 176
_DARKEST = 0.12  # of a pixel's brightness, where the weight is 0


class _Places(NamedTuple):
    """Where the columns of `attended_backbone` are, by its number of pools."""

    stages: tuple[Number, ...]
    pools: tuple[Number, ...]
    last: Number
    map: tuple[Number, Number]  # of weights: distance of its middle from the block's, and side
    picture: tuple[Number, Number, Number]  # map over the photograph: the same in x and y, and side
    classifier: Number


_PLACES = {
    1: _Places((140, 222, 302), (380,), 576, (-130, 84), (-304, 12, 116), 412),
    2: _Places((136, 212), (288, 530), 640, (-118, 72), (-118, 194, 80), 514),
}


class _Pooled(NamedTuple):
    """A pool as it was run."""

    l: Tensor  # (1, C, H, W)
    weights: Tensor  # (1, 1, H, W)
    context: Tensor  # (1, C)
    parameters: int
    combination: str  # sum or mean, of the weighted features


class _Run(NamedTuple):
    """A model as it was run on one photograph."""

    image: Tensor  # (1, c, H, W)
    stages: list[Tensor]  # maps before the first tap, each of another resolution
    pools: list[_Pooled]
    g: Tensor  # (1, D, h, w)
    with_last: bool
    classes: int
    classifiers: int
    parameters: tuple[int, int]  # of the backbone up to the last tap, and of the classifiers
    frozen: bool


def attended_backbone(
    model: nn.Module, image: Float[Tensor, "*one c H W"], *, caption: str
) -> Diagram:
    """Draw attention on a backbone: what is frozen (grey), and what is trained (colour).

    The backbone is shown by its maps: the last one of each resolution, and its taps. They are
    shaded by the mean of their channels' absolute values; fine ones are drawn coarser.

    Args:
        model: An `AttendedBackbone` whose one or two pools return maps.
        image: A photograph, grey or RGB, in [0, 1].
        caption: One line that says what to see.

    Raises:
        ValueError: If the model is of another kind, has no pool or more than two, or a pool returns
            no map or a negative, NaN or infinite one, or if the image can't be drawn.
    """
    run = _run(model, _one_image(image))
    places = _PLACES[len(run.pools)]
    alt = _alt_of_backbone(run)
    drawing = Diagram(_WIDTH, places.classifier + 40, alt=alt, caption=caption)
    _backbone(drawing, run, places)
    _guide(drawing, run, places)
    for number, pool in enumerate(run.pools):
        _pool(drawing, run, number, pool, places)
    _classifier(drawing, run, places)
    return drawing


def _run(model: Any, image: Tensor) -> _Run:
    """Run a model, and keep what `attended_backbone` draws.

    Raises:
        ValueError: See `attended_backbone`.
    """
    parts = "backbone", "pools", "classifiers", "with_last", "on_maps"
    check_parts(model, parts, "AttendedBackbone")
    check_parts(model.backbone, ("network", "taps"), "Backbone")
    if len(model.pools) not in _PLACES:
        raise ValueError(f"expected a model with one or two pools, got {len(model.pools)}")
    given = next(model.parameters(), image)
    with torch.no_grad():
        taps, stages, count = _through_backbone(model.backbone, image.to(given))
        *local, g = taps
        pools = [_through_pool(pool, l, g) for pool, l in zip(model.pools, local)]
        classes = model.on_maps(taps).logits.shape[1]
    return _Run(
        image,
        stages[-len(_PLACES[len(pools)].stages) :],
        pools,
        g,
        bool(model.with_last),
        classes,
        len(model.classifiers),
        (count, _count(model.classifiers)),
        not any(p.requires_grad for p in model.backbone.parameters()),
    )


def _through_backbone(backbone: Any, image: Tensor) -> tuple[list[Tensor], list[Tensor], int]:
    """Run a backbone.

    Returns:
        Its taps; the last map of each resolution above that of the first tap; and the number of
        parameters that the taps need, which leaves out a classifier behind them.
    """
    ran: list[tuple[str, nn.Module, Any]] = []

    def keep(name: str) -> Any:
        return lambda module, _, output: ran.append((name, module, output))

    modules = dict(backbone.network.named_modules())
    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        taps = backbone(image)
    finally:
        for hook in hooks:
            hook.remove()
    # A module can run more than once; the output that counts is the one that was returned.
    end = max(i for i, (_, _, output) in enumerate(ran) if output is taps[-1])
    depth = max(name.count(".") for name in backbone.taps)
    stages: dict[int, Tensor] = {}
    for name, module, output in ran[:end]:
        is_map = isinstance(output, Tensor) and output.ndim == 4
        # Modules inside blocks have more dots; modules without parameters may only pad.
        if is_map and name.count(".") <= depth and _count(module):
            stages[output.shape[-1]] = output
    used = {p for _, module, _ in ran[: end + 1] for p in module.parameters(recurse=False)}
    before = [m for side, m in stages.items() if side > taps[0].shape[-1]]
    return taps, before, sum(p.numel() for p in used)


def _through_pool(pool: nn.Module, l: Tensor, g: Tensor) -> _Pooled:
    """Run a pool.

    Raises:
        ValueError: If it returns no map, or one with a negative, NaN or infinite value.
    """
    context, weights = pool(l, g)
    if weights is None:
        raise ValueError(f"expected pools that return a map, got {type(pool).__name__} without one")
    check_drawn_maps(weights, 1)
    if weights.min() < 0:
        raise ValueError(f"expected weights of at least 0, got {weights.min():.3g}")
    # A sigmoid's weights don't compete, and the features are averaged rather than summed.
    combination = "mean" if getattr(pool, "alignment", "softmax") == "sigmoid" else "sum"
    return _Pooled(l, weights, context, _count(pool), combination)


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _backbone(drawing: Diagram, run: _Run, places: _Places) -> None:
    """Draw the photograph, and the row of maps in a grey frame."""
    drawing.box(395, _PANEL / 2 + 1, 606, _PANEL - 2, [], dashed=run.frozen)
    left = 106
    if run.frozen:
        _snowflake(drawing, left + 10, 17)
        left += 28
    drawing.text(left, 17, _backbone_in_words(run), anchor="start")
    wide, _ = half_of(run.image, 76)
    _heading(drawing, 42, 36, "photograph", size_of(run.image))
    _framed(drawing, 42, _SHEETS + 8, 76, run.image[0])
    maps = [*run.stages, *(pool.l for pool in run.pools), run.g]
    middles = [*places.stages[len(places.stages) - len(run.stages) :], *places.pools, places.last]
    end = 42 + wide + 5
    for i, (m, x, side) in enumerate(zip(maps, middles, _SHORTER[-len(maps) :])):
        tap = i - len(run.stages)
        symbol = _FROZEN if tap < 0 else "l" if tap < len(run.pools) else "g"
        half, tall = half_of(m, side)
        drawing.arrow((end, _SHEETS), (x - half - 2, _SHEETS))
        _sheets(drawing, x, _SHEETS, side, m, symbol)
        end = x + half + 14
        if tap < 0:
            drawing.text(x, _SHEETS + tall + 16, size_of(m), size=SMALL)
        else:
            name = "last features *g*" if symbol == "g" else f"local features *l*{_index(run, tap)}"
            drawing.text(x, 37, name, size=SMALL)
            drawing.text(x, 54, size_of(m), size=SMALL)


def _backbone_in_words(run: _Run) -> str:
    state = "not trained here" if run.frozen else "trained, too"
    name = "frozen backbone" if run.frozen else "backbone"
    return f"{name}: {run.parameters[0]:,} parameters, {state}"


def _snowflake(drawing: Diagram, x: Number, y: Number, radius: Number = 8) -> None:
    """Draw six arms, each with two twigs; the character looks different in every font."""
    for arm in range(6):
        angle = math.pi * (arm / 3 + 1 / 6)
        at = [(x + r * math.cos(angle), y + r * math.sin(angle)) for r in (0, 0.6 * radius, radius)]
        drawing.arrow(at[0], at[2], head=False, thickness=1.3)
        for turn in (-0.9, 0.9):
            tip = (at[1][0] + 3 * math.cos(angle + turn), at[1][1] + 3 * math.sin(angle + turn))
            drawing.arrow(at[1], tip, head=False, thickness=1.3)


def _guide(drawing: Diagram, run: _Run, places: _Places) -> None:
    """Draw the line on which g reaches every pool, and its mean if the classifier reads it."""
    x, bottom = places.last, _SHEETS + half_of(run.g, _SHORTER[-1])[1] + 2
    for column in places.pools:
        end = column + 34
        drawing.arrow((x, bottom), (x, _BUS), (end, _BUS), (end, _BLOCKS - 35), symbol="g")
    if run.with_last:
        drawing.arrow((x, _BUS), (x, _VECTORS - 7), symbol="g")
        drawing.vector(x, _VECTORS, "g")
        drawing.arrow((x, _VECTORS + 7), (x, places.classifier - 34), symbol="g")
        _beside(drawing, x, ["mean of *g*", f"{run.g.shape[1]} features"])


def _pool(drawing: Diagram, run: _Run, number: int, pool: _Pooled, places: _Places) -> None:
    """Draw an attention block with its map, the map over the photograph, and its context."""
    x, y = places.pools[number], _BLOCKS
    top = _SHEETS + half_of(pool.l, _SHORTER[-1 - len(run.pools) + number])[1] + 2
    drawing.arrow((x, top), (x, y - 35), symbol="l")
    lines = ["attention", "trained:", f"{pool.parameters:,} parameters"]
    drawing.box(x, y, 124, 66, lines, "weights", strong=True)
    _weights(drawing, run, number, pool, places)
    _context(drawing, run, number, pool, places)


def _weights(drawing: Diagram, run: _Run, number: int, pool: _Pooled, places: _Places) -> None:
    """Draw the map of weights, and lay it over the photograph: beside the map or below it."""
    x, y, side = places.pools[number] + places.map[0], _BLOCKS, places.map[1]
    half, tall = half_of(pool.weights, side)
    drawing.arrow((places.pools[number] - 64, y), (x + half + 2, y), symbol="weights")
    shades = _coarse(pool.weights)[0, 0]
    shades = 0.05 + 0.95 * shades / shades.max().clamp(min=1e-12)
    drawing.grid(x, y, side, shades, "weights")
    below = y + tall + 16
    _heading(drawing, x, below, f"weights *a*{_index(run, number)}", size_of(pool.weights))
    picture = to_tensor(overlay(run.image, pool.weights))
    over_x, over_y = places.pools[number] + places.picture[0], y + places.picture[1]
    wide, high = half_of(picture, places.picture[2])
    _framed(drawing, over_x, over_y, places.picture[2], picture)
    if over_x == x:
        drawing.arrow((x, below + 30), (x, over_y - high - 3), symbol="weights")
    else:
        drawing.arrow((x - half - 2, y), (over_x + wide + 3, y), symbol="weights")
        drawing.text(over_x, over_y + high + 18, "map over photograph", size=SMALL)
        largest = numeral(pool.weights.max().item())
        drawing.text(x, below + 36, f"largest {largest}", size=SMALL)


def _context(drawing: Diagram, run: _Run, number: int, pool: _Pooled, places: _Places) -> None:
    """Draw the vector that a pool returns, and its way to the classifier."""
    x = places.pools[number]
    drawing.arrow((x, _BLOCKS + 35), (x, _VECTORS - 7), symbol="context")
    drawing.vector(x, _VECTORS, "context")
    drawing.arrow((x, _VECTORS + 7), (x, places.classifier - 34), symbol="context")
    name = f"context *c*{_index(run, number)}"
    formula = f"{pool.combination} of *a*_i *l*_i"
    _beside(drawing, x, [name, formula, f"{pool.context.shape[1]} features"])


def _classifier(drawing: Diagram, run: _Run, places: _Places) -> None:
    """Draw the classifiers as one box, as wide as the vectors that they read."""
    columns = [*places.pools, *([places.last] if run.with_last else [])]
    middle, width = (columns[0] + columns[-1]) / 2, columns[-1] - columns[0] + 112
    name = "classifier" if run.classifiers == 1 else f"{run.classifiers} classifiers"
    trained = f"trained: {run.parameters[1]:,} parameters"
    lines = [f"{name}: {run.classes} classes", trained]
    drawing.box(middle, places.classifier, max(width, 190), 64, lines, "context", strong=True)


def _beside(drawing: Diagram, x: Number, lines: Sequence[str]) -> None:
    """Write lines at the left of an arrow that leaves a vector."""
    for i, line in enumerate(lines):
        y = _VECTORS + 20 + 18 * i
        drawing.text(x - 9, y, line, size=SMALL if i else 15, anchor="end")


def _index(run: _Run, number: int) -> str:
    """Return the number of a pool as a subscript, if there are several."""
    return f"_{number + 1}" if len(run.pools) > 1 else ""


def _alt_of_backbone(run: _Run) -> str:
    """Describe `attended_backbone` in words."""
    row = [size_of(m) for m in (*run.stages, *(pool.l for pool in run.pools), run.g)]
    blocks = []
    for number, pool in enumerate(run.pools):
        nth = f" {number + 1}" if len(run.pools) > 1 else ""
        blocks.append(
            f"Attention{nth}, which is trained and has {pool.parameters:,} parameters, weights the "
            f"local features l, {size_of(pool.l)}, guided by the last features g, "
            f"{size_of(run.g)}. Its map of weights, {size_of(pool.weights)}, has the largest value "
            f"{numeral(pool.weights.max().item())} and is laid over the photograph; the "
            f"{pool.combination} of the weighted features is the context, of "
            f"{pool.context.shape[1]} features."
        )
    reads = f"{len(run.pools)} contexts" if len(run.pools) > 1 else "the context"
    mean = f" and the mean of g, of {run.g.shape[1]} features" if run.with_last else ""
    return (
        f"A photograph, {size_of(run.image)}, passes the {_backbone_in_words(run)}. Its maps "
        f"shrink: {', '.join(row)}. {' '.join(blocks)} A trained classifier with "
        f"{run.parameters[1]:,} parameters reads {reads}{mean}, and tells {run.classes} classes "
        "apart."
    )


def four_averages(
    image: Float[Tensor, "*one c H W"],
    region: Bool[Tensor, "... H W"],
    maps: Mapping[str, Float[Tensor, "1 1 _ _"]],
    *,
    caption: str,
    notes: Mapping[str, str] | None = None,
) -> Diagram:
    """Draw a photograph four times, darkened where an average gives its positions little weight.

    The four averages are ``average pooling``, with equal weights; a ``fixed map``; ``attention``;
    and an ``oracle``, whose weights are those of the region. In each picture, the position with the
    largest weight is as bright as in the photograph. Below it stands the share of the weight that
    lies on the object.

    Args:
        image: A photograph, grey or RGB, in [0, 1].
        region: Where the object is, such as its box or its mask.
        maps: The maps called ``fixed map`` and ``attention``, of any resolution and with values of
            at least 0; they are resized bilinearly.
        caption: One line that says what to see.
        notes: A short text for some of the four, such as an accuracy.

    Raises:
        ValueError: If the image can't be drawn, the region is empty or has another size, a map is
            missing or can't be drawn, or a name is unknown.
    """
    image = _one_image(image)
    notes = notes or {}
    if set(maps) != set(_GIVEN):
        raise ValueError(f"expected maps with the names {', '.join(_GIVEN)}, got {', '.join(maps)}")
    if unknown := set(notes) - set(_AVERAGES):
        names = ", ".join(_AVERAGES)
        raise ValueError(f"unknown average {sorted(unknown)[0]!r}: choose from {names}")
    inside = _one_region(region, image)  # (H, W)
    weights = {
        "average pooling": torch.ones(inside.shape),
        **{name: _upsampled(maps[name], image) for name in _GIVEN},
        "oracle": inside.float(),
    }
    shares = {name: _inside(m, inside) for name, m in weights.items()}
    tall = half_of(image, _SIDE)[1]
    height = 2 * tall + 92 + 24 * bool(notes)
    drawing = Diagram(_WIDTH, height, alt=_alt_of_averages(shares, notes), caption=caption)
    for column, (name, m) in enumerate(weights.items()):
        x, y = _WIDTH / 2 + (column - 1.5) * _PITCH, 2 * tall + 26
        _framed(drawing, x, tall + 4, _SIDE, image[0] * _brightness(m))
        drawing.text(x, y, name)
        drawing.text(x, y + 21, _AVERAGES[name], size=SMALL)
        drawing.text(x, y + 42, f"{shares[name]} on the object", size=SMALL)
        if name in notes:
            drawing.text(x, y + 68, notes[name])
    return drawing


def _brightness(m: Float[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """Return the factor by which each pixel is darkened."""
    return 1 - (1 - _DARKEST) * (1 - m / m.max())


def _inside(m: Float[Tensor, "H W"], region: Bool[Tensor, "H W"]) -> str:
    return f"{100 * (m[region].sum() / m.sum()).item():.0f}\u2009%"


def _alt_of_averages(shares: Mapping[str, str], notes: Mapping[str, str]) -> str:
    """Describe `four_averages` in words."""
    told = [
        f"{name}, {_AVERAGES[name]}: {share} of the weight lies on the object"
        f"{f', {notes[name]}' if name in notes else ''}"
        for name, share in shares.items()
    ]
    return (
        "One photograph four times, darkened where an average gives its positions little weight. "
        f"{'; '.join(told).capitalize()}."
    )


# What the drawings share.


def _one_image(image: Tensor) -> Float[Tensor, "1 c H W"]:
    """Return an image as a batch.

    Raises:
        ValueError: If it isn't one image, or can't be drawn.
    """
    check_tensor("the image", image)
    image = image[None] if image.ndim == 3 else image
    check_pictures(image)
    if len(image) != 1:
        raise ValueError(f"expected one image, got {len(image)}")
    return image.detach().cpu().float()


def _one_region(region: Tensor, image: Tensor) -> Bool[Tensor, "H W"]:
    """Return a region of an image without other axes.

    Raises:
        ValueError: If it isn't boolean, has another size than the image, or is empty.
    """
    check_tensor("the region", region)
    size = image.shape[2:]
    fits = region.shape[-2:] == size and region.numel() == size.numel()
    if region.dtype != torch.bool or not fits or not region.any():
        raise ValueError(
            f"expected a boolean region of shape {tuple(size)} that isn't empty, got "
            f"{region.dtype} of shape {tuple(region.shape)} with {int(region.sum())} pixels"
        )
    return region.reshape(size).cpu()


def _upsampled(m: Tensor, image: Tensor) -> Float[Tensor, "H W"]:
    """Return a map at the image's resolution.

    Raises:
        ValueError: If it isn't one map, or has no positive value, or one below 0, NaN or infinite.
    """
    check_drawn_maps(m, 1)
    if m.min() < 0 or m.max() == 0:
        raise ValueError(
            "expected a map with values of at least 0 that aren't all 0, got values from "
            f"{m.min():.3g} to {m.max():.3g}"
        )
    m = m.detach().cpu().float()
    return F.interpolate(m, image.shape[-2:], mode="bilinear")[0, 0]


def _heading(drawing: Diagram, x: Number, y: Number, name: str, below: str) -> None:
    drawing.text(x, y, name)
    drawing.text(x, y + 18, below, size=SMALL)


def _framed(
    drawing: Diagram, x: Number, y: Number, side: Number, image: Float[Tensor, "c H W"]
) -> None:
    """Draw an image in a frame, which shows its edge on a page as dark as the image."""
    wide, tall = half_of(image, side)
    drawing.box(x, y, 2 * wide + 6, 2 * tall + 6, [])
    drawing.picture(x, y, side, image)


def _coarse(m: Float[Tensor, "1 c H W"]) -> Float[Tensor, "1 c h w"]:
    """Return a map with few enough cells to be drawn one by one."""
    factor = -(-max(m.shape[-2:]) // _FINEST)
    return F.avg_pool2d(m, factor, ceil_mode=True) if factor > 1 else m


def _sheets(
    drawing: Diagram,
    x: Number,
    y: Number,
    side: Number,
    m: Float[Tensor, "1 C H W"],
    symbol: Symbol,
) -> None:
    """Draw a feature map as sheets, one behind the other."""
    strength = _coarse(m.abs().mean(dim=1, keepdim=True))[0, 0]  # (h, w)
    drawing.grid(x, y, side, 0.9 * strength / strength.max().clamp(min=1e-12), symbol)
    wide, tall = half_of(m, side)
    for back in (6, 12):  # the edges of a sheet that one sees behind the sheet before it
        x0, x1 = x - wide + back, x + wide + back
        y0, y1 = y - tall - back, y + tall - back
        corners = ((x0, y0 + 6), (x0, y0), (x1, y0), (x1, y1), (x1 - 6, y1))
        drawing.arrow(*corners, symbol=symbol, head=False)
