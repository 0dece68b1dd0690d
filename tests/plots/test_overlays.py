import numpy as np
import pytest
import torch
from matplotlib import colormaps

from course_utils import plots

GREY, RGB = torch.rand(1, 6, 8), torch.rand(3, 6, 8)
MAP = torch.rand(1, 1, 3, 4)


def pixels(picture):
    return np.asarray(picture).astype(int)


def test_a_pixel_worked_by_hand():
    """At half of the highest value, the opacity is 0.4; the image is white."""
    picture = pixels(plots.overlay(torch.ones(3, 1, 2), torch.tensor([[2.0, 0]]), highest=4))
    viridis = np.array([0x21, 0x91, 0x8C])  # the middle of the colour map
    assert picture[0, 0].tolist() == pytest.approx((0.6 * 255 + 0.4 * viridis).tolist(), abs=1)
    assert picture[0, 1].tolist() == [255, 255, 255]


def test_the_highest_value_has_the_last_colour_and_shows_the_image():
    picture = pixels(plots.overlay(torch.zeros(1, 1, 1), torch.tensor([[5.0]])))
    yellow = 255 * np.array(colormaps["viridis"](1.0)[:3])
    assert picture[0, 0].tolist() == pytest.approx((0.8 * yellow).tolist(), abs=1)


def test_a_map_of_zeros_leaves_the_image_as_it_is():
    for image in (GREY, RGB):
        picture = plots.overlay(image, torch.zeros(2, 2))
        assert (picture.mode, picture.size) == ("RGB", (8, 6))
        expected = (255 * image.expand(3, -1, -1)).round().movedim(0, -1)
        assert (pixels(picture) == expected.numpy()).all()


def test_the_common_scale_makes_maps_comparable():
    weak, strong = MAP / 4, MAP
    highest = strong.max().item()
    on_one_scale = [plots.overlay(RGB, m, highest=highest) for m in (weak, strong)]
    assert (pixels(on_one_scale[0]) != pixels(on_one_scale[1])).any()
    assert plots.overlay(RGB, weak) == plots.overlay(RGB, strong)
    beyond = plots.overlay(RGB, torch.full((2, 2), 9.0), highest=3)
    assert beyond == plots.overlay(RGB, torch.full((2, 2), 3.0), highest=3)


def test_images_and_maps_may_have_leading_dimensions_of_one_and_gradients():
    expected = plots.overlay(RGB, MAP[0, 0])
    assert plots.overlay(RGB[None].requires_grad_(), MAP[0].requires_grad_()) == expected
    assert plots.overlay(RGB, MAP.double()) == expected


def test_the_picture_can_be_saved(tmp_path):
    plots.overlay(GREY, MAP).save(tmp_path / "cat.png")
    assert (tmp_path / "cat.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("image", "m", "highest", "message"),
    [
        (RGB, -MAP, None, r"clamp\(min=0\)"),
        (RGB, MAP * float("nan"), None, "finite maps"),
        (RGB, torch.full((2, 2), float("inf")), None, "finite maps"),
        (RGB, MAP.expand(1, 2, 3, 4), None, r"\(1, 1, h, w\), got \(1, 2, 3, 4\)"),
        (RGB, MAP[0, 0, 0], None, r"got \(4,\)"),
        (RGB.expand(2, 3, 6, 8), MAP, None, "one image, got 2"),
        (torch.rand(4, 6, 8), MAP, None, r"got \(1, 4, 6, 8\)"),
        ((255 * RGB).byte(), MAP, None, r"\[0, 1\], got values from"),
        (RGB - 1, MAP, None, r"\[0, 1\], got values from -"),
        (RGB.numpy(), MAP, None, "image as a tensor, got ndarray"),
        (RGB, "map", None, "map as a tensor, got str"),
        (RGB, MAP, 0.0, "highest to be above 0 and finite, got 0"),
        (RGB, MAP, float("nan"), "highest to be above 0 and finite, got nan"),
    ],
)
def test_what_cannot_be_laid_over_each_other_is_refused(image, m, highest, message):
    with pytest.raises(ValueError, match=message):
        plots.overlay(image, m, highest=highest)
