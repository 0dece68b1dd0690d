"""AttentionPlayer: watch the attention maps of real test images change while a network learns."""

from __future__ import annotations

import anywidget
import numpy as np
import torch
import traitlets
from jaxtyping import Bool, Float, Int
from torch import Tensor

from course_utils.explain.metrics import area_share, energy_inside
from course_utils.training.run import Run
from course_utils.widgets._source import module, palette, style


class AttentionPlayer(anywidget.AnyWidget):
    """Epoch × tap × opacity over a gallery; under each map its raw range and its energy inside the region.

    The colour scale is shared by all maps of a tap, over images and epochs, unless the reader asks for a scale a map.
    """

    _esm = module("attention_player")
    _css = style()

    epoch = traitlets.Int(0, help="index into `epochs`").tag(sync=True)
    tap = traitlets.Int(0).tag(sync=True)
    opacity = traitlets.Float(0.6).tag(sync=True)
    own_scale = traitlets.Bool(False).tag(sync=True)

    size = traitlets.Int().tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)  # (N,)
    boxes = traitlets.List().tag(sync=True)  # (N, 4) x0, y0, x1, y1
    chance = traitlets.Float().tag(sync=True)
    epochs = traitlets.List(traitlets.Int()).tag(sync=True)  # (E,)
    shapes = traitlets.List().tag(sync=True)  # (T, 2) h, w
    maps = traitlets.Bytes().tag(sync=True)  # for each tap in turn (E, N, h, w) float32
    energy = traitlets.Bytes().tag(sync=True)  # (T, E, N) float32
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_run(
        cls,
        run: Run,
        images: Float[Tensor, "N 1 S S"],
        labels: Int[Tensor, " N"],
        regions: Bool[Tensor, "N 1 S S"],
        boxes: Int[Tensor, "N 4"],
    ) -> AttentionPlayer:
        """Show the snapshots of a run, whose gallery these images were; starts at the last epoch.

        Raises:
            ValueError: the run has no maps, or maps of another number of images.
        """
        epochs = sorted(run.snapshots)
        if not epochs or not run.snapshots[epochs[0]]:
            raise ValueError(
                "the run has no attention maps: train a model with attention, a gallery and snapshot epochs"
            )
        if len(run.snapshots[epochs[0]][0]) != len(images):
            raise ValueError(
                f"the run has maps of {len(run.snapshots[epochs[0]][0])} images, got {len(images)} images"
            )
        taps = [
            torch.stack(maps) for maps in zip(*(run.snapshots[e] for e in epochs))
        ]  # each (E, N, 1, h, w)
        energy = torch.stack(
            [torch.stack([energy_inside(maps, regions) for maps in tap]) for tap in taps]
        )
        return cls(
            epoch=len(epochs) - 1,
            size=images.shape[-1],
            images=(images * 255).round().to(torch.uint8).numpy().tobytes(),
            labels=[str(int(label)) for label in labels],
            boxes=boxes.tolist(),
            chance=area_share(regions).mean().item(),
            epochs=epochs,
            shapes=[list(tap.shape[-2:]) for tap in taps],
            maps=np.concatenate([tap.float().numpy().ravel() for tap in taps]).tobytes(),
            energy=energy.float().numpy().tobytes(),
        )
