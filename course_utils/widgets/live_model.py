"""LiveModel: draw a digit while a trained network classifies it."""

from __future__ import annotations

from typing import cast

import anywidget
import torch
import traitlets
from jaxtyping import Int, UInt8
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from course_utils.core.boxes import mask_boxes
from course_utils.core.eval_mode import evaluating
from course_utils.data.cluttered_digits import DIGIT_SCALES, INK_LEVEL
from course_utils.data.strokes import centred, traced
from course_utils.models import AttnVGG
from course_utils.widgets import packing
from course_utils.widgets._source import module, palette, style

HALF = torch.finfo(torch.float16)
SUPPORTED = ("before", "independent", "softmax", "softmax")  # taps, head, alignment of both blocks

# Longer side of a drawing in pixels, least and most: in between, the shipped network reads at least
# 3 of 4 test digits drawn with this pen, and beyond fewer, as `drawings.by_scale` measures.
READABLE = (13, 27)


class LiveModel(anywidget.AnyWidget):
    """A canvas with clutter to draw on, the class probabilities of a network, and its two maps.

    A frame on the sheet is as large as the largest digits in training, and a line says so when a
    drawing is too large or too small to be read reliably. The frame isn't part of the image.

    The page runs the network itself, in JavaScript (`_attn_vgg.js`). The weights are most of the
    widget's size, so a static page loads them only at the first stroke.
    """

    _esm = module("_attn_vgg", "_pen", "live_model")
    _css = style()
    # The binary traits that a static page loads on demand: the book writes each to a separate file.
    _lazy = traitlets.List(traitlets.Unicode(), ["weights"]).tag(sync=True)

    pen = traitlets.Float(2.5, min=1, max=6, help="width in pixels of the image").tag(sync=True)
    opacity = traitlets.Float(0.6, min=0, max=1, help="of the maps").tag(sync=True)
    background = traitlets.Int(0, min=0).tag(sync=True)

    size = traitlets.Int(help="height and width of the image in pixels").tag(sync=True)
    digit_sides = traitlets.List(
        traitlets.Int(), help="longer side of a digit in training, least and most, in pixels"
    ).tag(sync=True)
    readable_sides = traitlets.List(traitlets.Int(), list(READABLE)).tag(sync=True)
    backgrounds = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    # The pen strokes of each example; a stroke is a list of points x, y
    examples = traitlets.List(traitlets.Any()).tag(sync=True)
    labels = traitlets.List(traitlets.Int(), help="class of each example").tag(sync=True)
    shapes = traitlets.List(traitlets.Any(), help="of the tensors in `weights`").tag(sync=True)
    weights = traitlets.Bytes(help="the tensors of `folded`").tag(sync=True)  # float16
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_network(
        cls,
        network: AttnVGG,
        backgrounds: UInt8[Tensor, "N 1 S S"],
        digits: UInt8[Tensor, "M 28 28"],
        labels: Int[Tensor, " labels"],
    ) -> LiveModel:
        """Run a network on what the reader draws.

        Args:
            network: An AttnVGG that `folded` supports. It isn't changed.
            backgrounds: Images to draw on.
            digits: Handwritten digits that the page can draw as examples, in the middle of the
                canvas. Their largest is taken as the size of a digit in training before it is
                scaled by `cluttered_digits.DIGIT_SCALES`.
            labels: The classes of these digits.

        Raises:
            ValueError: If there is no background, or the backgrounds aren't square with a side that
                is a multiple of 32; if there is no digit, or the labels differ from the digits in
                number; and for everything that `folded` and `strokes.traced` refuse.
        """
        size = backgrounds.shape[-1]
        if not len(backgrounds) or size % 32 or backgrounds.shape[1:] != (1, size, size):
            raise ValueError(
                "expected one or more square backgrounds whose sides are multiples of 32, "
                f"got {tuple(backgrounds.shape)}"
            )
        if not len(digits) or len(digits) != len(labels):
            raise ValueError(
                "expected one or more digits with one label each, "
                f"got {len(digits)} digits and {len(labels)} labels"
            )
        tensors = folded(network)
        boxes = mask_boxes(digits[:, None] > INK_LEVEL)
        longest = int((boxes[:, 2:] - boxes[:, :2]).max())
        return cls(
            size=size,
            backgrounds=packing.small_integers(backgrounds),
            classes=[str(c) for c in range(len(tensors[-1]))],
            digit_sides=[round(scale * longest) for scale in DIGIT_SCALES],
            examples=[centred(traced(digit), digits.shape[-1], size) for digit in digits],
            labels=labels.tolist(),
            shapes=[list(tensor.shape) for tensor in tensors],
            weights=packing.halves(*tensors),
        )


def folded(network: AttnVGG) -> list[Tensor]:
    """Return the tensors that an AttnVGG needs to classify grey images, in the order of their use.

    These are the weight and bias of each convolution, with its batch norm folded in; for each
    attention block the two projections, the score and its bias; and the weight and bias of each
    head. The first convolution has one input channel instead of three, as the three channels of a
    grey image are equal.

    Raises:
        ValueError: If the network isn't an `AttnVGG` with softmax, taps before the pools and
            independent heads; or if half precision can't represent a weight, which happens when a
            batch norm has almost no variance.
    """
    if not isinstance(network, AttnVGG):
        raise ValueError(f"expected an AttnVGG, got a {type(network).__name__}")
    variant = network.taps, network.classifiers.head, *[b.alignment for b in network.attention]
    if variant != SUPPORTED:
        raise ValueError(
            "expected an AttnVGG with taps before the pools, independent heads and softmax, "
            f"got {variant}"
        )
    tensors: list[Tensor] = []
    with evaluating(network):
        for conv, norm in zip(network.features, network.features[1:]):
            if isinstance(conv, nn.Conv2d):
                fused = fuse_conv_bn_eval(conv, cast(nn.BatchNorm2d, norm))
                tensors += fused.parameters()  # weight and bias
    tensors[0] = tensors[0].sum(dim=1, keepdim=True)  # (C, 3, 3, 3) → (C, 1, 3, 3)
    for block in network.attention:
        for part in ("project_local", "project_global", "score"):
            tensors.append(block.get_parameter(f"{part}.weight").flatten(1))
        tensors.append(block.get_parameter("score.bias"))
    for linear in network.classifiers:
        tensors += linear.parameters()
    if not all(tensor.half().isfinite().all() for tensor in tensors):
        most = torch.stack([tensor.abs().max() for tensor in tensors]).max().item()
        raise ValueError(
            f"expected weights of at most {HALF.max:.0f}, the largest value in half precision, "
            f"got {most:.3g}"
        )
    return [tensor.detach().cpu() for tensor in tensors]
