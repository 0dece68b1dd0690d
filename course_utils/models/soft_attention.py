"""A plain CNN whose last features pass through a soft gate: the simplest attention inside a network."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from course_utils.attention.gates import ConvGate, FlatGate, GateAlignment
from course_utils.core.checks import check_choice
from course_utils.models.output import Heads, Output, as_rgb
from course_utils.models.vgg import scaled

SoftGate = Literal["flat", "conv"]
LEAST_SIZE = 8  # three halvings leave one position


class SoftAttentionCNN(nn.Module):
    """Four convolutions, a soft gate on the last features, two dense layers.

    Source: the repository "Visualizing the attention mechanism in CNN" (Ugenteraan/Attention-CNN-Visualization). With
    ``gate="flat"`` and an image size it is that network, in which 98 % of the parameters are the gate (see `FlatGate`
    for its second fault). ``gate="conv"`` without an image size repairs both, and takes images of any size. Ours in
    both forms: the classifier starts from N(0, 0.01).
    """

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
            num_classes: to tell apart.
            image_size: side of the images, if the dense layers are to read every position, as in the source. Without
                it they read the average over the positions.
            gate: ``flat`` (needs the image size), ``conv``, or None for no attention.
            alignment: ``sigmoid`` or ``softmax``; see the gates.
            width: factor on every channel count.
            dropout: between the dense layers, in training.

        Raises:
            ValueError: an unknown option (the message lists the valid ones), a flat gate without an image size, or an
                image size under 8; see also `Heads`.
        """
        super().__init__()
        if gate is not None:
            check_choice("gate", gate, SoftGate)
        check_choice("alignment", alignment, GateAlignment)
        if gate == "flat" and image_size is None:
            raise ValueError(
                "a flat gate has a weight for every position: expected an image_size, got None"
            )
        if image_size is not None and image_size < LEAST_SIZE:
            raise ValueError(
                f"expected images of at least {LEAST_SIZE} × {LEAST_SIZE} pixels, got {image_size}"
            )
        self.image_size = image_size
        c, last = scaled(128, width), scaled(70, width)

        def conv(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]

        self.features = nn.Sequential(
            *(*conv(3, c), nn.BatchNorm2d(c), nn.MaxPool2d(2)),
            *(*conv(c, c), nn.MaxPool2d(2)),
            *(*conv(c, c), nn.MaxPool2d(2)),
            *conv(c, last),
        )
        size = last if image_size is None else last * (image_size // 8) ** 2
        self.gate = (
            {"flat": FlatGate, "conv": ConvGate}[gate](size if gate == "flat" else last, alignment)
            if gate
            else None
        )
        self.dense = nn.Sequential(nn.Linear(size, scaled(256, width)), nn.ReLU())
        self.classifiers = Heads([scaled(256, width)], num_classes, dropout=dropout)

    def before_and_after(
        self, images: Float[Tensor, "B C H W"]
    ) -> tuple[Float[Tensor, "B D h w"], Float[Tensor, "B D h w"]]:
        """The last features, none of them negative, and what the gate leaves of them.

        Raises:
            ValueError: images of another size than the network was built for; see also `as_rgb`.
        """
        x = as_rgb(images, LEAST_SIZE)
        if self.image_size is not None and images.shape[-2:] != (self.image_size, self.image_size):
            expected = f"{self.image_size} × {self.image_size}"
            raise ValueError(
                f"expected images of {expected} pixels, got {' × '.join(map(str, images.shape[-2:]))}"
            )
        x = self.features(x)
        if self.gate is None:
            return x, x
        return x, self.gate(x.flatten(1)).view_as(x) if isinstance(
            self.gate, FlatGate
        ) else self.gate(x)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Output:
        """Classify images. The map is the gated features, merged by their maximum, as in the source's pictures."""
        _, x = self.before_and_after(images)
        hidden = self.dense(x.mean(dim=(2, 3)) if self.image_size is None else x.flatten(1))
        return self.classifiers(
            [hidden], () if self.gate is None else (x.amax(dim=1, keepdim=True),)
        )
