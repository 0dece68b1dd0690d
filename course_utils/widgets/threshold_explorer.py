"""ThresholdExplorer: where to draw the line between yes and no, and what each mistake costs."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import torch
import traitlets
from jaxtyping import Float, Int
from torch import Tensor

from course_utils.widgets._source import module, style


class ThresholdExplorer(anywidget.AnyWidget):
    """A movable threshold on the predicted probabilities of a class: counts, rates, curves, and the cheapest threshold.

    Whatever has at least the threshold counts as the second class. The page computes everything from the probabilities,
    which are kept in single precision.
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
            probabilities: of the second class, in [0, 1].
            labels: the truth, 1 for the second class.
            classes: the names of 0 and 1.
            traits: the threshold and the power to start with.

        Raises:
            ValueError: probabilities outside [0, 1], labels that do not fit, a class that does not occur, or names that
                are not two.
        """
        if probabilities.ndim != 1 or labels.shape != probabilities.shape:
            given = f"{tuple(probabilities.shape)} and {tuple(labels.shape)}"
            raise ValueError(f"expected probabilities (N,) and labels (N,), got {given}")
        if not ((probabilities >= 0) & (probabilities <= 1)).all():  # NaN is neither
            raise ValueError(
                f"expected probabilities from 0 to 1, got {probabilities.tolist()[_bad(probabilities)]}"
            )
        if set(labels.tolist()) != {0, 1}:
            raise ValueError(
                f"expected labels 0 and 1, and both of them, got {sorted(set(labels.tolist()))[:5]}"
            )
        if len(classes) != 2 or len(set(classes)) != 2:
            raise ValueError(f"expected two different names of classes, got {list(classes)}")
        super().__init__(
            probabilities=probabilities.detach().float().cpu().numpy().tobytes(),
            labels=labels.to(torch.uint8).cpu().numpy().tobytes(),
            classes=list(classes),
            **traits,
        )


def _bad(probabilities: Tensor) -> int:
    """The index of the first value that is no probability."""
    return int((~((probabilities >= 0) & (probabilities <= 1))).nonzero()[0])
