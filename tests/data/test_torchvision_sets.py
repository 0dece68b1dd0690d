from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torchvision import datasets

from course_utils.data import torchvision_sets
from course_utils.data.splits import load
from course_utils.data.torchvision_sets import torchvision_splits
from tests import miniatures

SETS = ("aircraft", "cifar10", "cifar100", "oxford_pets", "svhn")
SIZES = {"oxford_pets": 40}  # the shorter side of the miniatures, if it is not 32


def read(name, root):
    return load(name, root=root, size=SIZES.get(name, 32))


def check(data, expected):
    assert tuple(len(part) for part in data[:3]) == expected.sizes
    assert data.classes == expected.classes
    assert data.test.labels.tolist() == list(expected.labels)
    difference = data.test.images.int() - torch.from_numpy(expected.images.copy())
    assert difference.abs().max() <= 2  # JPEG files are not exact
    image, label, *_ = data.test[0]
    assert image.dtype == torch.float32
    assert torch.equal(image, data.test.images[0] / 255)
    assert label == expected.labels[0]


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """Make sure that no test uses the network."""

    def refused(*_, **__):
        raise OSError("the network was used")

    monkeypatch.setattr("socket.create_connection", refused)
    monkeypatch.setattr("urllib.request.urlopen", refused)
    monkeypatch.setattr("pooch.retrieve", refused)


@pytest.mark.parametrize("name", SETS)
def test_unpacked_set_is_read_without_a_network(name, tmp_path, monkeypatch):
    expected = miniatures.make(name, tmp_path, monkeypatch)
    check(read(name, tmp_path), expected)


@pytest.mark.parametrize("name", SETS)
def test_set_is_downloaded_unpacked_and_read_once(name, tmp_path, monkeypatch):
    expected = miniatures.make(name, tmp_path / "home", monkeypatch)
    files = miniatures.archives(name, tmp_path / "home")
    asked = miniatures.serve(files, monkeypatch)
    for _ in range(2):
        check(read(name, tmp_path / "data"), expected)
    assert sorted(asked) == [file.name for file in files]


@pytest.mark.parametrize("name", ["cifar10", "oxford_pets"])
def test_processes_that_start_together_download_once(name, tmp_path, monkeypatch):
    expected = miniatures.make(name, tmp_path / "home", monkeypatch)
    files = miniatures.archives(name, tmp_path / "home")
    asked = miniatures.serve(files, monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        for data in pool.map(lambda _: read(name, tmp_path / "data"), range(4)):
            check(data, expected)
    assert sorted(asked) == [file.name for file in files]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("working", [0, 1])
def test_mirrors_of_cifar_are_tried_before_its_home(name, working, tmp_path, monkeypatch):
    expected = miniatures.make(name, tmp_path / "home", monkeypatch)
    (archive,) = miniatures.archives(name, tmp_path / "home")
    kind = miniatures.CIFAR[name]
    monkeypatch.setattr(kind, "tgz_md5", miniatures.md5(archive))
    monkeypatch.setitem(torchvision_sets.MIRRORS, name, ("https://first", "https://second"))
    asked = []

    def retrieve(url, known_hash, fname, path, **_):
        asked.append(url)
        assert known_hash == f"md5:{kind.tgz_md5}"
        if len(asked) <= working:
            raise ValueError("wrong checksum")  # as pooch does
        (path / fname).write_bytes(archive.read_bytes())

    monkeypatch.setattr("pooch.retrieve", retrieve)
    check(read(name, tmp_path / "data"), expected)
    assert asked == ["https://first", "https://second"][: working + 1]


@pytest.mark.parametrize("name", ["aircraft", "cifar10", "oxford_pets"])
def test_interrupted_unpacking_is_repeated(name, tmp_path, monkeypatch):
    def interrupted(archive, path, **_):
        archive.extract(archive.getmembers()[1], path, filter="data")
        raise KeyboardInterrupt

    expected = miniatures.make(name, tmp_path / "home", monkeypatch)
    miniatures.serve(miniatures.archives(name, tmp_path / "home"), monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr("tarfile.TarFile.extractall", interrupted)
        with pytest.raises(KeyboardInterrupt):
            read(name, tmp_path / "data")
    check(read(name, tmp_path / "data"), expected)


@pytest.mark.parametrize("name", ["aircraft", "oxford_pets"])
def test_damaged_archive_is_reported_and_leaves_nothing(name, tmp_path, monkeypatch):
    expected = miniatures.make(name, tmp_path / "home", monkeypatch)
    files = miniatures.archives(name, tmp_path / "home")
    miniatures.serve(files, monkeypatch)
    whole = files[-1].read_bytes()
    files[-1].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RuntimeError, match=rf"could not load '{name}' from .*data"):
        read(name, tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir() if path.is_dir()] == []
    files[-1].write_bytes(whole)
    check(read(name, tmp_path / "data"), expected)


@pytest.mark.parametrize("name", SETS)
def test_failed_download_is_one_sentence(name, tmp_path):
    with pytest.raises(RuntimeError, match="network") as error:
        read(name, tmp_path / "data")
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"could not load '{name}' from {tmp_path / 'data'}")
    assert "cluttered_digits" in message


def test_missing_photograph_is_named(tmp_path):
    miniatures.aircraft(tmp_path)
    next(tmp_path.rglob("*.jpg")).unlink()
    with pytest.raises(RuntimeError, match=r"'aircraft' .*\.jpg"):
        load("aircraft", root=tmp_path, size=32)


def test_sample_is_drawn_before_anything_is_decoded(tmp_path, monkeypatch):
    miniatures.pets(tmp_path)
    everything = load("oxford_pets", root=tmp_path, size=40)
    decoded, square = [], torchvision_sets.square

    def counted(image, *how):
        decoded.append(image)
        return square(image, *how)

    monkeypatch.setattr(torchvision_sets, "square", counted)
    data = load("oxford_pets", root=tmp_path, size=40, counts={"train": 4, "val": 3, "test": 0})
    assert [len(part) for part in data[:3]] == [4, 3, 0]
    assert len(decoded) == 2 * 7  # photograph and trimap
    assert len(everything.train) == 18


def test_samples_of_arrays_are_seeded_and_disjoint(tmp_path, monkeypatch):
    miniatures.cifar(tmp_path, datasets.CIFAR10, monkeypatch)
    a, b, c = (
        load("cifar10", root=tmp_path, size=32, seed=seed, counts={"train": 5, "val": 4})
        for seed in (0, 0, 1)
    )
    assert torch.equal(a.train.images, b.train.images)
    assert torch.equal(a.val.labels, b.val.labels)
    assert not torch.equal(a.train.images, c.train.images)
    together = torch.cat([a.train.images, a.val.images]).flatten(1)
    assert len(together.unique(dim=0)) == 9


@pytest.mark.parametrize(("name", "size"), [("cifar10", 48), ("svhn", 20)])
def test_arrays_are_resized(name, size, tmp_path, monkeypatch):
    expected = miniatures.make(name, tmp_path, monkeypatch)
    images = load(name, root=tmp_path, size=size).test.images
    assert images.shape[1:] == (3, size, size)
    means = torch.from_numpy(expected.images.copy()).float().mean(dim=(2, 3))
    assert (images.float().mean(dim=(2, 3)) - means).abs().max() < 8
    empty = load(name, root=tmp_path, size=size, counts={"test": 0}).test.images
    assert empty.shape == (0, 3, size, size)


def test_images_that_take_much_memory_bring_a_warning(tmp_path, monkeypatch):
    miniatures.cifar(tmp_path, datasets.CIFAR10, monkeypatch)
    monkeypatch.setattr(torchvision_sets, "LARGE", 17 * 3 * 32**2)
    with pytest.warns(UserWarning, match=r"^18 images of 32 pixels .* 0.0 GB"):
        load("cifar10", root=tmp_path, size=32)


def test_size_is_checked_before_anything_is_downloaded(tmp_path):
    with pytest.raises(ValueError, match="got 0"):
        load("cifar10", root=tmp_path, size=0)


def test_unknown_name_lists_the_valid_ones(tmp_path):
    with pytest.raises(ValueError, match=r"'cifar'.*aircraft, cifar10, .*svhn"):
        torchvision_splits("cifar", tmp_path)


def test_cats_and_dogs_have_masks_as_regions(tmp_path):
    miniatures.pets(tmp_path)
    data = load("oxford_pets", root=tmp_path, size=40)
    image, label, region = data.test[1]
    assert label == 1
    assert image.shape == (3, 40, 40)
    assert region.shape == (1, 40, 40)
    assert region.dtype == torch.bool
    assert region.nonzero().amin(0).tolist() == [0, 10, 10]  # the central 40 of 60 columns
    assert region.nonzero().amax(0).tolist() == [0, 19, 29]
    assert region.sum() == 10 * 20


def test_banner_with_the_photographers_name_is_cut_off(tmp_path):
    miniatures.aircraft(tmp_path)
    assert load("aircraft", root=tmp_path, size=32).train.images.max() < 100  # the banner is white


def test_folder_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(RuntimeError, match=r"'svhn' .*data .*File exists"):
        load("svhn", root=tmp_path / "data", size=32)
