import pytest
import torch

from course_utils.training.augmentation import mirror_and_shift


@pytest.mark.parametrize("shape", [(64, 3, 16, 24), (64, 1, 32, 32)])
def test_each_image_is_shifted_and_half_of_them_are_mirrored(shape):
    """Every result is one of all possible views of its image, and views of all kinds occur."""
    torch.manual_seed(0)
    images = torch.rand(shape)
    reach = min(shape[2:]) // 8
    seen = set()
    for image, view in zip(images, mirror_and_shift(images)):
        found = []
        for mirrored in (False, True):
            whole = torch.nn.functional.pad(image.flip(-1) if mirrored else image, [reach] * 4)
            for down in range(2 * reach + 1):
                for right in range(2 * reach + 1):
                    window = whole[:, down : down + shape[2], right : right + shape[3]]
                    found += [(mirrored, down, right)] if torch.equal(window, view) else []
        assert len(found) == 1
        seen |= set(found)
    assert {mirrored for mirrored, *_ in seen} == {False, True}
    assert (
        {down for _, down, _ in seen} == {right for *_, right in seen} == set(range(2 * reach + 1))
    )


def test_a_seed_repeats_the_views_and_the_images_are_not_changed():
    images = torch.rand(8, 1, 16, 16)
    before, views = images.clone(), []
    for _ in range(2):
        torch.manual_seed(1)
        views.append(mirror_and_shift(images))
    assert torch.equal(*views)
    assert torch.equal(images, before)
