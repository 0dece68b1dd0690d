"""Images and attention maps: one perceptual colour map, shared scales, and raw values in print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from torch import Tensor

from course_utils.plots.canvas import BOX_COLOUR, DPI, MAP_COLOURS, WIDTH, finished
from course_utils.plots.inputs import check_drawn_maps, check_pictures
from course_utils.plots.text import wrapped

LEFT = 1.2  # inches for the names of rows
DIMMED = 0.5  # brightness of an image under its map: white strokes would hide the colours
ORDINALS = ("first", "second", "third", "fourth", "fifth")


def show_images(
    images: Float[Tensor, "N C H W"], titles: Sequence[str], boxes: Int[Tensor, "N 4"] | None = None
) -> Figure:
    """Draw images in one row, each with its title above it and, if boxes are given, its box.

    Args:
        images: Grey or RGB, in [0, 1].
        titles: One per image.
        boxes: x0, y0, x1, y1 in pixels, ends excluded.

    Raises:
        ValueError: If there are no images, one is neither grey nor RGB or has values outside
            [0, 1], or a title is missing.
    """
    check_pictures(images, titles)
    figure, axes = _grid(1, len(images))
    for i, axis in enumerate(axes[0]):
        _draw_image(axis, images[i], None if boxes is None else boxes[i])
        axis.set_title(wrapped(titles[i], WIDTH / len(images)), fontsize=8)
    return finished(figure)


def show_maps(
    images: Float[Tensor, "N C H W"],
    maps: Sequence[Float[Tensor, "N 1 _ _"]] | Mapping[str, Float[Tensor, "N 1 _ _"]],
    titles: Sequence[str],
    boxes: Int[Tensor, "N 4"] | None = None,
    *,
    own_scale: bool = False,
) -> Figure:
    """Draw attention maps over their images: one column per image, one row per tap.

    The images alone are in the top row. In the other rows the colour and the opacity of a position
    grow with its value, and the map's maximum is printed below.

    Args:
        images: Grey or RGB, in [0, 1].
        maps: One tensor per tap, by the name of its row; without names, the rows are called first
            map, second map, and so on.
        titles: One per image.
        boxes: x0, y0, x1, y1 in pixels of the images, drawn on images and maps.
        own_scale: Stretch each map from its own minimum to its own maximum, as papers often do, and
            print both. If False, all maps of a tap share one scale that starts at 0.

    Raises:
        ValueError: If there are no images, one is neither grey nor RGB or has values outside
            [0, 1], a title is missing, or a tensor of maps is not of shape (N, 1, h, w) or not
            finite.
    """
    rows = maps if isinstance(maps, Mapping) else _named(maps)
    check_pictures(images, titles)
    for row_maps in rows.values():
        check_drawn_maps(row_maps, len(images))
    n = len(images)
    figure, axes = _grid(1 + len(rows), n)
    for i, axis in enumerate(axes[0]):
        _draw_image(axis, images[i], None if boxes is None else boxes[i])
        axis.set_title(wrapped(titles[i], WIDTH / n), fontsize=8)
    for row, (name, row_maps) in zip(axes[1:], rows.items()):
        highest = row_maps.max().item()
        for i, axis in enumerate(row):
            low, high = row_maps[i].min().item(), row_maps[i].max().item()
            norm = Normalize(low, high) if own_scale else Normalize(0, highest)
            drawn = _draw_over(
                axis, images[i], row_maps[i], norm, None if boxes is None else boxes[i]
            )
            axis.set_xlabel(_range(low, high) if own_scale else f"max {high:.2g}", fontsize=7)
        row[0].set_ylabel(wrapped(name, WIDTH / n), fontsize=7)
        if not own_scale:
            figure.colorbar(drawn, ax=list(row), pad=0.01).ax.tick_params(labelsize=6)
    return finished(figure)


def show_row(
    image: Float[Tensor, "1 C H W"],
    maps: Mapping[str, Float[Tensor, "1 1 _ _"]],
    title: str,
    *,
    shared: bool = False,
) -> Figure:
    """Draw one image and, beside it, each of its maps over the image, with the map's maximum.

    Args:
        image: Grey or RGB, in [0, 1].
        maps: The maps, by the name to write above each.
        title: Title to write above the image.
        shared: Draw all maps on one scale from 0 to their common maximum. If False, each map has a
            scale from 0 to its own maximum.

    Raises:
        ValueError: If the image is neither grey nor RGB or has values outside [0, 1], or a map is
            not of shape (1, 1, h, w) or not finite.
    """
    check_pictures(image, [title])
    for m in maps.values():
        check_drawn_maps(m, 1)
    figure, axes = _grid(1, 1 + len(maps))
    _draw_image(axes[0, 0], image[0], None)
    column = WIDTH / (1 + len(maps))  # inches
    axes[0, 0].set_title(wrapped(title, column), fontsize=8)
    highest = max((m.max().item() for m in maps.values()), default=0.0)
    for axis, (name, m) in zip(axes[0, 1:], maps.items()):
        norm = Normalize(0, highest if shared else m.max().item())
        _draw_over(axis, image[0], m[0], norm, None)
        axis.set_xlabel(f"max {m.max().item():.2g}", fontsize=7)
        axis.set_title(wrapped(name, column), fontsize=8)
    return finished(figure)


def show_map_rows(
    images: Float[Tensor, "N C H W"],
    maps: Mapping[str, Float[Tensor, "N 1 _ _"]],
    titles: Sequence[str],
    boxes: Int[Tensor, "N 4"] | None = None,
    *,
    label: str,
    lowest: float | None = None,
) -> Figure:
    """Draw many maps of the same images on one colour scale: one row per name, images on top.

    The maximum of each row is printed beside it.

    Args:
        images: Grey or RGB, in [0, 1].
        maps: One tensor per row, by the row's name.
        titles: One per image.
        boxes: x0, y0, x1, y1 in pixels of the images.
        label: Label of the colour scale.
        lowest: Start of a logarithmic colour scale; lower values get its first colour. If None,
            the scale is linear and starts at 0.

    Raises:
        ValueError: If there are no images, one is neither grey nor RGB or has values outside
            [0, 1], a title is missing, there are no maps, a tensor of maps is not of shape
            (N, 1, h, w) or not finite, or no value is above ``lowest``.
    """
    check_pictures(images, titles)
    for row_maps in maps.values():
        check_drawn_maps(row_maps, len(images))
    highest = max((m.max().item() for m in maps.values()), default=0.0)
    if not maps or (lowest is not None and not 0 < lowest < highest):
        raise ValueError(
            f"expected maps with values above {lowest or 0:g}, where the colour scale starts, got "
            f"{f'at most {highest:.3g}' if maps else 'no maps'}"
        )
    titles = [wrapped(title, (WIDTH - LEFT) / len(images)) for title in titles]
    lines = 1 + max(title.count("\n") for title in titles)
    figure, axes, bar_axes = _tight_grid(1 + len(maps), len(images), lines)
    norm = Normalize(0, highest) if lowest is None else LogNorm(lowest, highest)
    for i, axis in enumerate(axes[0]):
        _draw_image(axis, images[i], None if boxes is None else boxes[i])
        axis.set_title(titles[i], fontsize=8)
    for row, (name, row_maps) in zip(axes[1:], maps.items()):
        for i, axis in enumerate(row):
            box = None if boxes is None else boxes[i]
            # A logarithmic scale has no colour for 0: raise low values to where the scale starts.
            drawn = _draw_map(axis, row_maps[i], images.shape[-2:], norm, box, lowest or 0.0)
        name = wrapped(name, LEFT * 8 / 7)  # its text has 7 points
        text = f"{name}\nmax {row_maps.max().item():.2g}"
        row[0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=7)
    bar = figure.colorbar(drawn, cax=bar_axes, orientation="horizontal")
    bar.set_label(label, fontsize=8)
    if lowest is not None:
        ticks = _powers_of_two(lowest, highest)
        bar.set_ticks(ticks, labels=[f"{t:g}" if t >= 1 else f"1/{1 / t:g}" for t in ticks])
        bar.minorticks_off()
    bar.ax.tick_params(labelsize=7)
    return finished(figure)


def _grid(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    """Make axes (rows, columns) for square images, with room for two lines of text under each."""
    height = rows * (0.94 * WIDTH / columns + 0.2)
    return plt.subplots(
        rows, columns, figsize=(WIDTH, height), dpi=DPI, squeeze=False, layout="constrained"
    )


def _tight_grid(rows: int, columns: int, lines: int) -> tuple[Figure, np.ndarray, Axes]:
    """Make axes (rows, columns) with thin gaps, room for names on the left, and a colour bar below.

    There is room for column titles of the given number of lines.

    Constrained layout would leave uneven gaps between images and their maps, so all distances are
    set by hand, in inches.
    """
    top, below, gap = 0.12 + 0.13 * lines, 0.6, 0.05
    height = top + rows * (WIDTH - LEFT) / columns + below
    edges = {
        "left": LEFT / WIDTH,
        "right": 0.985,
        "bottom": below / height,
        "top": 1 - top / height,
    }
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(WIDTH, height),
        dpi=DPI,
        squeeze=False,
        gridspec_kw=edges | {"wspace": gap, "hspace": gap},
    )
    width = edges["right"] - edges["left"]
    bar_axes = figure.add_axes((edges["left"], 0.42 / height, width, 0.1 / height))
    return figure, axes, bar_axes


def _powers_of_two(lowest: float, highest: float) -> list[float]:
    first = math.ceil(math.log2(lowest))
    last = math.floor(math.log2(highest))
    return [2.0**power for power in range(first, last + 1)]


def _named(maps: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return maps by the names that they have if the caller gives none."""
    return {
        f"{ORDINALS[i] if i < len(ORDINALS) else i + 1} map, {m.shape[-2]} × {m.shape[-1]}": m
        for i, m in enumerate(maps)
    }


def _range(low: float, high: float) -> str:
    """Return the range of a map; an end that nobody could tell from 0 is printed as 0."""
    return f"{0 if abs(low) < high / 1000 else low:.3g}\nto {high:.3g}"


def _draw_image(axis: Axes, image: Float[Tensor, "C H W"], box: Int[Tensor, "4"] | None) -> None:
    axis.imshow(image.detach().float().movedim(0, -1).cpu(), cmap="gray", vmin=0, vmax=1)
    _frame(axis, box)


def _draw_map(
    axis: Axes,
    m: Float[Tensor, "1 h w"],
    size: Sequence[int],
    norm: Normalize,
    box: Int[Tensor, "4"] | None,
    at_least: float | None = None,
) -> AxesImage:
    """Upsample a map to the size of its image and draw it, with values raised to `at_least`."""
    m = m.detach().float().cpu()[None]  # (1, 1, h, w)
    enlarged = F.interpolate(m, size=size, mode="bilinear")[0, 0]  # (H, W)
    if at_least is not None:
        enlarged = enlarged.clamp(min=at_least)
    drawn = axis.imshow(enlarged, cmap=MAP_COLOURS, norm=norm)
    _frame(axis, box)
    return drawn


def _draw_over(
    axis: Axes,
    image: Float[Tensor, "C H W"],
    m: Float[Tensor, "1 h w"],
    norm: Normalize,
    box: Int[Tensor, "4"] | None,
) -> ScalarMappable:
    """Lay a map over its darkened image and draw both; return what a colour bar needs."""
    _draw_image(axis, DIMMED * image, None)
    enlarged = F.interpolate(m.detach().float().cpu()[None], image.shape[-2:], mode="bilinear")
    shown = norm(enlarged[0, 0].numpy()).clip(0, 1)  # (H, W)
    axis.imshow(plt.get_cmap(MAP_COLOURS)(shown), alpha=(2 * shown).clip(0, 1))
    _frame(axis, box)
    return ScalarMappable(norm, MAP_COLOURS)


def _frame(axis: Axes, box: Int[Tensor, "4"] | None) -> None:
    """Remove the ticks, and draw the box if there is one."""
    axis.set(xticks=[], yticks=[])
    if box is not None:
        x0, y0, x1, y1 = box.tolist()
        # Pixel 0 reaches from −0.5 to 0.5 on matplotlib's axis.
        corner = (x0 - 0.5, y0 - 0.5)
        axis.add_patch(
            Rectangle(corner, x1 - x0, y1 - y0, fill=False, color=BOX_COLOUR, linewidth=1.2)
        )
