import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from course_utils import plots


def names_at_lines(axis):
    return {text.get_text() for text in axis.texts}


def test_a_history_is_drawn_as_it_is_and_its_name_is_at_its_end():
    history = pd.DataFrame({"epoch": [1, 2], "val_accuracy": [0.2, 0.9]})
    other = pd.DataFrame({"epoch": [1, 2], "val_accuracy": [0.3, 0.9]})
    axis = plots.show_histories({"one": history, "other": other}, chance=0.1).axes[0]
    assert [line.get_xydata().tolist() for line in axis.lines[:2]] == [
        [[1, 0.2], [2, 0.9]],
        [[1, 0.3], [2, 0.9]],
    ]
    assert axis.lines[-1].get_ydata()[0] == 0.1
    assert names_at_lines(axis) == {"one", "other", "chance"}


def test_names_at_equal_ends_do_not_overlap():
    history = pd.DataFrame({"epoch": [1, 2], "val_accuracy": [0.2, 1.0]})
    figure = plots.show_histories({name: history for name in "abcdef"}, chance=0.1)
    figure.draw_without_rendering()
    # Text's own extent: an annotation's would include the line to the end of its curve.
    extents = [Text.get_window_extent(text) for text in figure.axes[0].texts]
    boxes = sorted((extent.y0, extent.y1) for extent in extents)
    assert all(top <= bottom for (_, top), (bottom, _) in itertools.pairwise(boxes))


def test_several_seeds_of_a_run_are_a_mean_within_their_range():
    seeds = pd.DataFrame({"epoch": [1, 2, 1, 2], "val_accuracy": [0.2, 0.4, 0.4, 0.8]})
    axis = plots.show_histories({"both": seeds}, chance=0.1).axes[0]
    np.testing.assert_allclose(axis.lines[0].get_xydata(), [[1, 0.3], [2, 0.6]])
    band = axis.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((0.2, 0.8))


def test_curves_are_the_mean_of_the_seeds_within_their_range():
    rows = [(f, s, e, 0.1 * e + 0.2 * s) for f in ("a", "b") for s in (0, 1, 2) for e in (1, 2)]
    histories = pd.DataFrame(rows, columns=["variant", "seed", "epoch", "val_loss"]).assign(
        train_loss=1.0
    )
    columns = {"train_loss": "training", "val_loss": "validation"}
    figure = plots.show_curves(histories, {"b": "the second"}, columns)
    assert [axis.get_ylabel() for axis in figure.axes] == ["training", "validation"]
    line = figure.axes[1].lines[0]
    band = figure.axes[1].collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(line.get_xydata(), [[1, 0.3], [2, 0.4]])
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((0.1, 0.6))
    assert [names_at_lines(axis) for axis in figure.axes] == [set(), {"the second"}]


def test_differences_show_each_seed_and_colour_intervals_that_exclude_zero():
    gains = {"unclear": [0.1, -0.1, 0.3], "clear": [0.5, 0.6, 0.7]}
    margins = {"unclear": 0.4, "clear": 0.2}
    axis = plots.show_differences(gains, margins, label="points").axes[0]
    dots = [c.get_offsets() for c in axis.collections if len(c.get_offsets()) == 3]
    assert [sorted(d[:, 0].tolist()) for d in dots] == [sorted(g) for g in gains.values()]
    means = [container.lines[0] for container in axis.containers]
    assert [line.get_xdata().tolist() for line in means] == [
        [pytest.approx(0.1)],
        [pytest.approx(0.6)],
    ]
    assert means[0].get_color() != means[1].get_color()
    ends = [container.lines[2][0].get_segments()[0][:, 0].tolist() for container in axis.containers]
    assert ends == [pytest.approx([-0.3, 0.5]), pytest.approx([0.4, 0.8])]
    assert [t.get_text() for t in axis.get_yticklabels()] == list(gains)
