"""Torchvision's data sets in miniature.

They have the layout, the file formats and the quirks of the real ones, so torchvision's own classes
read them. Checksums that torchvision compares are replaced by those of the small files.
"""

import hashlib
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

CIFAR = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
VARIANTS = ("707-320", "A340-200", "Cessna 172")  # of aircraft


class Miniature(NamedTuple):
    """The expected result of `load`: test images and labels, sizes of the parts, class names."""

    images: np.ndarray
    labels: list
    sizes: tuple
    classes: tuple


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def make(name, root, monkeypatch):
    """Write a set of that name, unpacked as torchvision leaves it."""
    match name:
        case "aircraft":
            return aircraft(root)
        case "oxford_pets":
            return pets(root)
        case "svhn":
            return svhn(root, monkeypatch)
        case _:
            return cifar(root, CIFAR[name], monkeypatch)


def archives(name, root):
    """Pack the unpacked set in ``root`` as its home server does, and return the files."""
    match name:
        case "svhn":
            return sorted(root.glob("*.mat"))
        case "oxford_pets":
            folders = sorted((root / "oxford-iiit-pet").iterdir())
        case _:
            folders = [path for path in root.iterdir() if path.is_dir()]
    return [_packed(folder, root / _archive_name(name, folder)) for folder in folders]


def _archive_name(name, folder):
    return CIFAR[name].filename if name in CIFAR else f"{folder.name}.tar.gz"


def _packed(folder, archive):
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    return archive


def serve(files, monkeypatch):
    """Let torchvision "download" these files; returns the list that fills with their names."""
    known, asked = {file.name: file for file in files}, []

    def download_url(url, root, filename=None, md5=None):
        asked.append(name := filename or url.rsplit("/", 1)[-1])
        Path(root).mkdir(parents=True, exist_ok=True)
        shutil.copy(known[name], Path(root) / name)

    monkeypatch.setattr("torchvision.datasets.utils.download_url", download_url)
    monkeypatch.setattr("torchvision.datasets.svhn.download_url", download_url)
    return asked


def cifar(root, kind, monkeypatch):
    """Write CIFAR-10 or CIFAR-100: pickled rows of 3,072 bytes, red first."""
    ten = kind is datasets.CIFAR10
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    names = [f"kind {i}" for i in range(10 if ten else 100)]
    key = "labels" if ten else "fine_labels"
    rng = np.random.default_rng(0)
    for file, _ in kind.train_list + kind.test_list:
        n = 4 if ten or file == "test" else 20
        rows = rng.integers(0, 256, (n, 3072), np.uint8)
        labels = rng.integers(0, len(names), n).tolist()
        (folder / file).write_bytes(pickle.dumps({"data": rows, key: labels}, protocol=2))
    meta = {"label_names" if ten else "fine_label_names": names}
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps(meta, protocol=2))
    for part in ("train_list", "test_list"):
        checked = [[file, md5(folder / file)] for file, _ in getattr(kind, part)]
        monkeypatch.setattr(kind, part, checked)
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(folder / kind.meta["filename"])})
    # The test file was written last, so `rows` and `labels` are those of the test images.
    return Miniature(rows.reshape(-1, 3, 32, 32), labels, (18, 2, 4), tuple(names))


def svhn(root, monkeypatch):
    """Write SVHN: MATLAB files with X (32, 32, 3, N) and y (N, 1); the digit 0 has label 10."""
    rng, split_list = np.random.default_rng(0), {}
    root.mkdir(parents=True, exist_ok=True)
    for split, n in (("train", 20), ("test", 4)):
        pixels = rng.integers(0, 256, (32, 32, 3, n), np.uint8)
        y = rng.integers(1, 11, (n, 1)).astype(np.uint8)
        y[0] = 10
        url, file, _ = datasets.SVHN.split_list[split]
        savemat(root / file, {"X": pixels, "y": y})
        split_list[split] = [url, file, md5(root / file)]
    monkeypatch.setattr(datasets.SVHN, "split_list", split_list)
    labels = (y[:, 0] % 10).tolist()
    return Miniature(pixels.transpose(3, 2, 0, 1), labels, (18, 2, 4), tuple("0123456789"))


def aircraft(root):
    """Write FGVC-Aircraft: lists of numbers and variants, photographs with a banner of 20 rows."""
    data = root / "fgvc-aircraft-2013b" / "data"
    (data / "images").mkdir(parents=True)
    (data / "variants.txt").write_text("".join(f"{name}\n" for name in VARIANTS))
    for number, split in enumerate(("train", "val", "test")):
        lines = [f"{100 * number + label} {name}\n" for label, name in enumerate(VARIANTS)]
        (data / f"images_variant_{split}.txt").write_text("".join(lines))
        for label in range(len(VARIANTS)):
            pixels = np.full((52, 48, 3), 40 * label + 10, np.uint8)
            pixels[-20:] = 255  # the banner
            file = data / "images" / f"{100 * number + label}.jpg"
            Image.fromarray(pixels).save(file, quality=95)
    images = np.stack([np.full((3, 32, 32), 40 * label + 10, np.uint8) for label in range(3)])
    return Miniature(images, [0, 1, 2], (3, 3, 3), VARIANTS)


def pets(root, tests=1):
    """Write Oxford-IIIT Pet: photographs, lists with the species, and trimaps.

    In a trimap, 1 is the animal, 2 the background and 3 the outline. There are ``tests`` cats and
    as many dogs to test on.
    """
    base = root / "oxford-iiit-pet"
    for folder in ("images", "annotations/trimaps"):
        (base / folder).mkdir(parents=True)
    trimap = np.full((40, 60), 2, np.uint8)
    trimap[10:20, 20:40] = 3
    trimap[12:18, 22:38] = 1
    for split, n in (("trainval", 10), ("test", tests)):
        lines = []
        for i in range(n):
            for breed, species in (("Abyssinian", 1), ("english_cocker_spaniel", 2)):
                name = f"{breed}_{i}{split}"
                photograph = Image.fromarray(np.full((40, 60, 3), 100 * species, np.uint8))
                photograph.save(base / "images" / f"{name}.jpg")
                Image.fromarray(trimap).save(base / "annotations" / "trimaps" / f"{name}.png")
                lines.append(f"{name} {species} {species} 1\n")
        (base / "annotations" / f"{split}.txt").write_text("".join(lines))
    images = np.stack([np.full((3, 40, 40), 100 * species, np.uint8) for species in (1, 2)])
    return Miniature(
        np.tile(images, (tests, 1, 1, 1)), [0, 1] * tests, (18, 2, 2 * tests), ("cat", "dog")
    )
