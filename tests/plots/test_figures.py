import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from course_utils import plots

IMAGES, BOXES = torch.rand(3, 1, 8, 8), torch.tensor([[1, 2, 5, 7]] * 3)
MAPS = (
    torch.rand(3, 1, 4, 4) * torch.tensor([0.1, 0.5, 1]).view(3, 1, 1, 1),
    torch.rand(3, 1, 2, 2),
)


@pytest.fixture(autouse=True)
def nothing_is_left_open():
    yield
    assert plt.get_fignums() == []


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


def test_histories_are_drawn_as_they_are():
    history = pd.DataFrame({"epoch": [1, 2], "val_accuracy": [0.2, 0.9]})
    axis = plots.show_histories({"one": history}, chance=0.1).axes[0]
    assert axis.lines[0].get_xydata().tolist() == [[1, 0.2], [2, 0.9]]
    assert axis.lines[1].get_ydata()[0] == 0.1


def test_scores_stand_in_one_table_with_chance_last():
    table = plots.score_table(
        {
            "plain": pd.Series({"accuracy": 0.9565, "chance": 0.06}),
            "attentive": pd.Series(
                {"accuracy": 0.9, "chance": 0.06, "pointing 1": 1.0, "energy 1": 0.5}
            ),
        }
    )
    assert table.columns.tolist() == ["accuracy", "pointing 1", "energy 1", "chance"]
    assert table.index.tolist() == ["plain", "attentive"]
    assert table.data.loc["attentive", "energy 1"] == 0.5
    text = table.to_html()
    assert "–" in text
    assert "0.500" in text
    assert plots.score_table({"photographs": pd.Series({"accuracy": 0.9})}).columns.tolist() == [
        "accuracy"
    ]


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


def test_a_logarithmic_scale_starts_where_it_is_told_and_paints_zeros():
    maps = {"one": torch.zeros(3, 1, 4, 4), "other": 16 * MAPS[0] / MAPS[0].max()}
    figure = plots.show_map_rows(IMAGES, maps, list("abc"), label="times even", lowest=0.25)
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


def test_curves_are_the_mean_of_the_seeds_within_their_range():
    rows = [(f, s, e, 0.1 * e + 0.2 * s) for f in ("a", "b") for s in (0, 1, 2) for e in (1, 2)]
    histories = pd.DataFrame(rows, columns=["variant", "seed", "epoch", "val_loss"]).assign(
        train_loss=1.0
    )
    figure = plots.show_curves(
        histories, {"b": "the second"}, {"train_loss": "training", "val_loss": "validation"}
    )
    assert [axis.get_ylabel() for axis in figure.axes] == ["training", "validation"]
    line, band = figure.axes[1].lines[0], figure.axes[1].collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(line.get_xydata(), [[1, 0.3], [2, 0.4]])
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((0.1, 0.6))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["the second"]


def test_differences_show_each_seed_and_colour_what_leaves_out_zero():
    gains = {"null": [0.1, -0.1, 0.3], "clear": [0.5, 0.6, 0.7]}
    axis = plots.show_differences(gains, {"null": 0.4, "clear": 0.2}, label="points").axes[0]
    dots = [line for line in axis.lines if len(line.get_xdata()) == 3]
    assert [line.get_xdata().tolist() for line in dots] == list(gains.values())
    means = [container.lines[0] for container in axis.containers]
    assert [line.get_xdata().tolist() for line in means] == [
        [pytest.approx(0.1)],
        [pytest.approx(0.6)],
    ]
    assert means[0].get_color() != means[1].get_color()
    assert [t.get_text() for t in axis.get_yticklabels()] == list(gains)
