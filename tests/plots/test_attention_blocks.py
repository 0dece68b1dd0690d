"""Drawings of attention blocks: shapes, maps and the kind of sum are those of the block's run."""

import itertools
import xml.etree.ElementTree as ET

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_utils import plots
from course_utils.attention.spatial import GridAttention, PayAttention
from course_utils.plots import attention_blocks
from tests.svg import SVG, area, covered_texts, cut_off, is_defined, meet, points, shades, texts

ALIGNMENTS = {"softmax": "sum", "sparsemax": "sum", "entmax": "sum", "sigmoid": "mean"}
COMPATIBILITIES = ["pc", "dp", "scaled_dp"]
IMAGE = torch.rand(1, 16, 24, generator=torch.Generator().manual_seed(0))


def features(*shape):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(sum(shape)))


def grid_block(size=(8, 8), small=(2, 2), *, channels=(5, 7, 6), alignment="softmax", image=None):
    """A block with local, guiding and hidden channels, its inputs, and its drawing."""
    torch.manual_seed(0)
    local, deep, hidden = channels
    block = GridAttention(local, deep, hidden, alignment)
    l, g = features(local, *size), features(deep, *small)
    return block, l, g, attention_blocks.grid_attention(block, l, g, caption="A.", image=image)


def pay_block(size=(8, 8), *, local=5, deep=7, compatibility="pc", image=None, **options):
    torch.manual_seed(0)
    layer = PayAttention(local, deep, compatibility, **options)
    l, g = features(local, *size), features(deep)
    return layer, l, g, attention_blocks.pay_attention(layer, l, g, caption="A.", image=image)


def words(drawing):
    return [text.replace("\u2009", " ") for text in texts(drawing)]


def written(*sizes):
    return " × ".join(map(str, sizes))


SIDES = st.integers(1, 9)


@settings(max_examples=15, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.tuples(SIDES, SIDES, SIDES))
def test_the_shapes_of_a_grid_block_are_those_of_its_tensors(height, width, h, w, channels):
    found = words(grid_block((height, width), (h, w), channels=channels)[-1])
    local, deep, hidden = channels
    assert found.count("1 × 1 conv") == 3
    assert {written(local, height, width), written(deep, h, w), written(hidden, h, w)} <= set(found)
    assert found.count(written(hidden, height, width)) >= 3  # out of W_l, up and ReLU
    assert found.count(written(1, height, width)) >= 2  # scores and weights
    assert f"l itself,  {written(local, height, width)}" in found
    assert f"over {height * width} positions" in found
    assert f"context c,  {local}" in found


@pytest.mark.parametrize("compatibility", COMPATIBILITIES)
@pytest.mark.parametrize(
    ("deep", "project", "layers", "context", "values"),
    [
        (7, "down", {"linear"}, 5, "l itself,  5 × 4 × 6"),
        (7, "up", {"1 × 1 conv"}, 7, "projected l,  7 × 4 × 6"),
        (5, "down", set(), 5, "l itself,  5 × 4 × 6"),
    ],
)
def test_the_shapes_of_a_pay_block_are_those_of_its_tensors(
    compatibility, deep, project, layers, context, values
):
    *_, drawing = pay_block((4, 6), deep=deep, compatibility=compatibility, project=project)
    found = words(drawing)
    assert {"linear", "1 × 1 conv"} & set(found) == layers
    assert found.count(written(1, 4, 6)) == 2
    assert {written(5, 4, 6), str(deep), "at 24 positions", values} <= set(found)
    assert f"context c,  {context}" in found
    assert ("the same g" in found) == (f"u: {context}" in found) == (compatibility == "pc")
    assert (f"÷ √{context}" in found) == (compatibility == "scaled_dp")
    assert ("dot product" in found) == (compatibility != "pc")


@pytest.mark.parametrize("compatibility", COMPATIBILITIES)
def test_as_many_vectors_of_g_as_of_l_are_drawn_where_g_is_added(compatibility):
    *_, drawing = pay_block(deep=5, compatibility=compatibility)
    cells = {
        symbol: sum(
            node.get("fill") == plots.SYMBOL_COLOURS[symbol] and node.get("height") == "10"
            for node in drawing.svg.iter("rect")
        )
        for symbol in ("l", "g")
    }
    assert cells == {"l": 6 * 5, "g": 6 * (1 + (5 if compatibility == "pc" else 0))}


@pytest.mark.parametrize(("alignment", "combination"), ALIGNMENTS.items())
@pytest.mark.parametrize("kind", [grid_block, pay_block])
def test_the_sum_or_the_mean_is_named_as_the_block_computes_it(kind, alignment, combination):
    block, l, g, drawing = kind(alignment=alignment)
    context, weights = block(l, g)
    total = getattr(weights * l, combination)(dim=(2, 3))
    assert torch.allclose(context, total, atol=1e-6)
    found = words(drawing)
    assert f"{combination} of ai li" in found
    assert alignment in found
    assert f"the {combination} of" in drawing.alt


@pytest.mark.parametrize("kind", [grid_block, pay_block])
def test_the_grids_are_the_maps_of_the_first_input(kind):
    block, l, g, drawing = kind()
    scores, weights = block.scores(l, g)[0].flatten(), block(l, g)[1][0].flatten()
    found = {g.get("fill"): cells for g, cells in zip(drawing.svg.iter("g"), shades(drawing))}
    ranged = (scores - scores.min()) / (scores.max() - scores.min())
    for symbol, expected in (("scores", ranged), ("weights", weights / weights.max())):
        opacities = (0.05 + 0.95 * expected).tolist()
        assert found[plots.SYMBOL_COLOURS[symbol]] == pytest.approx(opacities, abs=0.01)
    strength = l[0].abs().mean(dim=0).flatten()
    opacities = (0.8 * strength / strength.max()).tolist()
    assert found[plots.SYMBOL_COLOURS["l"]] == pytest.approx(opacities, abs=0.01)
    for largest in (scores.max().item(), weights.max().item()):
        assert f"largest {largest:.2g}".replace("-", "−") in words(drawing)


@pytest.mark.parametrize(
    ("bias", "number"), [(1234.5, "1234"), (-0.25, "−0.25"), (3e-5, "< 0.0001"), (0.0, "0")]
)
def test_numbers_are_short(bias, number):
    block = GridAttention(2, 2, 2)
    nn.init.zeros_(block.score.weight)
    nn.init.constant_(block.score.bias, bias)
    drawing = attention_blocks.grid_attention(
        block, features(2, 4, 4), features(2, 1, 1), caption=""
    )
    assert f"largest {number}" in words(drawing)
    assert is_defined(drawing)


def test_the_block_is_left_as_it_was():
    block, l, g, _ = grid_block()
    assert not any(module._forward_hooks for module in block.modules())
    assert block.training
    with pytest.raises(ValueError, match="can't be run on"):
        attention_blocks.grid_attention(block, l[:, :3], g, caption="")
    assert not any(module._forward_hooks for module in block.modules())


def test_an_image_is_shown_only_if_it_is_given():
    for kind in (grid_block, pay_block):
        without, shown = (list(kind(image=i)[-1].svg.iter("image")) for i in (None, IMAGE))
        assert (len(without), len(shown)) == (0, 1)


# What is refused.


@pytest.mark.usefixtures("unchecked")
def test_another_kind_of_block_is_refused():
    pay, l, g, _ = pay_block()
    with pytest.raises(ValueError, match=r"like GridAttention, got PayAttention, .* no score$"):
        attention_blocks.grid_attention(pay, l, g, caption="")
    with pytest.raises(ValueError, match=r"like PayAttention, got Linear, .*project_local"):
        attention_blocks.pay_attention(nn.Linear(2, 2), l, g, caption="")


@pytest.mark.usefixtures("unchecked")
def test_inputs_that_do_not_fit_are_refused():
    block, l, g, _ = grid_block()
    with pytest.raises(ValueError, match=r"shape \(B, D, h, w\), got .* g of shape \(2, 7\)"):
        attention_blocks.grid_attention(block, l, g[..., 0, 0], caption="")
    with pytest.raises(ValueError, match=r"can't be run on .*\(2, 7, 2, 2\) and .*\(2, 5, 8, 8\)"):
        attention_blocks.grid_attention(block, g, l, caption="")
    pay, l, g, _ = pay_block()
    with pytest.raises(ValueError, match=r"shape \(B, D\), got l of shape \(5, 8, 8\)"):
        attention_blocks.pay_attention(pay, l[0], g, caption="")
    with pytest.raises(ValueError, match="finite scores"):
        attention_blocks.pay_attention(pay, l, g / 0, caption="")
    with pytest.raises(ValueError, match=r"values in \[0, 1\]"):
        attention_blocks.pay_attention(pay, l, g, caption="", image=255 * IMAGE)


# How it looks: text and colours as in the other drawings, and nothing over anything else.


def layouts():
    """Drawings of square, wide, tall and single-cell grids, with few channels and with many."""
    for size, small in (((28, 28), (7, 7)), ((8, 8), (2, 2)), ((3, 9), (1, 3)), ((9, 2), (1, 1))):
        for image in (None, IMAGE, IMAGE.mT):
            for alignment in ALIGNMENTS:
                yield grid_block(
                    size, small, channels=(256, 512, 256), alignment=alignment, image=image
                )[-1]
            for compatibility, project in itertools.product(COMPATIBILITIES, ("down", "up")):
                yield pay_block(
                    size,
                    local=256,
                    deep=512,
                    compatibility=compatibility,
                    project=project,
                    image=image,
                )[-1]
    yield grid_block((1, 1), (1, 1))[-1]
    yield pay_block((1, 1), deep=5)[-1]
    yield pay_block((32, 32), deep=5)[-1]


@pytest.fixture(scope="module")
def drawn():
    return list(layouts())


def test_nothing_is_cut_off(drawn):
    for drawing in drawn:
        width = float(drawing.svg.get("viewBox").split()[2])
        assert width in (740, 840)
        assert cut_off(drawing) == []


def test_no_text_lies_over_another_one_or_over_a_grid(drawn):
    for drawing in drawn:
        assert covered_texts(drawing) == []


def test_every_arrow_ends_at_something(drawn):
    for drawing in drawn:
        ends = [area(node) for node in drawing.svg if node.tag in ("g", "rect")]
        for head in drawing.svg.iter("polygon"):
            x, y = points(head)[0]
            assert any(meet((x, y, x, y), end, margin=8) for end in ends), (x, y)


def test_the_local_features_go_round_to_the_sum(drawn):
    colour = plots.SYMBOL_COLOURS["l"]
    for drawing in drawn:
        (box,) = [
            area(node)
            for node in drawing.svg.findall("rect")
            if node.get("fill") == plots.SYMBOL_COLOURS["context"] and node.get("height") == "48"
        ]
        ends = [points(n)[-1] for n in drawing.svg.iter("polyline") if n.get("stroke") == colour]
        assert any(meet((*end, *end), box, margin=9) for end in ends)


def test_colours_are_those_of_the_symbols_and_text_has_that_of_the_page(drawn):
    known = {"currentColor", "none", *plots.SYMBOL_COLOURS.values()}
    for drawing in drawn:
        root = ET.fromstring(str(drawing))
        assert {node.get("fill") for node in root.iter() if node.get("fill")} <= known
        assert {node.get("stroke") for node in root.iter() if node.get("stroke")} <= known
        assert not any(node.get("fill") for node in root.iter(f"{SVG}text"))
        assert {float(node.get("font-size")) for node in root.iter(f"{SVG}text")} <= {13, 15, 22}
        assert len(drawing.alt) > 60
        assert drawing.caption == "A."
