"""Checks of the images and maps that a figure is asked to show.

Matplotlib would silently clip the values of a normalised image, and would report a wrong shape in
terms of its own axes.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

ROUNDING = 1e-4  # resizing can leave [0, 1] by this much


def check_tensor(name: str, given: object) -> None:
    """Check that something is a tensor.

    Raises:
        ValueError: If it is an array, a picture or anything else; the message says how to convert
            it.
    """
    if not isinstance(given, Tensor):
        raise ValueError(
            f"expected {name} as a tensor, got {type(given).__name__}; convert an array with "
            "torch.from_numpy, and a picture with torchvision's pil_to_tensor"
        )


def check_pictures(images: Float[Tensor, "N C H W"], titles: Sequence[str] | None = None) -> None:
    """Check that images can be drawn, and that each has a title.

    Raises:
        ValueError: If it isn't a tensor, there are no images, they are neither grey nor RGB, a
            value is NaN or outside [0, 1], or there are fewer titles than images.
    """
    check_tensor("images", images)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise ValueError(
            "expected at least one image, of shape (N, C, H, W) with C = 1 (grey) or 3 (RGB), "
            f"got {tuple(images.shape)}"
        )
    low, high = images.min().item(), images.max().item()
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # also false for NaN
        raise ValueError(
            f"expected images with values in [0, 1], got values from {low:.3g} to {high:.3g}; "
            "divide bytes by 255, and pass images as they were before normalisation"
        )
    if titles is not None and len(titles) < len(images):
        raise ValueError(f"expected {len(images)} titles, one per image, got {len(titles)}")


def check_drawn_maps(maps: Float[Tensor, "N 1 h w"], n: int) -> None:
    """Check that maps can be drawn beside ``n`` images.

    Raises:
        ValueError: If there is not one map of one channel per image, or a value is NaN or infinite.
    """
    check_tensor("maps", maps)
    if maps.ndim != 4 or maps.shape[:2] != (n, 1) or not maps.numel():
        raise ValueError(
            f"expected one map per image, of shape ({n}, 1, h, w), got {tuple(maps.shape)}"
        )
    if not maps.isfinite().all():
        raise ValueError("expected finite maps, got NaN or infinite values")


def check_parts(module: nn.Module, names: tuple[str, ...], kind: str) -> None:
    """Check that a module has the parts that a drawing needs.

    Args:
        module: The module.
        names: Names of its parts.
        kind: A class that has them, for the message.

    Raises:
        ValueError: If one is missing.
    """
    missing = [name for name in names if not hasattr(module, name)]
    if missing:
        raise ValueError(
            f"expected a module like {kind}, got {type(module).__name__}, which has no "
            f"{' and no '.join(missing)}"
        )
