import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset
from torchvision import datasets
from typer.testing import CliRunner

from course_utils import cli
from course_utils.data.in_memory import Photos
from course_utils.data.splits import load, on


def write_image(path, shade=128, size=(40, 30), mark=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), shade, np.uint8)
    pixels[0, 0] = mark  # different in every file
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    for part, n in (("train", 10), ("test", 3)):
        for shade, name in ((50, "dark"), (200, "light")):
            for i in range(n):
                write_image(
                    tmp_path / part / name / f"{i}.png", shade, mark=i + 100 * (part == "test")
                )
    return tmp_path


def test_default_is_cluttered_digits_with_regions():
    data = load(counts={"train": 5, "val": 4, "test": 3})
    assert [len(part) for part in data[:3]] == [5, 4, 3]
    assert data.classes == tuple("0123456789")
    image, _, region = data.test[0]
    assert image.shape == region.shape == (1, 64, 64)


def test_splits_of_digits_have_different_images():
    data = load(counts={"train": 5, "val": 5, "test": 5})
    assert not torch.equal(data.train.boxes, data.val.boxes)
    assert not torch.equal(data.val.boxes, data.test.boxes)


def test_folder_is_split_and_images_are_square(folder):
    data = load("folder", root=folder, size=24)
    assert data.classes == ("dark", "light")
    assert [len(part) for part in data[:3]] == [18, 2, 6]
    image, label = data.test[0]
    assert image.shape == (3, 24, 24)
    assert image.mean() == pytest.approx(50 / 255, abs=0.01)
    assert label == 0


def test_validation_images_are_held_out_by_seed(folder):
    a, b, c = (load("folder", root=folder, seed=seed, counts={"val": 5}) for seed in (0, 0, 1))
    assert a.val.indices == b.val.indices != c.val.indices
    assert not set(a.val.indices) & set(a.train.indices)
    assert len(a.val) == 5


def test_counts_take_a_seeded_sample(folder):
    data = load("folder", root=folder, counts={"train": 4, "test": 2})
    assert [len(part) for part in data[:3]] == [4, 2, 2]


@pytest.mark.parametrize(("name", "counts"), [("cifar", None), ("cluttered_digits", {"valid": 3})])
def test_unknown_names_list_the_valid_ones(name, counts):
    with pytest.raises(
        ValueError, match=r"'cifar'.*cluttered_digits, folder.*cifar10|'valid'.*train, val, test"
    ):
        load(name, counts=counts)


def test_folder_without_test_images_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(FileNotFoundError, match="test/"):
        load("folder", root=tmp_path)


def test_different_classes_in_train_and_test_are_refused(folder):
    (folder / "test" / "light").rename(folder / "test" / "bright")
    with pytest.raises(ValueError, match=r"only in train/: light; only in test/: bright$"):
        load("folder", root=folder)


def test_file_in_train_and_test_brings_a_warning(folder):
    stolen = folder / "test" / "light" / "stolen.png"
    stolen.write_bytes((folder / "train" / "dark" / "3.png").read_bytes())
    with pytest.warns(
        UserWarning,
        match=r"/test/ .*train/ .1 in all, .*dark/3.png = .*stolen.png",
    ):
        load("folder", root=folder)


def test_training_file_in_two_classes_brings_a_warning(folder):
    (folder / "train" / "dark" / "9.png").write_bytes(
        (folder / "train" / "light" / "4.png").read_bytes()
    )
    with pytest.warns(
        UserWarning,
        match=r"/train/ .*two classes .1 in all, .*train/dark/9.png = train/light",
    ):
        load("folder", root=folder)


def test_unreadable_files_are_refused_or_skipped(folder):
    (folder / "train" / "dark" / "notes.jpg").write_text("not an image")
    with pytest.raises(ValueError, match=r"1 of 21 files .*dark/notes.jpg"):
        load("folder", root=folder)
    with pytest.warns(UserWarning, match="1 of 21"):
        assert len(load("folder", root=folder, unreadable="skip").train) == 18


@pytest.mark.parametrize("name", ["cluttered_digits", "folder", "elpv", "cifar10"])
@pytest.mark.parametrize("n", [2.5, "2", [2], True, None])
@pytest.mark.usefixtures("unchecked")
def test_counts_that_are_no_integers_are_refused(name, n, tmp_path):
    with pytest.raises(ValueError, match=f"integer counts .*got train: {re.escape(repr(n))}"):
        load(name, root=tmp_path, counts={"train": n})


@pytest.mark.parametrize("counts", [100, "train", [("train", 3)]])
@pytest.mark.usefixtures("unchecked")
def test_counts_need_names(counts):
    with pytest.raises(ValueError, match=f"counts such as .*got {re.escape(repr(counts))}"):
        load(counts=counts)


@pytest.mark.usefixtures("unchecked")
def test_counts_may_be_numbers_of_numpy():
    data = load(counts=dict.fromkeys(("train", "val", "test"), np.int64(2)))
    assert [len(part) for part in data[:3]] == [2, 2, 2]


@pytest.mark.parametrize("counts", [{"val": -1}, {"train": 3, "test": -2}])
@pytest.mark.parametrize("name", ["cluttered_digits", "folder", "elpv", "cifar10"])
def test_negative_counts_are_refused_before_anything_is_read(name, counts, tmp_path):
    with pytest.raises(ValueError, match=f"at least 0, got .*{min(counts.values())}"):
        load(name, root=tmp_path, counts=counts)


def test_without_a_network_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.delenv("no_proxy", raising=False)
    result = CliRunner().invoke(cli.app, ["train", "--data", "cifar10"])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: could not load 'cifar10' from data ")
    assert "Connection refused" in line
    assert "cluttered_digits" in line


def test_data_is_moved_to_a_device_with_all_its_tensors():
    images, labels = torch.zeros(5, 3, 4, 4, dtype=torch.uint8), torch.arange(5)
    data = Subset(Photos(images, labels, images[:, :1].bool()), [3, 1])
    moved = on(data, "meta")
    assert {part.device.type for item in moved.__getitems__([0, 1]) for part in item} == {"meta"}
    assert (len(moved), data[0][1]) == (2, 3)  # the original is unchanged
    digits = load(counts={"train": 2, "val": 1, "test": 1}).train
    moved = on(digits, "meta")
    assert all(part.is_meta for part in moved[1])
    assert not digits.images.is_meta
    assert moved.fresh(0).images.device.type == "cpu"
    without = datasets.FakeData(3)
    assert on(without, "meta") is without


@pytest.mark.parametrize(("bits", "shade"), [(12, 250), (14, 62)])
def test_options_of_reading_are_passed_on(folder, monkeypatch, bits, shade):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name in ("dark", "light"):
        Image.fromarray(np.full((30, 30), 4000, np.uint16)).save(folder / "test" / name / "0.png")
    data = load("folder", root=folder, size=24, allow_large=True, bits=bits)
    assert [data.test.images[i].unique().tolist() for i in (0, 3)] == [[shade]] * 2
