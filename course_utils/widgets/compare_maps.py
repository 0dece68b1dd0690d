"""CompareMaps: two maps of one image with a divider between them, and the scores of each map."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import traitlets
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from course_utils.core.tensor_checks import as_masks, check_maps
from course_utils.widgets import packing
from course_utils.widgets._source import module, palette, style

Maps = Float[Tensor, "N 1 _ _"] | Float[Tensor, "N classes 1 _ _"]


class CompareMaps(anywidget.AnyWidget):
    """One image under two methods' maps, left and right of a divider, with the scores of each.

    The page upsamples the raw maps bilinearly, as `metrics.fit_to` does, and computes the scores of
    `explain.metrics` from them. It doesn't need the network that the maps come from.

    The map on the right can be sharpened: the page raises the upsampled map, divided by its
    maximum, to `power`. That changes every score except two: the pointing game and the best IoU
    depend only on the ranking of the pixels, which stays the same. A button sets the power that
    gives both maps the same effective share.
    """

    _esm = module("compare_maps")
    _css = style()

    image = traitlets.Int(0).tag(sync=True)
    left = traitlets.Int(0, help="index into `methods`").tag(sync=True)
    right = traitlets.Int(0, help="index into `methods`").tag(sync=True)
    target = traitlets.Int(0, help="0: the image's own class; i + 1: class i").tag(sync=True)
    power = traitlets.Float(1.0, min=0.25, max=16.0, help="of the right map").tag(sync=True)
    divider = traitlets.Int(50, min=0, max=100, help="per cent of the width").tag(sync=True)
    opacity = traitlets.Int(70, min=0, max=100, help="of the maps, in per cent").tag(sync=True)
    shared = traitlets.Bool(False, help="one colour scale for both maps").tag(sync=True)

    shape = traitlets.List(traitlets.Int(), help="C, H, W of an image").tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, C, H, W) uint8
    regions = traitlets.Bytes(help="one bit per pixel").tag(sync=True)  # (N, ⌈H·W / 8⌉)
    labels = traitlets.List(traitlets.Int()).tag(sync=True)  # (N,)
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    methods = traitlets.List(traitlets.Unicode()).tag(sync=True)
    sizes = traitlets.List(traitlets.Any(), help="classes, h, w by method").tag(sync=True)
    maps = traitlets.Bytes(help="method after method").tag(sync=True)  # each (N, classes, h, w)
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_maps(
        cls,
        images: Float[Tensor, "N C H W"],
        regions: Shaped[Tensor, "N 1 H W"],
        labels: Int[Tensor, " N"],
        classes: Sequence[str],
        methods: Sequence[tuple[str, Maps]],
        **traits,
    ) -> CompareMaps:
        """Compare the maps of several methods.

        Args:
            images: Grey or RGB images with values in [0, 1].
            regions: Masks of the objects that the maps should find.
            labels: The class of each image.
            classes: The names of the classes.
            methods: Pairs of a name and non-negative maps: (N, 1, h, w), or (N, classes, 1, h, w)
                for one map per class.
            traits: Initial values of traits. By default the first two methods are compared.

        Raises:
            ValueError: If there are no methods, or two with the same name; if maps, regions or
                labels don't fit the images and classes; if a map has negative, NaN or infinite
                values; or if a mask has values other than 0 and 1.
        """
        n, channels, height, width = images.shape
        names = [name for name, _ in methods]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"expected one or more methods with different names, got {names}")
        if channels not in (1, 3) or regions.shape != (n, 1, height, width) or labels.shape != (n,):
            shapes = ", ".join(str(tuple(part.shape)) for part in (images, regions, labels))
            raise ValueError(
                "expected images (N, 1 or 3, H, W), regions (N, 1, H, W) and labels (N,), "
                f"got {shapes}"
            )
        if n and not 0 <= labels.min() <= labels.max() < len(classes):
            raise ValueError(f"expected labels from 0 to {len(classes) - 1}, got {labels.tolist()}")
        by_class = [_by_class(name, maps, n, len(classes)) for name, maps in methods]
        return cls(
            shape=[channels, height, width],
            images=packing.pixels(images),
            regions=packing.bits(as_masks("masks", regions).cpu().flatten(1).numpy(), axis=1),
            labels=labels.tolist(),
            classes=list(classes),
            methods=names,
            sizes=[[maps.shape[1], *maps.shape[3:]] for maps in by_class],
            maps=packing.floats(*by_class),
            **{"right": min(1, len(names) - 1)} | traits,
        )


def _by_class(name: str, maps: Tensor, images: int, classes: int) -> Tensor:
    """Return maps of shape (N, 1 or classes, 1, h, w), after checking their shape and values."""
    by_class = maps[:, None] if maps.ndim == 4 else maps
    allowed = ((images, 1, 1), (images, classes, 1))
    if by_class.ndim != 5 or by_class.shape[:3] not in allowed:
        raise ValueError(
            f"expected maps ({images}, 1, h, w) or ({images}, {classes}, 1, h, w) of {name!r}, "
            f"got {tuple(maps.shape)}"
        )
    check_maps(by_class.flatten(0, 1))
    return by_class
