import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from course_utils.data import image_files
from course_utils.data.image_files import files_in, read_image, read_picture
from course_utils.data.in_memory import in_threads, square
from tests.photo_folders import photo


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


def sixteen_bit_png(path, values):
    """Write a PNG file with 16 bits per channel, which Pillow can only do for grey images."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks.items():
        content += struct.pack(">I", len(data)) + name + data
        content += struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize(
    ("bits", "value", "expected"),
    [(16, 65535, 255), (12, 4095, 255), (12, 2048, 128), (10, 1023, 255), (8, 200, 200)],
)
def test_values_are_scaled_by_the_bits_that_are_used(tmp_path, bits, value, expected, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.full((9, 9), value, np.uint16)).save(path)
    assert read_image(path, 8, bits=bits).unique().tolist() == [expected]


@pytest.mark.parametrize(
    ("highest", "value", "expected"), [(65535, 100 * 256 + 7, 100), (4095, 4095, 255), (255, 9, 9)]
)
def test_pgm_is_read_in_the_range_that_it_names(tmp_path, highest, value, expected):
    values = np.full((9, 9), value, ">u2" if highest > 255 else "u1")
    (tmp_path / "a.pgm").write_bytes(b"P5 9 9 %d\n" % highest + values.tobytes())
    assert read_image(tmp_path / "a.pgm", 8).unique().tolist() == [expected]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("size", [0, -3, 2.5])
def test_wrong_size_is_refused(tmp_path, size):
    photo(0).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=f"at least 1 .*got {size}"):
        read_image(tmp_path / "a.png", size)


def test_path_may_be_text_and_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    photo(0).save(tmp_path / "a.png")
    expected = read_image(tmp_path / "a.png", 8)
    for path in (str(tmp_path / "a.png"), "~/a.png"):
        assert torch.equal(read_image(path, 8), expected)


def test_values_that_need_more_bits_are_refused(tmp_path):
    Image.fromarray(np.full((9, 9), 5000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"up to 5,000, .* more than 12 bits"):
        read_image(tmp_path / "a.png", 8, bits=12)
    sixteen_bit_png(tmp_path / "b.png", np.full((9, 9, 3), 4095))
    with pytest.raises(ValueError, match=r"colours with 16 bits.* 12 bits"):
        read_image(tmp_path / "b.png", 8, bits=12)


@pytest.mark.parametrize("bits", [7, 17, 0, -12])
def test_bits_out_of_range_are_refused(tmp_path, bits):
    with pytest.raises(ValueError, match=f"from 8 to 16, got {bits}"):
        read_image(tmp_path / "a.png", 8, bits=bits)


@pytest.mark.parametrize(
    ("pixel", "highest"),
    [((4000,), 4000), ((100, 4000, 9), 15 * 256 + 255), ((300, 65535), 256 + 255)],
)
def test_highest_value_of_sixteen_bits_is_known_without_alpha(tmp_path, pixel, highest):
    sixteen_bit_png(tmp_path / "a.png", np.tile(np.array(pixel), (5, 5, 1)))
    assert read_picture(tmp_path / "a.png", 4, np.inf).highest == highest
    photo(0).save(tmp_path / "b.png")
    assert read_picture(tmp_path / "b.png", 4, np.inf).highest == 0


@pytest.fixture
def few_pixels(monkeypatch):
    """Lower the limit, so that a small photograph is too large."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.usefixtures("few_pixels")
def test_large_photograph_needs_permission(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    photo(0).save(path)
    for _ in range(2):  # the limits are as before afterwards
        with pytest.raises(ValueError, match=r"megapixels.*allow large images"):
            read_image(path, 8)
        assert Image.MAX_IMAGE_PIXELS == 100
        assert read_image(path, 8, allow_large=True).shape == (3, 8, 8)


def test_limit_that_the_user_has_lifted_stays_lifted(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    photo(0).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", 8).shape == (3, 8, 8)
    assert Image.MAX_IMAGE_PIXELS is None


def test_limits_are_restored_by_threads_that_read_together(tmp_path):
    for i in range(8):
        photo(i).save(tmp_path / f"{i}.png")
    before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    in_threads(
        lambda i: read_image(tmp_path / f"{i % 8}.png", 8, allow_large=i % 2 == 0), range(64), ""
    )
    after = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    assert before == after


def test_huge_jpeg_is_decoded_at_a_smaller_size(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "HUGE", 1000)
    Image.linear_gradient("L").resize((512, 512)).save(tmp_path / "a.jpg")
    sizes = []
    monkeypatch.setattr(
        image_files, "square", lambda image, size: sizes.append(image.size) or square(image, size)
    )
    reduced = read_image(tmp_path / "a.jpg", 16)
    monkeypatch.setattr(image_files, "HUGE", 1e9)
    whole = read_image(tmp_path / "a.jpg", 16)
    assert sizes == [(64, 64), (512, 512)]
    assert (reduced.int() - whole.int()).abs().max() <= 3


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("chunk", ["tEXt", "iTXt"])
def test_png_with_much_text_is_read(tmp_path, zipped, chunk):
    text = PngImagePlugin.PngInfo()
    add = text.add_text if chunk == "tEXt" else text.add_itxt
    add("workflow", "x" * 2_000_000, zip=zipped)
    photo(0).save(tmp_path / "a.png", pnginfo=text)
    assert read_image(tmp_path / "a.png", 8).shape == (3, 8, 8)


def test_png_with_very_much_text_needs_permission(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "TEXT_CHUNK", 1000)
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * 5000, zip=True)
    photo(0).save(tmp_path / "a.png", pnginfo=text)
    with pytest.raises(ValueError, match=r"text.*allow large images"):
        read_image(tmp_path / "a.png", 8)
    assert read_image(tmp_path / "a.png", 8, allow_large=True).shape == (3, 8, 8)


LEFT = [
    *("@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/a.png", "@Recycle/a.png", "@tmp/a.png"),
    *("__MACOSX/a.png", "$RECYCLE.BIN/a.png", "System Volume Information/a", "lost+found/a.png"),
    *("Icon\r", "ehthumbs.db", "Thumbs.db", "ehthumbs_vista.db", "Picasa.ini", ".picasa.ini"),
    *("desktop.ini", ".DS_Store", "._a.png", "a.xmp", "a.AAE", "~$a.png", ".hidden/a.png"),
]
KEPT = ["icon.png", "thumbs.db.png", "@home/a.png", "#1/a.png", "a.png.part", "~a.png", "tmp/a.png"]


@pytest.mark.parametrize("name", LEFT)
def test_what_other_programs_leave_is_passed_over(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("name", KEPT)
def test_what_may_be_an_image_is_not_passed_over(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    assert files_in(tmp_path) == [tmp_path / name]


def test_links_to_folders_are_followed_once(tmp_path):
    images, store = tmp_path / "images", tmp_path / "store"
    for folder in (images / "day", store / "deep"):
        folder.mkdir(parents=True)
        (folder / "a.png").touch()
    (images / "second").symlink_to(store)
    (images / "third").symlink_to(store)  # the same again
    (store / "back").symlink_to(images)  # loops
    (images / "self").symlink_to(images / "self")
    (images / "lost.png").symlink_to("nowhere")
    assert [path.relative_to(images).as_posix() for path in files_in(images)] == [
        "day/a.png",
        "lost.png",
        "second/deep/a.png",
        "self",
    ]


@pytest.mark.parametrize("linked", [True, False])
def test_folder_of_results_is_left_out(tmp_path, linked):
    for name in ("cat/a.png", "out/a.png.png", "out/cat/a.png.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    out = tmp_path / "out"
    if linked:
        out = tmp_path.parent / f"{tmp_path.name}_link"
        out.symlink_to(tmp_path / "out")
    assert files_in(tmp_path, leave_out=out) == [tmp_path / "cat" / "a.png"]
    assert len(files_in(tmp_path)) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a pipe has no name on this system")
def test_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert files_in(tmp_path) == []


def test_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    scan = os.scandir

    def refused(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError, match="locked"):
        files_in(tmp_path)
