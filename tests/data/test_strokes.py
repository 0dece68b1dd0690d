import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.draw import line
from skimage.measure import euler_number
from skimage.morphology import remove_small_objects, skeletonize

from course_utils.data import strokes
from course_utils.data.cluttered_digits import digit_pool

DIGITS = digit_pool("test")[0]
SOME = st.integers(0, len(DIGITS) - 1)


def fine(digit):
    """A digit as `traced` enlarges it, without torch."""
    return (
        ndimage.zoom(digit.numpy().astype(float), 4, order=1, grid_mode=True, mode="nearest") >= 128
    )


@settings(max_examples=30, deadline=None)
@given(SOME)
def test_a_skeleton_is_thin_and_hangs_together_as_the_ink_does(i):
    ink = remove_small_objects(fine(DIGITS[i]), max_size=8)  # specks may vanish
    found = strokes.skeleton(torch.from_numpy(ink)).numpy()
    assert (ink | ~found).all()  # only ink
    assert euler_number(found, 2) == euler_number(ink, 2)  # as many pieces, as many holes
    assert ndimage.label(found, np.ones((3, 3)))[1] == ndimage.label(ink, np.ones((3, 3)))[1]
    assert (
        not ndimage.binary_erosion(found, np.ones((2, 2)))[1:, 1:].sum() > 0.02 * found.sum()
    )  # hardly a 2 × 2 block
    near = ndimage.distance_transform_edt(~skeletonize(ink))[found]
    assert near.max() < 10  # of 112 pixels
    assert near.mean() < 1


def test_a_line_of_one_pixel_is_its_own_skeleton():
    ink = np.zeros((20, 20), bool)
    ink[line(2, 3, 16, 9)] = True
    assert torch.equal(strokes.skeleton(torch.from_numpy(ink)), torch.from_numpy(ink))


@pytest.mark.parametrize("ink", [np.zeros((5, 6), bool), np.eye(7, dtype=bool)])
def test_nothing_is_made_where_there_is_nothing_to_take(ink):
    assert torch.equal(strokes.skeleton(torch.from_numpy(ink)), torch.from_numpy(ink))


@settings(max_examples=30, deadline=None)
@given(SOME)
def test_what_is_traced_and_drawn_again_covers_the_digit(i):
    digit = DIGITS[i]
    paths = strokes.traced(digit)
    drawn = strokes.inked(paths, 28, 3.0)
    middle = np.array([point for path in paths for point in path])
    x, y = middle.T.astype(int)
    assert (digit[y, x] > 40).float().mean() > 0.95  # the pen goes where ink is
    away = ndimage.distance_transform_edt(drawn.numpy() < 0.5)[digit.numpy() >= 200]
    assert away.max() < 5  # strokes of MNIST are thicker than the pen
    for path in paths:
        far = np.hypot(*np.diff(np.array(path), axis=0).T)
        assert far.max(initial=0) < 3  # no jumps


def test_every_line_of_a_digit_is_drawn():
    """What the skeleton has is on the paths, all of it."""
    for digit in DIGITS[::60]:
        skeleton = strokes.skeleton(torch.from_numpy(fine(digit)))
        places = torch.tensor([p for path in strokes.traced(digit) for p in path])
        y, x = (skeleton.nonzero() + 0.5).T / strokes.FINER
        nearest = torch.cdist(torch.stack([x, y], dim=1), places).min(dim=1).values
        assert nearest.max() < 1.0


def test_an_image_without_ink_is_said():
    with pytest.raises(ValueError, match="brightest pixel is 100"):
        strokes.traced(torch.full((28, 28), 100, dtype=torch.uint8))


@settings(deadline=None)
@given(st.tuples(*[st.floats(4, 28)] * 4), st.floats(1, 6))
def test_a_line_has_the_ink_of_its_length_and_width(ends, width):
    x0, y0, x1, y1 = ends
    ink = strokes.inked([[[x0, y0], [x1, y1]]], 32, width)
    area = width * np.hypot(x1 - x0, y1 - y0) + np.pi * width**2 / 4
    assert ink.sum() == pytest.approx(
        area + np.pi / 12, rel=0.12, abs=0.5
    )  # the soft edge of the round ends
    assert (ink >= 0).all()
    assert (ink <= 1).all()


def test_a_dot_is_round_and_half_at_the_width():
    ink = strokes.inked([[[8.5, 8.5]]], 17, 6.0)
    assert ink[8, 8] == 1
    assert ink[8, 11] == ink[11, 8] == ink[5, 8] == pytest.approx(0.5)
    assert torch.equal(ink, ink.T)
    assert ink[8, 12] == 0


def test_no_strokes_no_ink():
    assert strokes.inked([], 8, 2.0).sum() == 0
