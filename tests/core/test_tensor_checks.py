import pytest
import torch

from course_utils.core.tensor_checks import as_masks, check_maps, check_shape, truth_of


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


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float32, torch.float64]
)
def test_masks_of_any_type_become_booleans(dtype):
    mask = torch.tensor([[True, False], [False, True]])
    assert torch.equal(as_masks("masks", mask.to(dtype)), mask)
    assert torch.equal(as_masks("masks", torch.ones(2, 3).to(dtype)), torch.ones(2, 3) > 0)
    assert as_masks("masks", torch.zeros(0, 3).to(dtype)).shape == (0, 3)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (torch.tensor([0, 255], dtype=torch.uint8), r"uint8 values from 0 to 255; .*`masks > 127`"),
        (torch.full((2, 2), 255.0), r"float32 values from 255 to 255; .*`masks > 127`"),
        (torch.tensor([0, 65535]), r"int64 values from 0 to .*; .*`masks > 32767`"),
        (torch.tensor([0.0, 0.5, 1.0]), r"float32 values from 0 to 1; .*`masks > 0.5`"),
        (torch.tensor([-1, 1]), r"int64 values from -1 to 1; .*`masks > 0.5`"),
        (torch.tensor([0.0, float("nan")]), "float32 values from nan to nan"),
    ],
)
def test_masks_with_other_values_are_refused(masks, message):
    with pytest.raises(ValueError, match=f"0 and 1 .or booleans., got {message}"):
        as_masks("masks", masks)


def test_truth_is_known_outside_transforms_only():
    assert truth_of(torch.tensor(True)) is truth_of(3 < 4) is True
    assert truth_of(torch.tensor(float("nan")) < 1) is False
    found = []
    torch.vmap(lambda x: found.append(truth_of(x > 0)) or x)(torch.ones(3))
    torch.func.grad(lambda x: found.append(truth_of(x > 0)) or x)(torch.ones(()))
    torch.export.export(Branch(found), (torch.ones(()),))
    assert found == [None, True, None]


class Branch(torch.nn.Module):
    """A network that only notes what it can know of its input."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def forward(self, x):
        self.found.append(truth_of(x > 0))
        return 2 * x
