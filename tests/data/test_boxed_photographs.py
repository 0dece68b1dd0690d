import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from course_utils.core.boxes import mask_boxes
from course_utils.data.boxed_photographs import boxed_splits, masked_photographs, unpacked
from tests.paths import ROOT
from tests.photo_folders import photo

COCO = ROOT.parent / "shared" / "data" / "coco128_masks.zip"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("COURSE_CACHE", str(folder))
    return folder


def boxed_row(file, label="cat", split="train", box=(2, 4, 12, 16)):
    return {
        "file": file,
        "class": label,
        "split": split,
        **dict(zip(("x0", "y0", "x1", "y1"), box)),
    }


def write_boxed(root, train=12, test=4, size=(20, 20)):
    """Write photographs of cats and dogs, all of them different, and return their table."""
    rows = []
    for i in range(train + test):
        photo(i, size).save(root / f"{i}.png")
        split = "train" if i < train else "test"
        rows.append(boxed_row(f"{i}.png", ("dog", "cat")[i % 2], split))
    return save(root, rows)


def save(root, rows):
    rows = pd.DataFrame(rows)
    rows.to_csv(root / "boxes.csv", index=False)
    return rows


def pixels(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_photographs_labels_and_boxes_are_those_of_the_table(tmp_path):
    write_boxed(tmp_path)
    train, val, test, classes = boxed_splits(tmp_path, size=20)
    assert classes == ("cat", "dog")
    assert [len(part) for part in (train, val, test)] == [10, 2, 4]
    assert test.labels.tolist() == [1, 0, 1, 0]
    assert sorted(val.labels.tolist()) == [0, 1]
    for i, (image, region) in enumerate(zip(test.images, test.regions), start=12):
        assert torch.equal(image, pixels(photo(i, (20, 20))))
        assert mask_boxes(region[None]).tolist() == [[2, 4, 12, 16]]
        assert region.sum() == 10 * 12


def test_held_out_photographs_depend_on_the_seed_alone(tmp_path):
    write_boxed(tmp_path, train=40)
    one, same, other = (boxed_splits(tmp_path, size=20, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.val.images, same.val.images)
    assert not torch.equal(one.val.images, other.val.images)
    assert torch.equal(one.test.images, other.test.images)
    everything = {image.numpy().tobytes() for part in one[:3] for image in part.images}
    assert len(everything) == 44


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        # Halved to 30 × 20 pixels; then five columns are cut off on the left and on the right.
        ((60, 40), (20, 10, 40, 30), [5, 5, 15, 15]),
        ((60, 40), (0, 0, 60, 40), [0, 0, 20, 20]),
        ((60, 40), (4, 2, 30, 8), [0, 1, 10, 4]),  # cut off on the left
        ((40, 60), (10, 20, 30, 40), [5, 5, 15, 15]),
        ((40, 60), (2, 44, 8, 60), [1, 17, 4, 20]),  # cut off at the bottom
        ((10, 20), (1, 6, 3, 9), [2, 2, 6, 8]),  # doubled
    ],
)
def test_boxes_follow_their_photographs(tmp_path, size, box, expected):
    write_boxed(tmp_path)
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), box)
    image.save(tmp_path / "wide.png")
    rows = pd.read_csv(tmp_path / "boxes.csv").to_dict("records")
    save(tmp_path, [*rows, boxed_row("wide.png", split="test", box=box)])
    test = boxed_splits(tmp_path, size=20).test
    assert mask_boxes(test.regions[-1:]).tolist() == [expected]
    # The box was painted white, so the region is where the resized photograph is bright.
    bright = test.images[-1].float().mean(dim=0, keepdim=True) > 127
    assert torch.equal(bright, test.regions[-1])


@settings(max_examples=10)
@given(st.integers(20, 60), st.integers(20, 60), st.data())
def test_region_covers_what_its_box_covers(tmp_path_factory, width, height, data):
    # An object of at least half the photograph is never cut off completely.
    x0, y0 = data.draw(st.integers(0, width // 4)), data.draw(st.integers(0, height // 4))
    box = (x0, y0, x0 + width // 2 + 1, y0 + height // 2 + 1)
    root = tmp_path_factory.mktemp("photographs")
    write_boxed(root)
    image = Image.new("RGB", (width, height))
    image.paste((255, 255, 255), box)
    image.save(root / "painted.png")
    rows = pd.read_csv(root / "boxes.csv").to_dict("records")
    save(root, [*rows, boxed_row("painted.png", split="test", box=box)])
    test = boxed_splits(root, size=16).test
    bright = test.images[-1].float().mean(dim=0, keepdim=True) / 255
    # Whole pixels may be off by one at each edge, where the brightness is between 0 and 1.
    assert (bright - test.regions[-1].float()).abs().sum() <= 0.75 * 4 * 16


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1", "CMYK"])
def test_other_kinds_of_photographs_are_read(tmp_path, mode):
    write_boxed(tmp_path)
    suffix = "jpg" if mode == "CMYK" else "png"
    photo(99, (20, 20)).convert(mode).save(tmp_path / f"other.{suffix}")
    rows = pd.read_csv(tmp_path / "boxes.csv").to_dict("records")
    save(tmp_path, [*rows, boxed_row(f"other.{suffix}", split="test")])
    image = boxed_splits(tmp_path, size=20).test.images[-1]
    assert image.shape == (3, 20, 20)
    if mode in ("L", "LA", "1"):
        assert torch.equal(image[0], image[1])
        assert torch.equal(image[0], image[2])
    if mode == "RGBA":  # opaque
        assert torch.equal(image, pixels(photo(99, (20, 20))))


def with_copy(root, **changed):
    rows = pd.read_csv(root / "boxes.csv").to_dict("records")
    shutil.copy(root / "3.png", root / "copy.png")
    return save(root, [*rows, {**rows[3], "file": "copy.png", **changed}])


@pytest.mark.parametrize(
    ("changed", "train", "test"),
    [
        ({}, 12, 4),  # the same class and part: one of the two is kept
        ({"class": "dog"}, 11, 4),
        ({"split": "test"}, 11, 4),
        ({"split": "test", "class": "dog"}, 11, 4),
    ],
)
def test_copies_are_left_out(tmp_path, changed, train, test):
    write_boxed(tmp_path)
    with_copy(tmp_path, **changed)
    splits = boxed_splits(tmp_path, size=20)
    assert len(splits.train) + len(splits.val) == train
    assert len(splits.test) == test
    copied = pixels(photo(3, (20, 20)))
    found = sum(torch.equal(x, copied) for part in splits[:3] for x in part.images)
    assert found == (changed == {})


def without(column):
    return lambda rows: rows.drop(columns=column)


def replaced(column, value, line=4):
    def change(rows):
        rows[column] = rows[column].astype(object)
        rows.loc[line - 2, column] = value
        return rows

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            (without(name), f"no column '{name}'")
            for name in ("file", "class", "split", "x0", "y1")
        ),
        (lambda rows: rows[:0], "lists no photographs"),
        (lambda rows: rows[:12], "splits train and test in .*, got train"),
        (replaced("split", "val"), "got test, train, val"),
        (replaced("class", None), "no value for class in line 4"),
        (replaced("file", None), "no value for file in line 4"),
        (replaced("x1", None), "no number for x1 in line 4"),
        (replaced("y0", "ten"), "no number for y0 in line 4"),
        (replaced("x1", 2), r"2\.png, 20 × 20 pixels, got 2, 4, 2, 16"),
        (replaced("y1", 1), "got 2, 4, 12, 1"),
        (replaced("x0", 20), "got 20, 4, 12, 16"),
    ],
)
def test_bad_tables_are_refused(tmp_path, change, message):
    change(write_boxed(tmp_path)).to_csv(tmp_path / "boxes.csv", index=False)
    with pytest.raises(ValueError, match=message) as caught:
        boxed_splits(tmp_path, size=20)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'a,"b'])
def test_files_that_are_not_tables_are_refused(tmp_path, content):
    (tmp_path / "boxes.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"boxes\.csv"):
        boxed_splits(tmp_path, size=20)


def test_box_outside_the_square_centre_is_refused(tmp_path):
    write_boxed(tmp_path)
    photo(0, (60, 20)).save(tmp_path / "5.png")  # its centre begins at column 20
    with pytest.raises(ValueError, match=r"square centre of 5\.png, 60 × 20 pixels, got 2, 4, 12"):
        boxed_splits(tmp_path, size=20)


def test_classes_can_be_numbers(tmp_path):
    rows = write_boxed(tmp_path)
    rows["class"] = [("7", "10")[i % 2] for i in range(len(rows))]
    save(tmp_path, rows)
    assert boxed_splits(tmp_path, size=20).classes == ("10", "7")


@pytest.mark.parametrize("reader", [boxed_splits, masked_photographs])
def test_missing_folders_and_tables_are_named(tmp_path, reader):
    with pytest.raises(FileNotFoundError, match=r"folder or an archive, .*nowhere"):
        reader(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"table (boxes|index)\.csv in"):
        reader(tmp_path)


@pytest.mark.parametrize("size", [0, -1, 2.5])
@pytest.mark.usefixtures("unchecked")
def test_sizes_out_of_range_are_refused(tmp_path, size):
    write_boxed(tmp_path)
    with pytest.raises(ValueError, match=f"{size}"):
        boxed_splits(tmp_path, size=size)


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "empty"), (b"words", "not an image"), (None, "truncated"), (b"%PDF-1.7", "document")],
)
def test_photographs_that_cannot_be_read_are_named(tmp_path, content, why):
    write_boxed(tmp_path)
    path = tmp_path / "7.png"
    path.write_bytes(path.read_bytes()[:700] if content is None else content)
    with pytest.raises(ValueError, match=rf"7\.png can't be read as a photograph: .*{why}"):
        boxed_splits(tmp_path, size=20)


def test_missing_photograph_is_named(tmp_path):
    write_boxed(tmp_path)
    (tmp_path / "7.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"7\.png"):
        boxed_splits(tmp_path, size=20)


def test_photograph_that_is_stored_turned_is_refused(tmp_path):
    write_boxed(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(7, (20, 20)).save(tmp_path / "7.png", exif=exif)
    with pytest.raises(ValueError, match=r"7\.png is stored turned"):
        boxed_splits(tmp_path, size=20)


@pytest.mark.parametrize("kind", ["zip", "gztar", "tar"])
def test_archive_is_unpacked_once(tmp_path, cache, kind):
    (tmp_path / "set").mkdir()
    write_boxed(tmp_path / "set")
    archive = shutil.make_archive(str(tmp_path / "set"), kind, tmp_path / "set")
    from_folder, from_archive = (boxed_splits(p, size=20) for p in (tmp_path / "set", archive))
    assert torch.equal(from_folder.test.images, from_archive.test.images)
    folder = unpacked(archive)
    assert folder.is_relative_to(cache)
    (folder / "mark").touch()
    assert (unpacked(archive) / "mark").exists()
    photo(99).save(tmp_path / "set" / "new.png")
    shutil.make_archive(str(tmp_path / "set"), kind, tmp_path / "set")
    assert (unpacked(archive) / "new.png").exists()  # another archive of the same name


def test_folder_is_returned_as_it_is(tmp_path, cache, monkeypatch):
    assert unpacked(tmp_path) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert unpacked("~") == tmp_path
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(("kind", "suffix"), [("zip", "zip"), ("gztar", "tar.gz"), ("tar", "tar")])
@pytest.mark.parametrize("share", [0, 0.5, 0.8])
def test_half_a_download_is_one_sentence_and_leaves_nothing(tmp_path, cache, kind, suffix, share):
    (tmp_path / "set").mkdir()
    write_boxed(tmp_path / "set")
    whole = Path(shutil.make_archive(str(tmp_path / "whole"), kind, tmp_path / "set"))
    half = tmp_path / f"half.{suffix}"
    half.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    with pytest.raises(ValueError, match=re.escape(f"{half} isn't a whole archive")) as caught:
        boxed_splits(half, size=20)
    assert "None" not in str(caught.value)
    assert list((cache / "archives").iterdir()) == []
    half.write_bytes(whole.read_bytes())  # fetched again
    assert len(boxed_splits(half, size=20).test) == 4


def test_archive_with_changed_bytes_is_refused(tmp_path):
    (tmp_path / "set").mkdir()
    write_boxed(tmp_path / "set")
    whole = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", tmp_path / "set"))
    content = bytearray(whole.read_bytes())
    content[600:700] = bytes(100)
    whole.write_bytes(content)
    with pytest.raises(ValueError, match="isn't a whole archive"):
        unpacked(whole)


def test_file_of_another_kind_is_not_an_archive(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"notes\.txt isn't a whole archive"):
        unpacked(tmp_path / "notes.txt")


def write_masked(root, size=(30, 20), n=3):
    """Write photographs and masks: class 1 in the left half of the middle, class 2 elsewhere."""
    rows = []
    for i in range(n):
        photo(i, size).save(root / f"{i}.jpg")
        mask = Image.new("L", size, 2)
        mask.paste(1, (0, 0, size[0] // 2, size[1]))
        mask.putpixel((size[0] // 2, i), 0)
        mask.save(root / f"mask_{i}.png")
        rows.append({"file": f"{i}.jpg", "mask": f"mask_{i}.png"})
    pd.DataFrame(rows).to_csv(root / "index.csv", index=False)
    (root / "classes.txt").write_text("0 background\n1 sea lion\n2 sand\n\n")


def test_masks_are_cropped_with_their_photographs(tmp_path):
    write_masked(tmp_path)
    images, masks, classes = masked_photographs(tmp_path, size=20)
    assert classes == ("background", "sea lion", "sand")
    assert images.shape == (3, 3, 20, 20)
    expected = torch.full((3, 1, 20, 20), 2, dtype=torch.uint8)
    expected[..., :10] = 1  # five columns were cut off on the left
    for i in range(3):
        expected[i, 0, i, 10] = 0
        with Image.open(tmp_path / f"{i}.jpg") as image:
            assert torch.equal(images[i], pixels(image.crop((5, 0, 25, 20))))
    assert torch.equal(masks, expected)


@settings(max_examples=10)
@given(st.integers(5, 40))
def test_resized_masks_have_no_new_values(tmp_path_factory, size):
    root = tmp_path_factory.mktemp("masked")
    write_masked(root)
    (root / "classes.txt").write_text("".join(f"{i} kind {i}\n" for i in range(10)))
    for i in range(3):
        with Image.open(root / f"mask_{i}.png") as mask:
            mask.point(lambda value: 9 * (value == 2)).save(root / f"mask_{i}.png")
    assert set(masked_photographs(root, size=size).masks.unique().tolist()) == {0, 9}


def test_mask_with_a_palette_keeps_its_numbers(tmp_path):
    write_masked(tmp_path)
    before = masked_photographs(tmp_path, size=20).masks
    for i in range(3):
        with Image.open(tmp_path / f"mask_{i}.png") as mask:
            mask.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
            mask.save(tmp_path / f"mask_{i}.png")
            assert mask.mode == "P"
    assert torch.equal(masked_photographs(tmp_path, size=20).masks, before)


def save_mask(mode, size=(30, 20), value=1):
    return lambda path: Image.new(mode, size, value).save(path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (save_mask("L", (20, 30)), r"got 30 × 20 and 20 × 30 pixels for mask_1\.png"),
        (save_mask("L", (60, 40)), r"got 30 × 20 and 60 × 40 pixels for mask_1\.png"),
        (save_mask("RGB", value=(1, 1, 1)), r"one byte per pixel, got RGB in .*mask_1\.png"),
        (save_mask("I;16"), r"one byte per pixel, got I;16 in .*mask_1\.png"),
        (save_mask("L", value=3), r"classes from 0 to 2, got 3 in .*mask_1\.png"),
        (lambda path: path.write_bytes(b"words"), r"mask_1\.png can't be read as a mask"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), r"mask_1\.png can't be read as a"),
    ],
)
def test_bad_masks_are_refused(tmp_path, write, message):
    write_masked(tmp_path)
    write(tmp_path / "mask_1.png")
    with pytest.raises(ValueError, match=message) as caught:
        masked_photographs(tmp_path, size=20)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["1.jpg", "mask_1.png", "classes.txt"])
def test_missing_files_are_named(tmp_path, file):
    write_masked(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(file)):
        masked_photographs(tmp_path, size=20)


@pytest.mark.parametrize("text", ["", "background\n", "0 background\n2 cat\n", "1 cat\n0 back\n"])
def test_lists_of_classes_without_their_numbers_are_refused(tmp_path, text):
    write_masked(tmp_path)
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(ValueError, match=r"classes\.txt, numbered from 0"):
        masked_photographs(tmp_path, size=20)


@pytest.mark.parametrize("column", ["file", "mask"])
def test_index_needs_its_columns(tmp_path, column):
    write_masked(tmp_path)
    table = pd.read_csv(tmp_path / "index.csv").drop(columns=column)
    table.to_csv(tmp_path / "index.csv", index=False)
    with pytest.raises(ValueError, match=f"no column '{column}': expected file, mask"):
        masked_photographs(tmp_path, size=20)


@pytest.mark.skipif(not COCO.exists(), reason="the photographs aren't part of the repository")
def test_photographs_of_coco_are_read():
    images, masks, classes = masked_photographs(COCO, size=64)
    assert images.shape == (128, 3, 64, 64)
    assert masks.shape == (128, 1, 64, 64)
    assert len(classes) == 81
    assert classes[:2] == ("background", "person")
    assert 0 < (masks > 0).float().mean() < 1
