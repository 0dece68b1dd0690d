import numpy as np
import pytest
import torch

from course_utils import plots

IMAGES, BOXES = torch.rand(3, 1, 8, 8), torch.tensor([[1, 2, 5, 7]] * 3)
MAPS = (
    torch.rand(3, 1, 4, 4) * torch.tensor([0.1, 0.5, 1]).view(3, 1, 1, 1),
    torch.rand(3, 1, 2, 2),
)


def test_shared_scale_starts_at_zero_and_raw_ranges_are_printed():
    axes = np.array(plots.show_maps(IMAGES, MAPS, list("abc"), BOXES).axes[:9]).reshape(3, 3)
    for tap, maps in enumerate(MAPS, start=1):
        for i in range(3):
            assert axes[tap, i].images[0].get_clim() == (0, pytest.approx(maps.max().item()))
            assert axes[tap, i].get_xlabel() == f"{maps[i].min():.2g}\nto {maps[i].max():.2g}"
            assert len(axes[tap, i].patches) == 1


def test_own_scale_stretches_each_map():
    axes = np.array(plots.show_maps(IMAGES, MAPS, list("abc"), own_scale=True).axes).reshape(3, 3)
    for i in range(3):
        expected = (MAPS[0][i].min().item(), MAPS[0][i].max().item())
        assert axes[1, i].images[0].get_clim() == pytest.approx(expected)
        assert len(axes[1, i].patches) == 0


def test_box_is_drawn_around_its_pixels():
    axis = plots.show_images(IMAGES, list("abc"), BOXES).axes[1]
    box = axis.patches[0]
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (0.5, 1.5, 4, 5)
    assert axis.get_title() == "b"


def test_a_row_has_one_scale_per_map_or_one_for_all():
    maps = {"first": MAPS[0][:1], "second": MAPS[1][:1]}
    highest = [m.max().item() for m in maps.values()]
    for shared, expected in ((False, highest), (True, [max(highest)] * 2)):
        axes = plots.show_row(IMAGES[:1], maps, "the image", shared=shared).axes
        assert [axis.get_title() for axis in axes] == ["the image", "first", "second"]
        limits = [axis.images[0].get_clim() for axis in axes[1:]]
        assert limits == [(0, pytest.approx(high)) for high in expected]


def test_rows_of_maps_share_one_scale_and_name_their_range():
    maps = {"first": MAPS[0], "second": MAPS[1] * 3}
    figure = plots.show_map_rows(IMAGES, maps, list("abc"), BOXES, label="weight")
    axes = np.array(figure.axes[:9]).reshape(3, 3)
    highest = max(m.max().item() for m in maps.values())
    assert {axis.images[0].get_clim() for axis in axes[1:].flat} == {(0, highest)}
    for row, (name, m) in zip(axes[1:], maps.items()):
        assert row[0].get_ylabel() == f"{name}\n{m.min():.2g} to {m.max():.2g}"
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
