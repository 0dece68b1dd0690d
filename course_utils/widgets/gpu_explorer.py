"""GpuExplorer: will a training fit onto a card, and how long will it take?"""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import traitlets

from course_utils.studies.on_a_gpu import SIZE, Card, Cost
from course_utils.widgets._source import module, style


class GpuExplorer(anywidget.AnyWidget):
    """The memory and the minutes of a training, for the reader's batch, image size, width and card.

    The page computes both from the costs, by the formulas of `studies.on_a_gpu`; tests compare the
    two.
    """

    _esm = module("gpu_explorer")
    _css = style()

    card = traitlets.Int(0, min=0, help="index into `cards`").tag(sync=True)
    width = traitlets.Int(0, min=0, help="index into `costs`").tag(sync=True)
    size = traitlets.Int(SIZE, min=32, max=448, help="side of the images in pixels").tag(sync=True)
    log_batch = traitlets.Int(6, min=1, max=10, help="2 to this power images per step").tag(
        sync=True
    )
    log_parts = traitlets.Int(0, min=0, max=6, help="2 to this power parts per batch").tag(
        sync=True
    )

    reference = traitlets.Int(SIZE, help="side of the images that the costs refer to").tag(
        sync=True
    )
    cards = traitlets.List(traitlets.List(), help="the values of each `Card`").tag(sync=True)
    costs = traitlets.List(traitlets.List(), help="the values of each `Cost`").tag(sync=True)
    images = traitlets.Int(help="training images, which lie on the card").tag(sync=True)
    steps = traitlets.Float(help="images that a run trains on, counted by their pixels").tag(
        sync=True
    )

    @classmethod
    def from_costs(
        cls, costs: Sequence[Cost], cards: Sequence[Card], *, images: int, steps: float
    ) -> GpuExplorer:
        """Show networks and cards; the widest network on the first card comes first.

        Args:
            costs: The costs of a network at several widths.
            cards: The cards to choose from.
            images: Number of training images.
            steps: Number of images of a whole run, see `studies.on_a_gpu.image_steps`.

        Raises:
            ValueError: If there is no cost or no card.
        """
        if not costs or not cards:
            raise ValueError(f"expected costs and cards, got {len(costs)} and {len(cards)}")
        return cls(
            cards=[list(card) for card in cards],
            costs=[list(cost) for cost in costs],
            width=max(range(len(costs)), key=lambda i: costs[i].width),
            images=images,
            steps=steps,
        )
