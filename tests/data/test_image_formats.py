import struct
import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

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
    | st.sampled_from([b"II*\0", b"MM\0*"]).flatmap(
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
