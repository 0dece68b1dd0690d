from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torchvision import datasets

from course_utils.data import downloads, torchvision_sets
from course_utils.data.splits import load
from tests import miniatures

SETS = ("aircraft", "cifar10", "cifar100", "oxford_pets", "svhn")
SIZES = {"oxford_pets": 40}  # of the miniatures' shorter side; else 32


def check(data, expected):
    assert tuple(len(part) for part in data[:3]) == expected.sizes
    assert data.classes == expected.classes
    assert data.test.labels.tolist() == list(expected.labels)
    difference = data.test.images.int() - torch.from_numpy(expected.images.copy())
    assert difference.abs().max() <= 2  # of JPEG, where the files are
    image, label, *_ = data.test[0]
    assert image.dtype == torch.float32
    assert torch.equal(image, data.test.images[0] / 255)
    assert label == expected.labels[0]


@pytest.fixture
def offline(monkeypatch):
    """Whoever asks for the network is caught."""

    def caught(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(torchvision_sets, "fetch", caught)
    monkeypatch.setattr("urllib.request.urlopen", caught)
    monkeypatch.setattr("socket.create_connection", caught)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.usefixtures("offline")
def test_a_set_that_is_unpacked_is_read_without_a_network(name, tmp_path, monkeypatch):
    expected = miniatures.make(name, tmp_path, monkeypatch)
    check(load(name, root=tmp_path, size=SIZES.get(name, 32)), expected)


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_fetched_unpacked_and_read_once(name, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    expected = miniatures.make(name, tmp_path / "home", monkeypatch)
    with miniatures.served() as server:
        miniatures.publish(name, tmp_path / "home", server, monkeypatch)
        for _ in range(2):
            check(load(name, root=tmp_path / "data", size=SIZES.get(name, 32)), expected)
    assert sorted(server.asked) == sorted((file, 0) for file in server.answers)


@pytest.mark.skipif(downloads.fcntl is None, reason="no locks on Windows")
@pytest.mark.parametrize("name", ["cifar10", "oxford_pets"])
def test_those_who_ask_at_once_fetch_once(name, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    expected = miniatures.make(name, tmp_path / "home", monkeypatch)
    with miniatures.served() as server, ThreadPoolExecutor(4) as pool:
        miniatures.publish(name, tmp_path / "home", server, monkeypatch)
        for data in pool.map(
            lambda _: load(name, root=tmp_path / "data", size=SIZES.get(name, 32)), range(4)
        ):
            check(data, expected)
    assert sorted(server.asked) == sorted((file, 0) for file in server.answers)


@pytest.mark.parametrize(
    ("name", "mirrors"), [("cifar10", ("zenodo", "amazonaws")), ("cifar100", ("zenodo",))]
)
def test_the_mirrors_of_cifar_are_asked_before_its_home(name, mirrors, tmp_path, monkeypatch):
    asked, kind = [], miniatures.CIFAR[name]

    def fetch(*file):
        asked.append(file)
        raise RuntimeError("nothing comes")

    monkeypatch.setattr(torchvision_sets, "fetch", fetch)
    with pytest.raises(RuntimeError, match=r"^nothing comes$"):
        load(name, root=tmp_path)
    ((urls, path, md5),) = asked
    assert (path, md5) == (tmp_path / kind.filename, kind.tgz_md5)
    assert [mirror in url for mirror, url in zip(mirrors, urls)] == [True] * len(mirrors)
    assert urls[len(mirrors) :] == (kind.url,)


@pytest.mark.parametrize("name", ["aircraft", "cifar10", "oxford_pets"])
def test_unpacking_that_was_interrupted_is_done_again(name, tmp_path, monkeypatch):
    def interrupted(archive, path, **_):
        archive.extract(archive.getmembers()[1], path)
        raise KeyboardInterrupt

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    expected = miniatures.make(name, tmp_path / "home", monkeypatch)
    with miniatures.served() as server:
        miniatures.publish(name, tmp_path / "home", server, monkeypatch)
        with monkeypatch.context() as patch:
            patch.setattr("tarfile.TarFile.extractall", interrupted)
            with pytest.raises(KeyboardInterrupt):
                load(name, root=tmp_path / "data", size=32)
        check(load(name, root=tmp_path / "data", size=SIZES.get(name, 32)), expected)
    assert sorted(server.asked) == sorted((file, 0) for file in server.answers)


def test_a_photograph_that_is_missing_is_said(tmp_path, monkeypatch):
    miniatures.aircraft(tmp_path)
    next(tmp_path.rglob("*.jpg")).unlink()
    with pytest.raises(
        RuntimeError,
        match=r"could not read 'aircraft' in .*\(.*No such file.*jpg'\): delete it there",
    ):
        load("aircraft", root=tmp_path, size=32)


def test_a_sample_is_drawn_before_anything_is_decoded(tmp_path, monkeypatch):
    miniatures.pets(tmp_path)
    everything, decoded, square = (
        load("oxford_pets", root=tmp_path, size=40),
        [],
        torchvision_sets.square,
    )

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
        load("cifar10", root=tmp_path, size=32, seed=s, counts={"train": 5, "val": 4})
        for s in (0, 0, 1)
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
    assert load(name, root=tmp_path, size=size, counts={"test": 0}).test.images.shape == (
        0,
        3,
        size,
        size,
    )


def test_images_that_take_much_memory_are_said(tmp_path, monkeypatch):
    miniatures.cifar(tmp_path, datasets.CIFAR10, monkeypatch)
    monkeypatch.setattr(torchvision_sets, "LARGE", 17 * 3 * 32**2)
    with pytest.warns(
        UserWarning, match=r"^18 images of 32 pixels take 0.0 GB of memory; a smaller size"
    ):
        load("cifar10", root=tmp_path, size=32)


@pytest.mark.usefixtures("offline")
def test_a_size_that_is_none_is_said_before_anything_is_fetched(tmp_path):
    with pytest.raises(ValueError, match="a size of at least 1 pixel, got 0"):
        load("cifar10", root=tmp_path, size=0)


def test_cats_and_dogs_have_masks_as_regions(tmp_path):
    miniatures.pets(tmp_path)
    data = load("oxford_pets", root=tmp_path, size=40)
    image, label, region = data.test[1]
    assert label == 1
    assert image.shape == (3, 40, 40)
    assert region.shape == (1, 40, 40)
    assert region.dtype == torch.bool
    assert region.nonzero().amin(0).tolist() == [0, 10, 10]  # of 60 columns the middle 40
    assert region.nonzero().amax(0).tolist() == [0, 19, 29]
    assert region.sum() == 10 * 20


def test_the_names_of_photographers_are_cut_off(tmp_path):
    miniatures.aircraft(tmp_path)
    assert load("aircraft", root=tmp_path, size=32).train.images.max() < 100  # the banner is white


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(RuntimeError, match=r"could not read 'svhn' in .*data \(.*File exists"):
        load("svhn", root=tmp_path / "data", size=32)
