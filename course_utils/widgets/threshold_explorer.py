"""ThresholdExplorer: where to draw the line between yes and no, and what each mistake costs."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import traitlets
from jaxtyping import Float, Int
from torch import Tensor

from course_utils.widgets import packing
from course_utils.widgets._source import module, style


class ThresholdExplorer(anywidget.AnyWidget):
    """A movable threshold on the probabilities of a class: counts, rates, curves and costs.

    Probabilities at or above the threshold count as the second class. The page computes everything
    from the probabilities, which are stored in single precision.
    """

    _esm = module("threshold_explorer")
    _css = style()

    threshold = traitlets.Float(0.5, min=0, max=1).tag(sync=True)
    power = traitlets.Float(0.0, help="a miss costs 2 to this power false alarms").tag(sync=True)

    probabilities = traitlets.Bytes().tag(sync=True)  # (N,) float32
    labels = traitlets.Bytes().tag(sync=True)  # (N,) uint8
    classes = traitlets.List(traitlets.Unicode(), minlen=2, maxlen=2).tag(sync=True)

    def __init__(
        self,
        probabilities: Float[Tensor, " N"],
        labels: Int[Tensor, " N"],
        classes: Sequence[str] = ("functional", "defective"),
        **traits,
    ):
        """Show the predictions for a set of images.

        Args:
            probabilities: Predicted probabilities of the second class, in [0, 1].
            labels: The true classes; 1 is the second class.
            classes: The names of classes 0 and 1.
            traits: Initial values of the threshold and the power.

        Raises:
            ValueError: If a probability is outside [0, 1]; if labels don't match the probabilities
                in shape, aren't 0 and 1, or lack one of the two; or if there aren't two different
                names.
        """
        if probabilities.ndim != 1 or labels.shape != probabilities.shape:
            raise ValueError(
                "expected probabilities (N,) and labels (N,), "
                f"got {tuple(probabilities.shape)} and {tuple(labels.shape)}"
            )
        outside = ~((probabilities >= 0) & (probabilities <= 1))  # true for NaN as well
        if outside.any():
            raise ValueError(
                f"expected probabilities from 0 to 1, got {probabilities[outside][0].item()}"
            )
        if set(labels.tolist()) != {0, 1}:
            raise ValueError(
                f"expected labels 0 and 1, and both of them, got {sorted(set(labels.tolist()))[:5]}"
            )
        if len(classes) != 2 or len(set(classes)) != 2:
            raise ValueError(f"expected two different class names, got {list(classes)}")
        super().__init__(
            probabilities=packing.floats(probabilities),
            labels=packing.small_integers(labels),
            classes=list(classes),
            **traits,
        )
