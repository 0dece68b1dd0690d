"""Receptive fields: which pixels a layer depends on, and how much.

The *theoretical* receptive field of a position follows from the kernels and strides alone. The
*effective* one also asks how strongly each pixel counts, and is usually much smaller: there are
many paths through the network from a pixel in the middle, but few from a pixel at the border.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.explain.feature_maps import Reshape
from course_utils.explain.grad_cam import layer_feature_map
from course_utils.explain.networks import (
    batches,
    check_input,
    find,
    gradients_of,
    named,
    running,
    unwrapped,
)
from course_utils.explain.targets import as_score


def receptive_field(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    layer: nn.Module | str,
    *,
    reshape: Reshape | None = None,
) -> Float[Tensor, "H W"]:
    r"""Return the effective receptive field of the central position of a layer.

    It is the absolute gradient of the activation at this position with respect to each pixel,

    .. math::
        F_p \propto \sum_n \sum_c \Bigl|\frac{\partial}{\partial x_{ncp}} \sum_k A_{nk0}\Bigr|,

    for pixel p and colour c of image n. The gradient depends on the image, so many images give a
    smoother field. Pixels outside the images can't count: if the field reaches their borders, take
    larger images.

    Source: Luo et al. 2016, "Understanding the Effective Receptive Field in Deep Convolutional
    Neural Networks", section 2, for one unit. The sum over the channels, with positive gradients
    only instead of absolute ones, is that of Ding et al. 2022, "Scaling Up Your Kernels to 31×31"
    (https://github.com/DingXiaoH/RepLKNet-pytorch, file erf/visualize_erf.py).

    Args:
        model: Any network of Python modules. Its mode and its parameters stay as they are.
        images: Input of the network. They run in batches, so the memory stays bounded.
        layer: A module of the network, or its name, as for `grad_cam.gradcam`. If its height or
            width is even, the central position is the one below or to the right of the middle.
        reshape: Layout of the layer's output, if it is not (B, K, h, w): see `grad_cam.gradcam`.

    Returns:
        Shares of the pixels, which sum to 1.

    Raises:
        ValueError: If there is no image; if the layer is not part of the network, does not run,
            runs more than once or has no such output; or if no pixel has any influence on it.
    """
    model = unwrapped(model)
    layer = find(model, layer)
    check_input(model, images)
    if not len(images):
        raise ValueError("expected at least one image, got none")
    # Of a target, `batches` needs no more than that it can be split.
    parts = [which for which, _ in batches(images, as_score(None))]
    total = sum(_absolute_gradient(model, images[which], layer, reshape) for which in parts)
    assert isinstance(total, Tensor)
    if not total.any():
        raise ValueError(f"the gradient of {named(model, layer)} is 0 for every pixel")
    return total / total.sum()


def field_side(field: Float[Tensor, "H W"], mass: float = 0.95) -> int:
    """Return the side of the smallest square that holds a share of a receptive field, in pixels.

    The square may lie anywhere, because the middle of a field isn't always known: it depends on
    every stride and padding on the way. The side for a share of 1 is that of the theoretical
    receptive field, if no weight is 0 and the images are large enough.

    Args:
        field: Non-negative values, of any sum.
        mass: Share of the field that the square has to hold, above 0 and at most 1.

    Raises:
        ValueError: If the share is not above 0 and at most 1, or the field has negative values or
            is 0 everywhere.
    """
    if not 0 < mass <= 1:
        raise ValueError(f"expected a share above 0 and at most 1, got {mass}")
    if not (field.isfinite().all() and (field >= 0).all() and field.any()):
        raise ValueError(
            "expected a field with finite, non-negative values that are not all 0, "
            f"got values from {field.min():.3g} to {field.max():.3g}"
        )
    height, width = field.shape
    longest = max(height, width)
    square = F.pad(field.double(), (1, longest - width, 1, longest - height))
    above_left = square.cumsum(dim=0).cumsum(dim=1)  # sums over rectangles from the corner
    enough = mass * above_left[-1, -1] * (1 - 1e-12)  # sums are rounded
    return next(side for side in range(1, longest + 1) if _fullest(above_left, side) >= enough)


def _fullest(above_left: Float[Tensor, "H_and_1 W_and_1"], side: int) -> Float[Tensor, ""]:
    """Return the largest sum over a square with this side, from the sums of rectangles."""
    rows = above_left[side:] - above_left[:-side]
    return (rows[:, side:] - rows[:, :-side]).max()


def _absolute_gradient(
    model: nn.Module, images: Tensor, layer: nn.Module, reshape: Reshape | None
) -> Float[Tensor, "H W"]:
    """Return the absolute gradients of a layer's central position, summed over the images."""
    name = named(model, layer)
    central: list[Float[Tensor, " B"]] = []

    def note(_, __, output: Any) -> None:
        maps = layer_feature_map(output, model, layer, images, reshape)
        h, w = maps.shape[-2:]
        # Added up at once, because the layers that follow may change the output in place.
        central.append(maps[:, :, h // 2, w // 2].sum(dim=1))
        torch.set_grad_enabled(False)  # the rest of the network needs no graph

    with running(model), torch.enable_grad():
        pixels = images.detach().clone().requires_grad_()
        hook = layer.register_forward_hook(note, prepend=True)
        try:
            model(pixels.clone())  # a copy, because the network may change its input
        finally:
            hook.remove()
        if len(central) != 1:
            problem = f"runs {len(central)} times" if central else "does not run"
            raise ValueError(f"expected a layer that runs once, but {name} {problem}")
        (gradient,) = gradients_of(central[0], [pixels], "the pixels")
    assert gradient is not None  # otherwise `gradients_of` has raised an error
    return gradient.abs().sum(dim=(0, 1))
