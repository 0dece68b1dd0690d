import numpy as np
import pytest
import torch
from PIL import Image

from course_utils.data.image_files import read_image


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
