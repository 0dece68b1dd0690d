"""The ELPV photographs as a folder: on a miniature package, on the real one where it is installed, and without any."""

import shutil
import sys
import threading
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from course_utils.data import elpv
from course_utils.data.image_folder import PhotoFolder
from course_utils.data.splits import load

DEGREES = (0.0, 1 / 3, 2 / 3, 1.0)
EACH = 6  # photographs of each kind and probability


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of 48 small photographs in the place of the real one."""
    home = tmp_path / "packages" / "elpv_dataset"
    (home / "data" / "images").mkdir(parents=True)
    (home / "__init__.py").touch()
    lines = []
    for n in range(8 * EACH):
        path = f"images/cell{n:04}.png"
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (30, 30), np.uint8)).save(
            home / "data" / path
        )
        lines.append(f"{path}  {DEGREES[n // 2 % 4]!r:18} {('mono', 'poly')[n % 2]}\n")
    (home / "data" / "labels.csv").write_text("".join(lines))
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, "elpv_dataset", raising=False)
    return home


def names(folder, part):
    return {path.name: path.parent.name for path in (folder / part).rglob("*.png")}


def test_the_photographs_lie_in_a_folder_that_the_course_reads(package, tmp_path):
    root = elpv.write_folder(tmp_path / "deep" / "cells")
    assert root == tmp_path / "deep" / "cells"
    data = load("folder", root=root, size=16)
    assert data.classes == ("defective", "functional")
    assert (len(data.train) + len(data.val), len(data.test)) == (32, 16)
    of = {photo.path.name: photo for photo in elpv.photos()}
    for part in ("train", "test"):
        for name, label in names(root, part).items():
            assert label == ("defective" if of[name].probability > 0.5 else "functional")
            source = package / "data" / "images" / name
            assert (root / part / label / name).read_bytes() == source.read_bytes()
    assert names(root, "train").keys() | names(root, "test").keys() == of.keys()
    assert not names(root, "train").keys() & names(root, "test").keys()


def test_the_degrees_are_eight_classes_with_the_same_split(package, tmp_path):
    one = elpv.write_folder(tmp_path / "one")
    two = elpv.write_folder(tmp_path / "two", "degree")
    classes = PhotoFolder(two / "train", 8).classes
    assert classes == tuple(
        f"{kind}_{p}" for kind in ("mono", "poly") for p in ("000", "033", "067", "100")
    )
    assert names(one, "test").keys() == names(two, "test").keys()
    for part, n in (("test", 2), ("train", EACH - 2)):
        assert all(len(list((two / part / name).iterdir())) == n for name in classes)


def test_a_share_is_a_part_of_the_same_split(package, tmp_path):
    whole, part = (elpv.write_folder(tmp_path / str(share), share=share) for share in (1.0, 0.5))
    assert (
        names(part, "train").keys() | names(part, "test").keys()
        < names(whole, "train").keys() | names(whole, "test").keys()
    )
    assert names(part, "test").keys() < names(whole, "test").keys()
    assert (len(names(part, "train")), len(names(part, "test"))) == (16, 8)


def test_a_whole_folder_is_kept_and_a_part_of_one_is_made_again(package, tmp_path):
    root = elpv.write_folder(tmp_path / "cells")
    first = next((root / "train" / "defective").iterdir())
    before = first.stat().st_mtime_ns, first.stat().st_ino
    elpv.write_folder(root)
    assert (first.stat().st_mtime_ns, first.stat().st_ino) == before
    content = first.read_bytes()
    first.unlink()
    elpv.write_folder(root)
    assert first.read_bytes() == content
    first.write_bytes(content[:50])
    elpv.write_folder(root)
    assert first.read_bytes() == content
    (root / "ABOUT.txt").unlink()
    elpv.write_folder(root)
    assert "CC BY-NC-SA 4.0" in (root / "ABOUT.txt").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_interrupted_write_leaves_nothing(package, tmp_path, monkeypatch):
    copied, really = [], shutil.copyfile

    def copy(source, target):
        if len(copied) >= 5:
            raise KeyboardInterrupt
        copied.append(really(source, target))

    monkeypatch.setattr(elpv.shutil, "copyfile", copy)
    with pytest.raises(KeyboardInterrupt):
        elpv.write_folder(tmp_path / "cells")
    assert [path.name for path in tmp_path.iterdir()] == ["packages"]


def test_two_at_once_both_find_a_whole_folder(package, tmp_path):
    start, failed = threading.Barrier(4), []

    def write():
        start.wait()
        try:
            elpv.write_folder(tmp_path / "cells")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(names(tmp_path / "cells", "train")) == 32


def test_files_of_another_origin_are_left_alone(package, tmp_path):
    root = tmp_path / "mine"
    (root / "train" / "cats").mkdir(parents=True)
    (root / "train" / "cats" / "tom.png").write_bytes(b"my cat")
    with pytest.raises(ValueError, match=r"such as train.cats.tom\.png: name another folder"):
        elpv.write_folder(root)
    assert (root / "train" / "cats" / "tom.png").read_bytes() == b"my cat"
    other = elpv.write_folder(tmp_path / "other")
    with pytest.raises(ValueError, match="not of this choice"):
        elpv.write_folder(other, "degree")
    (tmp_path / "empty").mkdir()
    assert elpv.write_folder(tmp_path / "empty").is_dir()


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_a_bad_share_is_said(tmp_path, share):
    with pytest.raises(ValueError, match="share above 0 and at most 1"):
        elpv.write_folder(tmp_path / "cells", share=share)


@pytest.mark.usefixtures("unchecked")
def test_unknown_classes_are_said(tmp_path):
    with pytest.raises(ValueError, match="unknown classes 'colour': choose one of defect, degree"):
        elpv.write_folder(tmp_path / "cells", "colour")


def test_without_the_package_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "elpv_dataset", None)
    with pytest.raises(
        RuntimeError, match=r"pip install elpv-dataset .*CC BY-NC-SA 4\.0.*cluttered_digits"
    ):
        elpv.write_folder(tmp_path / "cells")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    find_spec("elpv_dataset") is None, reason="the package elpv-dataset is not installed"
)
def test_the_real_photographs(tmp_path):
    photos = elpv.photos()
    assert len(photos) == 2624
    assert all(photo.path.is_file() for photo in photos)
    assert {photo.kind for photo in photos} == {"mono", "poly"}
    assert sum(photo.probability > 0.5 for photo in photos) == 821
    root = elpv.write_folder(tmp_path / "cells")
    counts = {
        (part, name): len(list((root / part / name).iterdir()))
        for part in ("train", "test")
        for name in ("defective", "functional")
    }
    assert counts == {
        ("train", "defective"): 615,
        ("train", "functional"): 1352,
        ("test", "defective"): 206,
        ("test", "functional"): 451,
    }
    assert sorted((root / "test" / "defective").iterdir())[0].name == FIRST
    with Image.open(root / "test" / "defective" / FIRST) as image:
        assert (image.size, image.mode) == ((300, 300), "L")


FIRST = "cell0002.png"  # the same ones each time
