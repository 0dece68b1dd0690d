"""Names of the file formats that Pillow can't read, recognised by a file's first bytes.

Photographs from phones and cameras, scans and videos are good files, so "not an image" would be no
help. The suffix is not trusted: phones and websites often name a HEIC file ``.jpg``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import TiffImagePlugin

HEAD = 4096  # bytes; an SVG may begin with a long comment
RAW = "camera raw: export it as JPEG, PNG or TIFF"
VIDEO = "a video: save its frames as images"
ARCHIVE = "an archive: unpack it"
DOCUMENT = "a document: save its pictures as images"
AVIF = "AVIF, which is damaged or needs a newer Pillow (pip install -U pillow)"
CONVERT = "{}, which can't be read: convert it to PNG"
# Offset, bytes there, and what to tell the user.
SIGNATURES = (
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"FUJIFILMCCD-RAW", RAW),
    (0, b"IIU\0", RAW),  # Panasonic
    (0, b"IIRO", RAW),  # Olympus
    (0, b"IIRS", RAW),
    (0, b"MMOR", RAW),
    (0, b"FOVb", RAW),  # Sigma
    (0, b"\0MRM", RAW),  # Minolta
    (6, b"HEAPCCDR", RAW),  # Canon, before 2004
    (8, b"CR\x02\0", RAW),  # Canon; a TIFF file otherwise
    (128, b"DICM", CONVERT.format("DICOM")),
    (344, b"n+1\0", CONVERT.format("NIfTI")),
    (0, b"\x89HDF\r\n\x1a\n", CONVERT.format("HDF5")),
    (0, b"\x93NUMPY", CONVERT.format("a NumPy array")),
    (0, b"\x76\x2f\x31\x01", CONVERT.format("OpenEXR")),
    (0, b"#?RADIANCE", CONVERT.format("Radiance HDR")),
    (0, b"8BPS", CONVERT.format("a Photoshop document of this kind")),
    (0, b"gimp xcf", CONVERT.format("a GIMP document")),
    (0, b"AT&TFORM", DOCUMENT),  # DjVu
    (0, b"%PDF", DOCUMENT),
    (0, b"%!PS", CONVERT.format("PostScript")),
    (0, b"\xc5\xd0\xd3\xc6", CONVERT.format("PostScript")),  # with a preview
    (40, b" EMF", CONVERT.format("a Windows metafile (EMF)")),
    (0, b"\xd7\xcd\xc6\x9a", CONVERT.format("a Windows metafile (WMF)")),
    (0, b"\1\0\x09\0\0", CONVERT.format("a Windows metafile (WMF)")),
    (0, b"\xd0\xcf\x11\xe0", DOCUMENT),  # Word and PowerPoint, before 2007
    (0, b"\x1aE\xdf\xa3", VIDEO),  # Matroska and WebM
    (8, b"AVI ", VIDEO),
    (0, b"\0\0\x01\xba", VIDEO),  # MPEG
    (0, b"\0\0\x01\xb3", VIDEO),
    (0, b"FLV\x01", VIDEO),
    (4, b"moov", VIDEO),
    (4, b"mdat", VIDEO),
    (0, b"PK\x03\x04", ARCHIVE),
    (0, b"\x1f\x8b", ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (0, b"Rar!\x1a\x07", ARCHIVE),
    (
        0,
        b"version https://git-lfs.github.com/spec/v1",
        "a pointer of Git LFS: fetch the file with git lfs pull",
    ),
)
PLUGINS = {  # format: module, and the package that contains it
    "HEIC": ("pillow_heif", "pillow-heif"),
    "JPEG XL": ("pillow_jxl", "pillow-jxl-plugin"),
}
BRANDS = {  # of files in the ISO base media format, the most specific first
    b"crx ": RAW,  # Canon, since 2018
    **dict.fromkeys((b"avif", b"avis"), AVIF),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "HEIC"),
    **dict.fromkeys((b"mif1", b"mif2", b"msf1"), "HEIC"),
}
# TIFF tags: whether the picture is a reduced copy, its kind of pixels, the camera's maker, where
# further pictures are, and the version of the format DNG.
NEW_SUBFILE_TYPE, PHOTOMETRIC, MAKE, SUB_IFDS, DNG_VERSION = 254, 262, 271, 330, 50706
SENSOR_PIXELS = (32803, 34892)  # colour filter array, and linear raw
# How the values of a TIFF file are stored: their bits, compression, number of channels, order of
# the channels, and kind of numbers.
BITS, COMPRESSION, CHANNELS, PLANES, SAMPLE_FORMAT = 258, 259, 277, 284, 339
NUMBERS = {2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex "}
DAMAGED = (OSError, SyntaxError, ValueError, OverflowError, struct.error)
SEPARATE, UNCOMPRESSED = 2, 1  # values of PLANES and COMPRESSION
TIFF = "a TIFF file with {}, which can't be read: convert it to 8 bits in RGB or grey"


def explain_format(path: Path, *, identified: bool = True) -> str:
    """Describe a file that Pillow can't read, and what to do.

    Args:
        path: The file.
        identified: Pillow knows the format, but can't decode the file.

    Returns:
        The description; empty if the format is unknown, or only this file is damaged.
    """
    head, tags = _head_and_tags(path)
    # A camera's TIFF file that can't be decoded is its raw format, of which there are dozens.
    name = _name(head) or _unread_values(tags) or (RAW if MAKE in tags else "")
    if not name and not identified and CHANNELS in tags:
        channels = _number(tags, CHANNELS)
        plural = "s" if channels > 1 else ""
        return TIFF.format(f"{channels} channel{plural} of {_number(tags, BITS)} bits")
    if name not in PLUGINS:
        return name
    module, package = PLUGINS[name]
    if find_spec(module):
        return f"damaged {name}"
    return (
        f"{name}, which needs the package {package} (pip install {package}), or convert it to JPEG"
    )


def is_camera_raw(path: Path) -> bool:
    """Return whether a TIFF file that Pillow opens is camera raw.

    Such a file begins with a small preview, which would be read instead of the photograph.
    """
    head, tags = _head_and_tags(path)
    preview = tags.get(NEW_SUBFILE_TYPE, 0) & 1 and (SUB_IFDS in tags or MAKE in tags)
    sensor = DNG_VERSION in tags or tags.get(PHOTOMETRIC) in SENSOR_PIXELS
    return bool(preview or sensor or _name(head) == RAW)


def explain_opened_tiff(path: Path) -> str:
    """Describe a TIFF file that Pillow opens, but doesn't read as it is meant.

    Returns:
        What it is, and what to do; empty if Pillow reads it right.
    """
    return RAW if is_camera_raw(path) else _unread_values(_head_and_tags(path)[1])


def _unread_values(tags: Mapping[int, Any]) -> str:
    bits, channels = _number(tags, BITS), _number(tags, CHANNELS)
    kind = NUMBERS.get(_number(tags, SAMPLE_FORMAT), "")
    if kind or bits > 16:
        return (
            f"{bits} bits per channel with {kind or 'integer '}values, which have no standard "
            f"range: convert them to values from 0 to 255"
        )
    apart = _number(tags, PLANES) == SEPARATE and _number(tags, COMPRESSION) == UNCOMPRESSED
    if apart and channels > 1 and bits == 16:  # Pillow would read the bytes as values of 8 bits
        return TIFF.format("16 bits and its channels one after another")
    return ""


def _number(tags: Mapping[int, Any], tag: int) -> int:
    """Return a value of a TIFF file, or the first of several; 1 is the default of those we ask."""
    value = tags.get(tag, 1)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else 1


def _name(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        length = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[i : i + 4] for i in (8, *range(16, length, 4))}
        return next((name for brand, name in BRANDS.items() if brand in brands), VIDEO)
    for offset, signature, name in SIGNATURES:
        if head.startswith(signature, offset):
            return name
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in text:
        return CONVERT.format("SVG")
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, often left by a failed download"
    return ""


def _head_and_tags(path: Path) -> tuple[bytes, Mapping[int, Any]]:
    """Read the first bytes and, for a TIFF file, the tags of its first picture.

    The tags are read again, because Pillow drops them if it can't decode the picture.
    """
    head, tags = b"", TiffImagePlugin.ImageFileDirectory_v2()
    with suppress(*DAMAGED), path.open("rb") as file:
        head = file.read(HEAD)
        if head.startswith((b"II*\0", b"MM\0*", b"II+\0")):
            # 43 is the + of BigTIFF, which has longer addresses.
            tags = TiffImagePlugin.ImageFileDirectory_v2(head[: 16 if head[2] == 43 else 8])
            file.seek(tags.next)
            tags.load(file)
    return head, tags
