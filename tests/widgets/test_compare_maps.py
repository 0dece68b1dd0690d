"""The data that `CompareMaps` passes to the page, and the input that it refuses."""

import numpy as np
import pytest
import torch
from traitlets import TraitError

from course_utils.widgets.compare_maps import CompareMaps
from tests.widgets.compare_maps import HEIGHT, WIDTH, N, parts


@pytest.mark.parametrize("channels", [1, 3])
def test_traits_hold_all_maps_in_order(channels):
    given = parts(channels)
    images, regions, labels, classes, methods = given
    widget = CompareMaps.from_maps(*given, divider=20)
    assert (widget.left, widget.right, widget.divider) == (0, 1, 20)
    assert widget.shape == [channels, HEIGHT, WIDTH]
    assert widget.sizes == [[1, 4, 7], [4, 5, 7], [1, HEIGHT, WIDTH], [1, 2, 2]]
    assert widget.methods == [name for name, _ in methods]
    assert widget.labels == labels.tolist()
    assert widget.classes == list(classes)
    kept = np.frombuffer(widget.maps, np.float32)
    np.testing.assert_array_equal(kept, torch.cat([maps.flatten() for _, maps in methods]).numpy())
    bits = np.unpackbits(np.frombuffer(widget.regions, np.uint8).reshape(N, -1), axis=1)[
        :, : HEIGHT * WIDTH
    ]
    np.testing.assert_array_equal(bits.reshape(regions.shape), regions.numpy())
    pixels = np.frombuffer(widget.images, np.uint8).reshape(images.shape) / 255
    np.testing.assert_allclose(pixels, images, atol=0.51 / 255)


def test_one_method_is_compared_with_itself():
    *shown, methods = parts()
    widget = CompareMaps.from_maps(*shown, methods[:1])
    assert (widget.left, widget.right) == (0, 0)


def test_regions_may_be_0_and_1():
    images, regions, *rest = parts()
    expected = CompareMaps.from_maps(images, regions, *rest).regions
    assert CompareMaps.from_maps(images, regions.float(), *rest).regions == expected


@pytest.mark.parametrize("power", [0, 0.2, 17, np.inf])
def test_a_power_beyond_the_slider_is_refused(power):
    with pytest.raises(TraitError, match="'power' trait"):
        CompareMaps.from_maps(*parts(), power=power)


def with_maps(maps):
    return lambda given: given.__setitem__(4, [("one", maps)])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: given.__setitem__(4, []), r"names, got \[\]"),
        (lambda given: given[4].append(given[4][0]), r"names, got .*'coarse', .*'coarse'"),
        (
            lambda given: given.__setitem__(0, torch.rand(N, 2, HEIGHT, WIDTH)),
            r"images \(N, 1 or 3, H, W\)",
        ),
        (lambda given: given.__setitem__(1, given[1].byte() * 255), "uint8 .*masks > 127"),
        (lambda given: given.__setitem__(1, given[1][:2]), r"regions \(N, 1, H, W\) and labels"),
        (lambda given: given.__setitem__(2, given[2][:2]), r"and labels \(N,\), got .*, \(2,\)"),
        (lambda given: given.__setitem__(2, given[2] + 1), r"labels from 0 to 3, got \[2, 4, 1\]"),
        (
            with_maps(torch.rand(N, 3, 1, 4, 4)),
            r"\(3, 1, h, w\) or \(3, 4, 1, h, w\) of 'one', got \(3, 3, 1, 4, 4\)",
        ),
        (with_maps(torch.rand(2, 1, 4, 4)), r"of 'one', got \(2, 1, 4, 4\)"),
        (with_maps(torch.rand(N, 4, 4)), r"of 'one', got \(3, 4, 4\)"),
        (with_maps(torch.rand(N, 1, 4, 4) - 0.5), "finite, non-negative maps, got values from -"),
        (with_maps(torch.full((N, 1, 4, 4), torch.nan)), "finite, non-negative maps"),
    ],
)
def test_bad_input_is_refused(change, message):
    given = parts()
    change(given)
    with pytest.raises(ValueError, match=message):
        CompareMaps.from_maps(*given)
