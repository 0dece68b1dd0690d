import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.core.boxes import box_regions, mask_boxes
from course_utils.data.cluttered_digits import digit_pool
from course_utils.data.several_digits import SeveralDigits


@settings(max_examples=15, deadline=None)
@given(
    most=st.integers(1, 3),
    canvas=st.integers(48, 80),
    fragments=st.integers(0, 8),
    seed=st.integers(0, 10_000),
)
def test_every_label_has_its_digit_mask_and_box(most, canvas, fragments, seed):
    data = SeveralDigits("train", 5, canvas=canvas, fragments=fragments, most=most, seed=seed)
    assert data.images.shape == (5, 1, canvas, canvas)
    assert data.masks.shape == (5, most, canvas, canvas)
    labels = digit_pool("train")[1]
    for n in range(5):
        there = data.digits[n][data.digits[n] >= 0].tolist()
        assert 1 <= len(there) == len(set(there)) <= most
        assert data.targets[n].nonzero().flatten().tolist() == sorted(there)
        for slot, c in enumerate(data.digits[n].tolist()):
            mask, box = data.masks[n, slot], data.boxes[n, slot]
            if c < 0:
                assert not mask.any()
                assert not box.any()
                continue
            assert c == labels[data.sources[n, slot]]
            assert torch.equal(mask_boxes(mask[None, None])[0], box)
            assert torch.equal(data.regions([n])[0, c], box_regions(box[None], canvas)[0, 0])
            assert data.images[n, 0][mask].float().mean() > 60
        assert not data.regions([n])[0][data.targets[n] == 0].any()


def test_shipped_results_keep_their_images():
    """The shipped networks and tables belong to these images, so they may not change.

    The means are rounded, because the last bits of the noise depend on the processor.
    """
    data = SeveralDigits("test", 3, seed=5)
    fresh = data.fresh(1)
    assert data.sources.tolist() == [[504, 314, 65], [534, 130, 105], [157, 314, 65]]
    assert data.digits.tolist() == [[8, 5, -1], [8, 2, -1], [2, 5, 1]]
    assert fresh.digits.tolist() == [[6, 8, 1], [1, 6, -1], [9, -1, -1]]
    means = [part.images.float().mean(dim=(1, 2, 3)).tolist() for part in (data, fresh)]
    assert means[0] == pytest.approx([26.06, 26.25, 25.7], abs=0.01)
    assert means[1] == pytest.approx([27.82, 20.6, 17.1], abs=0.01)


def test_numbers_of_digits_and_classes_are_equally_likely():
    """Check within five standard errors of a count, which chance exceeds once in a million."""
    data = SeveralDigits("train", 3000, canvas=48)
    for count in (data.targets.sum(dim=1) == torch.tensor([[1], [2], [3]])).sum(dim=1):
        assert abs(count - 1000) < 5 * (3000 * (1 / 3) * (2 / 3)) ** 0.5
    assert (data.targets.sum(dim=0) - 600).abs().max() < 5 * (3000 * 0.2 * 0.8) ** 0.5


def test_digits_barely_overlap():
    regions = SeveralDigits("test", 300).regions(list(range(300)))
    assert (regions.sum(dim=1) > 1).sum() < 0.01 * regions.any(dim=1).sum()


def test_same_seed_gives_the_same_images_and_another_seed_others():
    a, b, c = (SeveralDigits("val", 12, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.digits, b.digits)
    assert not torch.equal(a.images, c.images)


def test_no_source_digit_is_in_two_splits():
    seen = {
        split: {
            image.numpy().tobytes()
            for image in digit_pool(split)[0][SeveralDigits(split, 300).sources.flatten()]
        }
        for split in ("train", "val", "test")
    }
    assert sum(map(len, seen.values())) == len(set.union(*seen.values()))


def test_item_is_image_targets_and_one_region_per_class():
    data = SeveralDigits("val", 3)
    image, target, regions = data[1]
    assert image.shape == (1, 64, 64)
    assert 0 <= image.min() <= image.max() <= 1
    assert torch.equal(target, data.targets[1])
    assert torch.equal(regions, data.regions([1])[0])
    batch = data.__getitems__([2, 0])
    assert torch.equal(batch[1][0], data[0][0])


def test_fresh_images_differ_by_epoch_and_follow_the_curriculum():
    data = SeveralDigits("train", 6, canvas=48, curriculum=((32, 0, 1), (56, 1, 2)))
    first, second, third, again = (data.fresh(epoch) for epoch in (0, 1, 2, 2))
    assert [part.images.shape[-1] for part in (first, second, third)] == [32, 56, 48]
    assert [part.digits.shape[1] for part in (first, second, third)] == [1, 2, 3]
    assert torch.equal(third.images, again.images)
    assert not torch.equal(third.images, data.images)
    assert len(data.fresh(0, 4)) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tset"}, "'tset'.*train, val, test"),
        ({"n": 0}, "n=0"),
        ({"fragments": -1}, "fragments=-1"),
        ({"most": 4}, "1, 2 or 3 .*most=4"),
        ({"canvas": 40}, "48 .*most=3.*canvas=40"),
        ({"canvas": 20, "most": 1}, "28 .*most=1.*canvas=20"),
    ],
)
def test_error_names_the_wrong_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        SeveralDigits(**arguments)
