import warnings

import pytest
import torch
from PIL import Image

from course_utils.data.folder_parts import folder_splits, folder_test
from course_utils.data.image_folder import PhotoFolder
from tests.photo_folders import photo, splits_of, write_photos


@pytest.fixture
def root(tmp_path):
    return write_photos(tmp_path, splits_of({"cat": 6, "dog": 6}))


def notes_of(root, **options):
    """Read a folder, and return its parts and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = folder_splits(root, size=16, **options)
    return data, [str(note.message) for note in caught]


def labels(part):
    return [int(part[i][1]) for i in range(len(part))]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_folder_for_validation_is_used(root, name):
    write_photos(root, {f"{name}/cat": 3, f"{name}/dog": 2}, first=100)
    data = folder_splits(root, size=16)
    assert [len(part) for part in data[:3]] == [12, 5, 4]
    assert labels(data.val) == [0, 0, 0, 1, 1]
    assert len(folder_splits(root, size=16, counts={"val": 2}).val) == 2


def test_folder_for_validation_is_checked_like_the_others(root):
    write_photos(root, {"val/cat": 1, "val/fox": 1, "val/dog": 1}, first=100)
    with pytest.raises(ValueError, match=r": only in val/: fox$"):
        folder_splits(root, size=16)
    write_photos(root, {"valid/cat": 1})
    with pytest.raises(ValueError, match="val and valid"):
        folder_splits(root, size=16)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("extra/cat/a.png", "extra/"),
        ("unlabelled/a.JPG", "unlabelled/"),
        ("a.png", "images that lie in .*1 in all, such as a.png"),
        ("train/a.webp", "images that lie in .*train.*such as a.webp"),
        ("test/IMG_0001.HEIC", "images that lie in .*test.*HEIC"),
    ],
)
def test_images_that_are_not_used_are_named(root, name, said):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(b"x")
    with pytest.warns(UserWarning, match=f"not used: .*{said}"):
        folder_splits(root, size=16)


@pytest.mark.parametrize(
    "name", ["notes.txt", "train/labels.csv", "@eaDir/a.png", ".git/a.png", "code/readme.md"]
)
def test_what_is_no_image_of_the_user_is_not_named(root, name):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(b"x")
    assert notes_of(root)[1] == []


def test_class_of_one_image_is_trained_on_and_named(tmp_path):
    write_photos(tmp_path, splits_of({"cat": 4, "dog": 1}))
    data, (note,) = notes_of(tmp_path)
    assert (labels(data.val), sorted(labels(data.train))) == ([0], [0, 0, 0, 1])
    assert "split val has no images of dog" in note


def test_every_class_is_validated(tmp_path):
    write_photos(tmp_path, splits_of({f"c{i}": 10 for i in range(10)}, test=1))
    assert labels(folder_splits(tmp_path, size=16).val) == list(range(10))


def test_sample_has_every_class_or_says_which_it_lacks(root):
    write_photos(root, {"train/emu": 2, "test/emu": 1}, first=100)
    data, notes = notes_of(root, counts={"train": 4, "val": 3, "test": 3})
    assert [set(labels(part)) for part in data[:3]] == [{0, 1, 2}] * 3
    assert notes == []
    _, (note,) = notes_of(root, counts={"train": 4, "val": 3, "test": 2})
    assert "split test has no images of" in note


@pytest.mark.parametrize(
    ("counts", "held", "said"),
    [
        ({"val": 100}, 10, "100 images in the split val, which has only 10"),
        ({"test": 5}, 2, "5 images in the split test, which has only 4"),
        ({"val": 10, "train": 3}, 10, "3 images in the split train, which has only 2"),
    ],
)
def test_counts_above_the_number_of_images_are_named(root, counts, held, said):
    data, notes = notes_of(root, counts=counts)
    assert len(data.val) == held
    assert sum(said in note for note in notes) == 1


@pytest.mark.parametrize("name", ["train", "val", "valid", "validation", "test"])
def test_part_that_is_a_file_or_a_broken_link_is_refused(root, name):
    part = root / name
    if part.exists():
        part.rename(root / "elsewhere")
    part.write_text("a list of images")
    with pytest.raises(NotADirectoryError, match=f"{name} is a file"):
        folder_splits(root, size=16)
    part.unlink()
    part.symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match=f"{name} is a link to nowhere"):
        folder_splits(root, size=16)
    if name == "test":
        with pytest.raises(FileNotFoundError, match="link to nowhere"):
            folder_test(root, size=16, classes=("cat", "dog"))


def test_home_folder_may_be_a_tilde(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    monkeypatch.setenv("USERPROFILE", str(root.parent))
    home = f"~/{root.name}"
    assert len(folder_splits(home, size=16).test) == 4
    assert len(folder_test(home, size=16, classes=("cat", "dog"))) == 4
    assert len(PhotoFolder(f"{home}/train", 16)) == 12


def test_folder_without_enough_images_to_validate_is_refused(tmp_path):
    write_photos(tmp_path, splits_of({"cat": 1, "dog": 1}))
    with pytest.raises(ValueError, match=r"train has too few images .* val/"):
        folder_splits(tmp_path, size=16)
    with pytest.raises(ValueError, match="too few"):
        folder_splits(tmp_path, size=16, counts={"val": 1})
    assert len(folder_splits(tmp_path, size=16, counts={"val": 0}).train) == 2


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff"])
@pytest.mark.parametrize("seed", range(3))
def test_copies_are_on_one_side_of_the_hold_out(root, suffix, seed):
    for i in range(3):  # copies of half of the cats, in a lossless format
        Image.open(root / "train" / "cat" / f"{i}.png").save(
            root / "train" / "cat" / f"copy_{i}.{suffix}"
        )
    data, (note,) = notes_of(root, seed=seed)
    train, val = (
        {part.dataset.digests[i] for i in part.indices} for part in (data.train, data.val)
    )
    assert not train & val
    assert set(labels(data.val)) == {0, 1}
    assert "(3 in all" in note
    assert f"train/cat/0.png = train/cat/copy_0.{suffix}" in note


@pytest.mark.parametrize(
    ("source", "copy", "said"),
    [
        ("train/dog/1.png", "test/dog/a.bmp", r"/test/ are also in train/"),
        ("train/dog/1.png", "val/dog/a.png", r"/val/ are also in train/"),
        ("val/dog/0.png", "test/cat/a.tiff", r"/test/ are also in val/"),
        ("train/cat/1.png", "train/dog/a.bmp", r"/train/ are in two classes"),
    ],
)
def test_copies_in_two_parts_or_classes_are_named(root, source, copy, said):
    write_photos(root, {"val/cat": 2, "val/dog": 2}, first=100)
    Image.open(root / source).save(root / copy)
    with pytest.warns(UserWarning, match=rf"{said} \(1 in all, such as {source} = {copy}"):
        folder_splits(root, size=16)


def test_images_that_are_equal_only_at_the_small_size_are_no_copies(root):
    for i in range(2):  # they differ in a corner that the crop cuts off
        image = Image.new("RGB", (60, 20))
        image.putpixel((0, 0), (i, 0, 0))
        image.save(root / "train" / "cat" / f"flat_{i}.png")
    assert notes_of(root)[1] == []


def test_options_of_reading_reach_every_part(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for i, part in enumerate(("train", "test")):
        photo(100 + i, (60, 50)).save(root / part / "cat" / "large.png")
    with pytest.raises(ValueError, match=r"1 of 13 .*large.png .*allow large images"):
        folder_splits(root, size=16)
    assert len(folder_splits(root, size=16, allow_large=True).test) == 5


def test_test_alone_is_read_with_the_classes_of_the_network(root):
    for file in (root / "train" / "cat").iterdir():
        file.write_bytes(b"x")  # must not be read
    data = folder_test(root, size=16, classes=("dog", "cat"))
    assert data.classes == ("dog", "cat")
    assert data.labels.tolist() == [1, 1, 0, 0]


def test_test_alone_names_the_classes_that_it_lacks(tmp_path):
    write_photos(tmp_path, {"test/cat": 2, "test/empty": 0})
    with pytest.warns(UserWarning, match="test has no images of dog, empty"):
        data = folder_test(tmp_path, size=16, classes=("cat", "dog", "empty"))
    assert data.labels.tolist() == [0, 0]


def test_test_alone_is_refused_with_unknown_classes(root):
    write_photos(root, {"test/fox": 1}, first=100)
    with pytest.raises(ValueError, match=r"only in the network: owl; only in test/: fox$"):
        folder_test(root, size=16, classes=("cat", "dog", "owl"))


def test_test_alone_compares_composed_names(tmp_path):
    write_photos(tmp_path, {"test/cafe\u0301": 1, "test/tea": 1})
    data = folder_test(tmp_path, size=16, classes=("tea", "caf\u00e9"))
    assert sorted(data.labels.tolist()) == [0, 1]


def test_missing_or_empty_test_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="test"):
        folder_test(tmp_path, size=16, classes=("cat",))
    (tmp_path / "test" / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="no image that can be read"):
        folder_test(tmp_path, size=16, classes=("cat",))


def test_splits_of_equal_parts_are_equal(root):
    one, two = (folder_splits(root, size=16, seed=4) for _ in range(2))
    assert torch.equal(one.test.images, two.test.images)
    assert (one.train.indices, one.val.indices) == (two.train.indices, two.val.indices)
