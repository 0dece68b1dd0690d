"""Image files: which files in a folder are images, and how each is read.

Files that other programs leave in a folder are ignored. Everything else is read, or reported.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import RLock
from typing import NamedTuple, NoReturn

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, ImageOps, PngImagePlugin, TiffImagePlugin
from torch import Tensor

from course_utils.core.checks import check_size
from course_utils.data.image_formats import PHOTOMETRIC, explain_format, explain_opened_tiff
from course_utils.data.in_memory import square

# Files left by Windows, macOS, Picasa, network drives, Lightroom and Office. The list only has
# names that nobody would give to their own images; hidden files and folders are ignored as well.
LEFT_FILES = {
    *("desktop.ini", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "folder.htt"),
    *("icon\r", "picasa.ini", "zbthumbnail.info", "pspbrwse.jbf"),
}
LEFT_FOLDERS = {
    *("@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot"),
    *("__macosx", "$recycle.bin", "recycler", "system volume information", "lost+found"),
    *("__pycache__", "_vti_cnf"),
}
SIDECARS = (".xmp", ".aae", ".pp3", ".lrdata")  # edits and previews, kept beside a photograph
FIGURE = "course_utils visualize"  # in the text "Software" of the figures that it writes
HUGE = 10**8  # pixels
TEXT_CHUNK, ALL_TEXT = 2**26, 2**28  # bytes of text in a PNG file; Pillow allows 2**20 and 2**26
_LIMITS = RLock()


class Picture(NamedTuple):
    """One image file.

    Attributes:
        pixels: The image at its final size.
        digest: Hash of all pixels of the file's image; it is equal for copies in lossless formats.
        highest: Highest value of an image with 16 bits per channel, or 0 for other images.
    """

    pixels: UInt8[Tensor, "3 S S"]
    digest: bytes
    highest: int


def read_image(
    path: str | Path, size: int, *, allow_large: bool = False, bits: int = 16
) -> UInt8[Tensor, "3 size size"]:
    """Read one image file as `PhotoFolder` does.

    Args:
        path: The file.
        size: Side of the square image in pixels.
        allow_large: Read images of any number of pixels. Otherwise Pillow's limit holds, which is
            179 megapixels unless ``PIL.Image.MAX_IMAGE_PIXELS`` was changed.
        bits: Bits that a grey image with 16 bits per pixel really uses, from 8 to 16.

    Raises:
        OSError: If the file is not an image, or is damaged.
        ValueError: If the image has a format that can't be read, signed values, 32 bits per pixel,
            too many pixels, or values that need more bits; or if a number is out of range.
    """
    check_size(size)
    check_bits(bits)
    with pillow_limits(allow_large) as most_pixels:
        return read_picture(Path(path).expanduser(), size, most_pixels, bits).pixels


def read_picture(path: Path, size: int, most_pixels: float, bits: int = 16) -> Picture:
    """Read one image file within `pillow_limits`; see `read_image`."""
    _register_plugins()
    try:
        image, highest = _decoded_rgb(path, size, most_pixels, bits)
    except Exception as error:  # Pillow's decoders may raise anything on damaged data
        identified = not isinstance(error, Image.UnidentifiedImageError)
        if reason := explain_format(path, identified=identified):
            raise ValueError(reason) from error
        if not identified:
            raise OSError("not an image" if path.stat().st_size else "empty") from error
        if "MAX_TEXT" in str(error):
            raise ValueError("too much text; allow large images if you trust the file") from error
        raise
    digest = hashlib.sha256(repr(image.size).encode())
    digest.update(image.tobytes())
    return Picture(square(image, size), digest.digest(), highest)


def files_in(folder: str | Path, *, leave_out: str | Path | None = None) -> list[Path]:
    """Return all files in a folder and its sub-folders that may be images, sorted by path.

    Hidden files, and those that other programs leave, are ignored. Links to folders are followed; a
    folder that is reached twice is read once.

    Args:
        folder: The folder.
        leave_out: A sub-folder that is not searched, such as one for results.

    Raises:
        OSError: If a folder can't be read.
    """
    known = {os.path.realpath(path) for path in (folder, leave_out) if path is not None}

    def is_new(path: str) -> bool:
        real = os.path.realpath(path)
        new = real not in known
        known.add(real)
        return new

    found = []
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        kept = sorted(name for name in folders if not is_left_over(name))
        folders[:] = [name for name in kept if is_new(os.path.join(parent, name))]
        found += [Path(parent, name) for name in files if not is_left_over(name)]
    # Pipes and devices would block, but a broken link has to be reported rather than ignored.
    return sorted(path for path in found if path.is_file() or not path.exists())


def is_left_over(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or left by another program."""
    name = name.lower()
    return (
        name.startswith((".", "~$"))
        or name.endswith(SIDECARS)
        or name in LEFT_FILES
        or name in LEFT_FOLDERS
    )


def figure_tag() -> PngImagePlugin.PngInfo:
    """Return the text of a PNG file by which `is_figure` knows a figure of ours."""
    tag = PngImagePlugin.PngInfo()
    tag.add_text("Software", FIGURE)
    return tag


def is_figure(path: Path) -> bool:
    """Return whether a file is a figure that ``course_utils visualize`` wrote."""
    if path.suffix.lower() != ".png":
        return False
    try:
        with Image.open(path) as file:
            return file.info.get("Software") == FIGURE
    except Exception:  # Pillow may raise anything on damaged data; `read_picture` reports it
        return False


def check_bits(bits: int) -> None:
    """Check the number of bits that images with 16 bits per channel use.

    Raises:
        ValueError: If it is not an integer from 8 to 16.
    """
    if bits not in range(8, 17):
        raise ValueError(f"expected bits from 8 to 16, got {bits!r}")


@contextmanager
def pillow_limits(allow_large: bool) -> Iterator[float]:
    """Change the limits with which Pillow refuses good photographs, and restore them afterwards.

    The limits hold for the whole process, so only one thread at a time may change them. Inside the
    block, other threads may read images.

    Yields:
        The number of pixels that an image may have.
    """
    with _LIMITS:
        pixels = Image.MAX_IMAGE_PIXELS
        text = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
        Image.MAX_IMAGE_PIXELS = None  # checked below; Pillow would speak of an attack
        PngImagePlugin.MAX_TEXT_CHUNK = 0 if allow_large else TEXT_CHUNK  # 0 is no limit
        PngImagePlugin.MAX_TEXT_MEMORY = 2**40 if allow_large else ALL_TEXT
        try:
            # Pillow itself warns above its limit, and refuses an image above twice the limit.
            yield float("inf") if allow_large or pixels is None else 2.0 * pixels
        finally:
            Image.MAX_IMAGE_PIXELS = pixels
            PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = text


def _decoded_rgb(path: Path, size: int, most_pixels: float, bits: int) -> tuple[Image.Image, int]:
    """Return the upright image in RGB, and its highest value if it has 16 bits per channel."""
    with Image.open(path) as file:
        pixels = file.width * file.height
        if pixels > most_pixels:
            raise ValueError(
                f"{pixels / 1e6:,.0f} megapixels, more than {most_pixels / 1e6:,.0f}; allow large "
                f"images if you trust the file"
            )
        if file.format == "TIFF" and (reason := explain_opened_tiff(path)):
            raise ValueError(reason)
        if pixels > HUGE:  # a JPEG file is decoded at a half, quarter or eighth of its size
            file.draft(None, (2 * size, 2 * size))
        deep_colour = _has_deep_colour(file)
        file.load()  # decodes all of it, so a truncated file raises here
        image: Image.Image = file
    if image.mode == "I;16B" or (image.mode == "I" and file.format == "PPM"):
        image = image.convert("I").convert("I;16")  # Pillow scales the values of PGM to 16 bits
    if image.mode in ("I", "F"):
        raise ValueError("32 bits per pixel, which have no standard range")
    highest = 0
    if image.mode.startswith("I;16"):
        highest = int(np.asarray(image).max())
        inverted = (
            isinstance(file, TiffImagePlugin.TiffImageFile) and file.tag_v2.get(PHOTOMETRIC) == 0
        )
        image = _eight_bits(image, highest, bits, inverted)
    elif deep_colour:  # Pillow keeps the upper eight bits
        highest = 256 * int(np.asarray(image.convert("RGB")).max()) + 255
        if bits < 16:
            raise ValueError(f"colours with 16 bits, which can't be read as {bits} bits")
    image = ImageOps.exif_transpose(image)  # cameras store photographs unrotated
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB"), highest


def _eight_bits(image: Image.Image, highest: int, bits: int, inverted: bool) -> Image.Image:
    """Reduce a grey image to 8 bits; Pillow's own conversion would clip the values at 255."""
    if highest >= 2**bits:
        raise ValueError(f"values up to {highest:,}, which need more than {bits} bits")
    image = image.point(lambda value: value / 2 ** (bits - 8)).convert("L")
    return ImageOps.invert(image) if inverted else image


def _has_deep_colour(file: ImageFile.ImageFile) -> bool:
    """Return whether an image that is not loaded yet has colours (or alpha) with 16 bits."""
    decoders = file.tile[0][3] if file.tile else ""
    mode = decoders if isinstance(decoders, str) or not decoders else decoders[0]
    return ";16" in str(mode) and not file.mode.startswith("I")


@cache
def _register_plugins() -> None:
    """Let Pillow read HEIC and JPEG XL where the packages for them are installed."""
    with suppress(ImportError):
        import pillow_jxl  # noqa: F401 (registers itself)
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()


def _refuse(error: OSError) -> NoReturn:
    """Raise an error of `os.walk`, which would otherwise leave out the folder silently."""
    raise error
