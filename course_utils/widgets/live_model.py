"""LiveModel: draw a digit, and a trained network answers while you draw."""

from __future__ import annotations

import anywidget
import torch
import traitlets
from jaxtyping import Int, UInt8
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from course_utils.core.eval_mode import evaluating
from course_utils.data.strokes import traced
from course_utils.models import AttnVGG
from course_utils.widgets._source import module, palette, style

HALF = torch.finfo(torch.float16)


class LiveModel(anywidget.AnyWidget):
    """A canvas with clutter to draw on; beside it what the network says, and where its two maps look.

    The page runs the network itself, in JavaScript (`_attn_vgg.js`). Its weights are most of what the widget weighs:
    a static page fetches them at the first stroke.
    """

    _esm = module("_attn_vgg", "_pen", "live_model")
    _css = style()
    _lazy = traitlets.List(traitlets.Unicode(), ["weights"]).tag(
        sync=True
    )  # see book/_ext/static_widgets.py

    pen = traitlets.Float(2.5, min=1, max=6, help="width in pixels of the image").tag(sync=True)
    opacity = traitlets.Float(0.6, min=0, max=1, help="of the maps").tag(sync=True)
    background = traitlets.Int(0, min=0).tag(sync=True)

    size = traitlets.Int(help="side of the image in pixels").tag(sync=True)
    backgrounds = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    examples = traitlets.List(help="paths of the pen, each a list of points x, y").tag(sync=True)
    labels = traitlets.List(traitlets.Int(), help="the class of each example").tag(sync=True)
    shapes = traitlets.List(help="of the tensors in `weights`").tag(sync=True)
    weights = traitlets.Bytes(help="see `folded`; float16").tag(sync=True)
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_network(
        cls,
        network: AttnVGG,
        backgrounds: UInt8[Tensor, "N 1 S S"],
        digits: UInt8[Tensor, "M 28 28"],
        labels: Int[Tensor, " labels"],
    ) -> LiveModel:
        """Run a network on what is drawn.

        Args:
            network: see `folded`; it is left as it was.
            backgrounds: to draw on.
            digits: handwritten ones, which the page can draw for the reader, one after the other, in the middle.
            labels: their classes.

        Raises:
            ValueError: no background, or none that is square, of 32, 64, 96 … pixels; no digit, or another number of
                labels; see also `folded` and `strokes.traced`.
        """
        size = backgrounds.shape[-1]
        if not len(backgrounds) or size % 32 or backgrounds.shape[1:] != (1, size, size):
            given = tuple(backgrounds.shape)
            raise ValueError(
                f"expected one or more square backgrounds whose sides are multiples of 32, got {given}"
            )
        if not len(digits) or len(digits) != len(labels):
            raise ValueError(
                f"expected a label for each of one or more digits, got {len(digits)} and {len(labels)}"
            )
        tensors = folded(network)
        away = (size - digits.shape[-1]) / 2
        return cls(
            size=size,
            backgrounds=backgrounds.numpy().tobytes(),
            classes=[str(c) for c in range(len(tensors[-1]))],
            examples=[
                [[[x + away, y + away] for x, y in path] for path in traced(digit)]
                for digit in digits
            ],
            labels=labels.tolist(),
            shapes=[list(tensor.shape) for tensor in tensors],
            weights=b"".join(tensor.half().numpy().tobytes() for tensor in tensors),
        )


def folded(network: AttnVGG) -> list[Tensor]:
    """All that an AttnVGG needs to classify grey images, in the order in which it needs them.

    Weight and bias of each convolution, with its batch norm inside and one input channel for the first, which sees
    three that are alike; of each attention block the two projections, the score and its bias; weight and bias of each
    head.

    Raises:
        ValueError: a network of another form than `AttnVGG` with softmax, taps before the pools and independent heads;
            weights that half precision can't hold, which have batch norms of almost no variance.
    """
    if not isinstance(network, AttnVGG):
        raise ValueError(f"expected an AttnVGG, got a {type(network).__name__}")
    form = network.taps, network.classifiers.head, *[b.alignment for b in network.attention]
    if form != ("before", "independent", "softmax", "softmax"):
        raise ValueError(
            f"expected an AttnVGG with taps before the pools, independent heads and softmax, got {form}"
        )
    tensors = []
    with evaluating(network):
        for conv, norm in zip(network.features, network.features[1:]):
            if isinstance(conv, nn.Conv2d):
                fused = fuse_conv_bn_eval(conv, norm)
                tensors += [fused.weight, fused.bias]
    tensors[0] = tensors[0].sum(dim=1, keepdim=True)
    for block in network.attention:
        parts = (block.project_local.weight, block.project_global.weight, block.score.weight)
        tensors += [*(part.flatten(1) for part in parts), block.score.bias]
    for linear in network.classifiers:
        tensors += [linear.weight, linear.bias]
    if not all(tensor.half().isfinite().all() for tensor in tensors):
        most = torch.stack([tensor.abs().max() for tensor in tensors]).max().item()
        raise ValueError(
            f"expected weights of at most {HALF.max:.0f}, as half precision has them, got {most:.3g}"
        )
    return [tensor.detach().cpu() for tensor in tensors]
