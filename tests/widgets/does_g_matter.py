"""Helpers that the tests of DoesGMatter share."""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_utils.attention.spatial import attend
from course_utils.models import PayAttentionVGG

SIZE, N, DRAWS = 32, 2, 2
KINDS = (("pc", "softmax"), ("scaled_dp", "softmax"), ("pc", "sigmoid"), ("dp", "sigmoid"))
BOXES = torch.tensor([[3, 5, 14, 20], [12, 0, 31, 17]])


def network(seed, compatibility="pc", alignment="softmax", **options):
    """A small network in evaluation mode, in which no parameter has its initial value."""
    torch.manual_seed(seed)
    options = {"width": 0.02, "compatibility": compatibility, "alignment": alignment, **options}
    model = PayAttentionVGG(10, **options).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.4)
    nn.init.normal_(model.classifiers[0].weight)
    nn.init.normal_(model.dense.bias)
    return model


def versions(model):
    """The network, and copies with other layers behind the last tap."""
    copies = [copy.deepcopy(model) for _ in range(DRAWS)]
    for seed, other in enumerate(copies):
        torch.manual_seed(seed)
        nn.init.normal_(other.dense.weight, std=0.2)
        nn.init.normal_(other.features[42].weight, std=0.2)
    return [model, *copies]


def networks():
    return [versions(network(seed, *kind)) for seed, kind in enumerate(KINDS)]


def traits_of(widget, n):
    """Local features (1, C, H, W) and guides by version, of one image and the widget's variant."""
    local, at, all_channels = [], 0, sum(widget.channels)
    length = sum(c * side**2 for c, side in zip(widget.channels, widget.grids))
    learned = np.frombuffer(widget.learned, np.float32).reshape(len(widget.names), -1)[
        widget.variant
    ]
    steps = torch.from_numpy(learned[:all_channels].copy()).double().split(widget.channels)
    whole = np.unpackbits(np.frombuffer(widget.above_zero, np.uint8))
    whole[whole > 0] = np.frombuffer(widget.features, np.uint8)
    whole = whole[(widget.variant * N + n) * length :]
    for c, side, step in zip(widget.channels, widget.grids, steps):
        tap = torch.from_numpy(whole[at : at + c * side**2].copy()).double()
        local.append((tap.view(-1, c) * step).T.view(1, c, side, side))
        at += c * side**2
    guides = np.frombuffer(widget.guides, np.float32).reshape(
        len(widget.names), N, 1 + DRAWS, all_channels
    )
    guides = torch.from_numpy(guides[widget.variant, n].copy()).double()
    return local, [version.split(widget.channels) for version in guides]


def with_guides(model, local, guides):
    """Maps and logits (1, 10) of a network in double precision whose taps see the given guides."""
    model = copy.deepcopy(model).double()
    maps, logits = [], model.classifiers[0].bias[None]
    weights = model.classifiers[0].weight.split([l.shape[1] for l in local], dim=1)
    for layer, norm, weight, l, g in zip(model.attention, model.norms, weights, local, guides):
        g = g[None, :, None, None]
        scores = layer.u(l + g) if layer.compatibility == "pc" else (l * g).sum(dim=1, keepdim=True)
        if layer.compatibility == "scaled_dp":
            scores = scores / l.shape[1] ** 0.5
        context, a = attend(scores, l, layer.alignment)
        maps.append(a.detach())
        logits = logits + F.relu(norm(context)) @ weight.T
    return maps, logits.detach()


def parts():
    """The arguments of `from_networks`."""
    generator = torch.Generator().manual_seed(0)
    named = [(" + ".join(kind), some) for kind, some in zip(KINDS, networks())]
    return named, torch.rand(N, 1, SIZE, SIZE, generator=generator), torch.tensor([3, 7]), BOXES
