import struct
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile, TiffImagePlugin

from course_utils.data import image_files, image_formats
from course_utils.data.image_files import read_image
from course_utils.data.image_formats import explain_format
from tests.photo_folders import photo


def media(*brands):
    """The first box of a file in the ISO base media format."""
    first, *others = (brand.encode() for brand in brands)
    return struct.pack(">I4s4sI", 16 + 4 * len(others), b"ftyp", first, 0) + b"".join(others)


HEADS = {
    "HEIC.*pillow-heif.*convert it to JPEG": [
        media("heic", "mif1", "heic"),
        media("mif1", "heic"),
        media("hevx"),
    ],
    "JPEG XL.*pillow-jxl-plugin": [b"\xff\x0a\xfa\x7f", b"\0\0\0\x0cJXL \r\n\x87\n"],
    "AVIF.*Pillow": [media("avif", "mif1"), media("mif1", "avif")],
    "camera raw": [
        media("crx ", "isom"),
        b"II*\0\x10\0\0\0CR\x02\0",
        b"FUJIFILMCCD-RAW 0201",
        b"IIRO\x08",
        b"IIU\0\x18",
        b"FOVb",
    ],
    "DICOM.*PNG": [b"\0" * 128 + b"DICM"],
    "video": [media("isom", "mp42"), media("qt  "), b"RIFF\0\0\0\0AVI LIST", b"\x1aE\xdf\xa3"],
    "document": [b"%PDF-1.7", b"\xd0\xcf\x11\xe0\xa1"],
    "SVG.*PNG": [b"<svg xmlns=''>", b"\n<?xml version='1.0'?>\n<!-- drawn -->\n<svg/>"],
    "PostScript.*PNG": [b"%!PS-Adobe-3.0 EPSF-3.0", b"\xc5\xd0\xd3\xc6"],
    "metafile.*EMF.*PNG": [b"\1\0\0\0\x58\0\0\0".ljust(40, b"\0") + b" EMF"],
    "metafile.*WMF.*PNG": [b"\xd7\xcd\xc6\x9a", b"\1\0\x09\0\0\3"],
    "NumPy.*PNG": [b"\x93NUMPY\x01\0"],
    "HDF5": [b"\x89HDF\r\n\x1a\n"],
    "archive.*unpack": [b"PK\x03\x04", b"\x1f\x8b\x08", b"7z\xbc\xaf\x27\x1c"],
    "web page": [b"<!DOCTYPE html><html>", b"\n<html lang=en>"],
    "git lfs pull": [b"version https://git-lfs.github.com/spec/v1\noid sha256:0"],
}
CASES = [(what, head) for what, heads in HEADS.items() for head in heads]


@pytest.mark.parametrize("suffix", [".jpg", ".heic", ""])
@pytest.mark.parametrize(("what", "head"), CASES, ids=[repr(head[:12]) for _, head in CASES])
def test_good_file_of_another_format_is_named(tmp_path, what, head, suffix):
    path = tmp_path / f"IMG_0001{suffix}"
    path.write_bytes(head.ljust(400, b"\0"))
    with pytest.raises(ValueError, match=what):
        read_image(path, 8)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@given(
    st.binary(max_size=600)
    | st.sampled_from([b"II*\0", b"MM\0*", b"II+\0"]).flatmap(
        lambda magic: st.binary(max_size=60).map(lambda rest: magic + rest)
    )
)
def test_any_bytes_have_a_name_or_none(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(content)
    assert isinstance(explain_format(path), str)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tiff", "webp", "bmp", "jp2"])
def test_format_that_pillow_reads_has_no_explanation(tmp_path, suffix):
    photo(0).save(tmp_path / f"a.{suffix}")
    assert explain_format(tmp_path / f"a.{suffix}") == ""


def write_tiff(path, values, photometric=1, planes=1, order="<"):
    """Write values of shape (H, W, C), of any type, as Pillow can't."""
    values = values.astype(values.dtype.newbyteorder(order))
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    height, width, channels = values.shape
    magic = {"<": b"II*\0\x08\0\0\0", ">": b"MM\0*\0\0\0\x08"}[order]
    tags = TiffImagePlugin.ImageFileDirectory_v2(magic)
    planar = np.moveaxis(values, -1, 0) if planes == 2 else [values]
    pixels = [plane.tobytes() for plane in planar]
    for tag, value in {
        **{256: width, 257: height, 258: (8 * values.itemsize,) * channels, 259: 1},
        **{262: photometric, 277: channels, 278: height, 284: planes, 339: (kind,) * channels},
        # Pillow counts offsets from the end of the tags, and corrects them when it writes.
        273: tuple(i * len(pixels[0]) for i in range(len(pixels))),
        279: tuple(map(len, pixels)),
    }.items():
        tags[tag] = value
    path.write_bytes(magic + tags.tobytes(8) + b"".join(pixels))
    return path


RGB = np.tile(np.array([41, 100, 148]), (9, 9, 1))
GREY = np.full((9, 9, 1), 37)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("values", "photometric", "planes", "expected"),
    [
        (GREY.astype(np.uint8), 1, 1, [37]),
        (GREY.astype(np.uint8), 0, 1, [218]),  # 0 is white
        ((256 * GREY).astype(np.uint16), 1, 1, [37]),
        (RGB.astype(np.uint8), 2, 2, [41, 100, 148]),
        ((256 * RGB).astype(np.uint16), 2, 1, [41, 100, 148]),
    ],
)
def test_values_of_tiff_are_read_as_they_are_meant(
    tmp_path, values, photometric, planes, expected, order
):
    path = write_tiff(tmp_path / "a.tif", values, photometric, planes, order)
    channels = torch.tensor(expected, dtype=torch.uint8)[:, None, None]
    assert torch.equal(read_image(path, 8), channels.expand(3, 8, 8))


@pytest.mark.parametrize(("value", "bits", "expected"), [(37 * 256, 16, 218), (4095, 12, 0)])
def test_tiff_with_16_bits_may_have_white_at_0(tmp_path, value, bits, expected):
    path = write_tiff(tmp_path / "a.tif", np.full((9, 9, 1), value, np.uint16), photometric=0)
    assert read_image(path, 8, bits=bits).unique().tolist() == [expected]
    write_tiff(path, np.full((9, 9, 1), value, np.uint16), photometric=0, order=">")
    with pytest.raises(ValueError, match="1 channel of 16 bits"):  # unknown to Pillow
        read_image(path, 8, bits=bits)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("values", "photometric", "planes", "said"),
    [
        ((-GREY).astype(np.int8), 1, 1, "8 bits per channel with signed"),
        (GREY.astype(np.int16), 1, 1, "16 bits per channel with signed"),
        (RGB.astype(np.int16), 2, 1, "16 bits per channel with signed"),
        (GREY.astype(np.uint32), 1, 1, "32 bits per channel with integer"),
        (GREY.astype(np.float16), 1, 1, "16 bits per channel with floating-point"),
        (RGB.astype(np.float32), 2, 1, "32 bits per channel with floating-point"),
        (GREY.astype(np.float64), 1, 1, "64 bits per channel with floating-point"),
        ((256 * RGB).astype(np.uint16), 2, 2, "16 bits and its channels one after another"),
        (np.ones((9, 9, 4), np.uint16), 2, 2, "16 bits and its channels one after another"),
        (np.ones((9, 9, 5), np.uint8), 1, 1, "5 channels of 8 bits"),
        (np.ones((9, 9, 7), np.uint16), 1, 2, "16 bits and its channels one after another"),
        (np.ones((9, 9, 2), np.uint16), 1, 1, "2 channels of 16 bits"),
    ],
)
def test_values_of_tiff_that_cannot_be_read_are_named(
    tmp_path, values, photometric, planes, said, order
):
    path = write_tiff(tmp_path / "a.tif", values, photometric, planes, order)
    with pytest.raises(ValueError, match=f"{said}.* convert"):
        read_image(path, 8)


RAW_TAGS = {  # Nikon's and Sony's begin with a preview, DNG says its version, or has sensor pixels
    "nef": {254: 1, 271: "NIKON CORPORATION"},
    "arw": {254: 1, 271: "SONY"},
    "dng": {50706: b"\x01\x04\0\0"},
}


@pytest.mark.parametrize("kind", RAW_TAGS)
@pytest.mark.parametrize("suffix", ["tiff", "jpg"])
def test_preview_of_camera_raw_is_not_taken_for_the_photograph(tmp_path, kind, suffix):
    path = tmp_path / f"{kind}.{suffix}"
    photo(0, (16, 12)).save(path, "TIFF", tiffinfo=RAW_TAGS[kind])
    Image.open(path).close()  # Pillow opens it
    with pytest.raises(ValueError, match="camera raw"):
        read_image(path, 8)


@pytest.mark.parametrize("tags", [{}, {271: "Canon"}, {254: 0, 271: "SONY"}, {254: 2}])
def test_ordinary_tiff_is_read(tmp_path, tags):
    photo(0, (16, 12)).save(tmp_path / "a.tif", tiffinfo=tags)
    assert read_image(tmp_path / "a.tif", 8).shape == (3, 8, 8)


def test_camera_tiff_that_pillow_cannot_decode_is_camera_raw(tmp_path):
    path = tmp_path / "a.pef"
    photo(0, (16, 12)).save(path, "TIFF", tiffinfo={271: "PENTAX"})
    content, tag = path.read_bytes(), struct.pack("<HHI", 259, 3, 1)  # the kind of compression
    value = content.index(tag) + len(tag)
    path.write_bytes(content[:value] + struct.pack("<H", 65535) + content[value + 2 :])
    with pytest.raises(ValueError, match="camera raw"):
        read_image(path, 8)


class FakeHeif(ImageFile.ImageFile):
    """Grey pixels for any HEIC file."""

    format = "HEIF"

    def _open(self):
        self._size, self._mode = (8, 8), "L"

    def load(self):
        self.im = Image.new("L", self.size, 77).im
        return self.im.pixel_access(False)


@pytest.fixture
def _pillow_heif(monkeypatch):
    """Install a package that reads HEIC."""
    module = ModuleType("pillow_heif")

    def register_heif_opener():
        Image.register_open("HEIF", FakeHeif, lambda head: head[8:12] == b"heic")

    module.register_heif_opener = register_heif_opener
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    monkeypatch.setattr(image_formats, "find_spec", lambda name: name == "pillow_heif")
    image_files._register_plugins.cache_clear()
    Image.init()
    yield
    Image.OPEN.pop("HEIF", None)
    Image.ID.remove("HEIF")
    image_files._register_plugins.cache_clear()


@pytest.mark.usefixtures("_pillow_heif")
def test_heic_is_read_where_its_package_is_installed(tmp_path):
    (tmp_path / "a.jpg").write_bytes(media("heic"))
    assert read_image(tmp_path / "a.jpg", 4).unique().tolist() == [77]
    (tmp_path / "b.jpg").write_bytes(media("heix"))  # which the fake package can't read
    with pytest.raises(ValueError, match="damaged HEIC"):
        read_image(tmp_path / "b.jpg", 4)
