"""The ELPV photographs: with a miniature package, with the real one, and without any."""

import shutil
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils.data import elpv
from course_utils.data.elpv import elpv_splits
from course_utils.data.image_folder import PhotoFolder
from course_utils.data.splits import load

DEGREES = (0.0, 1 / 3, 2 / 3, 1.0)
EACH = 6  # photographs of each kind and probability


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package of 48 small photographs that is found instead of the real one."""
    home = tmp_path / "packages" / "elpv_dataset"
    (home / "data" / "images").mkdir(parents=True)
    (home / "__init__.py").touch()
    lines = []
    for n in range(8 * EACH):
        path = f"images/cell{n:04}.png"
        pixels = np.random.default_rng(n).integers(0, 256, (30, 30), np.uint8)
        Image.fromarray(pixels).save(home / "data" / path)
        lines.append(f"{path}  {DEGREES[n // 2 % 4]!r:18} {('mono', 'poly')[n % 2]}\n")
    (home / "data" / "labels.csv").write_text("".join(lines))
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, "elpv_dataset", raising=False)
    return home


def names(folder, part):
    return {path.name: path.parent.name for path in (folder / part).rglob("*.png")}


def test_folder_has_every_photograph_once_in_its_class(package, tmp_path):
    root = elpv.write_folder(tmp_path / "deep" / "cells")
    assert root == tmp_path / "deep" / "cells"
    probability = {photo.path.name: photo.probability for photo in elpv.photos()}
    for part in ("train", "test"):
        for name, label in names(root, part).items():
            assert label == ("defective" if probability[name] > 0.5 else "functional")
            source = package / "data" / "images" / name
            assert (root / part / label / name).read_bytes() == source.read_bytes()
    assert names(root, "train").keys() | names(root, "test").keys() == probability.keys()
    assert not names(root, "train").keys() & names(root, "test").keys()
    assert (len(names(root, "train")), len(names(root, "test"))) == (32, 16)
    assert "CC BY-NC-SA 4.0" in (root / "ABOUT.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(("classes", "share"), [("defect", 1.0), ("degree", 1.0), ("defect", 0.5)])
@pytest.mark.usefixtures("package")
def test_splits_are_those_of_the_folder(classes, share, tmp_path):
    root = elpv.write_folder(tmp_path / "cells", classes, share=share)
    options = {"size": 16, "seed": 3}
    direct, copied = (
        elpv_splits(classes, share=share, **options),
        load("folder", root=root, **options),
    )
    assert direct.classes == copied.classes
    for one, two in ((direct.train.dataset, copied.train.dataset), (direct.test, copied.test)):
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.labels, two.labels)
        assert [path.name for path in one.paths] == [path.name for path in two.paths]


@pytest.mark.usefixtures("package")
def test_photographs_are_held_out_as_for_the_shipped_results():
    data = elpv_splits(size=8, seed=3, counts={"val": 4})
    order = torch.randperm(32, generator=torch.Generator().manual_seed(3)).tolist()
    assert (data.val.indices, data.train.indices) == (order[:4], order[4:])


@pytest.mark.usefixtures("package")
def test_load_reads_the_package_and_writes_nothing(tmp_path):
    data = load("elpv", root=tmp_path / "data", size=16, counts={"val": 5})
    assert data.classes == ("defective", "functional")
    assert [len(part) for part in data[:3]] == [27, 5, 16]
    assert [path.name for path in tmp_path.iterdir()] == ["packages"]


@pytest.mark.usefixtures("package")
def test_degrees_are_eight_classes_with_the_same_split(tmp_path):
    one = elpv.write_folder(tmp_path / "one")
    two = elpv.write_folder(tmp_path / "two", "degree")
    classes = PhotoFolder(two / "train", 8).classes
    assert classes == tuple(
        f"{kind}_{p}" for kind in ("mono", "poly") for p in ("000", "033", "067", "100")
    )
    assert names(one, "test").keys() == names(two, "test").keys()
    for part, n in (("test", 2), ("train", EACH - 2)):
        assert all(len(list((two / part / name).iterdir())) == n for name in classes)


@pytest.mark.usefixtures("package")
def test_share_is_a_part_of_the_same_split(tmp_path):
    whole, part = (elpv.write_folder(tmp_path / str(share), share=share) for share in (1.0, 0.5))
    both = [names(root, "train").keys() | names(root, "test").keys() for root in (part, whole)]
    assert both[0] < both[1]
    assert names(part, "test").keys() < names(whole, "test").keys()
    assert (len(names(part, "train")), len(names(part, "test"))) == (16, 8)


@pytest.mark.usefixtures("package")
def test_whole_folder_is_kept_and_an_empty_one_is_filled(tmp_path):
    (tmp_path / "cells").mkdir()
    root = elpv.write_folder(tmp_path / "cells")
    assert len(names(root, "train")) == 32
    file = next((root / "train" / "defective").iterdir())
    before = file.stat().st_mtime_ns, file.stat().st_ino
    assert elpv.write_folder(root) == root
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before


@pytest.mark.usefixtures("package")
def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    copied, really = [], shutil.copyfile

    def copy(source, target):
        if len(copied) >= 5:
            raise KeyboardInterrupt
        copied.append(really(source, target))

    monkeypatch.setattr("shutil.copyfile", copy)
    with pytest.raises(KeyboardInterrupt):
        elpv.write_folder(tmp_path / "cells")
    assert [path.name for path in tmp_path.iterdir()] == ["packages"]


@pytest.mark.usefixtures("package")
def test_files_of_another_origin_are_left_alone(tmp_path):
    root = tmp_path / "mine"
    (root / "train" / "cats").mkdir(parents=True)
    (root / "train" / "cats" / "tom.png").write_bytes(b"my cat")
    with pytest.raises(ValueError, match=r"mine .*train.cats.tom\.png"):
        elpv.write_folder(root)
    assert (root / "train" / "cats" / "tom.png").read_bytes() == b"my cat"
    other = elpv.write_folder(tmp_path / "other")
    with pytest.raises(ValueError, match=r"other .*(defective|functional)"):
        elpv.write_folder(other, "degree")
    next((other / "train" / "defective").iterdir()).unlink()
    with pytest.raises(ValueError, match="other"):
        elpv.write_folder(other)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
@pytest.mark.parametrize("function", [elpv_splits, elpv.write_folder])
def test_share_out_of_range_is_refused(function, share, tmp_path):
    arguments = [tmp_path / "cells"] if function is elpv.write_folder else []
    with pytest.raises(ValueError, match=f"above 0 and at most 1, got {share}"):
        function(*arguments, share=share)


@pytest.mark.usefixtures("unchecked")
def test_unknown_classes_list_the_valid_ones(tmp_path):
    with pytest.raises(ValueError, match=r"'colour'.*defect, degree"):
        elpv.write_folder(tmp_path / "cells", "colour")


def test_error_without_the_package_names_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "elpv_dataset", None)
    message = r"pip install elpv-dataset .*CC BY-NC-SA 4\.0.*cluttered_digits"
    with pytest.raises(RuntimeError, match=message):
        elpv.write_folder(tmp_path / "cells")
    with pytest.raises(RuntimeError, match=message):
        load("elpv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    find_spec("elpv_dataset") is None, reason="the package elpv-dataset is not installed"
)
def test_real_photographs():
    photos = elpv.photos()
    assert len(photos) == 2624
    assert {photo.kind for photo in photos} == {"mono", "poly"}
    assert sum(photo.probability > 0.5 for photo in photos) == 821
    data = elpv_splits(size=8)
    assert data.classes == ("defective", "functional")
    assert data.train.dataset.labels.bincount().tolist() == [615, 1352]
    assert data.test.labels.bincount().tolist() == [206, 451]
    first = data.test.paths[0]
    assert first.name == "cell0002.png"  # the split is always the same
    with Image.open(first) as image:
        assert (image.size, image.mode) == ((300, 300), "L")
