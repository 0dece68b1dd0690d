import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.draw import line
from skimage.measure import euler_number
from skimage.morphology import remove_small_objects, skeletonize

from course_utils.data import strokes
from course_utils.data.cluttered_digits import digit_pool

DIGITS = digit_pool("test")[0]
INDICES = st.integers(0, len(DIGITS) - 1)


def fine(digit):
    """Enlarge a digit as `traced` does, without torch."""
    return (
        ndimage.zoom(digit.numpy().astype(float), 4, order=1, grid_mode=True, mode="nearest") >= 128
    )


@settings(max_examples=30, deadline=None)
@given(INDICES)
def test_skeleton_is_thin_and_connected_like_the_ink(i):
    ink = remove_small_objects(fine(DIGITS[i]), max_size=8)  # specks may vanish
    found = strokes.skeleton(torch.from_numpy(ink)).numpy()
    assert (ink | ~found).all()  # only ink
    assert euler_number(found, 2) == euler_number(ink, 2)  # pieces minus holes
    assert ndimage.label(found, np.ones((3, 3)))[1] == ndimage.label(ink, np.ones((3, 3)))[1]
    assert (
        not ndimage.binary_erosion(found, np.ones((2, 2)))[1:, 1:].sum() > 0.02 * found.sum()
    )  # almost no block of 2 × 2
    near = ndimage.distance_transform_edt(~skeletonize(ink))[found]
    assert near.max() < 10  # of 112 pixels
    assert near.mean() < 1


def test_line_of_one_pixel_is_its_own_skeleton():
    ink = np.zeros((20, 20), bool)
    ink[line(2, 3, 16, 9)] = True
    assert torch.equal(strokes.skeleton(torch.from_numpy(ink)), torch.from_numpy(ink))


@pytest.mark.parametrize("ink", [np.zeros((5, 6), bool), np.eye(7, dtype=bool)])
def test_ink_that_cannot_be_thinned_is_unchanged(ink):
    assert torch.equal(strokes.skeleton(torch.from_numpy(ink)), torch.from_numpy(ink))


@settings(max_examples=30, deadline=None)
@given(INDICES)
def test_traced_lines_cover_the_digit_when_drawn(i):
    digit = DIGITS[i]
    paths = strokes.traced(digit)
    drawn = strokes.inked(paths, 28, 3.0)
    middle = np.array([point for path in paths for point in path])
    x, y = middle.T.astype(int)
    assert (digit[y, x] > 40).float().mean() > 0.95  # the pen stays on the ink
    away = ndimage.distance_transform_edt(drawn.numpy() < 0.5)[digit.numpy() >= 200]
    assert away.max() < 5  # strokes of MNIST are thicker than the pen
    for path in paths:
        far = np.hypot(*np.diff(np.array(path), axis=0).T)
        assert far.max(initial=0) < 3  # no jumps


def test_every_pixel_of_the_skeleton_is_on_a_path():
    for digit in DIGITS[::60]:
        skeleton = strokes.skeleton(torch.from_numpy(fine(digit)))
        points = torch.tensor([p for path in strokes.traced(digit) for p in path])
        y, x = (skeleton.nonzero() + 0.5).T / strokes.FINER
        nearest = torch.cdist(torch.stack([x, y], dim=1), points).min(dim=1).values
        assert nearest.max() < 1.0


def test_image_without_lines_is_refused():
    with pytest.raises(ValueError, match="brightest pixel is 100"):
        strokes.traced(torch.full((28, 28), 100, dtype=torch.uint8))


def area_error(ends, width):
    """Return the ink of a line minus its area, and the length of the line.

    The area is that of a rectangle with round ends. Their soft edge, a ramp over one pixel, adds
    π / 12.
    """
    x0, y0, x1, y1 = ends
    ink = strokes.inked([[[x0, y0], [x1, y1]]], 32, width)
    assert ink.min() >= 0
    assert ink.max() <= 1
    length = np.hypot(x1 - x0, y1 - y0)
    return ink.sum().item() - (width * length + np.pi * width**2 / 4 + np.pi / 12), length


@settings(deadline=None)
@given(st.tuples(*[st.floats(4, 28)] * 4), st.floats(1, 6))
@example((23.0, 25.0, 4.0, 6.0), 1.0)  # a thin diagonal through the centres of pixels
@example((8.5, 8.5, 8.5, 8.5), 3.4721)  # the dot with the largest error
def test_ink_of_a_line_is_its_area(ends, width):
    """The ink is sampled at the pixels' centres, so it differs from the area.

    Along a line the error is largest at 45°, where the rows of centres are 1 / √2 apart. A search
    over widths and positions finds at most 0.1214 per pixel of length there; by Poisson's summation
    formula it is below 0.05 for all other slopes. For the round ends, a search over dots finds at
    most 0.4987.
    """
    error, length = area_error(ends, width)
    assert abs(error) <= 0.1214 * length + 0.5


@settings(deadline=None)
@given(st.floats(4, 14), st.integers(1, 14), st.floats(4, 28), st.floats(1, 6))
def test_horizontal_line_has_exactly_the_ink_of_its_length(x, length, y, width):
    """A whole number of pixels between two ends adds exactly its area, wherever the line lies.

    Across the line the ink falls off over one pixel, and samples of such a ramp always add up to
    the same sum.
    """
    line, _ = area_error((x, y, x + length, y), width)
    dot, _ = area_error((x, y, x, y), width)  # both ends without a line between them
    assert line == pytest.approx(dot, abs=1e-3)


def test_dot_is_round_and_half_at_the_width():
    ink = strokes.inked([[[8.5, 8.5]]], 17, 6.0)
    assert ink[8, 8] == 1
    assert ink[8, 11] == ink[11, 8] == ink[5, 8] == pytest.approx(0.5)
    assert torch.equal(ink, ink.T)
    assert ink[8, 12] == 0


def test_no_strokes_give_no_ink():
    assert strokes.inked([], 8, 2.0).sum() == 0


def test_centred_lines_are_scaled_about_the_middle():
    paths = [[[14.0, 14.0], [14.0, 4.0]], [[20.0, 24.0]]]
    assert strokes.centred(paths, 28, 64) == [[[32.0, 32.0], [32.0, 22.0]], [[38.0, 42.0]]]
    assert strokes.centred(paths, 28, 64, 2.0) == [[[32.0, 32.0], [32.0, 12.0]], [[44.0, 52.0]]]
