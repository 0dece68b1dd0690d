import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from course_utils.core.boxes import mask_boxes
from course_utils.core.seeds import fresh_seed
from course_utils.data import cluttered_digits
from course_utils.data.cluttered_digits import (
    FRAGMENT_SIZES,
    ClutteredDigits,
    digit_pool,
    digit_splits,
    draw_digits,
    inky_positions,
    scatter_fragments,
    source_digits,
)


def test_pools_are_disjoint_and_balanced():
    pools = {split: digit_pool(split) for split in cluttered_digits.DIGIT_POOLS}
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


def mean_brightness(images):
    return pytest.approx(images.float().mean(dim=(1, 2, 3)).tolist(), abs=0.01)


def test_shipped_results_keep_their_images():
    """The shipped networks and tables belong to these images, so they may not change.

    The means are rounded, because the last bits of the noise depend on the processor.
    """
    data = ClutteredDigits("test", 3, seed=5)
    assert data.sources.tolist() == [11, 414, 367]
    assert data.boxes[0].tolist() == [11, 31, 30, 51]
    assert mean_brightness(data.images) == [23.64, 19.92, 16.12]
    assert data.fresh(1).sources.tolist() == [390, 383, 387]
    assert mean_brightness(data.fresh(1).images) == [19.57, 18.32, 23.3]
    assert mean_brightness(cluttered_digits.clutter(3, seed=1)) == [17.31, 17.37, 14.91]


def test_same_seed_gives_the_same_images_and_another_seed_others():
    a, b, c = (ClutteredDigits("val", 12, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.labels, b.labels)
    assert not torch.equal(a.images, c.images)


@settings(max_examples=15, deadline=None)
@given(canvas=st.integers(28, 80), fragments=st.integers(0, 8), seed=st.integers(0, 10_000))
def test_box_is_tight_around_the_ink(canvas, fragments, seed):
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


def test_digit_at_its_own_size_is_the_source():
    source = digit_pool("test")[0][:5]
    assert torch.equal(draw_digits(source, 28, torch.full((5,), 28.0), torch.zeros(5, 2)), source)


def test_digit_at_its_own_size_is_moved_to_its_corner():
    source = digit_pool("test")[0][:2]
    corner = torch.tensor([[3.0, 5.0], [12.0, 0.0]])  # x, y
    drawn = draw_digits(source, 40, torch.full((2,), 28.0), corner)
    assert torch.equal(drawn[0, 5:33, 3:31], source[0])
    assert torch.equal(drawn[1, :28, 12:40], source[1])
    assert drawn.sum() == source.sum()


@pytest.mark.parametrize("size", [10, 33])
def test_fragments_are_pasted_as_by_a_loop(size):
    n, fragments = 6, 5
    pasted = scatter_fragments("val", n, size, fragments, torch.Generator().manual_seed(1))
    rng = torch.Generator().manual_seed(1)
    bounds = FRAGMENT_SIZES.start, FRAGMENT_SIZES.stop
    sides = torch.randint(*bounds, (n, fragments), generator=rng)
    source = torch.empty(n, fragments, 3, dtype=torch.long)
    for side, positions in inky_positions("val").items():
        here = (sides == side).nonzero()
        drawn = torch.randint(len(positions), (len(here),), generator=rng)
        for (image, slot), position in zip(here, drawn):
            source[image, slot] = positions[position]
    shift = torch.rand(n, fragments, 2, generator=rng)
    digits = digit_pool("val")[0]
    expected = torch.zeros(n, size, size, dtype=torch.uint8)
    for image in range(n):
        for slot in range(fragments):
            side = int(sides[image, slot])
            x, y = (int(share * (size - side + 1)) for share in shift[image, slot])
            digit, row, column = source[image, slot].tolist()
            piece = digits[digit, row : row + side, column : column + side]
            assert piece.float().mean() > cluttered_digits.FRAGMENT_INK
            target = expected[image, y : y + side, x : x + side]
            target.copy_(torch.maximum(target, piece))
    assert torch.equal(pasted, expected)


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
    seed = fresh_seed(data.seed, 1)
    same = ClutteredDigits("train", 6, canvas=48, fragments=4, seed=seed)
    assert torch.equal(second.images, same.images)


def test_zoom_enlarges_image_mask_and_box_together():
    small, large = (ClutteredDigits("val", 3, seed=2, zoom=zoom) for zoom in (1.0, 3.5))
    assert large.images.shape[-1] == 224
    assert torch.equal(small.labels, large.labels)
    assert (large.boxes - 3.5 * small.boxes).abs().max() <= 3.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tset"}, "'tset'.*train, val, test"),
        ({"n": 0}, "n=0"),
        ({"canvas": 20}, "28 .*canvas=20"),
        ({"fragments": -1}, "fragments=-1"),
        ({"zoom": 0.0}, "zoom=0.0"),
        ({"zoom": -1.0}, "zoom=-1.0"),
        ({"zoom": float("nan")}, "zoom=nan"),
    ],
)
def test_error_names_the_wrong_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClutteredDigits(**arguments)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"no archive"])
def test_broken_cache_is_written_again(tmp_path, monkeypatch, content):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    (tmp_path / "digits.safetensors").write_bytes(content)
    images, labels = source_digits.__wrapped__()
    assert images.shape == (5000, 28, 28)
    assert torch.equal(load_file(tmp_path / "digits.safetensors")["labels"], labels)
    assert [path.name for path in tmp_path.iterdir()] == ["digits.safetensors"]


def test_unwritable_cache_folder_is_not_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file" / "folder"))
    assert source_digits.__wrapped__()[1].bincount().tolist() == [500] * 10


def test_clutter_has_fragments_and_noise_but_no_digit():
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


def test_splits_have_the_requested_sizes_and_different_images():
    data = digit_splits(size=40, fragments=2, counts={"train": 4, "val": 3, "test": 2}, seed=1)
    assert [len(part) for part in data[:3]] == [4, 3, 2]
    assert [part.split for part in data[:3]] == ["train", "val", "test"]
    assert [part.seed for part in data[:3]] == [1, 1_000_004, 2_000_007]
    assert data.classes == tuple("0123456789")
    with pytest.raises(ValueError, match=r"'valid'.*train, val, test"):
        digit_splits(counts={"valid": 3})
