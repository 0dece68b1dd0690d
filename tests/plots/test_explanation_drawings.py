"""Drawings of explanations: their maps, weights and counts follow from what they are given."""

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
from course_utils.explain import activation_and_gradient, faithfulness, gradcam
from course_utils.plots import explanation_drawings
from course_utils.plots.block_labels import numeral, sizes
from tests.svg import check_drawing, points, texts

SIDES = st.integers(1, 9)
COLOURS = {colour: name for name, colour in plots.SYMBOL_COLOURS.items()}
GREY = torch.tensor([91, 105, 116])  # three quarters of the grey of negative values


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def box(rows, columns, size=(16, 24)):
    """A region of an image: a filled box."""
    region = torch.zeros(size, dtype=torch.bool)
    region[slice(*rows), slice(*columns)] = True
    return region


IMAGE = random(1, 16, 24)
MAP = random(2, 3)
REGION = box((4, 10), (5, 12))


def pipeline(activation, gradient, image=IMAGE, layer="features.32", target="class 7"):
    return explanation_drawings.grad_cam_pipeline(
        image, activation, gradient, layer=layer, target=target, caption="A."
    )


def questions(image=IMAGE, m=MAP, **changed):
    given = {"region": REGION, "other": random(4, 4, seed=1), "fresh": random(2, 2, seed=2)}
    return explanation_drawings.three_questions(image, m, **given | changed, caption="A.")


def removed(image=IMAGE, m=MAP, ink=REGION, steps=(8, 32)):
    return explanation_drawings.removed_pixels(image, m, ink=ink, steps=steps, caption="A.")


def grids(drawing):
    """The opacities of the cells of each grid, with the symbol of its colour."""
    return [
        (COLOURS[group.get("fill")], torch.tensor([float(c.get("fill-opacity")) for c in group]))
        for group in drawing.svg.iter("g")
        if group[0].get("fill-opacity")
    ]


def bars(drawing):
    """The heights of all bars; those that hang from the line are negative."""
    groups = [g for g in drawing.svg.iter("g") if not g[0].get("fill-opacity")]
    signs = [-1 if COLOURS[group.get("fill")] == "scores" else 1 for group in groups]
    heights = [[float(bar.get("height")) for bar in group] for group in groups]
    return sum(sign * torch.tensor(row) for sign, row in zip(signs, heights))


def pictures(drawing):
    """The pixels of each picture, (3, H, W) with values from 0 to 255."""
    nodes = list(drawing.svg.iter("image"))
    files = [base64.b64decode(node.get("href").split(",")[1]) for node in nodes]
    return [pil_to_tensor(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]


def is_grey(picture):
    return ((picture.int() - GREY[:, None, None]).abs() <= 1).all(dim=0)


# The way of Grad-CAM.


@pytest.fixture(scope="module")
def explained():
    """A network, an image, and the activation and gradient of its second layer."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=4), nn.ReLU(), nn.Conv2d(6, 4, 2), nn.ReLU(), nn.Flatten()
    )
    network.append(nn.Linear(network(IMAGE[None]).shape[1], 5))
    activation, gradient = activation_and_gradient(network, IMAGE[None], "1", 0)
    return network, activation[0], gradient[0]


def test_the_map_is_that_of_gradcam(explained):
    network, activation, gradient = explained
    drawing = pipeline(activation, gradient)
    [raw], [m] = (gradcam(network, IMAGE[None], "1", 0, relu=relu)[0] for relu in (False, True))
    symbol, shades = grids(drawing)[-1]
    assert symbol == "weights"
    torch.testing.assert_close(shades, (0.95 * m / m.max()).flatten(), atol=0.006, rtol=0)
    assert raw.min() < 0  # so that the ReLU has something to remove
    (_, positive), (grey, negative) = grids(drawing)[-3:-1]
    assert grey == "scores"
    expected = (0.95 * raw / raw.abs().max()).flatten()
    torch.testing.assert_close(positive - negative, expected, atol=0.006, rtol=0)
    assert {f"largest {numeral(m.max().item())}", f"smallest {numeral(raw.min().item())}"} <= set(
        texts(drawing)
    )


def test_the_last_picture_is_the_map_over_the_image(explained):
    network, activation, gradient = explained
    m = gradcam(network, IMAGE[None], "1", 0)
    expected = pil_to_tensor(plots.overlay(IMAGE, m))
    first, last = pictures(pipeline(activation, gradient))
    assert (last.int() - expected.int()).abs().max() <= 1
    assert (first.float() / 255 - IMAGE).abs().max() < 0.01


def test_each_bar_is_the_mean_of_a_gradient(explained):
    _, activation, gradient = explained
    means = sorted((g.sum().item() / g.numel() for g in gradient), reverse=True)
    heights = bars(pipeline(activation, gradient))
    unit = 72 / (max(*means, 0) - min(*means, 0))
    torch.testing.assert_close(heights, unit * torch.tensor(means), atol=0.01, rtol=0)


@pytest.mark.parametrize("channels", [3, 64, 65, 1280])
def test_bars_of_many_channels_are_thinned_out_between_the_largest_and_the_smallest(channels):
    gradient = torch.linspace(-3, 1, channels)[:, None, None].expand(-1, 2, 2)
    heights = bars(pipeline(torch.ones(channels, 2, 2), gradient))
    assert len(heights) == min(channels, 64)
    assert heights[0].item() == pytest.approx(72 / 4, abs=0.01)
    assert heights[-1].item() == pytest.approx(-72 * 3 / 4, abs=0.01)


def test_the_channels_that_add_most_and_take_most_away_are_drawn():
    activation = torch.tensor([1.0, 9, 1, 4, 2])[:, None, None].expand(-1, 2, 2)
    gradient = torch.tensor([0.5, 0, 2, 1, -0.25])[:, None, None].expand(-1, 2, 2)
    found = [t for t in texts(pipeline(activation, gradient)) if t.startswith(("channel ", "× "))]
    assert found == ["channel 3", "× 1", "channel 2", "× 2", "channel 4", "× −0.25"]


def test_shapes_and_names_are_written(explained):
    _, activation, gradient = explained
    found = texts(pipeline(activation, gradient))
    shape = sizes(*activation.shape)
    assert found.count(shape) == 2
    assert found.count(sizes(*activation.shape[1:])) == 2
    assert {"1\u2009×\u200916\u2009×\u200924", "features.32", "class 7"} <= set(found)


def test_long_names_lose_their_beginning(explained):
    found = texts(pipeline(*explained[1:], layer="backbone.features.stage3.block12.conv"))
    assert "…es.stage3.block12.conv" in found or "…s.stage3.block12.conv" in found


def test_images_may_lack_the_axis_of_colours(explained):
    assert str(pipeline(*explained[1:], image=IMAGE[0])) == str(pipeline(*explained[1:]))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("activation", "gradient", "message"),
    [
        (torch.ones(3, 2, 2), torch.ones(3, 2, 1), r"\(3, 2, 2\) and \(3, 2, 1\)"),
        (torch.ones(2, 2, 2), torch.ones(2, 2, 2), r"\(2, 2, 2\)"),
        (torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2), r"\(1, 3, 2, 2\)"),
        (torch.ones(3, 2, 2), torch.full((3, 2, 2), float("nan")), "NaN"),
        ([1, 2], torch.ones(3, 2, 2), "list"),
    ],
)
def test_activations_that_do_not_fit_are_refused(activation, gradient, message):
    with pytest.raises(ValueError, match=message):
        pipeline(activation, gradient)


# Three questions.


def test_one_map_is_drawn_over_its_image_and_two_others_beside_it():
    other, fresh = random(4, 4, seed=1), random(2, 2, seed=2)
    shown = pictures(questions(other=other, fresh=fresh))
    for index, m in ((0, MAP), (1, MAP), (2, other), (5, fresh)):
        expected = pil_to_tensor(plots.overlay(IMAGE, m))
        assert (shown[index].int() - expected.int()).abs().max() <= 1


def test_the_second_test_removes_the_highest_pixels_or_all_others():
    _, _, _, without, alone, _ = pictures(questions())
    gone = is_grey(without)
    assert gone.sum() == REGION.sum()
    assert (gone ^ is_grey(alone)).all()
    raised = nn.functional.interpolate(MAP[None, None], (16, 24), mode="bilinear")[0, 0]
    assert raised[gone].min() >= raised[~gone].max()


def test_the_box_lies_where_the_region_is():
    drawing = questions(region=box((2, 6), (3, 9)))
    red = plots.SYMBOL_COLOURS["query"]
    outlines = [n for n in drawing.svg.iter("polyline") if n.get("stroke") == red]
    images = list(drawing.svg.iter("image"))[1:3]
    assert len(outlines) == 2
    for outline, picture in zip(outlines, images):
        left, top, width = (float(picture.get(name)) for name in ("x", "y", "width"))
        cell = width / 24
        corners = [((x - left) / cell, (y - top) / cell) for x, y in points(outline)]
        assert corners[0] == corners[-1] == pytest.approx((3, 2), abs=0.01)
        assert corners[2] == pytest.approx((9, 6), abs=0.01)


def test_two_layers_are_replaced():
    dashed = [n for n in questions().svg.iter("rect") if n.get("stroke-dasharray")]
    assert len(dashed) == 2
    assert "dashed: fresh layers" in texts(questions())


def test_maps_and_regions_may_have_an_axis_of_channels():
    as_given = questions(m=MAP[None], region=REGION[None], other=MAP[None], fresh=MAP[None])
    assert str(as_given) == str(questions(other=MAP, fresh=MAP))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"region": REGION.float()}, "float32"),
        ({"region": REGION[:8]}, r"\(8, 24\)"),
        ({"region": REGION & False}, "0 pixels"),
        ({"m": random(2, 3, 3)}, r"\(2, 3, 3\)"),
        ({"m": -MAP}, "got -"),
        ({"fresh": MAP * float("nan")}, "NaN"),
        ({"image": 255 * IMAGE}, "255"),
    ],
)
def test_maps_and_regions_that_do_not_fit_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        questions(**wrong)


# Removed pixels.


class Recorder(nn.Module):
    """A network that keeps the images it is given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        return images.flatten(1)[:, :2]


@pytest.mark.parametrize("steps", [4, 6, 48, 100])
@pytest.mark.parametrize("m", [MAP, torch.zeros(1, 1), torch.eye(3)])
def test_the_pixels_are_those_that_deletion_removes(steps, m):
    image = 0.5 + 0.5 * IMAGE  # no pixel is 0, which is what deletion fills in
    recorder = Recorder()
    faithfulness.deletion(recorder, image[None], m[None, None], 0, steps=steps)
    deleted = [images[0, 0] == 0 for images in recorder.seen[-steps - 1 :]]
    shown = pictures(removed(image, m, steps=(steps, 384)))[:5]
    for gone, picture in zip(deleted, shown):
        assert (is_grey(picture) == gone).all()


def test_counts_and_shares_stand_below_the_images():
    ink = box((0, 4), (0, 24))  # 96 pixels at the top
    m = torch.linspace(1, 0, 16)[:, None].expand(-1, 24)  # from the top to the bottom
    found = texts(removed(m=m, ink=ink, steps=(8, 16)))
    assert found.count("the image") == 2
    for count, share in ((48, 50), (96, 100), (144, 100), (192, 100), (24, 25), (72, 75)):
        below = found.index(f"{count} pixels")
        assert found[below + 1] == f"{share}\u2009% of ink gone"
    assert {"8 steps: 48 pixels per step", "16 steps: 24 pixels per step"} <= set(found)


def test_steps_that_do_not_divide_the_pixels_are_about_as_large_as_told():
    found = texts(removed(steps=(100, 384)))
    assert {"100 steps: about 4 pixels per step", "384 steps: 1 pixel per step"} <= set(found)


@pytest.mark.parametrize("steps", [(3, 8), (8, 8), (16, 8), (8, 385)])
def test_numbers_of_steps_rise_and_fit_the_image(steps):
    with pytest.raises(ValueError, match=f"from 4 to 384, got {steps[0]} and {steps[1]}"):
        removed(steps=steps)


def test_an_object_without_ink_is_refused():
    with pytest.raises(ValueError, match="0 pixels"):
        removed(ink=REGION & False)


# How it looks: text and colours as in the other drawings, and nothing over anything else.


@settings(max_examples=15, deadline=None)
@given(
    st.integers(3, 2000),
    st.tuples(SIDES, SIDES),
    st.tuples(st.sampled_from([1, 3]), st.integers(8, 40), st.integers(8, 40)),
    st.integers(0, 100),
)
def test_pipelines_of_any_shape_are_whole(channels, size, shape, seed):
    activation = random(channels, *size, seed=seed)
    gradient = random(channels, *size, seed=seed + 1) - 0.5
    drawing = pipeline(activation, gradient, random(*shape), "a" * 40, "b" * 40)
    check_drawing(drawing)
    assert drawing.caption == "A."


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 17), (40, 28)])
def test_fine_maps_are_drawn_with_few_cells(size):
    drawing = pipeline(random(3, *size), random(3, *size) - 0.5)
    check_drawing(drawing)
    assert max(len(cells) for _, cells in grids(drawing)) <= 16 * 16


def test_a_blank_map_is_drawn():
    drawing = pipeline(torch.zeros(3, 2, 2), torch.zeros(3, 2, 2))
    check_drawing(drawing)
    assert "largest 0" in texts(drawing)


@settings(max_examples=10, deadline=None)
@given(st.integers(8, 40), st.integers(8, 40), st.sampled_from([1, 3]), SIDES, SIDES)
def test_questions_and_removals_of_any_shape_are_whole(height, width, colours, rows, columns):
    image, m = random(colours, height, width), random(rows, columns)
    region = box((2, 5), (3, 8), (height, width))
    pixels = height * width
    for drawing in (
        questions(image, m, region=region),
        removed(image, m, region, (4, 5)),
        removed(image, m, region, (pixels - 1, pixels)),
    ):
        check_drawing(drawing)
        assert drawing.caption == "A."


def test_large_images_are_whole():
    image, ink = random(3, 480, 360), box((100, 300), (100, 300), (480, 360))
    check_drawing(removed(image, MAP, ink, (4, 1024)))
    check_drawing(questions(image, MAP, region=ink))
