import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from torchvision.transforms.v2.functional import crop as cut

from course_utils.attention.crops import centre, crop


@given(y=st.integers(0, 4), x=st.integers(0, 6))
def test_centre_of_a_single_position_is_its_middle(y, x):
    maps = torch.zeros(1, 1, 5, 7)
    maps[0, 0, y, x] = 0.3
    assert_close(centre(maps), torch.tensor([[(2 * x + 1) / 7 - 1, (2 * y + 1) / 5 - 1]]))


def test_centre_of_two_peaks_is_between_them():
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 0, 0] = maps[0, 0, 3, 3] = 0.5
    assert_close(centre(maps), torch.zeros(1, 2))


@pytest.mark.parametrize(("x", "y"), [(0, 0), (3, 5), (8, 8)])
def test_window_on_whole_pixels_equals_a_slice_of_the_image(x, y):
    images = torch.rand(2, 3, 16, 16)
    middle = torch.tensor([[(2 * x + 8) / 16 - 1, (2 * y + 8) / 16 - 1]]).expand(2, 2)
    assert_close(crop(images, middle, share=0.5), cut(images, y, x, 8, 8), atol=1e-5, rtol=0)


def test_window_stays_inside_the_image_and_has_the_requested_size():
    images = torch.ones(1, 1, 16, 16)  # pixels outside would be zeros
    corner = crop(images, torch.tensor([[-1.0, 1.0]]), share=0.5, size=8)
    assert_close(corner, torch.ones(1, 1, 8, 8))
    assert crop(images, torch.zeros(1, 2), share=0.25, size=20).shape == (1, 1, 20, 20)


def test_gradient_reaches_the_scores_and_moves_the_window_to_the_ink():
    """If more ink in the window is rewarded, scores near the ink rise and scores far away fall."""
    images = torch.zeros(1, 1, 32, 32)
    images[..., 20:24] = 1  # a bar right of the middle
    images = torch.nn.functional.avg_pool2d(images, 9, 1, 4)  # soft edges have a gradient
    scores = torch.zeros(1, 16, requires_grad=True)
    maps = scores.softmax(dim=1).view(1, 1, 4, 4)
    crop(images, centre(maps), share=0.25).sum().backward()
    slope = scores.grad.view(4, 4)
    assert slope.isfinite().all()
    assert (slope[:, 3] > 0).all()
    assert (slope[:, 0] < 0).all()


def test_gradient_is_exact():
    images = torch.rand(1, 1, 12, 12, dtype=torch.double)
    maps = torch.rand(1, 1, 3, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: crop(images, centre(m), share=0.4), maps)


@pytest.mark.parametrize(
    "maps", [torch.zeros(1, 1, 2, 2), -torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), torch.nan)]
)
def test_maps_without_a_centre_are_refused(maps):
    with pytest.raises(ValueError, match=r"finite, non-negative maps, .* zero"):
        centre(maps)


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"share": 0.0}, "0.0 and 1"),
        ({"share": 1.5}, "1.5 and 12"),
        ({"share": 0.5, "size": 0}, "0.5 and 0"),
    ],
)
def test_shares_and_sizes_out_of_range_are_refused(options, given):
    with pytest.raises(ValueError, match=f"got {given}$"):
        crop(torch.ones(1, 1, 8, 8), torch.zeros(1, 2), **options)


def test_images_that_are_not_square_are_refused():
    with pytest.raises(ValueError, match=r"got \(1, 1, 8, 16\)"):
        crop(torch.ones(1, 1, 8, 16), torch.zeros(1, 2))


def test_window_stopped_by_the_border_has_no_gradient_in_that_direction():
    centres = torch.tensor([[0.9, 0.0]], requires_grad=True)
    crop(torch.rand(1, 1, 32, 32), centres, share=0.5).square().sum().backward()
    across, down = centres.grad[0]
    assert across == 0
    assert down != 0
