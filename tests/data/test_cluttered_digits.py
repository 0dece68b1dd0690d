import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from course_utils.core.boxes import box_regions, mask_boxes
from course_utils.data import cluttered_digits
from course_utils.data.cluttered_digits import ClutteredDigits, digit_pool, source_digits


def test_pools_are_disjoint_and_balanced():
    pools = {split: digit_pool(split) for split in cluttered_digits.POOLS}
    assert {split: len(images) for split, (images, _) in pools.items()} == {
        "train": 4000,
        "val": 400,
        "test": 600,
    }
    for images, labels in pools.values():
        assert labels.bincount().unique().item() == len(images) / 10
    seen = [{image.numpy().tobytes() for image in images} for images, _ in pools.values()]
    assert sum(map(len, seen)) == len(set.union(*seen))
    assert set.union(*seen) == {image.numpy().tobytes() for image in source_digits()[0]}


def test_pools_keep_images_with_their_labels():
    images, labels = source_digits()
    label_of = {image.numpy().tobytes(): int(label) for image, label in zip(images, labels)}
    for image, label in zip(*digit_pool("test")):
        assert label_of[image.numpy().tobytes()] == label


def test_same_seed_same_images_other_seed_others():
    a, b, c = (ClutteredDigits("val", 12, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.labels, b.labels)
    assert not torch.equal(a.images, c.images)


@settings(max_examples=15, deadline=None)
@given(canvas=st.integers(28, 80), fragments=st.integers(0, 8), seed=st.integers(0, 10_000))
def test_box_is_tight_around_the_ink_and_inside_the_canvas(canvas, fragments, seed):
    data = ClutteredDigits("train", 4, canvas=canvas, fragments=fragments, seed=seed)
    assert data.images.shape == data.masks.shape == (4, 1, canvas, canvas)
    for mask, (x0, y0, x1, y1) in zip(data.masks[:, 0], data.boxes.tolist()):
        rows, columns = mask.nonzero().T
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x0, y0, x1, y1)


def test_digit_has_its_size_and_is_visible():
    data = ClutteredDigits("test", 200, fragments=0)
    height = (data.boxes[:, 3] - data.boxes[:, 1]).float()
    assert height.min() >= 12
    assert height.max() <= 28
    assert data.images[data.masks].float().mean() > 100
    assert data.images[~data.masks].float().mean() < 10  # only noise elsewhere


def test_fragments_cover_the_canvas_without_moving_the_digit():
    plain, cluttered = (ClutteredDigits("test", 50, fragments=n, seed=1) for n in (0, 8))
    assert torch.equal(plain.boxes, cluttered.boxes)
    assert cluttered.images.float().mean() > 1.5 * plain.images.float().mean()


def test_unslanted_placement_equals_interpolation_of_the_source():
    """A digit at its original size on a canvas of its size is the source itself."""
    source = digit_pool("test")[0][:5]
    rng = torch.Generator().manual_seed(0)
    whole = torch.stack(
        [cluttered_digits.place_digits(source[i : i + 1], 28, rng)[0] for i in range(5)]
    ).float()
    assert whole.sum() < source.sum()  # scaled down by 0.75 to 1 …
    assert whole.sum() > 0.5 * source.sum()  # … so the ink is at least 0.56 of the original


def test_item_is_image_label_and_filled_box():
    data = ClutteredDigits("val", 3)
    image, label, region = data[1]
    assert image.dtype == torch.float32
    assert image.min() >= 0
    assert image.max() <= 1
    assert label == data.labels[1]
    assert torch.equal(mask_boxes(region[None])[0], data.boxes[1])
    assert region.sum() == (data.boxes[1, 2] - data.boxes[1, 0]) * (
        data.boxes[1, 3] - data.boxes[1, 1]
    )


def test_fresh_images_differ_by_epoch_and_follow_the_curriculum():
    data = ClutteredDigits("train", 6, canvas=48, fragments=4, curriculum=[(32, 1)])
    first, second, again = data.fresh(0), data.fresh(1), data.fresh(1)
    assert first.images.shape[-1] == 32
    assert second.images.shape[-1] == 48
    assert torch.equal(second.images, again.images)
    assert not torch.equal(second.images, data.images)


def test_zoom_enlarges_image_mask_and_box_together():
    small, large = (ClutteredDigits("val", 3, seed=2, zoom=zoom) for zoom in (1.0, 3.5))
    assert large.images.shape[-1] == 224
    assert torch.equal(small.labels, large.labels)
    assert (large.boxes - 3.5 * small.boxes).abs().max() <= 3.5


def test_box_regions_by_hand():
    region = box_regions(torch.tensor([[1, 0, 3, 2]]), 4)
    assert region[0, 0].int().tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tset"}, "unknown split 'tset': choose one of train, val, test"),
        ({"n": 0}, "at least 1 image, got n=0"),
        ({"canvas": 20}, "at least 28 pixels, got canvas=20"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClutteredDigits(**arguments)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"no archive"])
def test_a_broken_cache_is_made_again(tmp_path, monkeypatch, content):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    (tmp_path / "digits.safetensors").write_bytes(content)
    images, labels = source_digits.__wrapped__()
    assert images.shape == (5000, 28, 28)
    assert torch.equal(load_file(tmp_path / "digits.safetensors")["labels"], labels)
    assert [path.name for path in tmp_path.iterdir()] == ["digits.safetensors"]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file" / "folder"))
    assert source_digits.__wrapped__()[1].bincount().tolist() == [500] * 10


def test_clutter_is_fragments_and_noise_without_a_digit():
    images = cluttered_digits.clutter(40, 64, 0, seed=1)
    assert images.shape == (40, 1, 64, 64)
    assert images.max() < 100  # noise alone
    assert torch.equal(cluttered_digits.clutter(3), cluttered_digits.clutter(3))
    assert not torch.equal(cluttered_digits.clutter(3), cluttered_digits.clutter(3, seed=1))
    whole = ClutteredDigits("test", 200)
    less = (whole.images > 128).float().mean() - (
        cluttered_digits.clutter(200) > 128
    ).float().mean()
    ink = (digit_pool("test")[0] > 128).float().mean() * 28**2 / 64**2
    assert 0.5 * ink < less < ink  # a digit, smaller and partly over fragments
