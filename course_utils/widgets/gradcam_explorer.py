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
from course_utils.explain.grad_cam import activation_and_gradient, logits_of, unwrapped
from course_utils.explain.metrics import area_share
from course_utils.widgets._source import module, palette, style


class GradcamExplorer(anywidget.AnyWidget):
    """One image × one layer × one class × how many channels are kept: the weights of the channels, and the map.

    The page computes maps and scores from what each layer put out and from the mean gradients of all classes: Grad-CAM
    needs nothing else. Channels are kept in the order of what they add to the map on average, whatever its sign.
    """

    _esm = module("gradcam_explorer")
    _css = style()

    image = traitlets.Int(0, min=0).tag(sync=True)
    layer = traitlets.Int(0, min=0, help="in the order given").tag(sync=True)
    chosen = traitlets.Int(0, min=0, help="the class that is looked at").tag(sync=True)
    kept = traitlets.Int(
        1, min=1, help="how many channels; more than the layer has are all of them"
    ).tag(sync=True)
    relu = traitlets.Bool(True).tag(sync=True)
    own = traitlets.Bool(False, help="a colour scale for each class").tag(sync=True)

    size = traitlets.Int(help="side of the images in pixels").tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    labels = traitlets.List(traitlets.Int()).tag(sync=True)  # (N,)
    answers = traitlets.List(
        traitlets.Int(), help="the class that the network gives each image"
    ).tag(sync=True)  # (N,)
    boxes = traitlets.List().tag(sync=True)  # (N, 4) x0, y0, x1, y1
    chances = traitlets.List(traitlets.Float()).tag(sync=True)  # (N,)
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    layers = traitlets.List(traitlets.Unicode()).tag(sync=True)
    shapes = traitlets.List(help="channels, rows and columns of each layer").tag(sync=True)
    activations = traitlets.Bytes(help="layer by layer").tag(sync=True)  # each (N, K, h, w) float32
    alphas = traitlets.Bytes(help="mean gradients, layer by layer").tag(
        sync=True
    )  # each (N, classes, K) float32
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
        """Show what a network's layers put out for a few images, and what each class makes of it.

        Args:
            network: any that takes such images and returns logits; it is left as it was.
            images: grey, in [0, 1].
            labels: the class of each, with which the first map begins.
            boxes: around what is of that class.
            classes: their names.
            layers: the modules to look at, or their names in the network, by what they are to be called.

        Raises:
            ValueError: another number of labels or boxes than images, a label that is no class, no layer, another
                number of names than of logits; see also `gradcam.gradcam`.
        """
        n = len(images)
        if not n or [len(labels), len(boxes)] != [n, n]:
            raise ValueError(
                f"expected an image or more with a label and a box each, got {[n, len(labels), len(boxes)]}"
            )
        if not layers:
            raise ValueError("expected at least one layer to look at, got none")
        with evaluating(unwrapped(network)) as inner:
            logits = logits_of(inner(images))
        found = logits.shape[1]
        if found != len(classes) or not ((labels >= 0) & (labels < found)).all():
            given = f"{len(classes)} names, and labels {labels.tolist()}"
            raise ValueError(
                f"expected a name for each of the {found} logits and labels among them, got {given}"
            )
        activations, alphas, shapes = [], [], []
        for layer in layers.values():
            of_classes = []
            for c in range(found):
                activation, gradient = activation_and_gradient(network, images, layer, c)
                of_classes.append(gradient.mean(dim=(2, 3)))
            activations.append(activation)
            alphas.append(torch.stack(of_classes, dim=1))  # (N, classes, K)
            shapes.append(list(activation.shape[1:]))
        return cls(
            chosen=int(labels[0]),
            kept=shapes[0][0],
            size=images.shape[-1],
            images=(images * 255).round().to(torch.uint8).cpu().numpy().tobytes(),
            labels=labels.tolist(),
            answers=logits.argmax(dim=1).tolist(),
            boxes=boxes.tolist(),
            chances=area_share(box_regions(boxes.cpu(), images.shape[-1])).tolist(),
            classes=[str(name) for name in classes],
            layers=list(layers),
            shapes=shapes,
            activations=_floats(activations),
            alphas=_floats(alphas),
        )


def _floats(parts: list[Tensor]) -> bytes:
    return torch.cat([part.float().flatten() for part in parts]).cpu().numpy().tobytes()
