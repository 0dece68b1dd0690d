import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from course_utils import plots

IMAGES, BOXES = torch.rand(3, 1, 8, 8), torch.tensor([[1, 2, 5, 7]] * 3)
MAPS = (torch.rand(3, 1, 4, 4) * torch.tensor([0.1, 0.5, 1]).view(3, 1, 1, 1), torch.rand(3, 1, 2, 2))


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
            "attentive": pd.Series({"accuracy": 0.9, "chance": 0.06, "pointing 1": 1.0, "energy 1": 0.5}),
        }
    )
    assert table.columns.tolist() == ["accuracy", "pointing 1", "energy 1", "chance"]
    assert table.index.tolist() == ["plain", "attentive"]
    assert table.data.loc["attentive", "energy 1"] == 0.5
    text = table.to_html()
    assert "–" in text
    assert "0.500" in text
    assert plots.score_table({"photographs": pd.Series({"accuracy": 0.9})}).columns.tolist() == ["accuracy"]
