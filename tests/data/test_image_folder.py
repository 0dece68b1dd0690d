import os
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils.data.image_folder import (
    PhotoFiles,
    PhotoFolder,
    duplicates,
    in_two_classes,
    read_image,
)


def photo(seed, size=(40, 30), mode="RGB"):
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else (size[1], size[0])
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, shape, np.uint8), mode if mode != "L" else None
    )


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


def flat(mode, value):
    return Image.new(mode, (20, 20), value)


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("grey.png", flat("L", 100), (100, 100, 100)),
        (
            "sixteen bits.png",
            Image.fromarray(np.full((20, 20), 100 * 256 + 7, np.uint16)),
            (100, 100, 100),
        ),
        ("palette.gif", flat("P", 0), (0, 0, 0)),
        ("cmyk.jpg", flat("CMYK", (0, 0, 0, 0)), (255, 255, 255)),
        ("see-through.png", flat("RGBA", (10, 20, 30, 0)), (255, 255, 255)),
        ("half.png", flat("RGBA", (0, 0, 0, 128)), (127, 127, 127)),
        ("ein Bär 🐻.png", flat("RGB", (1, 2, 3)), (1, 2, 3)),
    ],
)
def test_every_kind_of_image_becomes_rgb(tmp_path, name, image, expected):
    image.save(tmp_path / name)
    got = read_image(tmp_path / name, 16)
    assert got.shape == (3, 16, 16)
    assert (got.float().mean(dim=(1, 2)) - torch.tensor(expected).float()).abs().max() <= 1


def test_files_are_read_in_the_order_of_a_list(root):
    folder = PhotoFolder(root, 30)
    order = [5, 0, 3]
    files = [(folder.paths[i], int(folder.labels[i])) for i in order]
    data = PhotoFiles(files, folder.classes, 30, root=root)
    assert data.paths == tuple(path for path, _ in files)
    assert data.classes == folder.classes
    assert torch.equal(data.images, folder.images[order])
    assert torch.equal(data.labels, folder.labels[order])


def test_only_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [flat("L", shade) for shade in (50, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read_image(tmp_path / "a.gif", 8).float() - 50).abs().max() <= 1


def test_large_photograph_is_resized_before_it_is_cropped(tmp_path):
    """Of 80 × 40 pixels, the left half is black and the right half white; the crop has both."""
    image = Image.new("RGB", (80, 40))
    image.paste((255, 255, 255), (40, 0, 80, 40))
    image.save(tmp_path / "a.png")
    got = read_image(tmp_path / "a.png", 20)[0].float()
    assert got[:, :8].max() == 0
    assert got[:, 12:].min() == 255
    wide = Image.fromarray(np.tile(np.array([[0, 255], [255, 0]], np.uint8), (40, 40)))
    wide.save(tmp_path / "b.png")
    assert (
        read_image(tmp_path / "b.png", 20).float() - 127.5
    ).abs().max() < 30  # neighbours are averaged


def test_photograph_is_rotated_as_its_camera_recorded(tmp_path):
    image = Image.new("RGB", (20, 20))
    image.paste((255, 255, 255), (0, 0, 20, 10))  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "a.png", exif=exif)
    got = read_image(tmp_path / "a.png", 20)
    assert got[:, 15:].float().mean() > 250
    assert got[:, :5].float().mean() < 5


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


def test_system_files_and_links_to_folders_are_ignored(root):
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


def test_same_photograph_in_two_classes_is_found(root):
    assert in_two_classes(PhotoFolder(root, 16)) == []
    (root / "dog" / "cat.png").write_bytes((root / "cat" / "1.png").read_bytes())
    (root / "cat" / "twin.png").write_bytes((root / "cat" / "2.png").read_bytes())
    assert in_two_classes(PhotoFolder(root, 16)) == [
        (root / "cat" / "1.png", root / "dog" / "cat.png")
    ]


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


def test_duplicates_are_found_whatever_their_names(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("test")
    for name in ("cat", "dog"):
        (other / name).mkdir()
        photo(ord(name[0])).save(other / name / "own.png")
    (other / "cat" / "stolen.png").write_bytes((root / "dog" / "1.png").read_bytes())
    found = duplicates(PhotoFolder(root, 16), PhotoFolder(other, 16))
    assert found == [(root / "dog" / "1.png", other / "cat" / "stolen.png")]
