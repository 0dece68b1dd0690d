"""DoesGMatter: exchange the layers behind the last tap, and see whether maps and logits notice."""

from __future__ import annotations

import anywidget
import numpy as np
import torch
import traitlets
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_utils.core.boxes import box_regions
from course_utils.explain.metrics import area_share, energy_inside
from course_utils.models import PayAttentionVGG
from course_utils.models.output import as_rgb
from course_utils.models.vgg import tapped
from course_utils.widgets._source import module, palette, style


class DoesGMatter(anywidget.AnyWidget):
    """One network × one image × one way between its own g and that of other layers: three maps and ten logits.

    The page computes scores, weights, contexts and logits from the local features, from g as each tap sees it, and from
    what the network has learned; features are kept in 255 steps of the range of their channel. Between its two ends g
    is moved on a straight line.
    """

    _esm = module("does_g_matter")
    _css = style()

    variant = traitlets.Int(0, min=0, help="which network, in the order given").tag(sync=True)
    image = traitlets.Int(0, min=0).tag(sync=True)
    draw = traitlets.Int(0, min=0, help="which of the other layers").tag(sync=True)
    t = traitlets.Float(
        0.0, min=0, max=1, help="0: the network's own g, 1: that of the other layers"
    ).tag(sync=True)

    names = traitlets.List(traitlets.Unicode()).tag(sync=True)  # (F,)
    kinds = traitlets.List(help="compatibility and alignment of each network").tag(
        sync=True
    )  # (F, 2)
    draws = traitlets.Int().tag(sync=True)
    size = traitlets.Int(help="side of the images in pixels").tag(sync=True)
    grids = traitlets.List(traitlets.Int(), help="side of each tap's map").tag(sync=True)
    channels = traitlets.List(traitlets.Int(), help="of each tap").tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)  # (N,)
    boxes = traitlets.List().tag(sync=True)  # (N, 4) x0, y0, x1, y1
    chances = traitlets.List(traitlets.Float()).tag(sync=True)  # (N,)
    inside = traitlets.Bytes(help="the energy in the box of each position alone").tag(
        sync=True
    )  # (N, ΣK) float32
    above_zero = traitlets.Bytes(help="a bit a feature").tag(
        sync=True
    )  # each network's, image's, tap's (K, C)
    features = traitlets.Bytes(help="those above zero, in steps").tag(sync=True)  # uint8
    learned = traitlets.Bytes(help="for each network the parts of `LEARNED`, in order").tag(
        sync=True
    )  # float32
    guides = traitlets.Bytes(help="g as each tap sees it, the own first").tag(
        sync=True
    )  # (F, N, 1 + draws, ΣC) float32
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_networks(
        cls,
        networks: list[tuple[str, list[PayAttentionVGG]]],
        images: Float[Tensor, "N 1 S S"],
        labels: Int[Tensor, " N"],
        boxes: Int[Tensor, "N 4"],
    ) -> DoesGMatter:
        """Show networks, each with copies of it that differ from it behind the last tap only.

        Args:
            networks: of each its name, and a list of the network itself and then its copies.
            images: grey, in [0, 1].
            labels: which digit is in them.
            boxes: around it.

        Raises:
            ValueError: another number of labels or boxes than images; another number of copies than the first network
                has, or none; copies with other local features; a network whose logits are not one linear layer on
                normalised contexts of local features as they are.
        """
        if [len(labels), len(boxes)] != [len(images)] * 2:
            raise ValueError(
                f"expected {len(images)} labels and boxes, got {len(labels)} and {len(boxes)}"
            )
        counts = [len(versions) for _, versions in networks]
        if not counts or min(counts) < 2 or len(set(counts)) > 1:
            raise ValueError(
                f"expected each network with the same number of copies, at least one, got {counts}"
            )
        parts = [_parts(versions, images) for _, versions in networks]
        whole = np.concatenate([_in_steps(local, steps) for _, steps, local, _, _ in parts])
        size, (_, _, local, _, _) = images.shape[-1], parts[0]
        inside = []
        for l in (
            local
        ):  # enlarging a map is linear: its energy is the mean of that of each position, by weight
            positions, grid = l.shape[2] * l.shape[3], l.shape[2]
            alone = torch.eye(positions).view(positions, 1, grid, grid)
            regions = box_regions(boxes, size)
            inside.append(
                torch.stack([energy_inside(alone, r.expand(positions, 1, -1, -1)) for r in regions])
            )
        return cls(
            names=[name for name, _ in networks],
            kinds=[list(kind) for kind, *_ in parts],
            draws=counts[0] - 1,
            size=size,
            grids=[l.shape[2] for l in local],
            channels=[l.shape[1] for l in local],
            images=(images * 255).round().to(torch.uint8).numpy().tobytes(),
            labels=[str(int(label)) for label in labels],
            boxes=boxes.tolist(),
            chances=area_share(box_regions(boxes, size)).tolist(),
            inside=torch.cat(inside, dim=1).float().numpy().tobytes(),
            above_zero=np.packbits(whole > 0).tobytes(),
            features=whole[whole > 0].tobytes(),
            learned=b"".join(
                _floats(torch.cat(steps), *learned) for _, steps, _, learned, _ in parts
            ),
            guides=b"".join(_floats(guides) for *_, guides in parts),
        )


LEARNED = (
    "steps",
    "u",
    "scale",
    "shift",
    "weight",
    "bias",
)  # of sizes ΣC, ΣC, ΣC, ΣC, 10 · ΣC and 10


@torch.inference_mode()
def _parts(versions: list[PayAttentionVGG], images: Tensor) -> tuple:
    """Kind, steps, local features (N, C, H, W) by tap, what was learned, and g as the taps see it (N, 1+draws, ΣC)."""
    own, *_ = versions
    if own.norms is None or own.classifiers.head != "concat" or not own.attention or own.training:
        raise ValueError(
            "expected a network in evaluation mode with attention, normalised contexts and one classifier"
        )
    if not all(isinstance(layer.project_local, nn.Identity) for layer in own.attention):
        raise ValueError(
            "expected a network that leaves the local features as they are (project='down')"
        )
    local, seen = None, []
    for version in versions:
        taps, x = tapped(version.features, as_rgb(images, 32), version.pools, version.taps)
        if local is not None and not all(torch.equal(a, b) for a, b in zip(local, taps)):
            raise ValueError(
                "expected copies that differ behind the last tap only, got other local features"
            )
        local, g = taps, version.dense(x.mean(dim=(2, 3)))
        seen.append(torch.cat([layer.project_global(g) for layer in version.attention], dim=1))
    steps = [(l.amax(dim=(0, 2, 3)) / 255).clamp(min=1e-12) for l in local]
    layer, linear = own.attention[0], own.classifiers[0]
    pc = layer.compatibility == "pc"
    scale = torch.cat([n.weight / (n.running_var + n.eps).sqrt() for n in own.norms])
    shift = (
        torch.cat([n.bias for n in own.norms])
        - torch.cat([n.running_mean for n in own.norms]) * scale
    )
    u = torch.cat([a.u.weight.flatten() for a in own.attention]) if pc else torch.zeros_like(scale)
    kind = layer.compatibility, layer.alignment
    return (
        kind,
        steps,
        local,
        (u, scale, shift, linear.weight, linear.bias),
        torch.stack(seen, dim=1),
    )


def _in_steps(local: list[Tensor], steps: list[Tensor]) -> np.ndarray:
    """Features as whole numbers of steps, image by image, tap by tap, position by position."""
    whole = [
        (l / step[:, None, None]).round().to(torch.uint8).flatten(2).mT
        for l, step in zip(local, steps)
    ]
    return torch.cat([tap[n].flatten() for n in range(len(local[0])) for tap in whole]).numpy()


def _floats(*parts: Tensor) -> bytes:
    return torch.cat([part.detach().float().flatten() for part in parts]).numpy().tobytes()
