"""GradcamExplorer: the anatomy of one Grad-CAM map, channel by channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anywidget
import torch
import traitlets
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_utils.core.boxes import box_regions
from course_utils.core.eval_mode import evaluating
from course_utils.explain.grad_cam import activation_and_gradient
from course_utils.explain.metrics import area_share
from course_utils.explain.networks import unwrapped
from course_utils.explain.targets import logits_of
from course_utils.widgets import packing
from course_utils.widgets._source import module, palette, style


class GradcamExplorer(anywidget.AnyWidget):
    """The channel weights of a layer for one image and class, and the map of the kept channels.

    The page computes maps and scores from the output of each layer and from the mean gradients of
    all classes, which is all that Grad-CAM needs. Channels are kept in the order of the absolute
    value of their mean contribution to the map.
    """

    _esm = module("gradcam_explorer")
    _css = style()

    image = traitlets.Int(0, min=0).tag(sync=True)
    layer = traitlets.Int(0, min=0, help="index into `layers`").tag(sync=True)
    target = traitlets.Int(0, min=0, help="class that the map explains").tag(sync=True)
    kept = traitlets.Int(1, min=1, help="channels; more than a layer has: all").tag(sync=True)
    relu = traitlets.Bool(True).tag(sync=True)
    own_scale = traitlets.Bool(False, help="one colour scale per class").tag(sync=True)

    size = traitlets.Int(help="height and width of an image in pixels").tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    labels = traitlets.List(traitlets.Int()).tag(sync=True)  # (N,)
    predictions = traitlets.List(traitlets.Int()).tag(sync=True)  # (N,)
    boxes = traitlets.List(traitlets.Any()).tag(sync=True)  # (N, 4) x0, y0, x1, y1
    chances = traitlets.List(traitlets.Float()).tag(sync=True)  # (N,)
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    layers = traitlets.List(traitlets.Unicode()).tag(sync=True)
    shapes = traitlets.List(traitlets.Any(), help="K, h, w of each layer").tag(sync=True)
    activations = traitlets.Bytes(help="by layer").tag(sync=True)  # each (N, K, h, w) float32
    alphas = traitlets.Bytes(help="by layer").tag(sync=True)  # each (N, classes, K) float32
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_network(
        cls,
        network: nn.Module,
        images: Float[Tensor, "N 1 S S"],
        labels: Int[Tensor, " N"],
        boxes: Int[Tensor, "N 4"],
        classes: Sequence[str],
        layers: Mapping[str, nn.Module | str],
    ) -> GradcamExplorer:
        """Show the outputs of a network's layers, and their gradients for every class.

        Args:
            network: Any network that returns logits for such images. Its mode isn't changed.
            images: Grey images with values in [0, 1].
            labels: The class of each image; the first one is selected at the start.
            boxes: x0, y0, x1, y1 around the object of that class, in pixels.
            classes: The names of the classes.
            layers: The modules to explain, or their names in the network, by the name to display.

        Raises:
            ValueError: If labels or boxes don't match the images in number; if a label isn't a
                class; if there is no layer; if the names don't match the logits in number; and for
                everything that `grad_cam.gradcam` refuses.
        """
        counts = [len(part) for part in (images, labels, boxes)]
        if not counts[0] or len(set(counts)) > 1:
            raise ValueError(
                f"expected one or more images with one label and box each, got {counts}"
            )
        if not layers:
            raise ValueError("expected at least one layer, got none")
        with evaluating(unwrapped(network)) as inner:
            logits = logits_of(inner(images))
        count = logits.shape[1]
        if count != len(classes) or not ((labels >= 0) & (labels < count)).all():
            raise ValueError(
                f"expected {count} class names, one per logit, and labels from 0 to {count - 1}, "
                f"got {len(classes)} names and labels {labels.tolist()}"
            )
        measured = [_channels(network, images, layer, count) for layer in layers.values()]
        activations, alphas = zip(*measured)
        shapes = [list(activation.shape[1:]) for activation in activations]
        regions = box_regions(boxes.cpu(), images.shape[-1])
        return cls(
            target=int(labels[0]),
            kept=shapes[0][0],
            size=images.shape[-1],
            images=packing.pixels(images),
            labels=labels.tolist(),
            predictions=logits.argmax(dim=1).tolist(),
            boxes=boxes.tolist(),
            chances=area_share(regions).tolist(),
            classes=[str(name) for name in classes],
            layers=list(layers),
            shapes=shapes,
            activations=packing.floats(*activations),
            alphas=packing.floats(*alphas),
        )


def _channels(
    network: nn.Module, images: Tensor, layer: nn.Module | str, classes: int
) -> tuple[Float[Tensor, "N K h w"], Float[Tensor, "N classes K"]]:
    """Return a layer's output and, for each class, the mean gradient of its logit by channel."""
    alphas = []
    for c in range(classes):
        activation, gradient = activation_and_gradient(network, images, layer, c)
        alphas.append(gradient.mean(dim=(2, 3)))
    return activation, torch.stack(alphas, dim=1)
