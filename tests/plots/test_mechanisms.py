"""Drawings of kinds of attention: their maps and their shapes are those of the run."""

import itertools
import re
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
from tests.svg import area, covered_texts, cut_off, is_defined, meet, points, shades, texts

DOT = Attention(scores.scaled_multiplicative)
X = torch.randn(2, 8, 6, generator=torch.Generator().manual_seed(0))  # on a grid of 2 × 4
Q = torch.randn(2, 1, 6, generator=torch.Generator().manual_seed(1))
SCORES = X[0, :, 0]  # (8,)
NAMES = ["multi_dimensional", "self_attention", "heads", "hops", "class_queries", "soft_and_hard"]


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
    if name == "soft_and_hard":
        weights = SCORES.softmax(dim=0)
        return mechanisms.soft_and_hard(SCORES, weights, **{"drawn": 5} | grid)
    return mechanisms.class_queries(query_related.ClassQueries(DOT, 4, 6, 6), X, **grid)


@pytest.mark.parametrize(
    ("name", "maps", "shown"),
    [
        ("multi_dimensional", 3, ["(2, 1, 6)", "(2, 8, 6)", "(2, 1, 8, 6)", "feature 0"]),
        ("self_attention", 1, ["(2, 8, 6)", "(2, 8, 8)", "(2, 8, 5)"]),
        ("heads", 3, ["(2, 8, 6)", "(2, 1, 6)", "head 3", "2 features"]),
        ("hops", 2, ["the same keys and values, (2, 8, 6)", "hop 2", "(2, 1, 6)"]),
        ("class_queries", 3, ["4 maps a", "(2, 4, 8)", "(2, 4)", "is there a 2?"]),
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
    assert is_defined(drawing)


def test_the_maps_are_those_of_the_first_input():
    torch.manual_seed(0)
    attention = query_related.MultiHop(DOT, 2)
    drawing = mechanisms.hops(attention, Q, X, X, rows=2, caption="")
    weights = attention(Q, X, X).weights[0, :, 0]  # (2, 8)
    largest = [cells.index(max(cells)) for cells in shades(drawing)]
    assert largest == weights.argmax(dim=1).tolist()


def test_only_the_chosen_features_and_classes_are_drawn():
    by_feature = Counter(texts(draw("multi_dimensional", features=(5,))))
    assert by_feature["feature 5"] == 1
    assert not any(re.fullmatch("feature [0-4]", text) for text in by_feature)
    assert "is there a 3?" in texts(draw("class_queries", classes=(3, 1)))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "self_attention"])
def test_positions_that_form_no_grid_are_refused(name):
    with pytest.raises(ValueError, match="divide 8 positions, got 3 rows"):
        draw(name, rows=3)


def test_features_and_classes_and_positions_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match=r"features from 0 to 5, got \[6\]"):
        draw("multi_dimensional", features=[6])
    with pytest.raises(ValueError, match=r"classes from 0 to 3, got \[\]"):
        draw("class_queries", classes=[])
    with pytest.raises(ValueError, match=r"position from 0 to 7, got \[8\]"):
        draw("soft_and_hard", drawn=8)


def test_more_hops_than_fit_are_refused():
    with pytest.raises(ValueError, match="at most 4 hops, got 5"):
        mechanisms.hops(query_related.MultiHop(DOT, 5), Q, X, X, rows=2, caption="")


@pytest.mark.usefixtures("unchecked")
def test_each_score_needs_a_weight():
    with pytest.raises(ValueError, match=r"got \(7\) weights and \(8\) scores"):
        mechanisms.soft_and_hard(SCORES, SCORES[1:], 0, rows=1, caption="")


@pytest.mark.parametrize("drawn", [0, 5])
def test_hard_attention_marks_the_position_that_was_drawn(drawn):
    drawing = draw("soft_and_hard", drawn=drawn)
    _, soft, hard = shades(drawing)
    weights = SCORES.softmax(dim=0)
    expected = 0.05 + 0.95 * weights / weights.max()
    assert soft == pytest.approx(expected.tolist(), abs=0.01)
    assert hard == [float(i == drawn) for i in range(8)]


# Geometry: what a reader would see if a word were cut off, or two things lay over each other.


def layouts():
    """Drawings of square, wide and flat grids, with few maps and with many."""
    generator = torch.Generator().manual_seed(0)
    for rows, columns in ((8, 8), (8, 16), (1, 10)):
        x = torch.randn(100, rows * columns, 24, generator=generator)
        q = torch.randn(100, 1, 24, generator=generator)
        grid = {"rows": rows, "caption": ""}
        by_feature, by_class = (
            MultiDimensional(24, 24, 24, 24),
            query_related.ClassQueries(DOT, 10, 24, 24),
        )
        for n in (1, 2, 4):
            heads, hops = query_related.MultiHead(DOT, 24, n), query_related.MultiHop(DOT, n)
            yield mechanisms.heads(heads, q, x, x, **grid)
            yield mechanisms.hops(hops, q, x, x, **grid)
            yield mechanisms.multi_dimensional(by_feature, q, x, x, features=range(n), **grid)
            yield mechanisms.class_queries(by_class, x, classes=range(n), **grid)
        yield mechanisms.soft_and_hard(x[0, :, 0], x[0, :, 0].softmax(0), 0, **grid)
        yield mechanisms.self_attention(SelfAttention(DOT, 24, 24, 24), x, caption="")


@pytest.fixture(scope="module")
def drawn():
    torch.manual_seed(0)
    return list(layouts())


def test_nothing_is_cut_off(drawn):
    for drawing in drawn:
        width = float(drawing.svg.get("viewBox").split()[2])
        assert width == 740
        assert cut_off(drawing) == []


def test_no_text_lies_over_another_one_or_over_a_map(drawn):
    for drawing in drawn:
        assert covered_texts(drawing) == []


def test_maps_do_not_touch(drawn):
    for drawing in drawn:
        for one, other in itertools.combinations(list(drawing.svg.iter("g")), 2):
            assert not meet(area(one), area(other), margin=4)


def test_every_arrow_ends_at_something(drawn):
    for drawing in drawn:
        ends = [area(node) for node in drawing.svg if node.tag in ("g", "rect", "text")]
        for head in drawing.svg.iter("polygon"):
            x, y = points(head)[0]
            assert any(meet((x, y, x, y), end, margin=8) for end in ends), (x, y)
