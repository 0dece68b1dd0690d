"""Photographs that are part of scikit-image's package."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

PHOTOGRAPH_SIZE = 224


def photograph(name: str) -> Float[Tensor, "1 3 224 224"]:
    """Return a photograph of scikit-image as a batch of one image in [0, 1].

    The image is resized so that its shorter side has 224 pixels, and cropped to the centre.

    Args:
        name: Name of the file without its suffix, such as ``chelsea`` (a cat).

    Raises:
        ImportError: If scikit-image is not installed; the message names the command.
        ValueError: If scikit-image has no photograph of that name; the message lists the names.
    """
    try:
        import skimage.data
    except ImportError as error:
        raise ImportError(
            "the photograph is part of a package that is not installed: run "
            "pip install 'course-utils[imagenet]'"
        ) from error
    folder = Path(skimage.data.__file__).parent
    files = {path.stem: path for path in folder.iterdir() if path.suffix in {".png", ".jpg"}}
    if name not in files:
        raise ValueError(
            f"scikit-image has no photograph {name!r}: choose one of {', '.join(sorted(files))}"
        )
    resize = v2.Compose(
        [
            v2.Resize(PHOTOGRAPH_SIZE, antialias=True),
            v2.CenterCrop(PHOTOGRAPH_SIZE),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    return resize(decode_image(files[name], ImageReadMode.RGB))[None]
