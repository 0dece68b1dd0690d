"""The traits of DoesGMatter: rounded features, learned parameters, and g for every version."""

import copy
import itertools

import pytest
import torch
from torch.testing import assert_close

from course_utils.widgets.does_g_matter import DoesGMatter
from tests.widgets import does_g_matter
from tests.widgets.does_g_matter import (
    BOXES,
    DRAWS,
    KINDS,
    SIZE,
    N,
    network,
    traits_of,
    with_guides,
)


@pytest.fixture
def parts():
    return does_g_matter.parts()


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
        ([one[0]], r"two or more, .*got \[1\]"),
        ([one[0], network(9)], "got other local features"),
        ([network(0, normalise=False)] * 2, "normalised contexts"),
        ([network(0, head="independent")] * 2, "one classifier"),
        ([copy.deepcopy(one[0]).train()] * 2, "evaluation mode"),
        ([network(0, project="up")] * 2, "project='down'"),
    ):
        with pytest.raises(ValueError, match=message):
            DoesGMatter.from_networks(*changed(parts, versions_))
    with pytest.raises(ValueError, match=r"got \[3, 2\]"):
        DoesGMatter.from_networks([("a", one), ("b", one[:2])], *parts[1:])
    with pytest.raises(ValueError, match="expected 2 labels and boxes, got 1 and 2"):
        DoesGMatter.from_networks(parts[0], parts[1], parts[2][:1], BOXES)
