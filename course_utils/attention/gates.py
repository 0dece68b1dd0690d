r"""Gates: features multiplied by weights that they make themselves. Nothing is summed over positions.

`layers.GridAttention` makes one vector of a feature map. A gate gives back features of the shape it got, some of them
turned down. The gates differ in what has a weight of its own, and in what the weight is made from:

=====================  ==================================  ==================================================
`FlatGate`             every number of a flattened vector  the whole vector
`ConvGate`             every channel at every position     the channels at that position
`SqueezeExcitation`    every channel                       the channels' means
`ChannelAttention`     every channel                       the channels' means and maxima
`SpatialAttention`     every position                      mean and maximum over the channels, around it
`Streamlined`          every channel, any real number      the channels' means
`SecondOrder`          every channel                       how the channels vary together
=====================  ==================================  ==================================================

`CBAM` is `ChannelAttention`, then `SpatialAttention`. All but `Streamlined` have weights in (0, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_utils.core.checks import check_choice
from course_utils.core.eval_mode import evaluating

Map = Float[Tensor, "B C H W"]
GateAlignment = Literal["sigmoid", "softmax"]


class FlatGate(nn.Module):
    r"""The soft gate on a flattened vector x: :math:`\sigma(w \odot \mathrm{ReLU}(W x + b)) \odot x`.

    Source: the repository "Visualizing the attention mechanism in CNN" (Ugenteraan/Attention-CNN-Visualization). Two
    faults come with it. W has the square of the vector's size in numbers. And wherever the ReLU gives 0, the weight is
    1/2 whatever w is: such a unit can be turned neither up nor down. `ConvGate` repairs both. With softmax in place of
    :math:`\sigma` the weights sum to 1, and shrink what they gate by about N, the size of the vector.
    """

    def __init__(self, size: int, alignment: GateAlignment = "sigmoid"):
        """Make the gate for vectors of this size; w starts small, as in the source.

        Raises:
            ValueError: an unknown alignment; the message lists the valid ones.
        """
        super().__init__()
        self.align = _alignment(alignment)
        self.project = nn.Linear(size, size)
        self.scale = nn.Parameter(0.05 * torch.randn(size))

    def weights(self, x: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        """The weight of each number."""
        return self.align(self.scale * F.relu(self.project(x)))

    def forward(self, x: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        """The vector, gated."""
        return self.weights(x) * x


class Gate(nn.Module):
    """A gate on feature maps; each kind says how its weights are made."""

    def weights(self, x: Map) -> Float[Tensor, "B #C #H #W"]:
        """The weights, of a shape that broadcasts to the features'."""
        raise NotImplementedError

    def forward(self, x: Map) -> Map:
        """The features, gated.

        Raises:
            ValueError: features of another rank.
        """
        if x.ndim != 4:
            raise ValueError(f"expected features (B, C, H, W), got {tuple(x.shape)}")
        return self.weights(x) * x


class ConvGate(Gate):
    r"""The soft gate as a convolution, :math:`\sigma(W * x + b)` with a 1 × 1 kernel.

    What remains of `FlatGate` without its faults: C² + C parameters, whatever the size of the map, and no ReLU inside,
    so that the weights reach from 0 to 1. With softmax in place of :math:`\sigma` the positions of a channel compete:
    its weights sum to 1.
    """

    def __init__(self, channels: int, alignment: GateAlignment = "sigmoid"):
        """Make the gate for features of so many channels.

        Raises:
            ValueError: an unknown alignment; the message lists the valid ones.
        """
        super().__init__()
        self.align = _alignment(alignment)
        self.project = nn.Conv2d(channels, channels, 1)

    def weights(self, x: Map) -> Map:
        """A weight for each channel at each position."""
        return self.align(self.project(x).flatten(2)).view_as(x)


class SqueezeExcitation(Gate):
    r"""A weight a channel from the channels' means z: :math:`\sigma(W_2\,\mathrm{ReLU}(W_1 z))`.

    Source: Hu, Shen and Sun 2018, "Squeeze-and-Excitation Networks", eq. 2 to 4.
    """

    def __init__(self, channels: int, reduction: int = 16):
        """Make the gate; between the two matrices there are channels / reduction numbers, at least 1.

        Raises:
            ValueError: a reduction below 1.
        """
        super().__init__()
        self.excite = _bottleneck(channels, reduction)

    def weights(self, x: Map) -> Float[Tensor, "B C 1 1"]:
        """A weight for each channel."""
        return self.excite(x.mean(dim=(2, 3))).sigmoid()[..., None, None]


class ChannelAttention(Gate):
    """Squeeze-and-excitation, with the same two matrices on the channels' maxima as well (Woo et al. 2018, eq. 2)."""

    def __init__(self, channels: int, reduction: int = 16):
        """Make the gate; the arguments are those of `SqueezeExcitation`."""
        super().__init__()
        self.excite = _bottleneck(channels, reduction)

    def weights(self, x: Map) -> Float[Tensor, "B C 1 1"]:
        """A weight for each channel."""
        return (self.excite(x.mean(dim=(2, 3))) + self.excite(x.amax(dim=(2, 3)))).sigmoid()[
            ..., None, None
        ]


class SpatialAttention(Gate):
    """A weight a position, from mean and maximum over the channels in a window around it (Woo et al. 2018, eq. 3)."""

    def __init__(self, kernel: int = 7):
        """Make the gate; the side of the window is odd, so that the window has a middle.

        Raises:
            ValueError: an even side, or none.
        """
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"expected an odd side of the window, got {kernel}")
        self.score = nn.Conv2d(2, 1, kernel, padding=kernel // 2)

    def weights(self, x: Map) -> Float[Tensor, "B 1 H W"]:
        """A weight for each position."""
        return self.score(
            torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        ).sigmoid()


class CBAM(nn.Sequential):
    """The Convolutional Block Attention Module: channels, then positions (Woo et al. 2018, eq. 1)."""

    def __init__(self, channels: int, reduction: int = 16, kernel: int = 7):
        """Make both gates; the arguments are theirs."""
        super().__init__(ChannelAttention(channels, reduction), SpatialAttention(kernel))


class Streamlined(Gate):
    r"""A number a channel, :math:`W z`, from the channels' means z; no bias, no bottleneck and nothing that bounds it.

    So the repository "Streamlined attention module" (myspace-img/streamlined-attention) has it in its code. Its text
    speaks of second-order pooling; that is `SecondOrder`.
    """

    def __init__(self, channels: int):
        """Make the gate: channels² parameters."""
        super().__init__()
        self.project = nn.Linear(channels, channels, bias=False)

    def weights(self, x: Map) -> Float[Tensor, "B C 1 1"]:
        """A number for each channel, of any sign."""
        return self.project(x.mean(dim=(2, 3)))[..., None, None]


class SecondOrder(Gate):
    r"""A weight a channel from the covariance of the channels over the positions.

    .. math:: y = W_r * x, \quad \Sigma = \frac{1}{HW} \sum_i (y_i - \bar y)(y_i - \bar y)^\top, \quad
        a = \sigma(W s + b), \; s_j = u_j^\top \Sigma_j

    Each row of the covariance is read by a vector of its own. Source: after Gao et al. 2019, "Global Second-order
    Pooling Convolutional Networks", whose rows make four numbers each where ours make one.
    """

    def __init__(self, channels: int, reduction: int = 16):
        """Make the gate; the covariance is that of channels / reduction mixtures of the channels, at least 1.

        Raises:
            ValueError: a reduction below 1.
        """
        super().__init__()
        mixtures = _reduced(channels, reduction)
        self.reduce = nn.Conv2d(channels, mixtures, 1, bias=False)
        self.rows = nn.Parameter(torch.randn(mixtures, mixtures) / mixtures**0.5)
        self.expand = nn.Linear(mixtures, channels)

    def covariance(self, x: Map) -> Float[Tensor, "B M M"]:
        """Of the mixtures, over the positions."""
        y = self.reduce(x).flatten(2)
        y = (y - y.mean(dim=-1, keepdim=True)) / y.shape[
            -1
        ] ** 0.5  # before the sum: half precision ends at 65,504
        return y @ y.mT

    def weights(self, x: Map) -> Float[Tensor, "B C 1 1"]:
        """A weight for each channel."""
        return self.expand((self.rows * self.covariance(x)).sum(dim=-1)).sigmoid()[..., None, None]


def observe(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """The weights of every gate in a network for these images, by the gate's name; it is left as it was."""
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(
            lambda gate, inputs, name=name: seen.update({name: gate.weights(*inputs)})
        )
        for name, module in network.named_modules()
        if isinstance(module, Gate | FlatGate)
    ]
    try:
        with evaluating(network):
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _alignment(name: GateAlignment) -> Callable[[Tensor], Tensor]:
    """The function that makes weights of the numbers in the last dimension."""
    check_choice("alignment", name, GateAlignment)
    return torch.sigmoid if name == "sigmoid" else partial(torch.softmax, dim=-1)


def _bottleneck(channels: int, reduction: int) -> nn.Sequential:
    """Two matrices with a ReLU and fewer numbers between them."""
    hidden = _reduced(channels, reduction)
    return nn.Sequential(
        nn.Linear(channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, channels, bias=False)
    )


def _reduced(channels: int, reduction: int) -> int:
    """How many numbers stand for the channels."""
    if reduction < 1:
        raise ValueError(f"expected a reduction of at least 1, got {reduction}")
    return max(1, channels // reduction)
