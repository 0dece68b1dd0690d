"""What the widget of chapter 07 is given: features in steps, what was learned, and g for every version of a network."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from course_utils.attention.spatial import attend
from course_utils.models import PayAttentionVGG
from course_utils.widgets.does_g_matter import DoesGMatter

SIZE, N, DRAWS = 32, 2, 2
KINDS = (("pc", "softmax"), ("scaled_dp", "softmax"), ("pc", "sigmoid"), ("dp", "sigmoid"))
BOXES = torch.tensor([[3, 5, 14, 20], [12, 0, 31, 17]])


def network(seed, compatibility="pc", alignment="softmax", **options):
    """A small network whose every number is away from its start, in evaluation mode."""
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
    """Of one image and the widget's variant, in double precision: local features (1, C, H, W), and guides by version."""
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


@pytest.fixture
def parts():
    generator = torch.Generator().manual_seed(0)
    given = [(" + ".join(kind), some) for kind, some in zip(KINDS, networks())]
    return given, torch.rand(N, 1, SIZE, SIZE, generator=generator), torch.tensor([3, 7]), BOXES


@pytest.mark.parametrize("variant", range(len(KINDS)))
def test_the_traits_hold_the_networks(parts, variant):
    widget = DoesGMatter.from_networks(*parts)
    widget.variant = variant
    assert widget.kinds[variant] == list(KINDS[variant])
    assert (widget.draws, widget.size, widget.grids) == (DRAWS, SIZE, [32, 16, 8])
    for n, version in itertools.product(range(N), range(1 + DRAWS)):
        local, guides = traits_of(widget, n)
        with torch.no_grad():
            wanted = parts[0][variant][1][version](parts[1][n : n + 1])
        maps, logits = with_guides(parts[0][variant][1][0], local, guides[version])
        spread = wanted.logits.std().item()
        assert_close(
            logits.float(), wanted.logits, atol=0.03 * spread, rtol=0
        )  # features stand in 255 steps
        for a, b in zip(maps, wanted.maps):
            assert_close(a.float(), b, atol=0.03 * b.max().item(), rtol=0)


def test_with_pc_and_softmax_only_the_guides_differ(parts):
    widget = DoesGMatter.from_networks(*parts)
    local, guides = traits_of(widget, 0)
    model = parts[0][0][1][0]
    assert max((a - b).abs().max() for a, b in zip(guides[0], guides[1])) > 0.1
    (maps, logits), (others, moved) = (
        with_guides(model, local, guides[0]),
        with_guides(model, local, guides[1]),
    )
    assert_close(logits, moved, atol=1e-12, rtol=0)
    assert_close(maps, others, atol=1e-14, rtol=0)


def changed(parts, versions):
    return [([("a network", versions)]), *parts[1:]]


@pytest.mark.usefixtures("unchecked")
def test_what_it_cannot_show_is_refused(parts):
    one = parts[0][0][1]
    for versions_, message in (
        ([one[0]], r"at least one, got \[1\]"),
        ([one[0], network(9)], "got other local features"),
        ([network(0, normalise=False)] * 2, "normalised contexts"),
        ([network(0, head="independent")] * 2, "one classifier"),
        ([copy.deepcopy(one[0]).train()] * 2, "evaluation mode"),
        ([network(0, project="up")] * 2, "project='down'"),
    ):
        with pytest.raises(ValueError, match=message):
            DoesGMatter.from_networks(*changed(parts, versions_))
    with pytest.raises(ValueError, match=r"same number of copies.*got \[3, 2\]"):
        DoesGMatter.from_networks([("a", one), ("b", one[:2])], *parts[1:])
    with pytest.raises(ValueError, match="expected 2 labels and boxes, got 1 and 2"):
        DoesGMatter.from_networks(parts[0], parts[1], parts[2][:1], BOXES)
