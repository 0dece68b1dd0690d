"""Drawings of self-attention in CNNs: shapes, maps and numbers are those of the module's run."""

import copy
import itertools
import math
import xml.etree.ElementTree as ET

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_utils import plots
from course_utils.attention.non_local import GlobalContext, NonLocal
from course_utils.models.vision_transformer import VisionTransformer
from course_utils.plots import self_attention_blocks
from tests.svg import SVG, area, covered_texts, cut_off, is_defined, meet, points, shades, texts

SIMILARITIES = ["embedded_gaussian", "dot_product"]


def features(*shape):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(sum(shape)))


def picture(height, width, channels=1):
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(0))


def non_local(size=(8, 8), channels=6, *, image=None, query=None, **options):
    """A non-local block, its input, and its drawing."""
    torch.manual_seed(0)
    block, x = NonLocal(channels, **options), features(channels, *size)
    return (
        block,
        x,
        self_attention_blocks.non_local(block, x, caption="A.", image=image, query=query),
    )


def global_context(size=(8, 8), channels=6, *, image=None):
    torch.manual_seed(0)
    block, x = GlobalContext(channels), features(channels, *size)
    return block, x, self_attention_blocks.global_context(block, x, caption="A.", image=image)


def vision_transformer(size=(64, 64), *, channels=1, **options):
    torch.manual_seed(0)
    model = VisionTransformer(10, **{"depth": 4, "heads": 4, "width": 0.125} | options)
    images = picture(*size, channels)[None].expand(2, -1, -1, -1)
    return model, images, self_attention_blocks.vision_transformer(model, images, caption="A.")


def words(drawing):
    return [text.replace("\u2009", " ") for text in texts(drawing)]


def written(*sizes):
    return " × ".join(map(str, sizes))


def cells(drawing, symbol):
    """The opacities of the grids with the colour of a symbol."""
    colours = [g.get("fill") for g in drawing.svg.iter("g")]
    found = zip(colours, shades(drawing))
    return [of_grid for colour, of_grid in found if colour == plots.SYMBOL_COLOURS[symbol]]


SIDES = st.integers(1, 9)


@settings(max_examples=15, deadline=None)
@given(SIDES, SIDES, SIDES, st.sampled_from(SIMILARITIES), st.sampled_from([None, 3]))
def test_the_shapes_of_a_non_local_block_are_those_of_its_tensors(
    height, width, channels, similarity, reach
):
    *_, drawing = non_local((height, width), channels, similarity=similarity, reach=reach)
    found = words(drawing)
    inner, count = max(1, channels // 2), height * width
    assert found.count(written(channels, height, width)) >= 2  # l, and out of W_z
    assert found.count(written(inner, height, width)) >= 4  # q, k, v and the contexts
    assert f"z,  {written(channels, height, width)}" in found
    assert f"K × K = {written(count, count)}" in found
    assert f"K = {height} · {width} positions" in found
    assert f"over {count} positions j" in found
    assert f"one row, as {written(height, width)}" in found
    assert is_defined(drawing)


@settings(max_examples=15, deadline=None)
@given(SIDES, SIDES, st.integers(1, 200))
def test_the_shapes_of_a_global_context_block_are_those_of_its_tensors(height, width, channels):
    block, _, drawing = global_context((height, width), channels)
    found = words(drawing)
    assert {written(channels, height, width), written(1, height, width)} <= set(found)
    assert found.count(str(block.transform[0].out_features)) >= 2
    assert found.count(str(channels)) >= 2
    assert found.count(f"over {height * width} positions") == 2
    assert is_defined(drawing)


def test_a_vision_transformer_has_the_shapes_of_the_course_s_network():
    *_, drawing = vision_transformer()
    found = words(drawing)
    expected = {"1 × 64 × 64", "8 × 8 patches", "192 → 96", "65 × 96", "one of 4 blocks"}
    expected |= {"norm, 4 heads", "norm, 384 units", "10", "block 4"}
    assert expected <= set(found)
    assert found.count("MLP") == 1 + 4  # the heading, and four of the tokens


@pytest.mark.parametrize(
    ("size", "grid", "rows"),
    [((8, 8), (1, 1), 2), ((8, 23), (1, 2), 3), ((24, 9), (3, 1), 4), ((70, 33), (8, 4), 4)],
)
def test_a_vision_transformer_is_drawn_for_other_sizes(size, grid, rows):
    *_, drawing = vision_transformer(size, channels=3, depth=1, heads=1)
    found = words(drawing)
    expected = {written(3, *size), f"{written(*grid)} patches", written(1 + math.prod(grid), 96)}
    assert expected | {"one block", "norm, 1 head"} <= set(found)
    assert found.count("MLP") == 1 + rows
    assert ("⋮" in found) == (math.prod(grid) > 3)


def test_softmax_is_named_only_where_there_is_one():
    gaussian, dot = (words(non_local(similarity=name)[-1]) for name in SIMILARITIES)
    assert {"softmax", "of each row", "scores  qi · kj ÷ √3"} <= set(gaussian)
    assert {"no softmax", "÷ 64", "scores  qi · kj"} <= set(dot)
    assert not {"softmax", "no softmax"} & (set(dot) - {"no softmax"})
    assert "without a softmax" in non_local(similarity="dot_product")[-1].alt


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_relative_positions_appear_with_a_reach(similarity):
    without, shown = (non_local(similarity=similarity, reach=reach)[-1] for reach in (None, 5))
    assert "positions" not in words(without)
    assert {"positions", "up to 5 away", "+"} <= set(words(shown))
    assert "relative positions" in shown.alt
    assert "relative positions" not in without.alt


@pytest.mark.parametrize("image", [None, picture(16, 24), picture(9, 13, 3)])
@pytest.mark.parametrize("reach", [None, 2])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_the_map_is_the_row_of_the_chosen_position(similarity, reach, image):
    block, x, drawing = non_local(
        (4, 6), similarity=similarity, reach=reach, query=(2, 3), image=image
    )
    row = block.weights(x)[0, 2 * 6 + 3]
    strongest = 0.95 if image is None else 0.8
    expected = strongest * row / row.abs().max()
    assert cells(drawing, "weights")[0] == pytest.approx(expected.clamp(min=0).tolist(), abs=0.01)
    if row.min() < 0:
        (negative,) = cells(drawing, "scores")
        assert negative == pytest.approx((-expected).clamp(min=0).tolist(), abs=0.01)
        smallest = f"{row.min():.2g}".replace("-", "−")
        assert f"largest {row.max():.2g}, smallest {smallest} (grey)" in words(drawing)
    else:
        assert cells(drawing, "scores") == []
        assert f"largest {row.max():.2g}" in words(drawing)


def test_the_contexts_are_those_of_the_block():
    block, x, drawing = non_local((4, 6))
    values = block.project_value(x[:1]).flatten(2).mT
    contexts = (block.weights(x[:1]) @ values)[0]  # (K, C / 2)
    strength = contexts.abs().mean(dim=1)
    expected = (0.8 * strength / strength.max()).tolist()
    assert cells(drawing, "context")[0] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_the_scores_are_those_that_give_the_weights(similarity):
    block, x, _ = non_local((3, 5), similarity=similarity, reach=2)
    run = self_attention_blocks._run_non_local(block, x, None)
    aligned = run.scores.softmax(dim=1) if run.softmax else run.scores / 15
    torch.testing.assert_close(run.weights, aligned)


def test_the_strongest_position_is_marked_if_none_is_chosen():
    block, x, _ = non_local((4, 6))
    x[0, :, 1, 4] = 50
    run = self_attention_blocks._run_non_local(block, x, None)
    assert run.query == (1, 4)
    assert self_attention_blocks._run_non_local(block, x, (0, 2)).query == (0, 2)


def test_lines_lead_from_the_largest_weights_to_the_marked_position():
    block, x, drawing = non_local((4, 6), query=(3, 0))
    row = block.weights(x)[0, 18]
    largest = [i for i in row.topk(6).indices.tolist() if i != 18]
    colour = plots.SYMBOL_COLOURS["value"]
    *lines, _ = [points(n) for n in drawing.svg.iter("polyline") if n.get("stroke") == colour]
    cell = 216 / 6
    found = [
        (3 + round((start[1] - end[1]) / cell)) * 6 + round((start[0] - end[0]) / cell)
        for start, end in lines
    ]
    assert found == largest


def test_the_map_of_a_global_context_block_is_that_of_the_first_input():
    block, x, drawing = global_context((4, 6))
    weights = block.weights(x)[0].flatten()
    expected = (0.95 * weights / weights.max()).tolist()
    assert cells(drawing, "weights")[0] == pytest.approx(expected, abs=0.01)
    assert f"largest {weights.max():.2g}" in words(drawing)


def test_the_map_of_a_vision_transformer_is_what_the_class_token_reads_in_the_last_block():
    model, images, drawing = vision_transformer()
    last = model(images).maps[-1][0].flatten()
    expected = (0.8 * last / last.max()).tolist()
    assert cells(drawing, "weights")[0] == pytest.approx(expected, abs=0.01)
    assert f"largest {last.max():.2g}" in words(drawing)


def test_the_attention_lines_of_a_vision_transformer_are_as_thick_as_the_weights():
    model, images, drawing = vision_transformer()
    weights = model.encode(images).weights[-1][0].mean(dim=0)
    shown = weights[[0, 1, 2, 64]][:, [0, 1, 2, 64]]
    colour = plots.SYMBOL_COLOURS["weights"]
    thick = [
        float(n.get("stroke-width"))
        for n in drawing.svg.iter("polyline")
        if n.get("stroke") == colour
    ]
    assert thick == pytest.approx((0.6 + 2.4 * shown / shown.max()).flatten().tolist(), abs=1e-3)


@pytest.mark.parametrize("draw", [non_local, global_context, vision_transformer])
def test_the_module_is_left_as_it_was(draw):
    module, x, _ = draw()
    before = copy.deepcopy(module.state_dict())
    name = draw.__name__
    getattr(self_attention_blocks, name)(module, x, caption="")
    assert module.training
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key]), key  # also the statistics of the batch norm


def test_the_patches_lie_apart_and_hold_the_image():
    model, _, _ = vision_transformer()
    images = torch.ones(1, 1, 64, 64)
    run = self_attention_blocks._run_transformer(model, images)
    cut = self_attention_blocks._in_patches(run)
    assert cut.shape == (4, 126, 126)
    opaque = cut[3]
    assert opaque[:14, :14].eq(1).all()
    assert opaque[14:16].eq(0).all()
    assert opaque[:, 14:16].eq(0).all()
    assert opaque.sum() == 64 * 14**2


# What is refused.


@pytest.mark.usefixtures("unchecked")
def test_modules_of_another_kind_are_refused():
    x, images = features(6, 4, 4), torch.rand(1, 1, 64, 64)
    with pytest.raises(ValueError, match=r"like NonLocal, got GlobalContext, .*no project_query"):
        self_attention_blocks.non_local(GlobalContext(6), x, caption="")
    with pytest.raises(ValueError, match=r"like GlobalContext, got NonLocal, .*no score"):
        self_attention_blocks.global_context(NonLocal(6), x, caption="")
    with pytest.raises(ValueError, match=r"like VisionTransformer, got Linear, .*no embed"):
        self_attention_blocks.vision_transformer(nn.Linear(2, 2), images, caption="")


@pytest.mark.usefixtures("unchecked")
def test_inputs_that_do_not_fit_are_refused():
    x = features(6, 4, 4)
    for draw, block in (
        (self_attention_blocks.non_local, NonLocal(6)),
        (self_attention_blocks.global_context, GlobalContext(6)),
    ):
        with pytest.raises(ValueError, match=r"\(B, C, H, W\), got \(6, 4, 4\)"):
            draw(block, x[0], caption="")
        with pytest.raises(ValueError, match=r"got \(1, 3, 4, 4\)"):
            draw(block, x[:, :3], caption="")
        with pytest.raises(ValueError, match="finite weights"):
            draw(block, x / 0, caption="")
        with pytest.raises(ValueError, match=r"values in \[0, 1\]"):
            draw(block, x, caption="", image=255 * picture(16, 16))
    for query in ((4, 0), (0, 4), (-1, 0)):
        with pytest.raises(ValueError, match="in 4 rows and 4 columns, got"):
            self_attention_blocks.non_local(NonLocal(6), x, caption="", query=query)


@pytest.mark.usefixtures("unchecked")
def test_images_that_a_transformer_can_not_read_are_refused():
    model, *_ = vision_transformer()
    for images in (torch.rand(1, 1, 7, 64), torch.rand(1, 2, 64, 64), 2 * torch.ones(1, 1, 64, 64)):
        with pytest.raises(ValueError, match=r"got .*(7|2)"):
            self_attention_blocks.vision_transformer(model, images, caption="")


# How it looks: text and colours as in the other drawings, and nothing over anything else.


def layouts():
    """Drawings of square, wide, tall and single-cell maps, with few channels and with many."""
    for size in ((8, 8), (16, 16), (3, 9), (9, 2), (1, 1), (1, 12), (12, 1)):
        for image in (None, picture(4 * size[0] + 1, 4 * size[1])):
            for similarity, reach in itertools.product(SIMILARITIES, (None, 7)):
                options = {"similarity": similarity, "reach": reach, "image": image}
                yield non_local(size, 512, **options)[-1]
            yield global_context(size, 512, image=image)[-1]
    yield non_local(channels=1)[-1]
    yield global_context(channels=1)[-1]
    for size in ((8, 8), (8, 16), (24, 8), (64, 64), (64, 128), (128, 24)):
        yield vision_transformer(size)[-1]
    yield vision_transformer((64, 64), width=0.5, heads=12, depth=12, channels=3)[-1]


@pytest.fixture(scope="module")
def drawn():
    return list(layouts())


def test_nothing_is_cut_off(drawn):
    for drawing in drawn:
        assert float(drawing.svg.get("viewBox").split()[2]) == 740
        assert cut_off(drawing) == []


def test_no_text_lies_over_another_one_or_over_a_grid(drawn):
    for drawing in drawn:
        assert covered_texts(drawing) == []


def of_picture(node):
    x, y, width, height = (float(node.get(name)) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def test_every_arrow_ends_at_something(drawn):
    for drawing in drawn:
        ends = [area(node) for node in drawing.svg if node.tag in ("g", "rect", "text")]
        ends += [of_picture(node) for node in drawing.svg.iter("image")]
        for head in drawing.svg.iter("polygon"):
            x, y = points(head)[0]
            assert any(meet((x, y, x, y), end, margin=13) for end in ends), (x, y)


def test_colours_are_those_of_the_symbols_and_text_has_that_of_the_page(drawn):
    edges = {"black", "white"}  # of frames, and of lines on pictures
    known = {"currentColor", "none", *plots.SYMBOL_COLOURS.values()}
    for drawing in drawn:
        root = ET.fromstring(str(drawing))
        assert {node.get("fill") for node in root.iter() if node.get("fill")} <= known
        assert {node.get("stroke") for node in root.iter() if node.get("stroke")} <= known | edges
        assert not any(node.get("fill") for node in root.iter(f"{SVG}text"))
        assert {float(node.get("font-size")) for node in root.iter(f"{SVG}text")} <= {13, 15}
        assert len(drawing.alt) > 60
        assert drawing.caption == "A."
