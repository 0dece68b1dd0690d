import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.core.boxes import box_regions, mask_boxes

SIZE = 7
few = settings(max_examples=50, deadline=None)


@st.composite
def intervals(draw):
    """First pixel and end of an interval that is not empty."""
    start = draw(st.integers(0, SIZE - 1))
    return start, draw(st.integers(start + 1, SIZE))


def box(xs, ys):
    return torch.tensor([xs[0], ys[0], xs[1], ys[1]])


def test_tight_box_by_hand():
    mask = torch.zeros(1, 1, 5, 6, dtype=torch.bool)
    mask[0, 0, 1, 4] = mask[0, 0, 3, 2] = True
    assert mask_boxes(mask).tolist() == [[2, 1, 5, 4]]


def test_region_by_hand():
    region = box_regions(torch.tensor([[1, 0, 3, 2]]), 4)
    assert region[0, 0].int().tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@few
@given(st.lists(st.tuples(intervals(), intervals()), min_size=1, max_size=4))
def test_box_of_a_region_is_the_box(pairs):
    boxes = torch.stack([box(xs, ys) for xs, ys in pairs])
    assert torch.equal(mask_boxes(box_regions(boxes, SIZE)), boxes)


@few
@given(pixels=st.sets(st.integers(0, SIZE * SIZE - 1), min_size=1))
def test_tight_box_reaches_exactly_to_the_outermost_pixels(pixels):
    mask = torch.zeros(SIZE * SIZE, dtype=torch.bool)
    mask[list(pixels)] = True
    columns, rows = [p % SIZE for p in pixels], [p // SIZE for p in pixels]
    expected = [min(columns), min(rows), max(columns) + 1, max(rows) + 1]
    assert mask_boxes(mask.view(1, 1, SIZE, SIZE)).tolist() == [expected]


def test_mask_without_pixels_has_the_box_of_the_image():
    assert mask_boxes(torch.zeros(2, 1, 3, 5, dtype=torch.bool)).tolist() == [[0, 0, 5, 3]] * 2


def test_no_masks_have_no_boxes():
    assert mask_boxes(torch.zeros(0, 1, 3, 3, dtype=torch.bool)).shape == (0, 4)
    assert box_regions(torch.zeros(0, 4, dtype=torch.long), 3).shape == (0, 1, 3, 3)


def test_region_is_cut_off_at_the_border():
    assert box_regions(torch.tensor([[2, -1, 9, 1]]), 3)[0, 0].int().tolist() == [
        [0, 0, 1],
        [0, 0, 0],
        [0, 0, 0],
    ]


def test_masks_may_be_0_and_1_and_nothing_else():
    mask = torch.zeros(1, 1, 5, 6)
    mask[0, 0, 1:3, 2:4] = 1
    assert mask_boxes(mask).tolist() == mask_boxes(mask.byte()).tolist() == [[2, 1, 4, 3]]
    for wrong, message in (
        (mask.byte() * 255, "masks > 127"),
        (mask * 0.2 + 0.1, "from 0.1 to 0.3"),
    ):
        with pytest.raises(ValueError, match=message):
            mask_boxes(wrong)
