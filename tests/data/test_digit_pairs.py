import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.core.boxes import mask_boxes
from course_utils.data import DigitPairs
from course_utils.data.cluttered_digits import digit_pool


@settings(max_examples=15, deadline=None)
@given(n=st.integers(2, 30), width=st.integers(64, 130), seed=st.integers(0, 10_000))
def test_labels_digits_sources_and_boxes_agree(n, width, seed):
    pairs = DigitPairs("val", n, width=width, seed=seed)
    assert pairs.images.shape == (n, 1, 32, width)
    assert pairs.labels.sum() == n // 2
    assert torch.equal(digit_pool("val")[1][pairs.sources], pairs.digits)
    assert torch.equal((pairs.digits[:, 0] == pairs.digits[:, 1]).long(), pairs.labels)
    assert (pairs.sources[:, 0] != pairs.sources[:, 1]).all()
    left, right = pairs.boxes.unbind(dim=1)
    assert (left[:, 0] >= 0).all()
    assert (left[:, 2] <= 32).all()
    assert (right[:, 0] >= width - 32).all()
    assert (right[:, 2] <= width).all()
    assert (pairs.boxes[..., 1] >= 0).all()
    assert (pairs.boxes[..., 3] <= 32).all()


def test_ink_lies_in_the_boxes_and_noise_elsewhere():
    pairs = DigitPairs("test", 40, seed=3)
    for image, boxes in zip(pairs.images[:, 0], pairs.boxes):
        inside = torch.zeros_like(image, dtype=torch.bool)
        for x0, y0, x1, y1 in boxes.tolist():
            inside[y0:y1, x0:x1] = True
            ink = image[y0:y1, x0:x1].float()
            assert ink.mean() > 3 * image[:, 32:-32].float().mean()
        # The ink is thicker than the box by the faint rim of its strokes, one or two pixels.
        tight = mask_boxes(image[None, None, :, :32] > 200)[0]
        assert (tight - boxes[0]).abs().max() <= 3


def test_all_pairs_of_different_classes_are_equally_likely():
    """Check within five standard errors of a count, which chance exceeds once in a million."""
    pairs = DigitPairs("train", 9000)
    counts = torch.zeros(10, 10)
    counts.index_put_(tuple(pairs.digits.T), torch.ones(9000), accumulate=True)
    assert (counts.diagonal() - 450).abs().max() < 5 * 450**0.5
    others = counts[~torch.eye(10, dtype=torch.bool)]
    assert (others - 50).abs().max() < 5 * 50**0.5


def test_fresh_images_differ_and_repeat():
    pairs = DigitPairs("train", 8, seed=1)
    assert not torch.equal(pairs.fresh(0).images, pairs.images)
    assert not torch.equal(pairs.fresh(0).images, pairs.fresh(1).images)
    assert torch.equal(pairs.fresh(1).images, DigitPairs("train", 8, seed=1).fresh(1).images)
    image, label = pairs[3]
    assert image.dtype == torch.float32
    assert label == pairs.labels[3]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"n": 1}, "n=1"), ({"width": 63}, "width=63"), ({"split": "best"}, "best")],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        DigitPairs(**options)
