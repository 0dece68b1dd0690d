import pytest
import torch

from course_utils.core.targets import target_classes

LOGITS = torch.tensor([[0.0, 2.0, 1.0], [5.0, 4.0, 3.0]])


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (None, [1, 0]),  # the predicted classes
        (2, [2, 2]),
        (0, [0, 0]),
        (torch.tensor([2, 1]), [2, 1]),
        (torch.tensor([2, 1], dtype=torch.uint8), [2, 1]),
        (torch.tensor(1), [1, 1]),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_one_class_per_image(classes, expected):
    found = target_classes(classes, LOGITS)
    assert found.dtype == torch.long
    assert found.tolist() == expected


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("classes", "given"),
    [
        (3, "3"),
        (-1, "-1"),
        (torch.tensor([0, 3]), r"\[0, 3\]"),
        (torch.tensor([0, 1, 2]), r"\[0, 1, 2\]"),
        (torch.tensor([1]), r"\[1\]"),
        (torch.tensor([0.0, 1.0]), r"\[0.0, 1.0\]"),
        (torch.tensor([True, False]), r"\[True, False\]"),
        (True, "True"),
    ],
)
def test_other_classes_are_refused(classes, given):
    with pytest.raises(ValueError, match=f"from 0 to 2 for each of 2 images, got {given}$"):
        target_classes(classes, LOGITS)
