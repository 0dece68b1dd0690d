import pandas as pd
import pytest
import torch

from course_utils import plots

IMAGES, MAPS = torch.rand(2, 3, 8, 8), torch.rand(2, 1, 4, 4)
CALLS = {
    "show_images": lambda images, maps: plots.show_images(images, ["a", "b"]),
    "show_maps": lambda images, maps: plots.show_maps(images, [maps], ["a", "b"]),
    "show_row": lambda images, maps: plots.show_row(images[:1], {"map": maps[:1]}, "a"),
    "show_map_rows": lambda images, maps: plots.show_map_rows(
        images, {"map": maps}, ["a", "b"], label="weight"
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[:0], r"at least one image.* got \(0, 3, 8, 8\)"),
        (IMAGES[:, :2], r"1 \(grey\) or 3 \(RGB\), got \(\d, 2, 8, 8\)"),
        (IMAGES.movedim(1, -1), r"got \(\d, 8, 8, 3\)"),
        (IMAGES[0], r"got \(\d, 8, 8\)"),
        (4 * IMAGES - 2, r"\[0, 1\], got values from -\d"),
        ((255 * IMAGES).byte(), r"divide bytes by 255"),
        (IMAGES * float("nan"), r"got values from nan"),
        (IMAGES.numpy(), "got ndarray; .*torch.from_numpy"),
    ],
)
def test_images_that_would_be_drawn_wrongly_are_refused(call, images, message):
    with pytest.raises(ValueError, match=message):
        call(images, MAPS)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("call", list(CALLS.values())[1:], ids=list(CALLS)[1:])
@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (MAPS[:, 0], r"\(\d, 1, h, w\), got \(\d, 4, 4\)"),
        (MAPS.expand(2, 3, 4, 4), r"\(\d, 1, h, w\), got \(\d, 3, 4, 4\)"),
        (MAPS / 0 * 0, "finite maps"),
        (MAPS.numpy(), "got ndarray; .*torch.from_numpy"),
    ],
)
def test_maps_that_cannot_be_drawn_are_refused(call, maps, message):
    with pytest.raises(ValueError, match=message):
        call(IMAGES, maps)


def test_a_missing_title_is_refused():
    with pytest.raises(ValueError, match="expected 2 titles, one per image, got 1"):
        plots.show_images(IMAGES, ["a"])


def test_rounding_and_gradients_do_no_harm():
    plots.show_images((IMAGES.clamp(0.1) / IMAGES.max() + 1e-6).requires_grad_(), ["a", "b"])
    plots.show_maps(IMAGES, [MAPS.clone().requires_grad_()], ["a", "b"])
    plots.show_row(IMAGES[:1].bfloat16(), {"map": MAPS[:1].bfloat16()}, "a")


@pytest.mark.parametrize(
    "call",
    [
        lambda: plots.show_map_rows(IMAGES, {}, ["a", "b"], label="weight"),
        lambda: plots.show_map_rows(IMAGES, {"m": 0 * MAPS}, ["a", "b"], label="w", lowest=0.1),
        lambda: plots.show_heat_map(pd.DataFrame(index=["a"]), label="share"),
        lambda: plots.show_histories({}, chance=0.1),
        lambda: plots.show_differences({}, {}, label="points"),
    ],
)
def test_a_figure_of_nothing_is_refused(call):
    with pytest.raises(ValueError, match=r"expected .* got (no|at most 0|\(1, 0\))"):
        call()
