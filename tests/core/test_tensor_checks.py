import pytest
import torch

from course_utils.core.tensor_checks import check_maps, check_shape


def test_finite_non_negative_maps_pass():
    check_maps(torch.zeros(2, 1, 3, 4))
    check_maps(torch.tensor([[[[0.0, 1e30]]]]))


@pytest.mark.parametrize(
    ("value", "values"),
    [(-0.25, "-0.25 to 1"), (float("nan"), "nan to nan"), (float("inf"), "0 to inf")],
)
def test_other_values_of_maps_are_refused(value, values):
    with pytest.raises(ValueError, match=f"finite, non-negative maps, .* {values}$"):
        check_maps(torch.tensor([[[[value, 0.0, 1.0]]]]))


@pytest.mark.parametrize("sizes", [(2, 3, 5), (None, 3, None), (None, None, None)])
def test_expected_shapes_pass(sizes):
    check_shape("x", torch.zeros(2, 3, 5), *sizes)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((2, None), r"x of shape \(2, any\), got \(2, 3, 5\)"),
        ((2, 3, 5, None), r"x of shape \(2, 3, 5, any\), got \(2, 3, 5\)"),
        ((2, None, 4), r"x of shape \(2, any, 4\), got \(2, 3, 5\)"),
        ((), r"x of shape \(\), got \(2, 3, 5\)"),
    ],
)
def test_error_names_the_expected_and_the_given_shape(sizes, message):
    with pytest.raises(ValueError, match=message):
        check_shape("x", torch.zeros(2, 3, 5), *sizes)
