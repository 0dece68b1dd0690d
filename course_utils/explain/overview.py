"""One figure that explains a network's prediction for one image, and the maps in it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from course_utils import plots
from course_utils.explain.cam import allows_cam, class_activation_map
from course_utils.explain.diagnosis import suggest_layers
from course_utils.explain.grad_cam import gradcam
from course_utils.models import SoftAttentionCNN
from course_utils.plots.escapes import printable


@torch.no_grad()
def overview_maps(
    model: nn.Module, image: Float[Tensor, "1 C H W"]
) -> dict[str, Float[Tensor, "1 1 _ _"]]:
    """Return the maps that best show where a network looks in an image, by name.

    Which ones depends on the network:

    - a soft gate: the maximum over the channels of its last features, before and after the gate;
    - attention: its attention maps;
    - neither: the class activation map, or Grad-CAM at the deepest layer if the head rules one out.

    Args:
        model: A network of `models`; it is put into evaluation mode.
        image: Grey or RGB, in [0, 1].

    Returns:
        Maps with values of at least 0.
    """
    output = model.eval()(image)
    if isinstance(model, SoftAttentionCNN):
        before, after = (
            features.amax(dim=1, keepdim=True) for features in model.before_and_after(image)
        )
        return {"before the gate": before, "after the gate": after}
    if output.maps:
        return {f"map {tap}": m for tap, m in enumerate(output.maps, 1)}
    if allows_cam(model, image):
        return {"class activation": class_activation_map(model, image).clamp(min=0)}
    deepest = suggest_layers(model, image)[0].name
    return {f"Grad-CAM at {deepest}": gradcam(model, image, deepest)}


@torch.no_grad()
def draw_overview(
    model: nn.Module, image: Float[Tensor, "1 C H W"], classes: Sequence[str]
) -> Figure:
    """Draw an image with the predicted class above it, and its `overview_maps` beside it.

    The maps before and after a soft gate share one scale; other maps have their own.

    Args:
        model: A network of `models`; it is put into evaluation mode.
        image: Grey or RGB, in [0, 1].
        classes: Names of the classes.
    """
    p, best = model.eval()(image).logits.softmax(dim=1)[0].max(dim=0)
    name = printable(classes[best])
    title = f"{name if name.strip() else repr(name)} ({p:.0%})"
    maps = overview_maps(model, image)
    return plots.show_row(image, maps, title, shared=isinstance(model, SoftAttentionCNN))


def draw_overlays(
    model: nn.Module, image: Float[Tensor, "1 C H W"], photograph: Float[Tensor, "C S S"]
) -> dict[str, Image.Image]:
    """Lay each of the `overview_maps` over the image, with the scales of `draw_overview`.

    Args:
        model: A network of `models`; it is put into evaluation mode.
        image: What the network sees: grey or RGB, in [0, 1].
        photograph: What the maps are laid over: the same image in any resolution.

    Returns:
        Pictures of the size of the photograph, by the name of the map.
    """
    maps = overview_maps(model, image)
    highest = None
    if isinstance(model, SoftAttentionCNN):
        highest = max(m.max().item() for m in maps.values()) or None
    return {name: plots.overlay(photograph, m, highest=highest) for name, m in maps.items()}
