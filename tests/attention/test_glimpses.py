import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from course_utils.attention.glimpses import cell_centres, retina

IMAGES = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))


@given(row=st.integers(0, 7), column=st.integers(0, 7))
def test_a_sharp_window_is_cut_out_of_the_image_and_stays_inside(row, column):
    centres = cell_centres(8)[8 * row + column].expand(2, 2)
    top, left = (min(max(8 * n + 4 - 12, 0), 40) for n in (row, column))
    expected = IMAGES[:, :, top : top + 24, left : left + 24]
    assert_close(retina(IMAGES, centres, [24], size=24), expected, atol=1e-5, rtol=0)


def test_windows_of_several_sides_are_shrunk_to_one_size():
    windows = retina(IMAGES, torch.zeros(2, 2), [16, 32, 64], size=16)
    assert windows.shape == (2, 3, 16, 16)
    assert_close(windows[:, :1], IMAGES[:, :, 24:40, 24:40])
    quarters = IMAGES[:, 0, 16:48, 16:48].unflatten(2, (16, 2)).unflatten(1, (16, 2))
    assert_close(windows[:, 1], quarters.mean(dim=(2, 4)))
    assert_close(windows[:, 2, 0, 0], IMAGES[:, 0, :4, :4].mean(dim=(1, 2)))


def test_the_largest_window_does_not_depend_on_its_centre():
    looks = [retina(IMAGES, torch.full((2, 2), x), [64], size=16) for x in (-0.9, 0.4)]
    assert torch.equal(*looks)


def test_a_gradient_reaches_the_centre():
    centres = torch.zeros(2, 2, requires_grad=True)
    retina(IMAGES, centres, [24], size=24)[..., :12].sum().backward()
    assert (centres.grad != 0).any()


def test_cells_are_counted_row_by_row():
    centres = cell_centres(4)
    assert centres[0].tolist() == [-0.75, -0.75]
    assert centres[1].tolist() == [-0.25, -0.75]
    assert centres[-1].tolist() == [0.75, 0.75]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("sides", "size"), [([20], 16), ([80], 16), ([8], 16), ([16], 0)])
def test_errors_of_sides(sides, size):
    with pytest.raises(ValueError, match=re.escape(f"multiples of {size} and at most 64")):
        retina(IMAGES, torch.zeros(2, 2), sides, size=size)
