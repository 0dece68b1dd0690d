"""Drawings: their shapes are those of real tensors, and every reader can read them."""

import itertools
import re
import xml.etree.ElementTree as ET

import pytest
import torch
from torch import nn

from course_utils import plots
from course_utils.attention import (
    Attention,
    AttentionPooling,
    MultiDimensional,
    alignments,
    feature_related,
    hard,
    query_related,
    scores,
)
from course_utils.models import VGG, AttnVGG, PayAttentionVGG, ResNet
from course_utils.plots import diagrams
from course_utils.plots.wiring import wiring_of

SVG = "{http://www.w3.org/2000/svg}"
IMAGES = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
WIDTH = 1 / 8


def attended(attention=None, queries=1, d_v=5, side=4):
    generator = torch.Generator().manual_seed(1)
    q, k, v = (
        torch.randn(2, n, d, generator=generator)
        for n, d in ((queries, 6), (side**2, 6), (side**2, d_v))
    )
    attention = attention or Attention(scores.scaled_multiplicative)
    return diagrams.query_key_value(attention, IMAGES[0], q, k, v, caption="A caption."), k


def network(model, images=IMAGES):
    torch.manual_seed(0)
    return diagrams.network(model, images, caption="A caption.")


def drawings():
    return [
        attended()[0],
        attended(Attention(scores.Additive(6, 6, 4), alignments.sigmoid), queries=3)[0],
        network(AttnVGG(10, width=WIDTH)),
        network(AttnVGG(10, width=WIDTH, alignment=None, taps="before", head="independent")),
        network(PayAttentionVGG(10, width=WIDTH)),
        network(VGG(10, width=WIDTH, head="dense")),
        *(diagrams.choices(part, caption="A caption.") for part in diagrams.CHOICES),
    ]


def texts(drawing):
    """The lines of text in a drawing, with plain spaces."""
    nodes = ET.fromstring(str(drawing)).iter(f"{SVG}text")
    return ["".join(node.itertext()).replace("\u2009", " ") for node in nodes]


def test_the_drawing_of_one_query_names_one():
    assert "query q" in texts(attended()[0])
    assert "queries q" in texts(attended(queries=2)[0])


def test_the_shapes_of_attention_are_those_of_its_tensors():
    found = texts(attended(queries=3, d_v=7)[0])
    assert "(2, 3, 6)" in found
    assert "(2, 16, 6)" in found
    assert "(2, 16, 7)" in found
    assert found.count("(2, 3, 16)") == 2  # scores and weights
    assert any(text.endswith("(2, 3, 7)") for text in found)
    assert "K = 4 · 4" in found


def test_attention_is_drawn_with_the_names_of_its_functions():
    assert {"scaled", "multiplicative", "softmax"} <= set(texts(attended()[0]))
    other = Attention(scores.BiasedGeneral(6, 6), alignments.sparsemax)
    assert {"biased", "general", "sparsemax"} <= set(texts(attended(other)[0]))


def test_the_cells_are_as_dark_as_the_weights():
    class Given(nn.Module):
        score = staticmethod(lambda queries, keys: torch.arange(4.0).expand(2, 1, 4))
        alignment = staticmethod(alignments.softmax)

        def forward(self, queries, keys, values):
            return values[:, :1], torch.tensor([0.1, 0.2, 0.4, 0.3]).expand(2, 1, 4)

    drawing, _ = attended(Given(), side=2)
    colour = plots.SYMBOL_COLOURS["weights"]
    (group,) = (g for g in drawing.svg.iter("g") if g.get("fill") == colour)
    shades = [float(cell.get("fill-opacity")) for cell in group]
    assert shades == pytest.approx([0.05 + 0.95 * w for w in (0.25, 0.5, 1, 0.75)], abs=0.01)
    first = [(float(cell.get("x")), float(cell.get("y"))) for cell in group]
    assert first[0][1] == first[1][1] < first[2][1]  # row by row


def test_keys_that_form_no_grid_are_refused():
    q, k = torch.randn(1, 1, 6), torch.randn(1, 17, 6)
    with pytest.raises(ValueError, match="17 keys for 64 × 64"):
        diagrams.query_key_value(
            Attention(scores.scaled_multiplicative), IMAGES[0], q, k, k, caption=""
        )


@pytest.mark.parametrize("taps", ["before", "after"])
@pytest.mark.parametrize("width", [1 / 8, 1 / 4])
def test_the_shapes_of_a_network_are_those_of_its_tensors(taps, width):
    model = AttnVGG(7, width=width, taps=taps)
    found = texts(network(model))
    x, shapes = IMAGES.expand(-1, 3, -1, -1), []
    for layer in model.eval().features:
        x = layer(x)
        if isinstance(layer, nn.MaxPool2d):
            shapes.append(" × ".join(map(str, x.shape[1:])))
    assert found[0] == "1 × 64 × 64"
    assert [text for text in found if text in shapes][:5] == shapes
    for i, m in enumerate(model(IMAGES).maps):
        height, columns = m.shape[-2:]
        assert f"map {height} × {columns}" in found
        assert f"{round((256, 512)[i] * width)} × {height} × {columns}" in found
    assert "7 classes" in found
    assert found != texts(network(model, torch.rand(1, 1, 96, 96)))


def test_a_network_without_attention_has_a_classifier_on_each_average():
    model = AttnVGG(10, width=WIDTH, alignment=None, taps="before", head="independent")
    found = texts(network(model))
    assert [text for text in found if text.startswith("classifier")] == [
        "classifier 1",
        "classifier 2",
        "classifier 3",
    ]
    assert found.count("average") == 3
    assert {"of 16 × 16", "of 8 × 8", "of 2 × 2", "mean of the probabilities"} <= set(found)
    assert not any("attention" in text for text in found)
    assert "g" not in found


@pytest.mark.parametrize("taps", ["before", "after"])
def test_wiring_finds_the_taps_and_what_classifiers_read(taps):
    model = AttnVGG(10, width=WIDTH, taps=taps)
    wiring = wiring_of(model, IMAGES)
    assert [branch.how for branch in wiring.branches] == ["attention", "attention", "average"]
    assert [branch.column for branch in wiring.branches] == [2, 3, 4]
    assert [branch.before for branch in wiring.branches[:2]] == [taps == "before"] * 2
    assert wiring.guide is wiring.blocks[4].output
    assert wiring.classes == [10]
    assert [block.convolutions for block in wiring.blocks] == [2, 2, 3, 3, 3]


def test_wiring_of_learn_to_pay_attention():
    wiring = wiring_of(PayAttentionVGG(10, width=WIDTH), IMAGES)
    assert [branch.how for branch in wiring.branches] == ["attention"] * 3
    assert all(branch.before for branch in wiring.branches)
    assert wiring.guide is wiring.dense
    assert [block.pooled for block in wiring.blocks] == [False, False, *[True] * 5]
    plain = wiring_of(PayAttentionVGG(10, width=WIDTH, levels=0), IMAGES)
    assert [branch.how for branch in plain.branches] == ["dense"]
    assert plain.guide is None


def test_a_network_is_left_as_it_was():
    model = AttnVGG(10, width=WIDTH).train()
    model.features.eval()
    network(model)
    assert model.training
    assert model.classifiers.training
    assert not model.features[0].training
    assert not any(module._forward_hooks for module in model.modules())


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match="got ResNet"):
        network(ResNet(10, width=WIDTH))

    class Summed(VGG):
        def forward(self, images):
            features = self.features(images.expand(-1, 3, -1, -1))
            return self.classifiers([features.sum(dim=(2, 3)) + 1], ())

    with pytest.raises(ValueError, match=r"\(2, 64\)"):
        network(Summed(10, width=WIDTH))


def words(name):
    """A name in code or in prose, without case, spaces and hyphens."""
    return re.sub(r"[ _-]", "", name).lower()


def test_the_choices_are_those_of_the_package():
    def own(module):
        return {
            words(name)
            for name, thing in vars(module).items()
            if getattr(thing, "__module__", "") == module.__name__ and not name.startswith("_")
        }

    found = {part: {words(name) for name in names} for part, names in diagrams.CHOICES.items()}
    assert found["score"] == own(scores)
    assert found["alignment"] == own(alignments) - {"allowed"} | {
        words(hard.__name__.split(".")[-1])
    }
    kinds = {words(kind.__name__) for kind in (AttentionPooling, MultiDimensional)}
    modules = own(query_related) | own(feature_related)
    results = {"attendedoften", "attendedbyclass", "capsuled", "rotatorycontexts"}
    results |= {"levelcontexts", "attendedbygroup", "blocks"}
    called = {"classqueries": "onequeryperclass"}
    assert found["kind"] == {called.get(name, name) for name in kinds | modules - results}


@pytest.mark.parametrize("part", diagrams.CHOICES)
def test_the_present_choice_is_marked(part):
    drawing = diagrams.choices(part, caption="")
    widths = {}
    shapes = list(drawing.svg)
    for box, text in itertools.pairwise(shapes):
        if box.tag == "rect" and text.tag == "text":
            widths["".join(text.itertext()).lower()] = float(box.get("stroke-width"))
    assert max(widths, key=widths.get) == part
    assert f"about the {part}" in drawing.alt


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="'scores': choose one of score, alignment, kind"):
        diagrams.choices("scores", caption="")


@pytest.mark.parametrize("drawing", drawings())
def test_text_is_text_with_the_colour_of_the_page(drawing):
    root = ET.fromstring(str(drawing))
    assert root.get("fill") == "currentColor"
    written = [node for node in root.iter() if node.tag in (f"{SVG}text", f"{SVG}tspan")]
    assert len(written) > 20
    assert not any(node.get("fill") for node in written)
    assert not list(root.iter(f"{SVG}path"))


@pytest.mark.parametrize("drawing", drawings())
def test_text_stays_readable_at_the_width_of_a_page_and_on_a_phone(drawing):
    root = ET.fromstring(str(drawing))
    narrowest = float(re.search(r"min-width: (\d+)px", root.get("style"))[1])
    scale = narrowest / float(root.get("viewBox").split()[2])
    sizes = [float(node.get("font-size")) for node in root.iter(f"{SVG}text")]
    assert narrowest <= 740
    assert scale * min(sizes) >= 10


@pytest.mark.parametrize("drawing", drawings())
def test_nothing_leaves_the_drawing(drawing):
    width, height = map(float, drawing.svg.get("viewBox").split()[2:])
    for node in drawing.svg.iter():
        if node.get("x") and node.get("width"):
            x, y, w, h = (float(node.get(name)) for name in ("x", "y", "width", "height"))
            assert x >= 0
            assert y >= 0
            assert x + w <= width
            assert y + h <= height


def test_drawings_on_one_page_share_no_id():
    page = "".join(drawing._repr_html_() for drawing in drawings())
    assert not re.search(r"""\sid=|url\(#|<style""", page)


def test_alt_text_and_caption_are_escaped():
    drawing = diagrams.choices("score", caption="K < 4 & \"d\" > 'e' <b>")
    drawing.alt = 'a "b" < c & d'
    page = drawing._repr_html_()
    assert "<b>" not in page
    figure = ET.fromstring(page)
    assert figure.tag == "figure"
    assert "".join(figure.find("figcaption").itertext()) == drawing.caption
    svg = figure.find(f"{SVG}svg")
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == drawing.alt


@pytest.mark.parametrize("drawing", drawings())
def test_every_drawing_has_alt_text_and_its_caption(drawing):
    figure = ET.fromstring(drawing._repr_html_())
    assert len(figure.find(f"{SVG}svg").get("aria-label")) > 60
    assert (figure.find("figcaption") is None) == (not drawing.caption)


def luminance(colour):
    """Relative luminance of a colour, as WCAG 2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear))


@pytest.mark.parametrize("page", ["#ffffff", "#14181e", "#121212"])
@pytest.mark.parametrize("symbol", plots.SYMBOL_COLOURS)
def test_every_colour_stands_out_from_the_page(symbol, page):
    bright, dark = sorted(map(luminance, (plots.SYMBOL_COLOURS[symbol], page)), reverse=True)
    assert (bright + 0.05) / (dark + 0.05) >= 3


# Machado, Oliveira and Fernandes 2009: linear RGB as seen without the long, the middle and the
# short cones.
VIEWS = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


@pytest.mark.parametrize("view", VIEWS)
def test_no_two_colours_look_alike(view):
    colours = [
        [int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in plots.SYMBOL_COLOURS.values()
    ]
    c = torch.tensor(colours)
    linear = torch.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    seen = (linear @ torch.tensor(VIEWS[view], dtype=torch.float).T).clamp(min=0)
    lab = oklab(seen)
    distances = torch.cdist(lab, lab) + torch.eye(len(lab))
    assert distances.min() > 0.07  # 0.02 is about what an eye can tell apart


def oklab(linear):
    """Colours (N, 3) in Oklab (Ottosson 2020), where distances are those that are seen."""
    cones = torch.tensor(
        [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    )
    axes = torch.tensor(
        [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    )
    return (linear @ cones.T) ** (1 / 3) @ axes.T
