"""The ELPV photographs of solar cells as a folder of images, as one's own photographs would lie there.

2,624 electroluminescence photographs of single solar cells, 300 × 300 pixels and grey, from 44 modules; experts gave
each a probability of being defective (0, 1/3, 2/3 or 1) and the kind of its module (mono- or polycrystalline). They
come with the package ``elpv-dataset`` under the licence CC BY-NC-SA 4.0, and are not part of this course.

Sources: Buerhop-Lutz et al. 2018, "A Benchmark for Visual Identification of Defective Solar Cells in
Electroluminescence Imagery" (EU PVSEC); Deitsch et al. 2019, "Automatic classification of defective photovoltaic module
cells in electroluminescence images" (Solar Energy 185, 455–468); Deitsch et al. 2021, "Segmentation of photovoltaic
module cells in uncalibrated electroluminescence images" (Machine Vision and Applications 32).
"""

from __future__ import annotations

import random
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

from course_utils.core.checks import check_choice

Classes = Literal["defect", "degree"]
MISSING = (
    "the ELPV photographs come with a package of their own: pip install elpv-dataset (87 MB; CC BY-NC-SA 4.0, so not "
    "for commercial use), or go on without them: 'cluttered_digits' and any folder of your own images need no package"
)
ABOUT = f"""{__doc__}
Copied from the package by course_utils.elpv.write_folder: a quarter of each class is in test/.
"""


class Photo(NamedTuple):
    """One photograph: its file, the experts' probability of a defect, ``mono`` or ``poly``."""

    path: Path
    probability: float
    kind: str


def write_folder(root: str | Path, classes: Classes = "defect", *, share: float = 1.0) -> Path:
    """Write the photographs as PNG files into ``root/train`` and ``root/test``, one sub-folder a class.

    A quarter of the photographs of each kind and probability goes to ``test``, the same ones each time and for either
    choice of classes. The folder is written whole or not at all; one that is there and whole is kept. Cells of one
    module may be in both parts: the labels do not say which module a cell is from.

    Args:
        root: the folder; new, empty, or written by this function.
        classes: ``defect`` (``defective``, with a probability above 1/2, and ``functional``), or ``degree``: the kind
            and the probability in per cent, from ``mono_000`` to ``poly_100``, eight classes that differ by little.
        share: of the photographs of each kind and probability, for a quick look.

    Returns:
        The folder.

    Raises:
        ValueError: a folder with files of another origin or choice, unknown classes, or a share outside (0, 1].
        RuntimeError: the package ``elpv-dataset`` is not installed.
    """
    check_choice("classes", classes, Classes)
    if not 0 < share <= 1:
        raise ValueError(f"expected a share above 0 and at most 1, got {share}")
    root = Path(root)
    files = {
        root / part / name: photo.path for part, name, photo in _placed(photos(), classes, share)
    }
    if _is_whole(root, files):
        return root
    found = {path for path in root.rglob("*") if path.is_file()} if root.is_dir() else set()
    if strange := sorted(found - set(files) - {root / "ABOUT.txt"}):
        raise ValueError(
            f"{root} has files that are not of this choice, such as {strange[0].relative_to(root)}: name another folder"
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}_", dir=root.parent) as scratch:
        new = Path(scratch) / root.name
        moved = {new / path.relative_to(root): source for path, source in files.items()}
        for folder in {path.parent for path in moved}:
            folder.mkdir(parents=True)
        with ThreadPoolExecutor() as pool:
            list(pool.map(shutil.copyfile, moved.values(), moved))
        (new / "ABOUT.txt").write_text(ABOUT, encoding="utf-8")
        if not _is_whole(root, files):  # unless another process was quicker
            if root.exists():
                shutil.rmtree(root)  # a part of the same
            try:
                new.rename(root)
            except OSError:
                if not _is_whole(root, files):
                    raise
    return root


def photos() -> list[Photo]:
    """All photographs of the installed package, in its order.

    Raises:
        RuntimeError: the package ``elpv-dataset`` is not installed.
    """
    spec = find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(MISSING)
    home = Path(spec.submodule_search_locations[0]) / "data"
    lines = (home / "labels.csv").read_text(encoding="utf-8").split("\n")
    rows = (line.split() for line in lines if line.strip())
    return [Photo(home / path, float(probability), kind) for path, probability, kind in rows]


def _class_of(photo: Photo, classes: Classes) -> str:
    if classes == "defect":
        return "defective" if photo.probability > 0.5 else "functional"
    return f"{photo.kind}_{100 * photo.probability:03.0f}"


def _placed(photos: list[Photo], classes: Classes, share: float) -> list[tuple[str, str, Photo]]:
    """Each photograph that is wanted with its part, and its class and file name."""

    def stratum(photo: Photo) -> tuple[str, float]:
        return photo.kind, photo.probability

    draw = random.Random(
        0
    ).random  # the one part of that module that stays the same in all versions of Python
    placed = []
    for _, members in groupby(
        sorted(photos, key=lambda photo: (*stratum(photo), photo.path.name)), stratum
    ):
        drawn = sorted(members, key=lambda _: draw())
        drawn = drawn[: max(2, round(share * len(drawn)))]
        quarter = max(1, (len(drawn) + 2) // 4)
        for i, photo in enumerate(drawn):
            name = f"{_class_of(photo, classes)}/{photo.path.name}"
            placed.append(("test" if i < quarter else "train", name, photo))
    return placed


def _is_whole(root: Path, files: dict[Path, Path]) -> bool:
    """Whether a folder has these files, with the sizes of their sources, and none else."""
    if not (root / "ABOUT.txt").is_file():
        return False
    sizes = {path: path.stat().st_size for path in root.rglob("*") if path.is_file()}
    del sizes[root / "ABOUT.txt"]
    return sizes == {path: source.stat().st_size for path, source in files.items()}
