"""Drawings of gates: shapes, bars and maps are those of the gate's run."""

import xml.etree.ElementTree as ET

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models.resnet import BasicBlock

from course_utils import plots
from course_utils.attention.gates import (
    CBAM,
    ECA,
    ChannelAttention,
    CoordinateAttention,
    SpatialAttention,
    SqueezeExcitation,
    Streamlined,
)
from course_utils.models import ResNet, insert
from course_utils.plots import Diagram, gate_blocks
from tests.svg import SVG, area, covered_texts, cut_off, is_defined, meet, points, shades, texts

DRAWINGS = {
    SqueezeExcitation: gate_blocks.squeeze_excitation,
    ECA: gate_blocks.eca,
    CBAM: gate_blocks.cbam,
    CoordinateAttention: gate_blocks.coordinate_attention,
}
IMAGE = torch.rand(1, 16, 24, generator=torch.Generator().manual_seed(0))
SIDES = st.integers(1, 9)


def features(*shape):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(sum(shape)))


def drawn(kind, channels=8, size=(6, 6), *, trained=False, **options):
    """A gate, features, and the drawing; a trained gate has larger and uneven weights."""
    torch.manual_seed(0)
    gate = kind(channels, **options)
    if trained:
        with torch.no_grad():
            for parameter in gate.parameters():
                parameter.mul_(8)
    x = features(channels, *size)
    return gate, x, DRAWINGS[kind](gate, x, caption="A.")


def residual(gate=SqueezeExcitation, inputs=8, outputs=8, stride=1, size=(6, 6), image=None):
    torch.manual_seed(0)
    shortcut = None
    if (inputs, stride) != (outputs, 1):
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )
    block = BasicBlock(inputs, outputs, stride, shortcut)
    insert(nn.ModuleList([block]), gate)
    x = features(inputs, *size).relu()
    return block, x, gate_blocks.gated_block(block, x, caption="A.", image=image)


def words(drawing):
    return [text.replace("\u2009", " ") for text in texts(drawing)]


def written(*sizes):
    return " × ".join(map(str, sizes))


def heights(drawing, symbol):
    """The heights of the bars of each sheet of bars in the colour of a symbol."""
    return [
        [float(bar.get("height")) for bar in g]
        for g in drawing.svg.iter("g")
        if g.get("fill") == plots.SYMBOL_COLOURS[symbol] and g.get("fill-opacity")
    ]


# What is drawn is what the gate computes.


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 40), SIDES, SIDES)
def test_shapes_are_those_of_the_tensors(channels, height, width):
    for kind in DRAWINGS:
        *_, drawing = drawn(kind, channels, (height, width))
        found = words(drawing)
        shape = written(channels, height, width)
        assert shape in found
        assert f"x itself, {shape}" in found
        assert {shape, f"output, {shape}"} & set(found[-2:])
        assert shape in drawing.alt.replace("\u2009", " ")


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("kind", [SqueezeExcitation, ECA])
def test_bars_are_the_means_and_the_weights_of_the_first_input(kind, trained):
    gate, x, drawing = drawn(kind, trained=trained)
    means, weights = x[0].mean(dim=(1, 2)), gate.weights(x)[0].flatten()
    (found,) = heights(drawing, "g")
    scale = max(found) / means.abs().max()
    assert found == pytest.approx((means.abs() * scale).tolist(), abs=0.02)
    assert heights(drawing, "weights") == [pytest.approx((64 * weights).tolist(), abs=0.01)]
    assert f"8 means z, largest {means.max():.2g}" in words(drawing)
    assert f"{weights.min():.2f} to {weights.max():.2f}" in words(drawing)


def test_the_hidden_units_are_drawn_after_their_relu():
    gate, x, drawing = drawn(SqueezeExcitation, reduction=2)
    hidden = gate.excite[:2](x.mean(dim=(2, 3)))[0]
    (found,) = heights(drawing, "scores")
    assert found == pytest.approx((46 * hidden / hidden.max()).tolist(), abs=0.01)
    assert {"8 → 4", "4 → 8", "4 hidden"} <= set(words(drawing))


@pytest.mark.parametrize("trained", [False, True])
def test_both_gates_of_cbam_show_their_true_weights(trained):
    gate, x, drawing = drawn(CBAM, reduction=4, trained=trained)
    channel = gate[0].weights(x)
    spatial = gate[1].weights(channel * x)[0].flatten()
    weights = channel[0].flatten()
    assert heights(drawing, "weights") == [pytest.approx((64 * weights).tolist(), abs=0.01)]
    maps = [
        cells
        for g, cells in zip(
            [g for g in drawing.svg.iter("g") if not g.get("fill-opacity")], grids(drawing)
        )
        if g.get("fill") == plots.SYMBOL_COLOURS["weights"]
    ]
    assert maps == [pytest.approx(spatial.tolist(), abs=0.01)]
    assert {"8 means, largest", "8 maxima, largest"} == {
        text.rsplit(" ", 1)[0] for text in words(drawing) if "largest" in text
    }
    assert {"8 → 2", "2 → 8", "7 ×", "7 × 7"} & set(words(drawing)) == {"8 → 2", "2 → 8", "7 × 7"}


def grids(drawing):
    """The opacities of the cells of grids, which have one each, and not of bars."""
    bars = [g for g in ET.fromstring(str(drawing)).iter(f"{SVG}g") if g.get("fill-opacity")]
    kept = Diagram(10, 10, alt="", caption="")
    kept.svg = drawing.svg.__copy__()
    for g in list(kept.svg):
        if g.tag == "g" and g.get("fill-opacity"):
            kept.svg.remove(g)
    assert len(bars) + len(shades(kept)) == len(list(drawing.svg.iter("g")))
    return shades(kept)


def test_features_before_and_after_cbam_share_a_scale():
    gate, x, drawing = drawn(CBAM)
    largest = x[0].abs().mean(dim=0).max()
    output = gate(x)[0].abs().mean(dim=0).flatten()
    assert grids(drawing)[-1] == pytest.approx((0.8 * output / largest).tolist(), abs=0.01)


@pytest.mark.parametrize("channel", [None, 0, 7])
def test_coordinate_attention_shows_the_weights_of_a_channel(channel):
    gate, x, _ = drawn(CoordinateAttention, trained=True)
    drawing = gate_blocks.coordinate_attention(gate.eval(), x, caption="A.", channel=channel)
    weights = gate.weights(x)[0].flatten(1)
    if channel is None:
        channel = weights.std(dim=1).argmax().item()
    assert f"a of channel {channel}" in words(drawing)
    assert any(
        cells == pytest.approx(weights[channel].tolist(), abs=0.01) for cells in grids(drawing)
    )


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_the_window_of_eca_has_the_width_of_its_kernel(kernel):
    *_, drawing = drawn(ECA, 32, kernel=kernel)
    (window,) = [r for r in drawing.svg.findall("rect") if r.get("stroke-width") == "3.5"]
    assert float(window.get("width")) <= kernel * 10 + 4
    assert float(window.get("width")) > (kernel // 2) * 10
    assert f"a window of {kernel} slides," in words(drawing)


@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "shortcut"),
    [(8, 8, 1, "shortcut: x itself, 8 × 6 × 6"), (4, 8, 2, "1 × 1 conv, norm")],
)
@pytest.mark.parametrize("gate", [SqueezeExcitation, CBAM, Streamlined])
def test_a_residual_block_names_its_gate_and_its_shapes(gate, inputs, outputs, stride, shortcut):
    block, x, drawing = residual(gate, inputs, outputs, stride)
    found = words(drawing)
    output = written(*block.eval()(x).shape[1:])
    assert {"gate", gate.__name__, shortcut, written(*x.shape[1:])} <= set(found)
    assert found.count(output) >= 4  # out of each convolution, the gate and the block
    assert found.count(f"stride {stride}") == (2 if stride > 1 else 0)
    assert gate.__name__ in drawing.alt
    gates = [r for r in drawing.svg.iter("rect") if r.get("stroke-width") == "3.5"]
    assert [r.get("fill") for r in gates] == [plots.SYMBOL_COLOURS["weights"]]


def test_blocks_of_the_course_can_be_drawn():
    network = ResNet(10, gate=CBAM)
    x = network.features[0](torch.rand(2, 3, 32, 32)).detach()
    assert "CBAM" in words(gate_blocks.gated_block(network.features[1][0], x, caption=""))


def test_the_image_is_shown_only_if_it_is_given():
    assert [len(list(residual(image=i)[-1].svg.iter("image"))) for i in (None, IMAGE)] == [0, 1]


def test_modules_are_left_as_they_were():
    block, x, _ = residual(CoordinateAttention)
    means = block.bn1.running_mean.clone()
    gate_blocks.gated_block(block, x, caption="")
    with pytest.raises(ValueError, match="can't be run on features of shape"):
        gate_blocks.gated_block(block, x[:, :3], caption="")
    assert torch.equal(block.bn1.running_mean, means)
    assert all(part.training and not part._forward_hooks for part in block.modules())
    gate, _, _ = drawn(CoordinateAttention)
    assert gate.training
    assert gate.squeeze[1].num_batches_tracked == 0


def test_large_maps_are_pictures_with_the_shade_as_opacity():
    *_, small = drawn(CBAM, size=(8, 8))
    *_, large = drawn(CBAM, size=(32, 32))
    counts = [len(list(drawing.svg.iter("image"))) for drawing in (small, large)]
    assert counts == [0, 6]  # three sheets, two statistics, one map
    assert len(str(large)) < 60_000


# Bars.


@pytest.mark.parametrize(
    ("values", "span", "expected"),
    [
        ([0.5, 1.0], (0, 1), [(70, 50), (20, 100)]),
        ([1.0, -1.0], None, [(20, 50), (70, 50)]),
        ([-2.0, -4.0], None, [(20, 50), (20, 100)]),
        ([0.0, 0.0], None, [(120, 0), (120, 0)]),
    ],
)
def test_bars_start_at_the_line_of_zero(values, span, expected):
    drawing = Diagram(100, 140, alt="", caption="")
    drawing.bars(50, 70, 100, 100, torch.tensor(values), "weights", span=span)
    bars = [(float(b.get("y")), float(b.get("height"))) for b in drawing.svg.iter("rect")]
    assert bars == expected
    assert [float(b.get("x")) for b in drawing.svg.iter("rect")] == [5, 55]


# What is refused.


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("kind", "draw"), DRAWINGS.items())
def test_other_modules_and_inputs_are_refused(kind, draw):
    gate, x, _ = drawn(kind)
    with pytest.raises(ValueError, match=r"like \w+, got Linear"):
        draw(nn.Linear(2, 2), x, caption="")
    with pytest.raises(ValueError, match=r"got Streamlined|got Sequential"):
        draw(Streamlined(8) if kind is not CBAM else nn.Sequential(Streamlined(8)), x, caption="")
    with pytest.raises(ValueError, match=r"shape \(B, C, H, W\), got \(8, 6, 6\)"):
        draw(gate, x[0], caption="")
    with pytest.raises(ValueError, match="finite features"):
        draw(gate, x / 0, caption="")
    if kind is not ECA:  # which takes any number of channels
        with pytest.raises(ValueError, match=rf"{kind.__name__} can't be run on .*\(2, 9, 6, 6\)"):
            draw(gate, features(9, 6, 6), caption="")


def test_a_gate_with_the_same_parts_that_computes_other_weights_is_refused():
    torch.manual_seed(0)
    x, other = features(8, 6, 6), SqueezeExcitation(8, reduction=1)
    with pytest.raises(ValueError, match="got ChannelAttention, which computes other weights"):
        gate_blocks.squeeze_excitation(ChannelAttention(8, reduction=1), x, caption="")
    with pytest.raises(ValueError, match="got SqueezeExcitation, which computes other weights"):
        gate_blocks.cbam(nn.Sequential(other, SpatialAttention()), x, caption="")
    gate = SqueezeExcitation(8)
    gate.excite = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
    with pytest.raises(ValueError, match="got Linear, Tanh"):
        gate_blocks.squeeze_excitation(gate, x, caption="")


def test_channels_that_do_not_exist_are_refused():
    gate, x, _ = drawn(CoordinateAttention)
    for channel in (-1, 8):
        with pytest.raises(ValueError, match=f"from 0 to 7, got {channel}"):
            gate_blocks.coordinate_attention(gate, x, caption="", channel=channel)


def test_blocks_without_a_gate_are_refused():
    x = features(8, 6, 6)
    with pytest.raises(ValueError, match="got BasicBlock without a gate"):
        gate_blocks.gated_block(BasicBlock(8, 8), x, caption="")
    with pytest.raises(ValueError, match="got Linear"):
        gate_blocks.gated_block(nn.Linear(2, 2), x, caption="")
    with pytest.raises(ValueError, match=r"values in \[0, 1\]"):
        residual(image=255 * IMAGE)


# How it looks: text and colours as in the other drawings, and nothing over anything else.


def layouts():
    for kind in DRAWINGS:
        for size in ((32, 32), (8, 8), (3, 9), (9, 2), (1, 1)):
            yield drawn(kind, 16, size, trained=True)[-1]
        yield drawn(kind, 2)[-1]
        yield drawn(kind, 512)[-1]
    for size in ((32, 32), (3, 9), (9, 2), (1, 1)):
        for image in (None, IMAGE, IMAGE.mT):
            yield residual(inputs=64, outputs=128, stride=2, size=size, image=image)[-1]
            yield residual(CoordinateAttention, size=size, image=image)[-1]


@pytest.fixture(scope="module")
def all_drawings():
    return list(layouts())


def test_nothing_is_cut_off(all_drawings):
    for drawing in all_drawings:
        assert float(drawing.svg.get("viewBox").split()[2]) in (740, 840)
        assert cut_off(drawing) == []


def test_no_text_lies_over_another_one_or_over_a_grid(all_drawings):
    for drawing in all_drawings:
        assert covered_texts(drawing) == [], drawing.alt


def test_every_arrow_ends_at_something(all_drawings):
    for drawing in all_drawings:
        ends = [area(node) for node in drawing.svg if node.tag in ("g", "rect")]
        for bars in (g for g in drawing.svg.iter("g") if g.get("fill-opacity")):
            left, top, right, bottom = area(bars)
            gap = float(bars[0].get("width")) / 8  # beside the first and the last bar
            ends.append((left - gap, top, right + gap, bottom))
        for node in drawing.svg.iter("image"):
            x, y, width, height = (float(node.get(n)) for n in ("x", "y", "width", "height"))
            ends.append((x, y, x + width, y + height))
        for head in drawing.svg.iter("polygon"):
            x, y = points(head)[0]
            described = drawing.alt, x, y
            pointing = "Efficient" in drawing.alt and y == 148  # where the window slides to
            assert pointing or any(meet((x, y, x, y), end, margin=8) for end in ends), described


def test_colours_are_those_of_the_symbols_and_text_has_that_of_the_page(all_drawings):
    known = {"currentColor", "none", *plots.SYMBOL_COLOURS.values()}
    for drawing in all_drawings:
        root = ET.fromstring(str(drawing))
        assert {node.get("fill") for node in root.iter() if node.get("fill")} <= known
        assert {node.get("stroke") for node in root.iter() if node.get("stroke")} <= known
        assert not any(node.get("fill") for node in root.iter(f"{SVG}text"))
        assert {float(node.get("font-size")) for node in root.iter(f"{SVG}text")} <= {13, 15}
        assert is_defined(drawing)
        assert len(drawing.alt) > 60
        assert drawing.caption == "A."
