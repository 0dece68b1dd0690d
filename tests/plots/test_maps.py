import numpy as np
import pytest
import torch
from matplotlib import colormaps

from course_utils import plots

IMAGES, BOXES = torch.rand(3, 1, 8, 8), torch.tensor([[1, 2, 5, 7]] * 3)
MAPS = (
    torch.rand(3, 1, 4, 4) * torch.tensor([0.1, 0.5, 1]).view(3, 1, 1, 1),
    torch.rand(3, 1, 2, 2),
)


def axes_of(figure, rows=3, columns=3):
    """The axes of images and maps, without those of colour bars."""
    return np.array(figure.axes[: rows * columns]).reshape(rows, columns)


def colours(axis):
    """The colours of the map on an image, without their opacity."""
    return axis.images[1].get_array()


def test_maps_lie_over_their_images_on_a_scale_that_starts_at_zero():
    figure = plots.show_maps(IMAGES, MAPS, list("abc"), BOXES)
    axes, viridis = axes_of(figure), colormaps[plots.MAP_COLOURS]
    assert axes[1, 0].get_ylabel().split() == ["first", "map,", "4", "×", "4"]
    for tap, maps in enumerate(MAPS, start=1):
        assert figure.axes[8 + tap].get_ylim() == (0, pytest.approx(maps.max().item()))
        enlarged = torch.nn.functional.interpolate(maps, (8, 8), mode="bilinear") / maps.max()
        for i in range(3):
            assert np.allclose(colours(axes[tap, i]), viridis(enlarged[i, 0].numpy()))
            assert np.allclose(axes[tap, i].images[1].get_alpha(), (2 * enlarged[i, 0]).clip(0, 1))
            assert axes[tap, i].get_xlabel() == f"max {maps[i].max():.2g}"
            assert len(axes[tap, i].patches) == 1


def test_own_scale_stretches_each_map_and_prints_both_ends():
    maps = torch.tensor([0.5, 1e-6, 0.4]).view(3, 1, 1, 1) + torch.eye(4) / 10
    figure = plots.show_maps(IMAGES, {"flat": maps}, list("abc"), own_scale=True)
    axes = axes_of(figure, rows=2)
    assert len(figure.axes) == 6  # no colour bar, as there is no common scale
    assert [axis.get_xlabel() for axis in axes[1]] == ["0.5\nto 0.6", "0\nto 0.1", "0.4\nto 0.5"]
    assert axes[1, 0].get_ylabel() == "flat"
    for axis in axes[1]:
        assert np.allclose(colours(axis), colours(axes[1, 0]), atol=0.01)
        assert len(axis.patches) == 0


def test_a_map_of_zeros_leaves_its_image():
    axes = axes_of(plots.show_maps(IMAGES, [torch.zeros(3, 1, 2, 2)], list("abc")), rows=2)
    assert axes[1, 1].images[1].get_alpha().max() == 0
    assert axes[1, 1].get_xlabel() == "max 0"


def test_box_is_drawn_around_its_pixels():
    axis = plots.show_images(IMAGES, list("abc"), BOXES).axes[1]
    box = axis.patches[0]
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (0.5, 1.5, 4, 5)
    assert axis.get_title() == "b"


def test_a_row_has_one_scale_per_map_or_one_for_all():
    maps = {"weak": torch.full((1, 1, 2, 2), 0.2), "strong": torch.full((1, 1, 4, 4), 0.8)}
    for shared, share in ((False, 1.0), (True, 0.25)):
        axes = plots.show_row(IMAGES[:1], maps, "the image", shared=shared).axes
        assert [axis.get_title() for axis in axes] == ["the image", "weak", "strong"]
        assert [axis.get_xlabel() for axis in axes] == ["", "max 0.2", "max 0.8"]
        for axis, expected in zip(axes[1:], (share, 1.0)):
            assert np.allclose(colours(axis), colormaps[plots.MAP_COLOURS](expected), atol=0.01)


def test_rows_of_maps_share_one_scale_and_name_their_maximum():
    maps = {"first": MAPS[0], "second": MAPS[1] * 3}
    figure = plots.show_map_rows(IMAGES, maps, list("abc"), BOXES, label="weight")
    axes = np.array(figure.axes[:9]).reshape(3, 3)
    highest = max(m.max().item() for m in maps.values())
    assert {axis.images[0].get_clim() for axis in axes[1:].flat} == {(0, highest)}
    for row, (name, m) in zip(axes[1:], maps.items()):
        assert row[0].get_ylabel() == f"{name}\nmax {m.max():.2g}"
    assert [len(axis.patches) for axis in axes.flat] == [1] * 9
    assert figure.axes[9].get_xlabel() == "weight"


def test_a_logarithmic_scale_starts_at_its_lowest_value_and_colours_zeros():
    maps = {"one": torch.zeros(3, 1, 4, 4), "other": 16 * MAPS[0] / MAPS[0].max()}
    figure = plots.show_map_rows(IMAGES, maps, list("abc"), label="times uniform", lowest=0.25)
    axes = np.array(figure.axes[:9]).reshape(3, 3)
    assert {axis.images[0].get_clim() for axis in axes[1:].flat} == {(0.25, 16)}
    assert axes[1, 0].images[0].get_array().tolist() == [[0.25] * 8] * 8
    assert [t.get_text() for t in figure.axes[9].get_xticklabels()] == [
        "1/4",
        "1/2",
        "1",
        "2",
        "4",
        "8",
        "16",
    ]
