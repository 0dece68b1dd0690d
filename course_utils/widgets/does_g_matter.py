"""DoesGMatter: replace the layers behind the last tap and see whether maps and logits change."""

from __future__ import annotations

from typing import NamedTuple, cast

import anywidget
import torch
import traitlets
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_utils.attention.spatial import PayAttention
from course_utils.core.boxes import box_regions
from course_utils.explain.metrics import area_share, energy_by_position
from course_utils.models import PayAttentionVGG
from course_utils.models.output import as_rgb
from course_utils.models.vgg import tapped
from course_utils.widgets import packing
from course_utils.widgets._source import module, palette, style


class DoesGMatter(anywidget.AnyWidget):
    """Three maps and ten logits of a network, while its global vector g is replaced.

    The page computes scores, weights, contexts and logits from the local features, from g as each
    tap sees it, and from the learned parameters. Features are rounded to 255 steps of the range of
    their channel. Between its own g and the other one, g moves along a straight line.
    """

    _esm = module("does_g_matter")
    _css = style()

    variant = traitlets.Int(0, min=0, help="index into `names`").tag(sync=True)
    image = traitlets.Int(0, min=0).tag(sync=True)
    draw = traitlets.Int(0, min=0, help="index of the other layers").tag(sync=True)
    t = traitlets.Float(0.0, min=0, max=1, help="0: own g, 1: the other g").tag(sync=True)

    names = traitlets.List(traitlets.Unicode()).tag(sync=True)  # (F,)
    # Compatibility and alignment of each network
    kinds = traitlets.List(traitlets.Any()).tag(sync=True)  # (F, 2)
    draws = traitlets.Int(help="number of other layers per network").tag(sync=True)
    size = traitlets.Int(help="height and width of an image in pixels").tag(sync=True)
    grids = traitlets.List(traitlets.Int(), help="side of each tap's map").tag(sync=True)
    channels = traitlets.List(traitlets.Int(), help="of each tap").tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)  # (N,)
    boxes = traitlets.List(traitlets.Any()).tag(sync=True)  # (N, 4) x0, y0, x1, y1
    chances = traitlets.List(traitlets.Float()).tag(sync=True)  # (N,)
    inside = traitlets.Bytes(help="energy by position").tag(sync=True)  # (N, ΣK) float32
    # Most features are 0 behind a ReLU: one bit per feature marks the others, and only they are
    # stored.
    above_zero = traitlets.Bytes(help="one bit per feature").tag(sync=True)  # (F, N, ΣK·C)
    features = traitlets.Bytes(help="the non-zero features, in steps").tag(sync=True)  # uint8
    learned = traitlets.Bytes(help="`Learned` of each network").tag(sync=True)  # float32
    guides = traitlets.Bytes(help="`Parts.guides`").tag(sync=True)  # (F, N, 1 + draws, ΣC) float32
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_networks(
        cls,
        networks: list[tuple[str, list[PayAttentionVGG]]],
        images: Float[Tensor, "N 1 S S"],
        labels: Int[Tensor, " N"],
        boxes: Int[Tensor, "N 4"],
    ) -> DoesGMatter:
        """Show networks, each with copies that differ from it only behind the last tap.

        Args:
            networks: For each network its name, and a list of the network itself and its copies.
            images: Grey images with values in [0, 1].
            labels: The digit in each image.
            boxes: x0, y0, x1, y1 around the digit, in pixels.

        Raises:
            ValueError: If labels or boxes don't match the images in number; if a network has no
                copies, or not as many as the first one; if a copy has other local features; or if
                the logits of a network aren't one linear layer on normalised contexts of
                unprojected local features.
        """
        if [len(labels), len(boxes)] != [len(images)] * 2:
            raise ValueError(
                f"expected {len(images)} labels and boxes, got {len(labels)} and {len(boxes)}"
            )
        counts = [len(versions) for _, versions in networks]
        if not counts or min(counts) < 2 or len(set(counts)) > 1:
            raise ValueError(
                f"expected the same number of versions, two or more, of each network, got {counts}"
            )
        parts = [_parts(versions, images) for _, versions in networks]
        features = torch.cat([_in_steps(part.local, part.learned.steps) for part in parts])
        regions = box_regions(boxes, images.shape[-1])
        grids = [l.shape[2] for l in parts[0].local]
        inside = [energy_by_position(regions, (grid, grid)) for grid in grids]
        return cls(
            names=[name for name, _ in networks],
            kinds=[list(part.kind) for part in parts],
            draws=counts[0] - 1,
            size=images.shape[-1],
            grids=grids,
            channels=[l.shape[1] for l in parts[0].local],
            images=packing.pixels(images),
            labels=packing.texts(labels),
            boxes=boxes.tolist(),
            chances=area_share(regions).tolist(),
            inside=packing.floats(torch.cat(inside, dim=1)),
            above_zero=packing.bits((features > 0).numpy()),
            features=packing.small_integers(features[features > 0]),
            learned=b"".join(packing.floats(*part.learned) for part in parts),
            guides=b"".join(packing.floats(part.guides) for part in parts),
        )


class Learned(NamedTuple):
    """The learned parameters that the page needs, for all taps in turn (ΣC channels).

    Attributes:
        steps: (ΣC,), the size of one of the 255 steps of each channel of the local features.
        u: (ΣC,), the vector of the pc compatibility; zeros for the dot products.
        scale: (ΣC,), the factors by which the normalisation multiplies the contexts.
        shift: (ΣC,), the offsets that it adds to them.
        weight: (10, ΣC), the weight of the classifier.
        bias: (10,), its bias.
    """

    steps: Tensor
    u: Tensor
    scale: Tensor
    shift: Tensor
    weight: Tensor
    bias: Tensor


class Parts(NamedTuple):
    """The parts of a network and its copies that the page needs.

    Attributes:
        kind: Compatibility and alignment.
        local: The local features of each tap, (N, C, H, W).
        learned: The learned parameters.
        guides: (N, 1 + draws, ΣC), g as each tap sees it: the network's own first, then the
            copies'.
    """

    kind: tuple[str, str]
    local: list[Tensor]
    learned: Learned
    guides: Tensor


@torch.inference_mode()
def _parts(versions: list[PayAttentionVGG], images: Tensor) -> Parts:
    """Run a network and its copies on the images."""
    own, *_ = versions
    _check_network(own)
    local: list[Tensor] = []
    guides = []
    for version in versions:
        taps, x = tapped(version.features, as_rgb(images, 32), version.pools, version.taps)
        if local and not all(torch.equal(a, b) for a, b in zip(local, taps)):
            raise ValueError(
                "expected copies that differ only behind the last tap, got other local features"
            )
        local, g = taps, version.dense(x.mean(dim=(2, 3)))
        guides.append(torch.cat([layer.project_global(g) for layer in _layers(version)], dim=1))
    layer = _layers(own)[0]
    return Parts(
        kind=(layer.compatibility, layer.alignment),
        local=local,
        learned=_learned(own, local),
        guides=torch.stack(guides, dim=1),
    )


def _layers(network: PayAttentionVGG) -> list[PayAttention]:
    """Return the attention of each tap."""
    return cast(list[PayAttention], [*network.attention])


def _check_network(network: PayAttentionVGG) -> None:
    """Raise if the page can't compute the network's logits."""
    if (
        network.norms is None
        or network.classifiers.head != "concat"
        or not network.attention
        or network.training
    ):
        raise ValueError(
            "expected a network in evaluation mode with attention, normalised contexts "
            "and one classifier"
        )
    if not all(isinstance(layer.project_local, nn.Identity) for layer in network.attention):
        raise ValueError("expected a network that doesn't project local features (project='down')")


def _learned(network: PayAttentionVGG, local: list[Tensor]) -> Learned:
    """Collect the parameters; in evaluation a norm is a fixed scale and shift."""
    layers = _layers(network)
    norms = cast(list[nn.BatchNorm1d], [*(network.norms or ())])
    linear = cast(nn.Linear, network.classifiers[0])
    # A channel that is 0 everywhere would have steps of size 0, and 0 / 0 is not a number.
    steps = [(l.amax(dim=(0, 2, 3)) / 255).clamp(min=1e-12) for l in local]
    deviations = [(norm.get_buffer("running_var") + norm.eps).sqrt() for norm in norms]
    scale = torch.cat([norm.weight / each for norm, each in zip(norms, deviations)])
    means = torch.cat([norm.get_buffer("running_mean") for norm in norms])
    shift = torch.cat([norm.bias for norm in norms]) - means * scale
    if layers[0].compatibility == "pc":
        u = torch.cat([layer.u.weight.flatten() for layer in layers])
    else:
        u = torch.zeros_like(scale)
    return Learned(torch.cat(steps), u, scale, shift, linear.weight, linear.bias)


def _in_steps(local: list[Tensor], steps: Tensor) -> Tensor:
    """Round features to whole steps, uint8: image by image, tap by tap, position by position."""
    by_tap = steps.split([l.shape[1] for l in local])
    whole = [
        (l / step[:, None, None]).round().to(torch.uint8).flatten(2).mT  # (N, K, C)
        for l, step in zip(local, by_tap)
    ]
    images = range(len(local[0]))
    return torch.cat([tap[n].flatten() for n in images for tap in whole])
