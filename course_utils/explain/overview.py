"""One figure that explains a network's prediction for one image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from course_utils import plots
from course_utils.explain.cam import allows_cam, class_activation_map
from course_utils.explain.diagnosis import suggest_layers
from course_utils.explain.grad_cam import gradcam
from course_utils.models import SoftAttentionCNN


@torch.no_grad()
def draw_overview(
    model: nn.Module, image: Float[Tensor, "1 C H W"], classes: Sequence[str]
) -> Figure:
    """Draw an image with the predicted class above it, and the network's maps beside it.

    The maps that are drawn depend on the network:

    - a soft gate: the maximum over the channels of its last features, before and after the gate,
      on one scale;
    - attention: its attention maps;
    - neither: the class activation map, or Grad-CAM at the deepest layer if the head allows none.

    Args:
        model: A network of `models`; it is put into evaluation mode.
        image: Grey or RGB, in [0, 1].
        classes: Names of the classes.
    """
    output = model.eval()(image)
    p, best = output.logits.softmax(dim=1)[0].max(dim=0)
    title = f"{classes[best]} ({p:.0%})"
    if isinstance(model, SoftAttentionCNN):
        before, after = (
            features.amax(dim=1, keepdim=True) for features in model.before_and_after(image)
        )
        maps = {"before the gate": before, "after the gate": after}
        return plots.show_row(image, maps, title, shared=True)
    if output.maps:
        maps = {f"map {tap}": m for tap, m in enumerate(output.maps, 1)}
    elif allows_cam(model):
        maps = {"class activation": class_activation_map(model, image).clamp(min=0)}
    else:
        deepest = suggest_layers(model, image)[0].name
        maps = {f"Grad-CAM at {deepest}": gradcam(model, image, deepest)}
    return plots.show_row(image, maps, title)
