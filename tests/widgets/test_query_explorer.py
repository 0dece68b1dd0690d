"""The traits of QueryExplorer: packed weights, and numbers computed from the exact ones."""

import numpy as np
import pytest
import torch

from course_utils.core.boxes import box_regions
from course_utils.explain import metrics
from course_utils.widgets import QueryExplorer
from tests.widgets.query_explorer import (
    BOXES,
    COLUMNS,
    HEIGHT,
    NAMES,
    ROWS,
    TITLES,
    WIDTH,
    K,
    N,
    explorer,
    parts,
)

GRID = (ROWS, COLUMNS)


def floats(packed, *shape):
    return np.frombuffer(packed, np.float32).reshape(shape)


@pytest.fixture(scope="module")
def exact():
    """The weights of both blocks in double precision: (2, N, K, K)."""
    return torch.stack(list(parts()[1].values())).double().numpy()


def test_each_row_of_weights_is_packed_relative_to_its_highest(exact):
    widget = explorer()
    highest = floats(widget.highest, 2, N, K)
    np.testing.assert_array_equal(highest, exact.max(axis=-1).astype(np.float32))
    steps = np.frombuffer(widget.weights, np.uint8).reshape(2, N, K, K)
    assert (steps.max(axis=-1) == 255).all()
    error = np.abs(steps / 255 * highest[..., None] - exact)
    assert (error <= highest[..., None] / 510 * 1.001).all()  # half of a step
    assert len(widget.weights) == 2 * N * K * K


def test_means_and_distances_are_numpys(exact):
    widget = explorer()
    mean = exact.mean(axis=2)
    np.testing.assert_allclose(floats(widget.means, 2, N, K), mean, rtol=1e-6)
    distances = np.abs(exact - mean[:, :, None]).sum(axis=-1) / 2
    np.testing.assert_allclose(floats(widget.distances, 2, N, K), distances, rtol=1e-6)
    assert 0 < distances.min() < distances.max() < 1


def test_shares_are_the_energy_in_each_box_and_elsewhere(exact):
    shares = floats(explorer().shares, 2, N, K, 3)
    regions = box_regions(BOXES.flatten(0, 1), WIDTH)[..., :HEIGHT, :].view(N, 2, HEIGHT, WIDTH)
    for b, n in np.ndindex(2, N):
        maps = torch.from_numpy(exact[b, n]).float().view(K, 1, ROWS, COLUMNS)
        for j in range(2):
            region = regions[n, j].expand(K, 1, -1, -1)
            inside = metrics.energy_inside(maps, region)
            np.testing.assert_allclose(shares[b, n, :, j], inside, atol=1e-5)
    np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=1e-5)


def test_overlapping_boxes_are_counted_once_where_it_is_elsewhere():
    images, weights = parts()
    boxes = torch.tensor([[[0, 0, 16, 12], [8, 0, 24, 12]]]).expand(N, -1, -1)
    widget = QueryExplorer.from_block(images, weights, TITLES, boxes, grid=GRID)
    assert widget.chances == [[0.5, 0.5, 0.25]] * N


def test_the_query_starts_in_the_first_box_or_in_the_middle():
    images, weights = parts()
    assert explorer().position == 1 * COLUMNS + 2  # the centre is at x = 9, y = 6.5
    assert explorer(position=7).position == 7
    plain = QueryExplorer.from_block(images, weights[NAMES[0]], TITLES, grid=GRID)
    assert plain.position == 1 * COLUMNS + 4
    assert (plain.names, plain.objects, plain.boxes) == ([""], [], [[], []])


def test_one_box_per_image_needs_no_dimension_of_its_own():
    images, weights = parts()
    widget = QueryExplorer.from_block(images, weights, TITLES, BOXES[:, 0], grid=GRID)
    assert widget.objects == ["digit"]
    assert widget.boxes == BOXES[:, :1].tolist()
    half = {name: rows.half() for name, rows in weights.items()}  # as autocast returns them
    QueryExplorer.from_block(images, half, TITLES, grid=GRID)


def changed(**changes):
    """The arguments of `from_block`, with some of them replaced."""
    images, weights = parts()
    given = {"images": images, "weights": weights[NAMES[0]], "titles": TITLES, "boxes": BOXES}
    return given | {"grid": GRID} | changes


IMAGES, WEIGHTS = parts()[0], parts()[1][NAMES[0]]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": IMAGES[:, 0]}, r"images of shape .*got \(2, 12, 32\)"),
        ({"images": 255 * IMAGES}, r"in \[0, 1\], got values from .* to 25\d"),
        ({"images": IMAGES[:0], "weights": WEIGHTS[:0], "titles": []}, "at least one image"),
        ({"grid": (5, 8)}, "divides images of 12 × 32 pixels, got 5 × 8"),
        ({"grid": (0, 8)}, "got 0 × 8"),
        ({"grid": (8, 3)}, "got 8 × 3"),
        ({"titles": TITLES[:1]}, "expected 2 titles, one per image, got 1"),
        ({"weights": {}}, "at least one block, got an empty mapping"),
        ({"weights": WEIGHTS[:, :-1]}, r"shape \(2, 24, 24\), got \(2, 23, 24\)"),
        ({"weights": {"one": WEIGHTS[:1]}}, r"weights of 'one' of shape .*got \(1, 24, 24\)"),
        ({"weights": 24 * WEIGHTS}, "sums from 24 to 24"),
        ({"weights": WEIGHTS - 0.1}, "got weights of at least -0.1 and sums from -1.4 to -1.4"),
        ({"weights": WEIGHTS * torch.nan}, "got weights of at least nan"),
        ({"boxes": BOXES[:1]}, r"boxes of shape .*got \(1, 2, 4\)"),
        ({"objects": ["a digit"]}, r"expected 2 objects, one name per box, got \['a digit'\]"),
        ({"boxes": BOXES.repeat(1, 2, 1)}, r"expected 4 objects, one name per box, got \[\]"),
    ],
)
def test_bad_input_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        QueryExplorer.from_block(**changed(**changes))
