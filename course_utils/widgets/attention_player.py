"""AttentionPlayer: watch the attention maps of test images change while a network is trained."""

from __future__ import annotations

import anywidget
import torch
import traitlets
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from course_utils.explain.metrics import area_share, energy_inside
from course_utils.training.run import Run
from course_utils.widgets import packing
from course_utils.widgets._source import module, palette, style


class AttentionPlayer(anywidget.AnyWidget):
    """A gallery of attention maps by epoch and tap, each with its range and its energy.

    All maps of a tap share one colour scale over images and epochs, unless the reader asks for one
    scale per map.
    """

    _esm = module("attention_player")
    _css = style()

    epoch = traitlets.Int(0, help="index into `epochs`").tag(sync=True)
    tap = traitlets.Int(0).tag(sync=True)
    opacity = traitlets.Float(0.6).tag(sync=True)
    own_scale = traitlets.Bool(False, help="one colour scale per map").tag(sync=True)

    size = traitlets.Int(help="height and width of an image in pixels").tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)  # (N, S, S) uint8
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)  # (N,)
    boxes = traitlets.List(traitlets.Any()).tag(sync=True)  # (N, 4) x0, y0, x1, y1
    chance = traitlets.Float(help="energy of a uniform map").tag(sync=True)
    epochs = traitlets.List(traitlets.Int()).tag(sync=True)  # (E,)
    shapes = traitlets.List(traitlets.Any(), help="h, w of each tap's maps").tag(sync=True)
    maps = traitlets.Bytes(help="tap after tap").tag(sync=True)  # each (E, N, h, w) float32
    energy = traitlets.Bytes().tag(sync=True)  # (T, E, N) float32
    palette = traitlets.Bytes(palette()).tag(sync=True)

    @classmethod
    def from_run(
        cls,
        run: Run,
        images: Float[Tensor, "N 1 S S"],
        labels: Int[Tensor, " N"],
        regions: Shaped[Tensor, "N 1 S S"],
        boxes: Int[Tensor, "N 4"],
    ) -> AttentionPlayer:
        """Show the snapshots of a run, starting with the last epoch.

        Args:
            run: A run whose gallery was made of these images.
            images: Grey images with values in [0, 1].
            labels: The digit in each image.
            regions: Masks that are true where the digit is.
            boxes: x0, y0, x1, y1 around the digit, in pixels.

        Raises:
            ValueError: If the run has no maps, or maps of another number of images.
        """
        epochs = sorted(run.snapshots)
        if not epochs or not run.snapshots[epochs[0]]:
            raise ValueError(
                "the run has no attention maps: train a model with attention, "
                "a gallery and snapshot epochs"
            )
        mapped = len(run.snapshots[epochs[0]][0])
        if mapped != len(images):
            raise ValueError(
                f"expected the {mapped} images that the run has maps of, got {len(images)}"
            )
        by_epoch = [run.snapshots[epoch] for epoch in epochs]
        taps = [torch.stack(maps) for maps in zip(*by_epoch)]  # each (E, N, 1, h, w)
        energy = [torch.stack([energy_inside(maps, regions) for maps in tap]) for tap in taps]
        return cls(
            epoch=len(epochs) - 1,
            size=images.shape[-1],
            images=packing.pixels(images),
            labels=packing.texts(labels),
            boxes=boxes.tolist(),
            chance=area_share(regions).mean().item(),
            epochs=epochs,
            shapes=[list(tap.shape[-2:]) for tap in taps],
            maps=packing.floats(*taps),
            energy=packing.floats(*energy),
        )
