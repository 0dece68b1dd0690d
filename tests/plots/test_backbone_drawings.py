"""Drawings of attention on a backbone: shapes, counts, maps and shares are those of a real run."""

import base64
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torchvision.transforms.functional import pil_to_tensor

from course_utils import plots
from course_utils.attention.map_pools import AveragePool
from course_utils.models.attended_backbone import AttendedBackbone, attended
from course_utils.models.backbone import Backbone
from course_utils.plots import backbone_drawings
from tests.svg import area, check_drawing, meet, shades, texts

WIDTH = 700
GREY = plots.SYMBOL_COLOURS["scores"]
NAMES = ("average pooling", "fixed map", "attention", "oracle")


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


IMAGE = random(1, 3, 40, 48)
REGION = torch.zeros(40, 48, dtype=torch.bool)
REGION[:20] = True  # the upper half


def network(*channels):
    """Convolutions, each of which halves the map, and a classifier behind them."""
    layers = [nn.Conv2d(c, d, 3, stride=2, padding=1) for c, d in zip((3, *channels), channels)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], 9))


def model(channels=(4, 5, 6, 7), pools=1, classes=11, **options):
    torch.manual_seed(0)
    last = len(channels)
    taps = [str(i) for i in range(last - pools - 1, last)]
    return attended(Backbone(network(*channels), taps, size=64), classes, hidden=8, **options)


def drawn(network, image=IMAGE):
    return backbone_drawings.attended_backbone(network, image, caption="A.")


def averages(image=IMAGE, region=REGION, notes=None, **maps):
    given = {"fixed map": torch.ones(1, 1, 2, 2), "attention": random(1, 1, 4, 4)}
    return backbone_drawings.four_averages(
        image, region, {**given, **maps}, caption="A.", notes=notes
    )


def words(drawing):
    return [text.replace("\u2009", " ") for text in texts(drawing)]


def pictures(drawing):
    files = [base64.b64decode(n.get("href").split(",")[1]) for n in drawing.svg.iter("image")]
    return [pil_to_tensor(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]


def texts_on_pictures(drawing):
    frames = []
    for node in drawing.svg.iter("image"):
        left, top, width, height = (float(node.get(k)) for k in ("x", "y", "width", "height"))
        frames.append((left, top, left + width, top + height))
    lines = list(drawing.svg.iter("text"))
    return ["".join(t.itertext()) for t in lines if any(meet(area(t), f, 2) for f in frames)]


# Attention on a backbone.


def test_shapes_and_counts_are_those_of_the_run():
    found = words(drawn(model()))
    assert {"3 × 40 × 48", "4 × 32 × 32", "5 × 16 × 16", "6 × 8 × 8", "7 × 4 × 4"} <= set(found)
    convolutions = sum(9 * c * d + d for c, d in ((3, 4), (4, 5), (5, 6), (6, 7)))
    assert f"frozen backbone: {convolutions:,} parameters, not trained here" in found
    assert f"{8 * 6 + 8 * 7 + 8 + 1} parameters" in found  # of the attention
    assert f"trained: {11 * (6 + 7 + 1)} parameters" in found
    assert {"classifier: 11 classes", "1 × 8 × 8", "6 features", "7 features"} <= set(found)


def test_the_map_is_that_of_the_model():
    network = model(scale=3.0)
    with torch.no_grad():
        [m] = network(IMAGE).maps
    drawing = drawn(network)
    expected = (0.05 + 0.95 * m / m.max()).flatten()
    torch.testing.assert_close(torch.tensor(shades(drawing)[-1]), expected, atol=0.006, rtol=0)
    assert (
        pictures(drawing)[1].int() - pil_to_tensor(plots.overlay(IMAGE, m)).int()
    ).abs().max() <= 1


def test_only_a_frozen_backbone_is_dashed_and_called_frozen():
    for frozen in (True, False):
        drawing = drawn(model(frozen=frozen))
        dashed = [n for n in drawing.svg.iter("rect") if n.get("stroke-dasharray")]
        assert len(dashed) == frozen
        assert any(t.startswith("frozen") for t in texts(drawing)) == frozen
        assert any(t.endswith("trained, too") for t in texts(drawing)) != frozen


def test_what_is_trained_has_a_thick_coloured_frame():
    thick = [n for n in drawn(model(pools=2)).svg.iter("rect") if n.get("stroke-width") == "3.5"]
    colours = [plots.SYMBOL_COLOURS[name] for name in ("weights", "weights", "context")]
    assert [node.get("stroke") for node in thick] == colours


def test_maps_before_the_taps_are_grey():
    fills = [g.get("fill") for g in drawn(model()).svg.iter("g")]
    colours = plots.SYMBOL_COLOURS
    assert fills == [GREY, GREY, colours["l"], colours["g"], colours["weights"]]


def test_two_pools_are_numbered():
    found = words(drawn(model(pools=2, head="independent")))
    assert {"local features l1", "local features l2", "weights a1", "weights a2"} <= set(found)
    assert {"context c1", "context c2", "3 classifiers: 11 classes"} <= set(found)


@pytest.mark.parametrize(("alignment", "word"), [("softmax", "sum"), ("sigmoid", "mean")])
def test_features_are_summed_or_averaged_as_by_the_alignment(alignment, word):
    drawing = drawn(model(alignment=alignment))
    assert f"{word} of ai li" in texts(drawing)
    assert f"the {word} of the weighted features" in drawing.alt


def test_the_mean_of_g_is_drawn_only_if_the_classifier_reads_it():
    whole = model()
    alone = AttendedBackbone(whole.backbone, list(whole.pools), [6], 11, with_last=False)
    assert "mean of g" in texts(drawn(whole))
    assert "mean of g" not in texts(drawn(alone))
    check_drawing(drawn(alone), WIDTH)


def test_nothing_of_the_model_is_changed():
    network = model()
    hooks = [len(m._forward_hooks) for m in network.modules()]
    drawn(network)
    assert [len(m._forward_hooks) for m in network.modules()] == hooks
    assert all(p.grad is None for p in network.parameters())


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.integers(1, 48), min_size=3, max_size=5),
    st.integers(1, 2),
    st.tuples(st.sampled_from([1, 3]), st.integers(8, 40), st.integers(8, 40)),
)
def test_backbones_of_any_depth_are_whole(channels, pools, shape):
    drawing = drawn(model(channels, pools, classes=1000), random(*shape))
    check_drawing(drawing, WIDTH)
    assert not texts_on_pictures(drawing)
    assert drawing.caption == "A."


def test_models_that_cannot_be_drawn_are_refused():
    backbone = Backbone(network(4, 5, 6), ["1", "2"], size=32)
    without = AttendedBackbone(backbone, [AveragePool()], [5], 3)
    for wrong, message in (
        (nn.Linear(1, 1), "no backbone"),
        (without, "AveragePool"),
        (model((4, 5, 6, 7, 8), pools=3), "got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            drawn(wrong)


# Four averages.


def test_each_picture_is_darkened_by_its_weights():
    left = torch.tensor([[[[1.0, 0.0]]]])
    white, dark = 255, int(0.12 * 255)
    shown = pictures(averages(torch.ones(1, 3, 40, 48), attention=left))
    for part, expected in (
        (shown[0], white),
        (shown[1], white),
        (shown[2][:, :, :12], white),  # where bilinear resizing still gives 1
        (shown[2][:, :, -12:], dark),
        (shown[3][:, :20], white),
        (shown[3][:, 20:], dark),
    ):
        assert (part.int() - expected).abs().max() <= 1  # rounding


def test_the_share_of_the_weight_on_the_object_is_written():
    top = torch.tensor([1.0, 0.0])[None, None, :, None]
    found = words(averages(attention=1 - top, **{"fixed map": top + 1}))
    raised = nn.functional.interpolate(top, (40, 48), mode="bilinear")[0, 0]
    below = (1 - raised)[REGION].sum() / (1 - raised).sum()
    twice = (1 + raised)[REGION].sum() / (1 + raised).sum()
    shares = [f"{100 * share:.0f} % on the object" for share in (0.5, twice, below, 1)]
    assert [text for text in found if text.endswith("on the object")] == shares


def test_names_and_notes_stand_below_the_pictures():
    found = texts(averages(notes={"attention": "accuracy 84 %"}))
    assert [text for text in found if text in NAMES] == list(NAMES)
    assert found[found.index("attention") + 3] == "accuracy 84 %"
    assert "accuracy 84 %" in averages(notes={"attention": "accuracy 84 %"}).alt


@pytest.mark.parametrize("shape", [(1, 8, 40), (3, 40, 8), (3, 40, 48), (1, 3, 300, 300)])
def test_averages_of_any_shape_are_whole(shape):
    image = random(*shape)
    region = torch.ones(shape[-2:], dtype=torch.bool)
    for notes in (None, {name: "accuracy 72.5 %" for name in NAMES}):
        check_drawing(averages(image, region, notes), WIDTH)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image": 255 * IMAGE}, "255"),
        ({"image": IMAGE.expand(2, -1, -1, -1)}, "got 2"),
        ({"region": REGION.float()}, "float32"),
        ({"region": REGION[:8]}, r"\(8, 48\)"),
        ({"region": REGION & False}, "0 pixels"),
        ({"attention": torch.zeros(1, 1, 2, 2)}, "to 0"),
        ({"attention": -random(1, 1, 2, 2)}, "from -"),
        ({"swapped": torch.ones(1, 1, 2, 2)}, "swapped"),
        ({"notes": {"softmax": "72 %"}}, "softmax.*oracle"),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        averages(**wrong)
