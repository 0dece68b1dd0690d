"""CompareMaps: two maps of one image with a divider between them, and what each of them scores."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import numpy as np
import torch
import traitlets
from jaxtyping import Bool, Float, Int
from torch import Tensor

from course_utils.core.tensor_checks import check_maps
from course_utils.widgets._source import module, palette, style

Maps = Float[Tensor, "N 1 _ _"] | Float[Tensor, "N classes 1 _ _"]


class CompareMaps(anywidget.AnyWidget):
    """One image under the maps of two methods, left and right of a divider, each with the scores of `metrics`.

    The page enlarges the raw maps bilinearly, as `metrics.fit_to` does, and computes every score from them. It knows
    nothing of the network that they come from.
    """

    _esm = module("compare_maps")
    _css = style()

    image = traitlets.Int(0).tag(sync=True)
    left = traitlets.Int(0, help="the method on the left, by its place in the list").tag(sync=True)
    right = traitlets.Int(0).tag(sync=True)
    target = traitlets.Int(
        0, help="the class asked for: 0 is the image's own, i + 1 is class i"
    ).tag(sync=True)
    divider = traitlets.Int(50, min=0, max=100, help="per cent of the width").tag(sync=True)
    opacity = traitlets.Int(70, min=0, max=100, help="of the maps over the image, in per cent").tag(
        sync=True
    )
    shared = traitlets.Bool(False, help="one colour scale for both maps").tag(sync=True)

    shape = traitlets.List(traitlets.Int(), help="channels, height and width of an image").tag(
        sync=True
    )
    images = traitlets.Bytes().tag(sync=True)  # (N, C, H, W) uint8
    regions = traitlets.Bytes().tag(
        sync=True
    )  # (N, H, W), a bit a pixel, each image from a new byte
    labels = traitlets.List(traitlets.Int()).tag(sync=True)
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    methods = traitlets.List(traitlets.Unicode()).tag(sync=True)
    sizes = traitlets.List(help="of each method: how many classes, height and width").tag(sync=True)
    maps = traitlets.Bytes().tag(sync=True)  # (N, classes, h, w) float32, method after method
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_maps(
        cls,
        images: Float[Tensor, "N C H W"],
        regions: Bool[Tensor, "N 1 H W"],
        labels: Int[Tensor, " N"],
        classes: Sequence[str],
        methods: Sequence[tuple[str, Maps]],
        **traits,
    ) -> CompareMaps:
        """Compare the maps of some methods.

        Args:
            images: grey or RGB, in [0, 1].
            regions: what the maps should find.
            labels: the class of each image.
            classes: their names.
            methods: the name of each method and its maps, none of them negative: (N, 1, h, w), or
                (N, classes, 1, h, w) if there is one for every class.
            traits: what to start with; the first two methods unless something else is said.

        Raises:
            ValueError: no methods, two with one name, maps, regions or labels that do not fit the images and classes,
                or values that are negative or not finite.
        """
        n, channels, height, width = images.shape
        names = [name for name, _ in methods]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"expected methods of different names, got {names}")
        if channels not in (1, 3) or regions.shape != (n, 1, height, width) or labels.shape != (n,):
            given = ", ".join(str(tuple(part.shape)) for part in (images, regions, labels))
            raise ValueError(
                f"expected images (N, 1 or 3, H, W), regions (N, 1, H, W) and labels (N,), got {given}"
            )
        if n and not 0 <= labels.min() <= labels.max() < len(classes):
            raise ValueError(f"expected labels from 0 to {len(classes) - 1}, got {labels.tolist()}")
        sizes, kept = [], []
        for name, maps in methods:
            by_class = maps[:, None] if maps.ndim == 4 else maps
            if by_class.ndim != 5 or by_class.shape[:3] not in ((n, 1, 1), (n, len(classes), 1)):
                wanted = f"({n}, 1, h, w) or ({n}, {len(classes)}, 1, h, w)"
                raise ValueError(f"expected maps {wanted} of {name!r}, got {tuple(maps.shape)}")
            check_maps(by_class.flatten(0, 1))
            sizes.append([by_class.shape[1], *by_class.shape[3:]])
            kept.append(by_class.detach().float().cpu().contiguous().numpy().tobytes())
        return cls(
            shape=[channels, height, width],
            images=(images.detach().cpu().clamp(0, 1) * 255)
            .round()
            .to(torch.uint8)
            .numpy()
            .tobytes(),
            regions=np.packbits(regions.cpu().flatten(1).numpy(), axis=1).tobytes(),
            labels=labels.tolist(),
            classes=list(classes),
            methods=names,
            sizes=sizes,
            maps=b"".join(kept),
            **{"right": min(1, len(names) - 1)} | traits,
        )
