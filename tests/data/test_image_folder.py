import os
import struct
import sys
import unicodedata

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from course_utils.data.image_files import figure_tag
from course_utils.data.image_folder import PhotoFiles, PhotoFolder
from tests.photo_folders import photo


@pytest.fixture
def root(tmp_path):
    """Write two classes of three photographs."""
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for i in range(3):
            photo(10 * label + i).save(tmp_path / name / f"{i}.png")
    return tmp_path


def test_items_are_the_photographs_in_a_stable_order(root):
    data = PhotoFolder(root, 30)
    assert data.classes == ("cat", "dog")
    assert [f"{p.parent.name}/{p.name}" for p in data.paths] == [
        f"{c}/{i}.png" for c in ("cat", "dog") for i in range(3)
    ]
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    image, label = data[4]
    expected = (
        np.asarray(photo(11))[:, 5:35].transpose(2, 0, 1) / 255
    )  # the central square; nothing is resized
    np.testing.assert_allclose(image.numpy(), expected, atol=1e-6)
    assert label == 1
    for (a, y), (b, z) in zip(data.__getitems__([4, 0]), (data[4], data[0])):
        assert torch.equal(a, b)
        assert y == z


def test_files_are_read_in_the_order_of_a_list(root):
    folder = PhotoFolder(root, 30)
    order = [5, 0, 3]
    files = [(folder.paths[i], int(folder.labels[i])) for i in order]
    data = PhotoFiles(files, folder.classes, 30, root=root)
    assert data.paths == tuple(path for path, _ in files)
    assert data.classes == folder.classes
    assert torch.equal(data.images, folder.images[order])
    assert torch.equal(data.labels, folder.labels[order])


def half_a_jpeg(path):
    photo(1, (200, 200)).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:2000])


def a_huge_png(path):
    photo(1).save(path, "PNG")
    head = bytearray(path.read_bytes())
    head[16:24] = struct.pack(">II", 100_000, 100_000)
    path.write_bytes(head)


BAD = {
    "text.jpg": (lambda path: path.write_text("not an image"), "not an image"),
    "nothing.png": (lambda path: path.write_bytes(b""), "empty"),
    "half.jpg": (half_a_jpeg, "truncated"),
    "notes.txt": (lambda path: path.write_text("not an image"), "not an image"),
    "lost.png": (lambda path: path.symlink_to("nowhere.png"), "No such file"),
    "bomb.png": (a_huge_png, ""),
}


@pytest.mark.parametrize("name", BAD)
def test_unreadable_file_is_named_and_refused_or_skipped(root, name):
    make, reason = BAD[name]
    make(root / "dog" / name)
    with pytest.raises(ValueError, match=rf"1 of 7 .*dog/{name} \(.*{reason}") as error:
        PhotoFolder(root, 16)
    assert "\n" not in str(error.value)
    with pytest.warns(UserWarning, match=f"1 of 7 .*{name}"):
        data = PhotoFolder(root, 16, unreadable="skip")
    assert len(data) == 6


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_named(root):
    (root / "dog" / "0.png").chmod(0)
    with pytest.raises(ValueError, match=r"dog/0.png \(Permission denied"):
        PhotoFolder(root, 16)


def test_many_unreadable_files_are_counted_and_five_are_named(root):
    for i in range(8):
        (root / "cat" / f"bad_{i}.jpg").write_text("not an image")
    with pytest.raises(ValueError, match=r"8 of 14 .*bad_4.jpg \(not an image\); and 3 more"):
        PhotoFolder(root, 16)


def test_system_files_and_loops_are_passed_over(root):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (root / "cat" / name).write_text("not an image")
    (root / "cat" / "loop").symlink_to(root / "cat", target_is_directory=True)
    (root / ".cache").mkdir()
    (root / "cat" / "more").mkdir()
    photo(5).save(root / "cat" / "more" / "deep.png")
    (root / "cat" / "linked.png").symlink_to(root / "cat" / "0.png")
    data = PhotoFolder(root, 16)
    assert data.classes == ("cat", "dog")
    assert [p.name for p in data.paths if p.parent.name != "dog"] == [
        "0.png",
        "1.png",
        "2.png",
        "linked.png",
        "deep.png",
    ]


def test_hidden_folders_are_ignored(root):
    (root / "cat" / ".ipynb_checkpoints").mkdir()
    photo(5).save(root / "cat" / ".ipynb_checkpoints" / "0-checkpoint.png")
    assert len(PhotoFolder(root, 16)) == 6


def test_image_with_32_bits_per_pixel_is_refused(root):
    Image.fromarray(np.full((20, 20), 0.5, np.float32)).save(root / "cat" / "deep.tiff")
    with pytest.raises(ValueError, match=r"cat/deep.tiff \(32 bits"):
        PhotoFolder(root, 16)


@pytest.mark.parametrize("size", [0, 16.0, "16"])
@pytest.mark.usefixtures("unchecked")
def test_wrong_size_is_refused(root, size):
    with pytest.raises(ValueError, match=f"at least 1 .*got {size!r}"):
        PhotoFolder(root, size)


@pytest.mark.parametrize("name", ["cat/0.png.png", "dog/deep/figure.PNG"])
def test_figure_of_visualize_is_no_image(root, name):
    before = PhotoFolder(root, 16)
    (root / name).parent.mkdir(exist_ok=True)
    figure = Figure(figsize=(1, 1))
    figure.savefig(root / name, format="png", pil_kwargs={"pnginfo": figure_tag()})
    with pytest.warns(UserWarning, match=rf"not used: figures .*\(1 in all, such as {name}\)"):
        assert PhotoFolder(root, 16).paths == before.paths
    figure.savefig(root / name, format="png")  # a figure of another program
    assert len(PhotoFolder(root, 16)) == len(before) + 1


def test_class_without_images_is_named(root):
    (root / "emu").mkdir()
    with pytest.raises(ValueError, match=r"no images .* emu"):
        PhotoFolder(root, 16)


@pytest.mark.parametrize(("folders", "got"), [((), "none"), (("cat",), "cat")])
def test_fewer_than_two_classes_are_refused(tmp_path, folders, got):
    for name in folders:
        (tmp_path / name).mkdir()
        photo(0).save(tmp_path / name / "a.png")
    with pytest.raises(ValueError, match=f"at least two classes, got {got}$"):
        PhotoFolder(tmp_path, 16)


@pytest.mark.usefixtures("unchecked")
def test_missing_folder_and_unknown_choice_are_refused(root):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        PhotoFolder(root / "nowhere", 16)
    with pytest.raises(ValueError, match=r"'ignore'.*refuse, skip"):
        PhotoFolder(root, 16, unreadable="ignore")


@pytest.mark.parametrize("name", ["@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", ".cache"])
def test_folder_that_a_system_leaves_is_no_class(root, name):
    (root / name).mkdir()
    photo(5).save(root / name / "a.png")
    assert PhotoFolder(root, 16).classes == ("cat", "dog")


@pytest.mark.parametrize("name", ["caf\u00e9", "\u00c5ngstr\u00f6m", "\ud55c\uad6d"])
def test_classes_are_in_composed_form(root, name):
    (root / unicodedata.normalize("NFD", name)).mkdir()
    photo(5).save(root / unicodedata.normalize("NFD", name) / "a.png")
    assert PhotoFolder(root, 16).classes == tuple(sorted(["cat", "dog", name]))


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system has one form of each name")
@pytest.mark.parametrize("name", ["caf\u00e9", "\ud55c\uad6d"])
def test_two_folders_of_one_name_are_refused(root, name):
    for form in ("NFC", "NFD"):
        (root / unicodedata.normalize(form, name)).mkdir()
    with pytest.raises(ValueError, match=rf"both named {name} .*\\u.*merge"):
        PhotoFolder(root, 16)


def test_link_to_a_class_is_followed_and_a_broken_one_is_named(root, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    photo(5).save(store / "a.png")
    (root / "emu").symlink_to(store)
    (root / "cat" / "second").symlink_to(store)
    data = PhotoFolder(root, 16)
    assert data.labels.bincount().tolist() == [4, 3, 1]
    (root / "fox").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match="fox is a link to nowhere"):
        PhotoFolder(root, 16)


@pytest.mark.parametrize(("highest", "bits"), [(4095, 12), (1000, 10), (16000, 14), (200, 8)])
def test_sixteen_bit_images_that_use_fewer_are_noticed(root, highest, bits):
    for i, value in enumerate((highest, highest // 2)):
        Image.fromarray(np.full((20, 20), value, np.uint16)).save(root / "cat" / f"deep_{i}.png")
    with pytest.warns(
        UserWarning, match=rf"16 bits in .* \(2 in all\) .* {highest:,} .*bits to {bits} "
    ):
        dark = PhotoFolder(root, 16)
    bright = PhotoFolder(root, 16, bits=bits)
    at = [path.name for path in dark.paths].index("deep_0.png")
    assert dark.images[at].unique().tolist() == [highest // 256]
    assert bright.images[at].unique().tolist() == [highest >> (bits - 8)]


@pytest.mark.parametrize("highest", [65535, 2**15])
def test_sixteen_bit_images_of_full_range_bring_no_warning(root, highest):
    for i, value in enumerate((highest, 30)):  # one dark image among them is no sign
        Image.fromarray(np.full((20, 20), value, np.uint16)).save(root / "cat" / f"deep_{i}.tiff")
    assert len(PhotoFolder(root, 16)) == 8


def test_advice_suits_python_and_the_command_line(root):
    (root / "cat" / "a.jpg").write_text("not an image")
    with pytest.raises(ValueError, match="skip unreadable files") as error:
        PhotoFolder(root, 16)
    assert "unreadable=" not in str(error.value)
    assert "--" not in str(error.value)
