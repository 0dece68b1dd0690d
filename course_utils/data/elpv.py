"""The ELPV photographs of solar cells.

There are 2,624 electroluminescence photographs of single solar cells from 44 modules, grey and of
300 × 300 pixels. Experts gave each cell a probability of being defective (0, 1/3, 2/3 or 1) and the
type of its module (mono- or polycrystalline). The photographs come with the package
``elpv-dataset`` under the licence CC BY-NC-SA 4.0, and are not part of this course.

Sources: Buerhop-Lutz et al. 2018, "A Benchmark for Visual Identification of Defective Solar Cells
in Electroluminescence Imagery" (EU PVSEC); Deitsch et al. 2019, "Automatic classification of
defective photovoltaic module cells in electroluminescence images" (Solar Energy 185, 455–468);
Deitsch et al. 2021, "Segmentation of photovoltaic module cells in uncalibrated electroluminescence
images" (Machine Vision and Applications 32).
"""

from __future__ import annotations

import random
import shutil
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

from course_utils.core.checks import check_choice
from course_utils.core.files import replacing
from course_utils.data.image_folder import PhotoFiles
from course_utils.data.parts import Counts, Splits, check_counts, take_counts

CellClasses = Literal["defect", "degree"]
ABOUT = f"""{__doc__}
Copied from the package by course_utils.data.elpv.write_folder: a quarter of each class is in test/.
"""


class CellPhoto(NamedTuple):
    """One photograph.

    Attributes:
        path: The file in the package.
        probability: Probability of a defect according to the experts: 0, 1/3, 2/3 or 1.
        kind: Type of the module, ``mono`` or ``poly``.
    """

    path: Path
    probability: float
    kind: str

    def class_name(self, classes: CellClasses) -> str:
        """Return the class of the cell: whether it has a defect, or its kind and probability."""
        if classes == "defect":
            return "defective" if self.probability > 0.5 else "functional"
        return f"{self.kind}_{100 * self.probability:03.0f}"


def photos() -> list[CellPhoto]:
    """Return all photographs of the installed package, in its order.

    Raises:
        RuntimeError: If the package ``elpv-dataset`` is not installed.
    """
    spec = find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(
            "the ELPV photographs come in a separate package: run pip install elpv-dataset "
            "(87 MB; CC BY-NC-SA 4.0, so not for commercial use), or use 'cluttered_digits' or a "
            "folder of your own images, which need no package"
        )
    home = Path(spec.submodule_search_locations[0]) / "data"
    lines = (home / "labels.csv").read_text(encoding="utf-8").splitlines()
    rows = (line.split() for line in lines if line.strip())
    return [CellPhoto(home / path, float(probability), kind) for path, probability, kind in rows]


def elpv_splits(
    classes: CellClasses = "defect",
    *,
    share: float = 1.0,
    size: int = 64,
    counts: Counts = None,
    seed: int = 0,
) -> Splits:
    """Read the photographs from their package, split for training, validation and test.

    A quarter of the photographs of each kind and probability is the test split. It is the same
    every time and for either choice of classes. Cells of one module may be in both training and
    test, because the labels don't record which module a cell is from.

    Args:
        classes: ``defect`` has two classes, ``defective`` (probability above 1/2) and
            ``functional``. ``degree`` has eight, the kind with the probability in per cent, from
            ``mono_000`` to ``poly_100``.
        share: Share of the photographs of each kind and probability to use, above 0 and at most 1.
        size: Side of the square images in pixels.
        counts: Number of images per split. By default all images are used, and a tenth of the
            training images is held out for validation.
        seed: Seed of the validation split and of samples.

    Raises:
        ValueError: If the classes are unknown, a number is out of range, or a split in ``counts``
            is unknown.
        RuntimeError: If the package ``elpv-dataset`` is not installed.
    """
    counts = check_counts(counts)
    parts = _split(classes, share)
    names = sorted({photo.class_name(classes) for photo in parts["train"]})

    def read(part: str) -> PhotoFiles:
        labelled = [(names.index(p.class_name(classes)), p.path.name, p.path) for p in parts[part]]
        # Sorted by class and name, as files in a folder are: the hold-out depends on the order.
        files = [(path, label) for label, _, path in sorted(labelled)]
        return PhotoFiles(files, names, size, root=files[0][0].parent)

    train, test = read("train"), read("test")
    # Other folders are held out class by class. This one isn't, because the shipped results are
    # based on these parts.
    return Splits(*take_counts(train, None, test, counts, seed), classes=train.classes)


def write_folder(root: str | Path, classes: CellClasses = "defect", *, share: float = 1.0) -> Path:
    """Copy the photographs into ``root/train`` and ``root/test``, with one sub-folder per class.

    The split is that of `elpv_splits`. A folder that has these photographs already is kept.

    Args:
        root: The folder to write; it must be new, empty, or written by this function.
        classes: ``defect`` or ``degree``; see `elpv_splits`.
        share: Share of the photographs of each kind and probability, above 0 and at most 1.

    Returns:
        The folder.

    Raises:
        ValueError: If the folder has other files, the classes are unknown, or the share is not
            above 0 and at most 1.
        RuntimeError: If the package ``elpv-dataset`` is not installed.
    """
    root = Path(root).expanduser()
    copies = {
        Path(part, photo.class_name(classes), photo.path.name): photo.path
        for part, chosen in _split(classes, share).items()
        for photo in chosen
    }
    found = {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
    expected = {*copies, Path("ABOUT.txt")}
    if found == expected:
        return root
    if found:
        example = min(found - expected, default=min(found))
        raise ValueError(
            f"expected {root} to be empty or to hold exactly these photographs, got {len(found)} "
            f"files, such as {example}: choose another folder, or delete it"
        )
    with replacing(root) as new:
        for target, source in copies.items():
            (new / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, new / target)
        (new / "ABOUT.txt").write_text(ABOUT, encoding="utf-8")
    return root


def _split(classes: CellClasses, share: float) -> dict[str, list[CellPhoto]]:
    """Choose the photographs for ``test`` and ``train``: a quarter and the rest of each stratum."""
    check_choice("classes", classes, CellClasses)
    if not 0 < share <= 1:
        raise ValueError(f"expected a share above 0 and at most 1, got {share}")

    def stratum(photo: CellPhoto) -> tuple[str, float]:
        return photo.kind, photo.probability

    # `random` is the only function of its module that gives the same numbers in all versions of
    # Python, so we shuffle by sorting with random keys.
    draw = random.Random(0).random
    parts: dict[str, list[CellPhoto]] = {"train": [], "test": []}
    in_order = sorted(photos(), key=lambda photo: (*stratum(photo), photo.path.name))
    for _, members in groupby(in_order, stratum):
        drawn = sorted(members, key=lambda _: draw())
        drawn = drawn[: max(2, round(share * len(drawn)))]  # one for each part
        quarter = max(1, (len(drawn) + 2) // 4)
        parts["test"] += drawn[:quarter]
        parts["train"] += drawn[quarter:]
    return parts
