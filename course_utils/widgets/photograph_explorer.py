"""PhotographExplorer: from the average of the features to attention, on photographs."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import anywidget
import torch
import traitlets
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from course_utils.core.tensor_checks import check_maps, check_shape
from course_utils.widgets import packing
from course_utils.widgets._source import module, palette, style

QUALITY = (
    90  # of the JPEG files: a photograph of 224 pixels takes about 15 kB, a tenth of its bytes
)


class PhotographExplorer(anywidget.AnyWidget):
    """A photograph under a method's map, and a slider from the average to attention.

    At t the page shows the map ``(1 − t) · mean(map) + t · map``: at t = 0 every position has the
    same weight, and at t = 1 the map decides. The total weight is the same for every t, also for
    sigmoid attention, whose maps don't add up to 1.

    A context is linear in its weights, and a linear head's logits are linear in the context. So the
    logits at t are ``(1 − t) · average + t · attention``, and the page needs neither the features
    nor the network. Don't use logits of a head with a hidden layer: they aren't linear in t.
    """

    _esm = module("photograph_explorer")
    _css = style()

    image = traitlets.Int(0, min=0).tag(sync=True)
    method = traitlets.Int(0, min=0, help="index into `methods`").tag(sync=True)
    t = traitlets.Float(1.0, min=0.0, max=1.0, help="0: average, 1: attention").tag(sync=True)
    covered = traitlets.Bool(True, help="the map is laid over the photograph").tag(sync=True)

    size = traitlets.Int(help="height and width of a photograph in pixels").tag(sync=True)
    photographs = traitlets.Bytes(help="JPEG files, one after the other").tag(sync=True)
    ends = traitlets.List(traitlets.Int(), help="where each file ends").tag(sync=True)  # (N,)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)  # (N,)
    methods = traitlets.List(traitlets.Unicode()).tag(sync=True)
    sizes = traitlets.List(traitlets.Any(), help="h, w by method").tag(sync=True)
    maps = traitlets.Bytes(help="method after method").tag(sync=True)  # each (N, h, w) float32
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    classified = traitlets.List(traitlets.Bool(), help="by method: it has logits").tag(sync=True)
    logits = traitlets.Bytes(help="by method that has some").tag(sync=True)  # each (2, N, classes)
    palette = traitlets.Bytes(palette()).tag(sync=True)

    def __init__(
        self,
        images: Float[Tensor, "N 3 S S"],
        names: Sequence[str],
        maps: Mapping[str, Float[Tensor, "N 1 _ _"]],
        logits: Mapping[str, tuple[Float[Tensor, "N classes"], Float[Tensor, "N classes"]]],
        classes: Sequence[str],
        **traits,
    ):
        """Show photographs, their maps, and what a linear head makes of the weighted features.

        Args:
            images: Photographs with values in [0, 1].
            names: What each photograph shows, such as "cat".
            maps: Non-negative maps by the method's name; methods can have grids of different sizes.
            logits: For each method that a classifier uses, the head's logits for the average of the
                features, weighted by the map's mean at every position, and for attention. Both
                contain the head's bias. The slider is disabled for the other methods.
            classes: The names of the classes.
            traits: Initial values of traits.

        Raises:
            ValueError: If there is no photograph, method or class; if names, maps or logits don't
                fit the photographs and classes; if a photograph has values outside [0, 1]; if a map
                has negative, NaN or infinite values; or if logits have no map or aren't finite.
        """
        _check_photographs(images, names)
        if not maps:
            raise ValueError("expected the maps of at least one method, got none")
        for method, given in maps.items():
            check_shape(f"the maps of {method!r}", given, len(images), 1, None, None)
            check_maps(given)
        _check_logits(logits, maps, len(images), classes)
        files = [_jpeg(image) for image in images]
        pairs = [torch.stack(logits[method]) for method in maps if method in logits]
        super().__init__(
            size=images.shape[-1],
            photographs=b"".join(files),
            ends=[sum(map(len, files[: i + 1])) for i in range(len(files))],
            names=[str(name) for name in names],
            methods=list(maps),
            sizes=[list(given.shape[2:]) for given in maps.values()],
            maps=packing.floats(*maps.values()),
            classes=[str(name) for name in classes],
            classified=[method in logits for method in maps],
            logits=packing.floats(*pairs) if pairs else b"",
            **traits,
        )


def _check_photographs(images: Tensor, names: Sequence[str]) -> None:
    """Refuse what isn't a batch of square RGB images in [0, 1] with one name each."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"expected images of shape (N, 3, S, S), got {tuple(images.shape)}")
    if not len(images) or len(names) != len(images):
        raise ValueError(
            "expected one or more photographs with one name each, "
            f"got {len(images)} photographs and {len(names)} names"
        )
    if not ((images >= 0) & (images <= 1)).all():  # also false for NaN
        raise ValueError(
            "expected images with values from 0 to 1, "
            f"got values from {images.min():.3g} to {images.max():.3g}"
        )


def _check_logits(
    logits: Mapping[str, tuple[Tensor, Tensor]],
    maps: Mapping[str, Tensor],
    images: int,
    classes: Sequence[str],
) -> None:
    """Refuse logits that have no map, have the wrong shape or aren't finite."""
    if not len(classes):
        raise ValueError("expected the name of at least one class, got none")
    if unknown := [method for method in logits if method not in maps]:
        raise ValueError(
            f"expected logits of methods that have maps ({', '.join(maps)}), got {unknown[0]!r}"
        )
    for method, pair in logits.items():
        if len(pair) != 2:
            raise ValueError(
                f"expected two tensors of logits for {method!r}, average and attention, "
                f"got {len(pair)}"
            )
        for end, given in zip(("average", "attention"), pair):
            check_shape(f"the {end} logits of {method!r}", given, images, len(classes))
            if not given.isfinite().all():
                raise ValueError(
                    f"expected finite {end} logits of {method!r}, "
                    f"got {int((~given.isfinite()).sum())} that are NaN or infinite"
                )


def _jpeg(image: Float[Tensor, "3 S S"]) -> bytes:
    """Return a photograph as a JPEG file, which every browser can read."""
    pixels = (255 * image.detach().cpu().float()).round().to(torch.uint8).movedim(0, -1)
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
