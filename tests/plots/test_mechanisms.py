"""Drawings of kinds of attention: their maps and their shapes are those of the run."""

import re
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
import torch

from course_utils.attention import (
    Attention,
    MultiDimensional,
    SelfAttention,
    query_related,
    scores,
)
from course_utils.plots import mechanisms

SVG = "{http://www.w3.org/2000/svg}"
DOT = Attention(scores.scaled_multiplicative)
X = torch.randn(2, 8, 6, generator=torch.Generator().manual_seed(0))  # on a grid of 2 × 4
Q = torch.randn(2, 1, 6, generator=torch.Generator().manual_seed(1))


def draw(name, **changed):
    torch.manual_seed(0)
    grid = {"rows": 2, "caption": "A caption."} | changed
    if name == "multi_dimensional":
        return mechanisms.multi_dimensional(MultiDimensional(6, 6, 6, 6), Q, X, X, **grid)
    if name == "self_attention":
        return mechanisms.self_attention(SelfAttention(DOT, 6, 6, 5), X, caption="A caption.")
    if name == "heads":
        return mechanisms.heads(query_related.MultiHead(DOT, 6, 3), Q, X, X, **grid)
    if name == "hops":
        return mechanisms.hops(query_related.MultiHop(DOT, 2), Q, X, X, **grid)
    return mechanisms.class_queries(query_related.ClassQueries(DOT, 4, 6, 6), X, **grid)


def texts(drawing):
    return ["".join(node.itertext()) for node in drawing.svg.iter(f"{SVG}text")] or [
        "".join(node.itertext()) for node in drawing.svg.iter("text")
    ]


def shades(drawing):
    """The opacities of the cells of each grid."""
    groups = [g for g in ET.fromstring(str(drawing)).iter(f"{SVG}g")]
    return [[float(cell.get("fill-opacity")) for cell in g] for g in groups]


@pytest.mark.parametrize(
    ("name", "maps", "shown"),
    [
        ("multi_dimensional", 3, ["query (2, 1, 6)", "keys (2, 8, 6)", "feature 0", "(2, 1, 6)"]),
        ("self_attention", 1, ["(2, 8, 6)", "(2, 8, 8)", "(2, 8, 5)"]),
        ("heads", 3, ["values (2, 8, 6)", "head 3", "2 features each"]),
        ("hops", 2, ["the same keys and values, (2, 8, 6)", "hop 2", "(2, 1, 6)"]),
        ("class_queries", 3, ["weights a, (2, 4, 8)", "is there a 2?"]),
    ],
)
def test_a_drawing_has_the_maps_and_shapes_of_the_run(name, maps, shown):
    drawing = draw(name)
    found = shades(drawing)
    assert len(found) == maps
    assert all(max(cells) == 1 for cells in found)  # the largest weight of each map
    assert set(shown) <= set(texts(drawing))
    assert drawing.caption == "A caption."
    assert len(drawing.alt) > 60
    assert "nan" not in str(drawing)


def test_the_maps_are_those_of_the_first_input():
    torch.manual_seed(0)
    attention = query_related.MultiHop(DOT, 2)
    drawing = mechanisms.hops(attention, Q, X, X, rows=2, caption="")
    weights = attention(Q, X, X).weights[0, :, 0]  # (2, 8)
    largest = [cells.index(max(cells)) for cells in shades(drawing)]
    assert largest == weights.argmax(dim=1).tolist()


def test_only_the_chosen_features_and_classes_are_drawn():
    by_feature = Counter(texts(draw("multi_dimensional", features=(5,))))
    assert by_feature["feature 5"] == 2  # above the map, and what is averaged with it
    assert not any(re.fullmatch("feature [0-4]", text) for text in by_feature)
    assert "is there a 3?" in texts(draw("class_queries", classes=(3, 1)))


@pytest.mark.parametrize("name", ["multi_dimensional", "heads", "hops", "class_queries"])
def test_positions_that_form_no_grid_are_refused(name):
    with pytest.raises(ValueError, match="divide 8 positions, got 3 rows"):
        draw(name, rows=3)
