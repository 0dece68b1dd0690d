"""Photographs that come inside scikit-image's package."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

SIZE = 224
MISSING = "{} comes in packages that are not here: pip install 'course-utils[imagenet]' brings them"


def photograph(name: str) -> Float[Tensor, "1 3 224 224"]:
    """A photograph of scikit-image, its middle square at 224 pixels, in [0, 1], such as ``chelsea`` (a cat).

    Raises:
        ImportError: no scikit-image; the message says how to get it.
        ValueError: no such photograph in its package; the message lists all.
    """
    try:
        import skimage.data
    except ImportError as error:
        raise ImportError(MISSING.format("the photograph")) from error
    folder = Path(skimage.data.__file__).parent
    files = {path.stem: path for path in folder.iterdir() if path.suffix in {".png", ".jpg"}}
    if name not in files:
        raise ValueError(
            f"scikit-image has no photograph {name!r}: it has {', '.join(sorted(files))}"
        )
    resize = v2.Compose(
        [
            v2.Resize(SIZE, antialias=True),
            v2.CenterCrop(SIZE),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    return resize(decode_image(files[name], ImageReadMode.RGB))[None]
