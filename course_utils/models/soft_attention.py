"""A plain CNN whose last features pass a soft gate: the simplest attention inside a network."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from course_utils.attention.gates import ConvGate, FlatGate, GateAlignment
from course_utils.core.checks import check_choice
from course_utils.models.output import Heads, Output, as_rgb
from course_utils.models.vgg import scaled

SoftGate = Literal["flat", "conv"]


class SoftAttentionCNN(nn.Module):
    """Four convolutions, a soft gate on the last features, and two dense layers.

    Source: the repository "Visualizing the attention mechanism in CNN"
    (Ugenteraan/Attention-CNN-Visualization). With ``gate="flat"`` and an image size, this is that
    network, in which 98 % of the parameters are the gate (see `FlatGate` for its second fault).
    ``gate="conv"`` without an image size repairs both faults and accepts images of any size. In
    both variants, the classifier starts from N(0, 0.01), which is our choice.
    """

    least_size = 8  # pixels: after three halvings, one position is left

    def __init__(
        self,
        num_classes: int,
        *,
        image_size: int | None = None,
        gate: SoftGate | None = "conv",
        alignment: GateAlignment = "sigmoid",
        width: float = 1.0,
        dropout: float = 0.0,
    ):
        """Build the network.

        Args:
            num_classes: Number of classes.
            image_size: Side of the images in pixels, if the dense layers read every position, as in
                the source. If None, they read the average over the positions.
            gate: ``flat`` (needs the image size), ``conv``, or None for no attention.
            alignment: ``sigmoid`` or ``softmax``; see the gates.
            width: Factor on every channel count.
            dropout: Fraction of the entries between the dense layers that is set to 0 in training.

        Raises:
            ValueError: If an option is unknown (the message lists the valid ones), a flat gate gets
                no image size, or the image size is below 8; see also `Heads`.
        """
        super().__init__()
        if gate is not None:
            check_choice("gate", gate, SoftGate)
        check_choice("alignment", alignment, GateAlignment)
        if gate == "flat" and image_size is None:
            raise ValueError(
                "a flat gate has one weight per position: expected an image_size, got None"
            )
        least = self.least_size
        if image_size is not None and image_size < least:
            raise ValueError(
                f"expected images of at least {least} × {least} pixels, got {image_size}"
            )
        self.image_size = image_size
        last = scaled(70, width)
        self.features = _convolutions(scaled(128, width), last)
        size = last if image_size is None else last * (image_size // 8) ** 2
        self.gate: FlatGate | ConvGate | None = None
        if gate == "flat":
            self.gate = FlatGate(size, alignment)
        elif gate == "conv":
            self.gate = ConvGate(last, alignment)
        hidden = scaled(256, width)
        self.dense = nn.Sequential(nn.Linear(size, hidden), nn.ReLU())
        self.classifiers = Heads([hidden], num_classes, dropout=dropout)

    def before_and_after(
        self, images: Float[Tensor, "B C H W"]
    ) -> tuple[Float[Tensor, "B D h w"], Float[Tensor, "B D h w"]]:
        """Return the last features, which are never negative, before and after the gate.

        Raises:
            ValueError: If the images have another size than the network was built for; see also
                `as_rgb`.
        """
        x = as_rgb(images, self.least_size)
        if self.image_size is not None and images.shape[-2:] != (self.image_size, self.image_size):
            expected = f"{self.image_size} × {self.image_size}"
            given = " × ".join(map(str, images.shape[-2:]))
            raise ValueError(f"expected images of {expected} pixels, got {given}")
        x = self.features(x)
        if self.gate is None:
            return x, x
        if isinstance(self.gate, FlatGate):
            return x, self.gate(x.flatten(1)).view_as(x)  # (B, D h w) and back
        return x, self.gate(x)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Output:
        """Classify images.

        The map is the maximum of the gated features over the channels, as in the source's pictures.

        Raises:
            ValueError: See `before_and_after`.
        """
        _, x = self.before_and_after(images)
        hidden = self.dense(x.mean(dim=(2, 3)) if self.image_size is None else x.flatten(1))
        maps = () if self.gate is None else (x.amax(dim=1, keepdim=True),)
        return self.classifiers([hidden], maps)


def _convolutions(channels: int, last: int) -> nn.Sequential:
    """Return four convolutions with ReLUs, and a max-pool after each of the first three."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(channels),
        nn.MaxPool2d(2),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(channels, last, 3, padding=1),
        nn.ReLU(),
    )
