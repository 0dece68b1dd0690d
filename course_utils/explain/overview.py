"""One picture that explains a network's answer to one image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from course_utils import plots
from course_utils.explain.cam import class_activation_map
from course_utils.explain.diagnosis import suggest_layers
from course_utils.explain.grad_cam import gradcam
from course_utils.models import SoftAttentionCNN


@torch.no_grad()
def draw_overview(
    model: nn.Module, image: Float[Tensor, "1 C H W"], classes: Sequence[str]
) -> Figure:
    """The image under what the network takes it for, and below it where the network looked.

    That is: for a soft gate its last features merged by their maximum, before and after the gate, on one scale; else
    its attention maps; for a network without any, the class activation map, or Grad-CAM where its head allows none.

    Args:
        model: a network of `models`.
        image: grey or RGB, in [0, 1].
        classes: their names.
    """
    output = model.eval()(image)
    p, best = output.logits.softmax(dim=1)[0].max(dim=0)
    title = f"{classes[best]} ({p:.0%})"
    if isinstance(model, SoftAttentionCNN):
        before, after = (
            features.amax(dim=1, keepdim=True) for features in model.before_and_after(image)
        )
        return plots.show_row(
            image, {"before the gate": before, "after the gate": after}, title, shared=True
        )
    if output.maps:
        return plots.show_row(
            image, {f"map {tap}": m for tap, m in enumerate(output.maps, 1)}, title
        )
    try:
        return plots.show_row(
            image, {"class activation": class_activation_map(model, image).clamp(min=0)}, title
        )
    except ValueError:  # a head that allows none
        deepest = suggest_layers(model, image)[0].name
        return plots.show_row(
            image, {f"Grad-CAM at {deepest}": gradcam(model, image, deepest)}, title
        )
