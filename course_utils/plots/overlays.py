"""Pictures of an image with a map laid over it."""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from course_utils.plots.canvas import MAP_COLOURS
from course_utils.plots.inputs import check_drawn_maps, check_pictures, check_tensor

STRENGTH = 0.8  # opacity at the map's highest value: the image still shows through


def overlay(
    image: Float[Tensor, "*one C H W"],
    m: Float[Tensor, "*ones h w"],
    *,
    highest: float | int | None = None,
) -> Image.Image:
    """Lay a map over its image, at the image's own resolution.

    The colour and the opacity of a position both grow with its value. Where the map is 0, the image
    is unchanged. To save the picture: ``overlay(image, m).save("cat.png")``.

    Args:
        image: Grey or RGB, in [0, 1].
        m: Map of any resolution, with values of at least 0; it is resized bilinearly.
        highest: Value that gets the last colour, above 0; larger values get it too. Pass the same
            number for pictures that are to be compared. If None, the map's own maximum.

    Returns:
        An RGB picture of W × H pixels.

    Raises:
        ValueError: If it isn't a single image and a single map, the image has values outside
            [0, 1], the map has a negative, NaN or infinite value, or ``highest`` isn't above 0.
    """
    check_tensor("the image", image)
    check_tensor("the map", m)
    image = image[None] if image.ndim == 3 else image  # (1, C, H, W)
    m = m[(None,) * (4 - m.ndim)] if m.ndim in (2, 3) else m  # (1, 1, h, w)
    check_pictures(image)
    if len(image) != 1:
        raise ValueError(f"expected one image, got {len(image)}; call overlay once per image")
    check_drawn_maps(m, 1)
    if m.min() < 0:
        raise ValueError(
            f"expected a map with values of at least 0, got {m.min():.3g}; use map.clamp(min=0)"
        )
    if highest is None:
        highest = m.max().item() or 1.0  # any scale does for a map of zeros
    elif not 0 < highest < math.inf:
        raise ValueError(f"expected highest to be above 0 and finite, got {highest}")
    scaled = (m.detach() / highest).float()
    share = F.interpolate(scaled, image.shape[-2:], mode="bilinear")
    shown = share[0, 0].clamp(max=1).cpu().numpy()  # (H, W)
    colours = colormaps[MAP_COLOURS](shown)[..., :3]  # (H, W, 3)
    pixels = image[0].detach().float().clamp(0, 1).expand(3, -1, -1).movedim(0, -1).cpu().numpy()
    opacity = STRENGTH * shown[..., None]
    blended = (1 - opacity) * pixels + opacity * colours
    return Image.fromarray((255 * blended).round().astype(np.uint8))
