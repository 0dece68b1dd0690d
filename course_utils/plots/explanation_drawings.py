"""Drawings of explanations: how Grad-CAM makes a map, and how a map is tested.

- `grad_cam_pipeline`: from an image to its Grad-CAM map, with the shape of each step.
- `three_questions`: one map, and the test of each question that can be asked about it.
- `removed_pixels`: what the first steps of deletion remove, with large steps and with small ones.

The maps are those of a real network, and everything that follows from them is computed here. A
chapter ends a cell with one call::

    activation, gradient = activation_and_gradient(network, image[None], "features.32", 7)
    explanation_drawings.grad_cam_pipeline(
        image, activation[0], gradient[0], layer="features.32", target="class 7", caption="..."
    )
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from matplotlib.colors import to_rgb
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from course_utils.plots.block_labels import half_of, numeral, sizes
from course_utils.plots.canvas import SYMBOL_COLOURS
from course_utils.plots.drawing import SMALL, Diagram, Number, Point, Symbol
from course_utils.plots.inputs import check_drawn_maps, check_pictures, check_tensor
from course_utils.plots.overlays import overlay

COLUMN = 740
FEATURES: Symbol = "l"
GRADIENTS: Symbol = "context"  # as in the drawings of a shared batch
CHANNEL_WEIGHTS: Symbol = "weights"
NEGATIVE: Symbol = "scores"
OBJECT: Symbol = "query"  # outline of the object's box
MOST_BARS = 64
FINEST = 16  # cells per side of a grid

# Of `grad_cam_pipeline`: heights of the three rows, which run to the right, back and to the right.
_FORWARD, _BACKWARD, _SUM = 90, 256, 396
_SHEET = 68  # longer side of the activation and the gradient
_LONGEST = 22  # letters of a name
_TERMS = (64, 152, 240)  # channels whose weighted maps are drawn
# Of `three_questions`: the middles of the lanes, and their edges.
_LANES = (70, 218, 366)
_LANE = 178, 738
_PICTURES = (262, 416)
# Of `removed_pixels`.
_SHOWN = 5  # images per row
_PIXELS = 112  # side of an image


class _GradCAM(NamedTuple):
    """Grad-CAM for one image, step by step."""

    activation: Float[Tensor, "K h w"]
    gradient: Float[Tensor, "K h w"]
    weights: Float[Tensor, "K"]
    total: Float[Tensor, "h w"]
    m: Float[Tensor, "h w"]

    @property
    def chosen(self) -> list[int]:
        """The two channels that add most to the sum, and the one that takes most away."""
        order = (self.weights * self.activation.sum(dim=(1, 2))).argsort(descending=True)
        return order[[0, 1, -1]].tolist()


def grad_cam_pipeline(
    image: Float[Tensor, "*c H W"],
    activation: Float[Tensor, "K h w"],
    gradient: Float[Tensor, "K h w"],
    *,
    layer: str,
    target: str,
    caption: str,
) -> Diagram:
    """Draw how Grad-CAM makes a map from the activation of a layer and one gradient.

    The channel weights, their sum and the map are computed from the activation and the gradient.
    Three channels are drawn: the two that add most to the sum, and the one that takes most away.
    Negative values are grey. Maps of more than 16 rows or columns are drawn coarser.

    Source: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks", eq. 1 and 2.

    Args:
        image: The image, grey or RGB, in [0, 1].
        activation: Output of the layer for this image.
        gradient: Gradient of the target's logit with respect to that output.
        layer: Name of the layer.
        target: What the logit belongs to, such as "class 7".
        caption: One line that says what to see.

    Raises:
        ValueError: If the image can't be drawn, if the activation and the gradient differ in shape
            or have fewer than three channels, or if a value is NaN or infinite.
    """
    image = _as_picture(image)
    run = _grad_cam(activation, gradient)
    alt = _alt_of_pipeline(image, run, layer, target)
    drawing = Diagram(COLUMN, 472, alt=alt, caption=caption)
    _forward(drawing, image, run, layer, target)
    _backward(drawing, run)
    _weighted_sum(drawing, run)
    _result(drawing, image, run)
    return drawing


def _grad_cam(activation: Tensor, gradient: Tensor) -> _GradCAM:
    """Compute Grad-CAM from its two ingredients.

    Raises:
        ValueError: See `grad_cam_pipeline`.
    """
    check_tensor("the activation", activation)
    check_tensor("the gradient", gradient)
    if activation.ndim != 3 or activation.shape != gradient.shape or len(activation) < 3:
        raise ValueError(
            "expected an activation and its gradient of one shape (K, h, w) with at least three "
            f"channels, got {tuple(activation.shape)} and {tuple(gradient.shape)}"
        )
    activation, gradient = (t.detach().cpu().float() for t in (activation, gradient))
    if not (activation.isfinite().all() and gradient.isfinite().all()):
        raise ValueError("expected finite activations and gradients, got NaN or infinite values")
    weights = gradient.mean(dim=(1, 2))  # (K)
    total = (weights[:, None, None] * activation).sum(dim=0)  # (h, w)
    return _GradCAM(activation, gradient, weights, total, total.relu())


def _forward(drawing: Diagram, image: Tensor, run: _GradCAM, layer: str, target: str) -> None:
    """Draw the way from the image through the layer to the logit."""
    y, front = _FORWARD, run.chosen[0]
    wide, _ = half_of(image, 84)
    _framed(drawing, 50, y, 84, image)
    _heading(drawing, 50, 14, "image", sizes(*image.shape))
    drawing.arrow((50 + wide + 4, y), (122, y))
    _blocks(drawing, 124, y, (84, 68, 52))
    _heading(drawing, 172, 14, "network up to", _short(layer))
    drawing.arrow((221, y), (298 - half_of(run.total, _SHEET)[0], y), symbol=FEATURES)
    _sheets(drawing, 300, y, run.activation, front, FEATURES)
    _heading(drawing, 306, 14, "activation *A*", sizes(*run.activation.shape))
    end = 300 + half_of(run.total, _SHEET)[0] + 14
    drawing.arrow((end, y), (430, y), symbol=FEATURES)
    _blocks(drawing, 432, y, (44, 34))
    _heading(drawing, 464, 14, "the rest", "of the network")
    drawing.arrow((497, y), (582, y))
    drawing.text(539, y - 14, "forward", size=SMALL)
    drawing.box(660, y, 152, 74, ["logit *y*_m", _short(target), "one number"])


def _backward(drawing: Diagram, run: _GradCAM) -> None:
    """Draw the way back: the gradient, its mean over the positions, one weight per channel."""
    y = _BACKWARD
    wide, tall = half_of(run.total, _SHEET)
    drawing.arrow((660, _FORWARD + 38), (660, y), (550 + wide, y), symbol=GRADIENTS)
    drawing.text(670, (_FORWARD + y) / 2 + 20, "backward", size=SMALL, anchor="start")
    _sheets(drawing, 548, y, run.gradient, run.chosen[0], GRADIENTS, behind=-1)
    name, shape = "gradient ∂*y*_m\u2009/\u2009∂*A*", sizes(*run.gradient.shape)
    _heading(drawing, 542, y - tall - 48, name, shape)
    drawing.arrow((534 - wide, y), (447, y), symbol=GRADIENTS)
    drawing.box(388, y, 114, 52, ["mean over", f"{run.total.numel()} positions"], GRADIENTS)
    drawing.arrow((331, y), (278, y), symbol=CHANNEL_WEIGHTS)
    count = len(run.weights)
    _heading(
        drawing, 152, y - 82, "weights *α*_k, one per channel", f"{count:,}, sorted; grey: negative"
    )
    shown = torch.linspace(0, count - 1, min(count, MOST_BARS)).round().long()
    values = run.weights.sort(descending=True).values[shown]
    span = min(0, values.min().item()), max(0, values.max().item())
    drawing.box(152, y, 248, 88, [])
    drawing.bars(152, y, 232, 72, values.clamp(max=0), NEGATIVE, span=span)
    drawing.bars(152, y, 232, 72, values.clamp(min=0), CHANNEL_WEIGHTS, span=span)


def _weighted_sum(drawing: Diagram, run: _GradCAM) -> None:
    """Draw the maps of some channels, which get their weights and are added."""
    y, side = _SUM, 56
    wide, tall = half_of(run.total, side)
    route = ((300, _FORWARD + half_of(run.total, _SHEET)[1] + 2), (300, 158), (9, 158), (9, y))
    drawing.arrow(*route, (_TERMS[0] - wide - 2, y), symbol=FEATURES)
    for x, channel in zip(_TERMS, run.chosen):
        drawing.arrow((x, _BACKWARD + 45), (x, y - tall - 2), symbol=CHANNEL_WEIGHTS)
        _map(drawing, x, y, side, run.activation[channel], FEATURES)
        drawing.text(x, y + tall + 15, f"channel {channel}", size=SMALL)
        drawing.text(x, y + tall + 33, f"× {numeral(run.weights[channel].item())}", size=SMALL)
    for x, sign in ((108, "+"), (196, "+"), (288, "+ ⋯")):
        drawing.text(x, y, sign)


def _result(drawing: Diagram, image: Tensor, run: _GradCAM) -> None:
    """Draw the sum, the map that ReLU leaves of it, and the map over the image."""
    y, side = _SUM, 72
    wide, tall = half_of(run.total, side)
    shape = sizes(*run.total.shape)
    drawing.arrow((306, y), (364 - wide, y), symbol=CHANNEL_WEIGHTS)
    _map(drawing, 366, y, side, run.total, CHANNEL_WEIGHTS)
    _heading(drawing, 366, y - tall - 36, "sum over *k*", shape)
    drawing.text(366, y + tall + 15, f"smallest {numeral(run.total.min().item())}", size=SMALL)
    drawing.arrow((368 + wide, y), (432, y), symbol=CHANNEL_WEIGHTS)
    drawing.box(459, y, 54, 36, ["ReLU"])
    drawing.arrow((486, y), (550 - wide, y), symbol=CHANNEL_WEIGHTS)
    _map(drawing, 552, y, side, run.m, CHANNEL_WEIGHTS)
    _heading(drawing, 552, y - tall - 36, "map *M*", shape)
    drawing.text(552, y + tall + 15, f"largest {numeral(run.m.max().item())}", size=SMALL)
    half, high = half_of(image, 92)
    drawing.arrow((554 + wide, y), (686 - half, y), symbol=CHANNEL_WEIGHTS)
    _framed(drawing, 690, y, 92, _overlaid(image, run.m))
    _heading(drawing, 690, y - 82, "upsampled,", "over the image")
    drawing.text(690, y + high + 15, sizes(*image.shape[1:]), size=SMALL)


def _alt_of_pipeline(image: Tensor, run: _GradCAM, layer: str, target: str) -> str:
    """Describe `grad_cam_pipeline` in words."""
    told = [f"channel {k} with {numeral(run.weights[k].item())}" for k in run.chosen]
    shape, grid = sizes(*run.activation.shape), sizes(*run.total.shape)
    return (
        f"Grad-CAM in three rows. Forward: the image, {sizes(*image.shape)}, passes the network up "
        f"to {layer}, which gives the activation A, {shape}; the rest of the network turns A into "
        f"the logit of {target}. Backward: the gradient of that logit with respect to A, {shape}, "
        f"is averaged over the {run.total.numel()} positions, which gives one weight per channel: "
        f"{int((run.weights > 0).sum())} of {len(run.weights)} are positive. Then each channel of "
        f"A is multiplied by its weight, such as {', '.join(told)}, and all are added. ReLU "
        f"removes the negative values of the sum and leaves the map M, {grid}, with the largest "
        f"value {numeral(run.m.max().item())}. It is upsampled and laid over the image."
    )


def three_questions(
    image: Float[Tensor, "*c H W"],
    m: Float[Tensor, "... h w"],
    *,
    region: Bool[Tensor, "... H W"],
    other: Float[Tensor, "... h_other w_other"],
    fresh: Float[Tensor, "... h_fresh w_fresh"],
    caption: str,
) -> Diagram:
    """Draw one map and three questions about it, each with its test.

    Is the map on the object? Does the network use what the map marks? Was the map learned? The
    pixels that the second test removes are the highest ones of the map, as many as the region has.

    Args:
        image: The image, grey or RGB, in [0, 1].
        m: Its map, with values of at least 0.
        region: Where the object is; the box around it is drawn.
        other: The map of another image.
        fresh: The map of this image after the last layers were replaced by fresh ones.
        caption: One line that says what to see.

    Raises:
        ValueError: If the image or a map can't be drawn, or the region has another size than the
            image or is empty.
    """
    image, m = _as_picture(image), _as_map(m)
    region = _as_region(region, image)
    alt = (
        "One map and three questions, each with its test. Is it on the object? The map is "
        "compared with the map of another image: which has more inside the object's box? Does the "
        "network use it? The marked pixels are removed, or everything else is removed: does the "
        "probability change? Was it learned? Layers are replaced by fresh ones, from the "
        "classifier down: does the map change?"
    )
    drawing = Diagram(COLUMN, _LANES[-1] + 70, alt=alt, caption=caption)
    shown = _overlaid(image, m)
    _one_map(drawing, shown, m)
    _on_the_object(drawing, _LANES[0], (shown, _overlaid(image, other)), region)
    marked = _ranks(_upsampled(m, image)) < int(region.sum())  # (H, W)
    _used(drawing, _LANES[1], [_without(image, gone) for gone in (marked, ~marked)])
    _learned(drawing, _LANES[2], _overlaid(image, fresh))
    return drawing


def _one_map(drawing: Diagram, shown: Tensor, m: Tensor) -> None:
    """Draw the map over its image, with an arrow to each lane."""
    y = _LANES[1]
    wide, tall = half_of(shown, 116)
    _framed(drawing, 64, y, 116, shown)
    _heading(drawing, 64, y - tall - 38, "one map", f"{sizes(*m.shape)} positions")
    drawing.text(64, y + tall + 18, "over its image", size=SMALL)
    start, turn, end = 64 + wide + 4, 150, _LANE[0] - 2
    for lane in _LANES:
        corners = [(start, y), (turn, y), (turn, lane), (end, lane)]
        drawing.arrow(*(corners if lane != y else [corners[0], corners[-1]]))


def _lane(
    drawing: Diagram, y: Number, question: str, captions: Sequence[str], asked: Sequence[str]
) -> None:
    """Draw the frame of a lane with its question, and what the test asks at the right."""
    left, right = _LANE
    drawing.box((left + right) / 2, y, right - left, 136, [])
    drawing.text(left + 14, y - 52, question, anchor="start")
    for x, text in zip(_PICTURES, captions):
        drawing.text(x, y + 55, text, size=SMALL)
    drawing.box(648, y + 4, 164, 54, [], CHANNEL_WEIGHTS)
    for i, line in enumerate(asked):
        drawing.text(648, y + 4 + 20 * (i - 0.5), line)


def _on_the_object(
    drawing: Diagram, y: Number, shown: tuple[Tensor, Tensor], region: Tensor
) -> None:
    captions = ("this map", "another image's map")
    _lane(drawing, y, "Is it on the object?", captions, ["Does more of it", "lie inside the box?"])
    for x, picture in zip(_PICTURES, shown):
        _framed(drawing, x, y + 4, 76, picture)
        _outline(drawing, x, y + 4, 76, region)
    drawing.text(sum(_PICTURES) / 2, y + 4, "against", size=SMALL)
    drawing.arrow((_PICTURES[1] + 44, y + 4), (565, y + 4))
    drawing.text(510, y - 10, "compare", size=SMALL)


def _used(drawing: Diagram, y: Number, pictures: Sequence[Tensor]) -> None:
    captions = ("marked pixels removed", "all others removed")
    _lane(drawing, y, "Does the network use it?", captions, ["Does the", "probability change?"])
    for x, picture in zip(_PICTURES, pictures):
        _framed(drawing, x, y + 4, 76, picture)
    drawing.text(sum(_PICTURES) / 2, y + 4, "or", size=SMALL)
    drawing.arrow((_PICTURES[1] + 44, y + 4), (565, y + 4))
    drawing.text(510, y - 10, "network", size=SMALL)


def _learned(drawing: Diagram, y: Number, picture: Tensor) -> None:
    captions = ("dashed: fresh layers", "the map it gives now")
    _lane(drawing, y, "Was it learned?", captions, ["Does the map", "change?"])
    _blocks(drawing, _PICTURES[0] - 63, y + 4, (72, 60, 46, 34), fresh=2)
    drawing.arrow((_PICTURES[0] + 67, y + 4), (_PICTURES[1] - 42, y + 4))
    _framed(drawing, _PICTURES[1], y + 4, 76, picture)
    drawing.arrow((_PICTURES[1] + 44, y + 4), (565, y + 4))
    drawing.text(510, y - 10, "compare", size=SMALL)


def removed_pixels(
    image: Float[Tensor, "*c H W"],
    m: Float[Tensor, "... h w"],
    *,
    ink: Bool[Tensor, "... H W"],
    steps: tuple[int, int],
    caption: str,
) -> Diagram:
    """Draw what the first steps of deletion remove, once with large steps and once with small ones.

    The highest pixels of the map go first; equal ones go in a fixed random order, as in
    ``explain.faithfulness.deletion``. Removed pixels are grey.

    Args:
        image: The image, grey or RGB, in [0, 1].
        m: Its map, which is resized bilinearly.
        ink: Where the object has ink.
        steps: Two numbers of steps; each step removes 1 / steps of the pixels.
        caption: One line that says what to see.

    Raises:
        ValueError: If the image or the map can't be drawn, the ink has another size than the image
            or there is none, or the numbers of steps don't rise or there are too few of them.
    """
    image, m = _as_picture(image), _as_map(m)
    ink = _as_region(ink, image)
    ranks = _ranks(_upsampled(m, image))  # (H, W)
    coarse, fine = steps
    if not _SHOWN - 1 <= coarse < fine <= ranks.numel():
        raise ValueError(
            f"expected two rising numbers of steps from {_SHOWN - 1} to {ranks.numel()}, "
            f"got {coarse} and {fine}"
        )
    counts = [[round(i / n * ranks.numel()) for i in range(_SHOWN)] for n in steps]
    shares = [[_share_of(ink, ranks < count) for count in row] for row in counts]
    pitch = 2 * half_of(image, _PIXELS)[1] + 94
    alt = _alt_of_removal(steps, counts, shares)
    drawing = Diagram(COLUMN, 2 * pitch + 4, alt=alt, caption=caption)
    drawing.text(COLUMN, 12, "grey: removed pixels", size=SMALL, anchor="end")
    for row, n in enumerate(steps):
        pictures = [_without(image, ranks < count) for count in counts[row]]
        _removal(drawing, row * pitch, n, pictures, counts[row], shares[row])
    return drawing


def _removal(
    drawing: Diagram,
    top: Number,
    steps: int,
    pictures: Sequence[Tensor],
    counts: Sequence[int],
    shares: Sequence[float],
) -> None:
    """Draw the image and what is left of it after each of the first steps."""
    wide, tall = half_of(pictures[0], _PIXELS)
    y, pitch = top + 36 + tall, (COLUMN - _PIXELS - 8) / (_SHOWN - 1)
    about = "about " if counts[1] * steps != pictures[0][0].numel() else ""
    drawing.text(
        0, top + 12, f"{steps} steps: {about}{_pixels(counts[1])} per step", anchor="start"
    )
    for i, (picture, count, share) in enumerate(zip(pictures, counts, shares)):
        x = _PIXELS / 2 + 4 + i * pitch
        _framed(drawing, x, y, _PIXELS, picture)
        if i:
            drawing.arrow((x - pitch + wide + 4, y), (x - wide - 4, y))
        lines = (_pixels(count), f"{_percent(share)} of ink gone")
        for line, text in enumerate(lines if i else ("the image",)):
            drawing.text(x, y + tall + 16 + 18 * line, text, size=SMALL)


def _share_of(ink: Tensor, gone: Tensor) -> float:
    return ((ink & gone).sum() / ink.sum()).item()


def _pixels(count: int) -> str:
    return f"{count:,} pixel{'s' * (count != 1)}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u2009%"


def _alt_of_removal(
    steps: tuple[int, int], counts: Sequence[Sequence[int]], shares: Sequence[Sequence[float]]
) -> str:
    """Describe `removed_pixels` in words."""
    told = [
        f"With {n} steps, each removes {_pixels(row[1])}, and after the first "
        f"{len(row) - 1} steps {', '.join(map(_percent, gone[1:]))} of the ink is gone."
        for n, row, gone in zip(steps, counts, shares)
    ]
    return (
        "One image in two rows, from which the highest pixels of its map are removed step by "
        f"step. {' '.join(told)}"
    )


# What the drawings share.


def _as_picture(image: Tensor) -> Float[Tensor, "c H W"]:
    """Return an image with its axis of colours.

    Raises:
        ValueError: If it can't be drawn.
    """
    check_tensor("the image", image)
    image = image[None] if image.ndim == 2 else image
    check_pictures(image[None])
    return image.detach().cpu().float()


def _as_map(m: Tensor) -> Float[Tensor, "h w"]:
    """Return a map without its axis of channels.

    Raises:
        ValueError: If it isn't a single map, or a value is NaN or infinite.
    """
    check_tensor("the map", m)
    if m.ndim < 2 or m.shape[-2:].numel() != m.numel():
        raise ValueError(f"expected a map of shape (h, w), got {tuple(m.shape)}")
    check_drawn_maps(m.reshape(1, 1, *m.shape[-2:]), 1)
    return m.reshape(m.shape[-2:]).detach().cpu().float()


def _as_region(region: Tensor, image: Tensor) -> Bool[Tensor, "H W"]:
    """Return a region of an image without its axis of channels.

    Raises:
        ValueError: If it isn't boolean, has another size than the image, or is empty.
    """
    check_tensor("the region", region)
    size = image.shape[1:]
    fits = region.shape[-2:] == size and region.numel() == size.numel()
    if region.dtype != torch.bool or not fits or not region.any():
        raise ValueError(
            f"expected a boolean region of shape {tuple(size)} that isn't empty, got "
            f"{region.dtype} of shape {tuple(region.shape)} with {int(region.sum())} pixels"
        )
    return region.reshape(size).cpu()


def _upsampled(m: Float[Tensor, "h w"], image: Tensor) -> Float[Tensor, "H W"]:
    return F.interpolate(m[None, None], image.shape[1:], mode="bilinear")[0, 0]


def _ranks(m: Float[Tensor, "H W"]) -> Tensor:
    """Return the rank of each pixel, 0 for the highest; ties get a fixed random order."""
    flat = m.flatten()
    shuffle = torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))
    order = shuffle[flat[shuffle].argsort(descending=True, stable=True)]
    return order.argsort().view_as(m)


def _overlaid(image: Tensor, m: Tensor) -> Float[Tensor, "3 H W"]:
    return to_tensor(overlay(image, m))


def _without(image: Tensor, gone: Bool[Tensor, "H W"]) -> Float[Tensor, "3 H W"]:
    """Return an image whose removed pixels are grey."""
    grey = 0.75 * torch.tensor(to_rgb(SYMBOL_COLOURS[NEGATIVE]))[:, None, None]
    return torch.where(gone, grey, image.expand(3, -1, -1))


def _short(name: str) -> str:
    """Return a name, or its end if it is longer than there is room."""
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"


def _heading(drawing: Diagram, x: Number, y: Number, name: str, below: str) -> None:
    drawing.text(x, y, name)
    drawing.text(x, y + 18, below, size=SMALL)


def _framed(drawing: Diagram, x: Number, y: Number, side: Number, image: Tensor) -> None:
    """Draw an image in a frame, which shows its edge on a page as dark as the image."""
    wide, tall = half_of(image, side)
    drawing.box(x, y, 2 * wide + 6, 2 * tall + 6, [])
    drawing.picture(x, y, side, image)


def _outline(drawing: Diagram, x: Number, y: Number, side: Number, region: Tensor) -> None:
    """Draw the box around a region of an image that is drawn at a point."""
    wide, tall = half_of(region, side)
    cell = 2 * wide / region.shape[1]
    rows, columns = (region.any(dim=axis).nonzero().flatten() for axis in (1, 0))
    left, right = (x - wide + cell * int(i) for i in (columns[0], columns[-1] + 1))
    top, bottom = (y - tall + cell * int(i) for i in (rows[0], rows[-1] + 1))
    corners: list[Point] = [(left, top), (right, top), (right, bottom), (left, bottom)]
    drawing.arrow(*corners, corners[0], symbol=OBJECT, head=False, thickness=2.4)


def _map(
    drawing: Diagram,
    x: Number,
    y: Number,
    side: Number,
    values: Float[Tensor, "h w"],
    symbol: Symbol,
) -> None:
    """Draw a map in the colour of a symbol, with its negative values in grey."""
    if max(values.shape) > FINEST:
        factor = -(-max(values.shape) // FINEST)
        values = F.avg_pool2d(values[None], factor, ceil_mode=True)[0]
    shades = 0.95 * values / values.abs().max().clamp(min=1e-12)
    drawing.grid(x, y, side, shades.clamp(min=0), symbol)
    if values.min() < 0:
        drawing.grid(x, y, side, (-shades).clamp(min=0), NEGATIVE)


def _sheets(
    drawing: Diagram,
    x: Number,
    y: Number,
    maps: Float[Tensor, "K h w"],
    front: int,
    symbol: Symbol,
    *,
    behind: int = 1,
) -> None:
    """Draw the maps of all channels as sheets, one behind the other, with one at the front.

    The sheets behind it reach out to the right, or to the left if ``behind`` is -1, so an arrow
    can end at the other side.
    """
    _map(drawing, x, y, _SHEET, maps[front], symbol)
    wide, tall = half_of(maps, _SHEET)
    for back in (6, 12):  # the edges of a sheet behind the sheet before it
        near, far = (x + behind * (back + side * wide) for side in (-1, 1))
        top, bottom = y - tall - back, y + tall - back
        corners = ((near, top + 6), (near, top), (far, top), (far, bottom))
        drawing.arrow(*corners, (far - 6 * behind, bottom), symbol=symbol, head=False)


def _blocks(
    drawing: Diagram, left: Number, y: Number, heights: Sequence[Number], *, fresh: int = 0
) -> None:
    """Draw the blocks of a network from its left edge; so many of the last ones are fresh."""
    for i, height in enumerate(heights):
        is_fresh = i >= len(heights) - fresh
        drawing.box(left + 14 + 34 * i, y, 28, height, [], dashed=is_fresh)
