"""AttentionExplorer in a page: what it reports is what the package computes."""

import re

import numpy as np
import pytest
import torch

from course_utils.attention import alignments, scores
from course_utils.attention.general import to_maps
from course_utils.explain import metrics
from course_utils.widgets import AttentionExplorer
from tests.widgets import attention_explorer
from tests.widgets.attention_explorer import GRID, D


@pytest.fixture
def parts():
    return attention_explorer.parts()


def expected(widget, regions):
    """The expected status line, computed from the traits with the package."""
    keys = torch.from_numpy(np.frombuffer(widget.features, np.uint8).copy()).view(2, GRID**2, D)[
        [widget.image]
    ]
    keys = keys.double() * widget.step
    queries = (
        torch.from_numpy(np.frombuffer(widget.queries, np.float32).copy()).view(-1, D).double()
    )
    query = keys[:, [widget.position]] if widget.query == 0 else queries[None, [widget.query - 1]]
    weights = alignments.softmax(
        scores.scaled_multiplicative(query, keys), temperature=2**widget.power
    )
    inside = metrics.energy_inside(to_maps(weights, GRID), regions[[widget.image]]).item()
    row, column = divmod(weights.argmax().item(), GRID)
    return round(100 * inside), weights.max().item(), row + 1, column + 1


def said(text):
    inside, highest, row, column = re.search(
        r": (\d+) % of the weight .* The highest weight, ([\d.e-]+), is at row (\d+), column (\d+)",
        text,
    ).groups()
    return int(inside), pytest.approx(float(highest), rel=0.06), int(row), int(column)


@pytest.mark.parametrize(
    ("image", "query", "power"), [(0, 0, 0.0), (1, 0, -2.0), (0, 1, 3.0), (1, 2, -0.5)]
)
def test_it_displays_what_the_package_computes(show_widget, parts, image, query, power):
    explorer = AttentionExplorer.from_features(*parts)
    explorer.image, explorer.query, explorer.power, explorer.position = image, query, power, 6
    status = show_widget(explorer).locator(".course-status").inner_text()
    assert expected(explorer, parts[2]) == said(status)
    chance = metrics.area_share(parts[2])[image].item()
    assert f"chance is {100 * chance:.0f} %" in status


def test_keyboard_and_pointer_move_the_query(show_widget, parts):
    explorer = AttentionExplorer.from_features(*parts)
    explorer.query = 1
    widget = show_widget(explorer)
    status, picture = widget.locator(".course-status"), widget.get_by_role("application")
    assert "The query is first:" in status.inner_text()
    picture.focus()
    picture.press("ArrowUp")  # from row 3, column 3: and the dragged key becomes the query
    assert "The query is the key at row 2, column 3:" in status.inner_text()
    explorer.position, explorer.query = 6, 0
    assert expected(explorer, parts[2]) == said(status.inner_text())
    box = picture.bounding_box()
    picture.click(position={"x": 1, "y": box["height"] - 2})
    assert "row 4, column 1:" in status.inner_text()
    for _ in range(GRID):
        picture.press("ArrowLeft")  # and not over the edge
    assert "row 4, column 1:" in status.inner_text()


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused(parts):
    images, keys, regions, queries = parts
    with pytest.raises(ValueError, match=r"2 images, got \(2, 15, 3\)"):
        AttentionExplorer.from_features(images, keys[:, 1:], regions, queries)
    with pytest.raises(ValueError, match="non-negative keys, got -"):
        AttentionExplorer.from_features(images, keys - 1, regions, queries)
    with pytest.raises(ValueError, match="got uint8 values from 0 to 255"):
        AttentionExplorer.from_features(images, keys, regions.byte() * 255, queries)
    with pytest.raises(ValueError, match=r"size 3, got \[\(2,\)\]"):
        AttentionExplorer.from_features(images, keys, regions, {"short": torch.ones(2)})
