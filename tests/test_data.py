import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from course_utils.data import load


def write_image(path, shade=128, size=(40, 30), mark=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), shade, np.uint8)
    pixels[0, 0] = mark  # so that no two files are alike
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    for part, n in (("train", 10), ("test", 3)):
        for shade, name in ((50, "dark"), (200, "light")):
            for i in range(n):
                write_image(tmp_path / part / name / f"{i}.png", shade, mark=i + 100 * (part == "test"))
    return tmp_path


def test_default_is_cluttered_digits_with_regions():
    data = load(counts={"train": 5, "val": 4, "test": 3})
    assert [len(part) for part in data[:3]] == [5, 4, 3]
    assert data.classes == tuple("0123456789")
    image, _, region = data.test[0]
    assert image.shape == region.shape == (1, 64, 64)


def test_splits_of_digits_are_composed_differently():
    data = load(counts={"train": 5, "val": 5, "test": 5})
    assert not torch.equal(data.train.boxes, data.val.boxes)
    assert not torch.equal(data.val.boxes, data.test.boxes)


def test_a_folder_is_split_and_square(folder):
    data = load("folder", root=folder, size=24)
    assert data.classes == ("dark", "light")
    assert [len(part) for part in data[:3]] == [18, 2, 6]
    image, label = data.test[0]
    assert image.shape == (3, 24, 24)
    assert image.mean() == pytest.approx(50 / 255, abs=0.01)
    assert label == 0


def test_validation_is_held_out_by_seed_and_disjoint(folder):
    a, b, c = (load("folder", root=folder, seed=seed, counts={"val": 5}) for seed in (0, 0, 1))
    assert a.val.indices == b.val.indices != c.val.indices
    assert not set(a.val.indices) & set(a.train.indices)
    assert len(a.val) == 5


def test_counts_take_a_seeded_sample(folder):
    data = load("folder", root=folder, counts={"train": 4, "test": 2})
    assert [len(part) for part in data[:3]] == [4, 2, 2]


@pytest.mark.parametrize(("name", "counts"), [("cifar", None), ("cluttered_digits", {"valid": 3})])
def test_unknown_names_list_the_valid_ones(name, counts):
    with pytest.raises(ValueError, match=r"unknown (data set 'cifar'.*cifar10|split 'valid'.*train, val, test)"):
        load(name, counts=counts)


def test_a_folder_without_its_parts_is_said(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(FileNotFoundError, match="has no test/"):
        load("folder", root=tmp_path)


def test_classes_that_differ_are_said(folder):
    (folder / "test" / "light").rename(folder / "test" / "bright")
    with pytest.raises(ValueError, match="train/ has the classes dark, light; test/ has bright, dark"):
        load("folder", root=folder)


def test_files_in_train_and_test_alike_are_said(folder):
    stolen = folder / "test" / "light" / "stolen.png"
    stolen.write_bytes((folder / "train" / "dark" / "3.png").read_bytes())
    with pytest.warns(
        UserWarning, match=r"1 files of .*/test are in train/ as well, such as .*dark/3.png = .*stolen.png"
    ):
        load("folder", root=folder)


def test_a_training_file_in_two_classes_is_said(folder):
    (folder / "train" / "dark" / "9.png").write_bytes((folder / "train" / "light" / "4.png").read_bytes())
    with pytest.warns(
        UserWarning, match=r"1 files of .*/train have two classes, such as train/dark/9.png = train/light"
    ):
        load("folder", root=folder)


def test_unreadable_files_are_refused_or_skipped(folder):
    (folder / "train" / "dark" / "notes.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"1 of 21 files .*dark/notes.jpg"):
        load("folder", root=folder)
    with pytest.warns(UserWarning, match="left out: 1 of 21"):
        assert len(load("folder", root=folder, unreadable="skip").train) == 18


@pytest.mark.parametrize(
    ("name", "kind", "sizes"),
    [("cifar10", "CIFAR10", (27, 3, 30)), ("svhn", "SVHN", (27, 3, 30)), ("aircraft", "FGVCAircraft", (30, 30, 30))],
)
def test_torchvision_sets_behind_the_same_call(name, kind, sizes, monkeypatch):
    monkeypatch.setattr(
        datasets, kind, lambda root, download, transform, **_: datasets.FakeData(30, (3, 40, 50), transform=transform)
    )
    data = load(name, size=32)
    assert tuple(len(part) for part in data[:3]) == sizes
    assert data.train[0][0].shape == (3, 32, 32)
    assert len(data.classes) == 10


def test_a_failed_download_says_what_works_offline(tmp_path, monkeypatch):
    def fail(**_):
        raise OSError("no route to host")

    monkeypatch.setattr(datasets, "CIFAR100", fail)
    with pytest.raises(RuntimeError, match=r"could not download 'cifar100'.*no route.*'cluttered_digits' needs no net"):
        load("cifar100", root=tmp_path)


def test_cats_and_dogs_have_masks_as_regions(tmp_path):
    """A miniature of Oxford-IIIT Pet in its own layout: torchvision finds it and downloads nothing."""
    base = tmp_path / "oxford-iiit-pet"
    for split, names in (("trainval", ["Abyssinian_1", "beagle_1"]), ("test", ["Abyssinian_2", "beagle_2"])):
        lines = []
        for species, name in enumerate(names, start=1):
            write_image(base / "images" / f"{name}.jpg", 100, size=(40, 40))
            trimap = np.full((40, 40), 2, np.uint8)
            trimap[10:20, 10:30] = 3
            trimap[12:18, 12:28] = 1
            (base / "annotations" / "trimaps").mkdir(parents=True, exist_ok=True)
            Image.fromarray(trimap).save(base / "annotations" / "trimaps" / f"{name}.png")
            lines.append(f"{name} {species} {species} 1")
        (base / "annotations" / f"{split}.txt").write_text("\n".join(lines))
    data = load("oxford_pets", root=tmp_path, size=40)
    assert data.classes == ("cat", "dog")
    image, label, region = data.test[1]
    assert label == 1
    assert image.shape == (3, 40, 40)
    assert region.dtype == torch.bool
    assert region.sum() == 10 * 20
