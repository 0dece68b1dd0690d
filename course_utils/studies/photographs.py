"""The gallery of the chapter Photographs: pets whose outlines are known, if the reader has them.

The course ships no photographs of pets. The environment variable ``COURSE_PHOTOGRAPHS`` says where
they are, or that they may be downloaded; without them, the chapter prints a sentence and goes on.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from http.client import HTTPException
from io import StringIO
from pathlib import Path
from typing import NamedTuple, cast

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data import Dataset, Subset

from course_utils.core.checks import check_size
from course_utils.core.files import cache_dir
from course_utils.data.parts import Counts, Splits, check_counts
from course_utils.data.torchvision_sets import UNCHECKED, torchvision_splits
from course_utils.explain.metrics import area_share
from course_utils.models.attended_backbone import AttendedBackbone
from course_utils.studies.photographs_with_boxes import OTHERS, SCORES
from course_utils.training.evaluation import predict

VARIABLE = "COURSE_PHOTOGRAPHS"
DOWNLOAD = "download"
FOLDER = UNCHECKED["oxford_pets"]  # torchvision's name
PATIENCE = 15  # seconds that a server may be silent
LEAST = 2  # photographs of a gallery: each is compared with the map of another one
NOT_SET = (
    f"The course ships no photographs of pets: set the environment variable {VARIABLE} to "
    f"{DOWNLOAD!r} (0.8 GB, once) or to a folder that contains {FOLDER}/, and run this cell again."
)
# What torchvision and Pillow raise if a connection breaks, or if a list or picture is damaged.
_FAILURES = (RuntimeError, OSError, HTTPException, ValueError, SyntaxError)


class Gallery(NamedTuple):
    """Photographs with the maps of a network, as `plots.show_maps` takes them, and their scores.

    Attributes:
        images: Of shape (N, 3, S, S), in [0, 1].
        titles: The true class of each photograph.
        regions: True on the animal and its outline, of shape (N, 1, S, S).
        maps: One tensor (N, 1, h, w) per map of the network, by the size of its grid.
        scores: Means over the photographs: a row for the network's own maps, for those of another
            image, and for a uniform map, with the columns of `photographs_with_boxes.SCORES`.
    """

    images: Float[Tensor, "N 3 S S"]
    titles: list[str]
    regions: Bool[Tensor, "N 1 S S"]
    maps: dict[str, Float[Tensor, "N 1 _ _"]]
    scores: pd.DataFrame


def find_pets(
    *, size: int = 160, counts: Counts = None, seed: int = 0
) -> tuple[Splits | None, str]:
    """Return the photographs of Oxford-IIIT Pet, or the reason why there are none.

    The environment variable ``COURSE_PHOTOGRAPHS`` is ``download``, or names a folder that contains
    torchvision's ``oxford-iiit-pet/``. A download happens once, into the course's cache; nothing is
    ever downloaded into a folder that you name.

    Args:
        size: Side of the square photographs in pixels.
        counts: Number of photographs per split, chosen at random; only these are decoded.
        seed: Seed of the random choice.

    Returns:
        The photographs and an empty text; or None and a sentence that says what to do, if the
        variable isn't set, or the files can't be downloaded or read.

    Raises:
        ValueError: If the size or a number is out of range, or a split is unknown.
    """
    check_size(size)
    counts, where = check_counts(counts), os.environ.get(VARIABLE, "")
    if not where:
        return None, NOT_SET
    own = where != DOWNLOAD
    root = Path(where).expanduser() if own else cache_dir() / "photographs"
    # Without either folder, torchvision would download.
    if own and not all((root / FOLDER / part).is_dir() for part in ("images", "annotations")):
        return None, (
            f"{VARIABLE} is {where!r}, but there are no {FOLDER}/images and {FOLDER}/annotations "
            f"in that folder: name the folder that contains {FOLDER}/, or set the variable to "
            f"{DOWNLOAD!r}, and run this cell again."
        )
    try:
        with _quick_and_quiet():
            pets = torchvision_splits("oxford_pets", root, size=size, counts=counts, seed=seed)
        if len(pets.test) < min(LEAST, counts.get("test", LEAST)):
            raise ValueError(f"{len(pets.test)} test photographs")
        return pets, ""
    except _FAILURES as error:
        return None, _sentence(error, root / FOLDER, own)


@contextmanager
def _quick_and_quiet() -> Iterator[None]:
    """Limit how long a silent server is waited for, and suppress what torchvision prints.

    torchvision sets no limit of its own, so behind a firewall a download would hang for minutes.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _sentence(error: Exception, folder: Path, own: bool) -> str:
    why = _cause(error)
    if own:
        return (
            f"The photographs of pets in {folder} can't be read ({why}): replace the damaged "
            f"files, or set {VARIABLE} to {DOWNLOAD!r}, and run this cell again."
        )
    return (
        f"The photographs of pets can't be downloaded or read ({why}): check your network "
        f"connection, make room for 2 GB, delete {folder} if its files are damaged, and run this "
        "cell again."
    )


def _cause(error: Exception) -> str:
    """Describe what went wrong in one line, without the advice of `torchvision_splits`."""
    cause = error.__cause__ or error
    said = str(cause)
    if said.startswith("[Errno None]"):  # an error of the network has a text, but no number
        said = str(*cause.args[:1])
    return (said or type(cause).__name__).splitlines()[0]


def gallery(model: AttendedBackbone, pets: Splits, n: int = 6) -> Gallery:
    """Return the first test photographs with the maps of a network, and the scores of the maps.

    The photographs aren't chosen by how the maps look: `find_pets` draws the test photographs at
    random if its ``counts`` asks for fewer than there are.

    Args:
        model: A network with attention maps; its classes don't matter.
        pets: The photographs, with regions.
        n: Number of photographs; all, if there are fewer.

    Raises:
        ValueError: If there are fewer than two photographs, their regions are unknown, or the
            network has no attention maps.
    """
    n = min(n, len(pets.test))
    if n < LEAST:
        raise ValueError(f"expected at least {LEAST} photographs, got {n}")
    test: Subset = Subset(cast(Dataset, pets.test), range(n))
    output, labels, regions = predict(model, test)
    if regions is None:
        raise ValueError("expected photographs with regions, got images and labels only")
    if not output.maps:
        raise ValueError("expected a network with attention maps, got one whose pools have none")
    maps = _by_grid(output.maps)
    images = [test[i][0] for i in range(n)]
    return Gallery(
        torch.stack(images),
        [pets.classes[label] for label in labels],
        regions,
        maps,
        _scores(maps, regions),
    )


def _by_grid(maps: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Name maps by their grids; maps on equal grids are numbered by depth."""
    grids = [f"{m.shape[-2]} × {m.shape[-1]}" for m in maps]
    if len(set(grids)) < len(grids):
        grids = [f"{grid}, depth {depth}" for depth, grid in enumerate(grids, start=1)]
    return dict(zip(grids, maps))


def _scores(maps: dict[str, Tensor], regions: Bool[Tensor, "N 1 S S"]) -> pd.DataFrame:
    rows = {}
    for name, m in maps.items():
        for whose, some in (("own", m), (f"{OTHERS}own", m.roll(1, dims=0))):
            scores = {score: f(some, regions).mean().item() for score, f in SCORES.items()}
            rows[f"{name}: {whose}"] = scores
    rows["uniform map"] = dict.fromkeys(SCORES, area_share(regions).mean().item())
    return pd.DataFrame(rows).T.rename_axis("map")
