r"""Gates: layers that multiply features by weights computed from the same features.

`GridAttention` and `PayAttention` sum a feature map over its positions and return one vector. A
gate sums nothing: it returns features of the same shape, and suppresses some of them. Gates differ
in what has its own weight, and in what the weight is computed from:

=====================  =======================  ====================================================
Gate                   One weight per           computed from
=====================  =======================  ====================================================
`FlatGate`             entry of a flat vector   the whole vector
`ConvGate`             channel and position     the channels at that position
`SqueezeExcitation`    channel                  the means of the channels
`ChannelAttention`     channel                  the means and the maxima of the channels
`SpatialAttention`     position                 mean and maximum over the channels, in a window
`Streamlined`          channel                  the means of the channels
`SecondOrder`          channel                  the covariance of the channels
=====================  =======================  ====================================================

`CBAM` is `ChannelAttention` followed by `SpatialAttention`. The weights lie in (0, 1), except those
of `Streamlined`, which can be any real numbers.

`observe` returns the weights of all gates inside a network.
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
    r"""Soft gate on a flattened vector x: :math:`\sigma(w \odot \mathrm{ReLU}(W x + b)) \odot x`.

    The design of the source has two faults, which `ConvGate` repairs. W has N² parameters for a
    vector of size N. And wherever the ReLU is 0, the weight is 1/2 for every w, so the gate can
    neither suppress nor pass that entry.

    With softmax instead of :math:`\sigma`, the weights sum to 1, so the output is about N times
    smaller than the input.

    Source: the repository "Visualizing the attention mechanism in CNN"
    (Ugenteraan/Attention-CNN-Visualization).
    """

    def __init__(self, size: int, alignment: GateAlignment = "sigmoid"):
        """Create the parameters; w starts small, as in the source.

        Args:
            size: Size N of the vectors.
            alignment: ``sigmoid`` or ``softmax``.

        Raises:
            ValueError: If the alignment is unknown.
        """
        super().__init__()
        self.align = _alignment(alignment)
        self.project = nn.Linear(size, size)
        self.scale = nn.Parameter(0.05 * torch.randn(size))

    def weights(self, x: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        """Return one weight per entry."""
        return self.align(self.scale * F.relu(self.project(x)))

    def forward(self, x: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        """Return the gated vector."""
        return self.weights(x) * x


class Gate(nn.Module):
    """Base class of gates on feature maps; a subclass computes the weights."""

    def weights(self, x: Map) -> Float[Tensor, "B #C #H #W"]:
        """Return the weights, in a shape that broadcasts to that of the features."""
        raise NotImplementedError

    def forward(self, x: Map) -> Map:
        """Return the gated features.

        Raises:
            ValueError: If the features are not 4-D.
        """
        if x.ndim != 4:
            raise ValueError(f"expected features (B, C, H, W), got {tuple(x.shape)}")
        return self.weights(x) * x


class ConvGate(Gate):
    r"""Soft gate as a convolution: :math:`\sigma(W * x + b)` with a 1 × 1 kernel.

    It is `FlatGate` without its two faults. It has C² + C parameters for every size of the map, and
    no ReLU inside, so all weights between 0 and 1 are possible. With softmax instead of
    :math:`\sigma`, the positions of a channel compete: the weights of a channel sum to 1.
    """

    def __init__(self, channels: int, alignment: GateAlignment = "sigmoid"):
        """Create the convolution.

        Args:
            channels: Channels C of the features.
            alignment: ``sigmoid`` or ``softmax``.

        Raises:
            ValueError: If the alignment is unknown.
        """
        super().__init__()
        self.align = _alignment(alignment)
        self.project = nn.Conv2d(channels, channels, 1)

    def weights(self, x: Map) -> Map:
        """Return one weight per channel and position."""
        return self.align(self.project(x).flatten(2)).view_as(x)  # aligned as (B, C, H * W)


class SqueezeExcitation(Gate):
    r"""Weights from the channels' means z: :math:`\sigma(W_2\,\mathrm{ReLU}(W_1 z))`.

    Source: Hu, Shen and Sun 2018, "Squeeze-and-Excitation Networks", eq. 2 to 4.
    """

    def __init__(self, channels: int, reduction: int = 16):
        """Create the two matrices.

        Args:
            channels: Channels of the features.
            reduction: The hidden layer has channels / reduction units, but at least 1.

        Raises:
            ValueError: If the reduction is less than 1.
        """
        super().__init__()
        self.excite = _bottleneck(channels, reduction)

    def weights(self, x: Map) -> Float[Tensor, "B C 1 1"]:
        """Return one weight per channel."""
        means = x.mean(dim=(2, 3))  # (B, C)
        return self.excite(means).sigmoid()[..., None, None]  # (B, C, 1, 1)


class ChannelAttention(Gate):
    """Channel gate of CBAM: squeeze-and-excitation of the channels' means and of their maxima.

    The same two matrices serve both. Source: Woo et al. 2018, eq. 2.
    """

    def __init__(self, channels: int, reduction: int = 16):
        """Create the two matrices; the arguments are those of `SqueezeExcitation`."""
        super().__init__()
        self.excite = _bottleneck(channels, reduction)

    def weights(self, x: Map) -> Float[Tensor, "B C 1 1"]:
        """Return one weight per channel."""
        means, maxima = x.mean(dim=(2, 3)), x.amax(dim=(2, 3))  # (B, C)
        return (self.excite(means) + self.excite(maxima)).sigmoid()[..., None, None]


class SpatialAttention(Gate):
    """Spatial gate of CBAM: a convolution over the mean and the maximum of the channels.

    Source: Woo et al. 2018, eq. 3.
    """

    def __init__(self, kernel: int = 7):
        """Create the convolution.

        Args:
            kernel: Side of the window. It must be odd, so that the window has a middle.

        Raises:
            ValueError: If the side is even or less than 1.
        """
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"expected an odd side of the window, got {kernel}")
        self.score = nn.Conv2d(2, 1, kernel, padding=kernel // 2)

    def weights(self, x: Map) -> Float[Tensor, "B 1 H W"]:
        """Return one weight per position."""
        mean, maximum = x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)  # (B, 1, H, W)
        return self.score(torch.cat([mean, maximum], dim=1)).sigmoid()


class CBAM(nn.Sequential):
    """Convolutional Block Attention Module: channels, then positions (Woo et al. 2018, eq. 1)."""

    def __init__(self, channels: int, reduction: int = 16, kernel: int = 7):
        """Create both gates; see `ChannelAttention` and `SpatialAttention`."""
        super().__init__(ChannelAttention(channels, reduction), SpatialAttention(kernel))


class Streamlined(Gate):
    r"""Factors :math:`W z` from the channels' means z: no bias, no bottleneck, any real numbers.

    This is what the code of the repository "Streamlined attention module"
    (myspace-img/streamlined-attention) computes. Its description speaks of second-order pooling,
    which is `SecondOrder`.
    """

    def __init__(self, channels: int):
        """Create the matrix, with channels² parameters."""
        super().__init__()
        self.project = nn.Linear(channels, channels, bias=False)

    def weights(self, x: Map) -> Float[Tensor, "B C 1 1"]:
        """Return one factor per channel, positive or negative."""
        return self.project(x.mean(dim=(2, 3)))[..., None, None]  # (B, C) → (B, C, 1, 1)


class SecondOrder(Gate):
    r"""Weights from the covariance of the channels over the positions.

    .. math::
        y = W_r * x, \quad \Sigma = \frac{1}{HW} \sum_i (y_i - \bar y)(y_i - \bar y)^\top, \quad
        a = \sigma(W s + b), \; s_j = u_j^\top \Sigma_j

    Each row of the covariance has its own vector :math:`u_j`, which reduces it to one number.

    Source: after Gao et al. 2019, "Global Second-order Pooling Convolutional Networks", where each
    row gives four numbers.
    """

    def __init__(self, channels: int, reduction: int = 16):
        """Create the parameters.

        Args:
            channels: Channels of the features.
            reduction: The covariance is computed for channels / reduction mixtures of the channels,
                at least 1.

        Raises:
            ValueError: If the reduction is less than 1.
        """
        super().__init__()
        mixtures = _reduced(channels, reduction)
        self.reduce = nn.Conv2d(channels, mixtures, 1, bias=False)
        self.rows = nn.Parameter(torch.randn(mixtures, mixtures) / mixtures**0.5)
        self.expand = nn.Linear(mixtures, channels)

    def covariance(self, x: Map) -> Float[Tensor, "B M M"]:
        """Return the covariance of the M mixtures over the positions."""
        y = self.reduce(x).flatten(2)  # (B, M, H * W)
        # Divide before the sum over positions, because half precision overflows above 65,504.
        y = (y - y.mean(dim=-1, keepdim=True)) / y.shape[-1] ** 0.5
        return y @ y.mT

    def weights(self, x: Map) -> Float[Tensor, "B C 1 1"]:
        """Return one weight per channel."""
        s = (self.rows * self.covariance(x)).sum(dim=-1)  # (B, M)
        return self.expand(s).sigmoid()[..., None, None]  # (B, C, 1, 1)


def observe(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Run a network in evaluation mode, and return the weights of each of its gates.

    A gate returns gated features, from which its weights can't be read off. A hook on each gate
    computes them from the gate's input during the forward pass. The network is left as it was: its
    mode is restored and the hooks are removed, even if the forward pass raises.

    Args:
        network: A network with any number of gates.
        images: Input of the network.

    Returns:
        Weights for these images, by the name of the gate in the network.
    """
    seen: dict[str, Tensor] = {}

    def watch(name: str, gate: Gate | FlatGate, inputs: tuple[Tensor]) -> None:
        seen[name] = gate.weights(*inputs)

    hooks = [
        module.register_forward_pre_hook(partial(watch, name))
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
    """Return the alignment function of that name, along the last dimension."""
    check_choice("alignment", name, GateAlignment)
    return torch.sigmoid if name == "sigmoid" else partial(torch.softmax, dim=-1)


def _bottleneck(channels: int, reduction: int) -> nn.Sequential:
    """Return two matrices with a narrow hidden layer and a ReLU between them."""
    hidden = _reduced(channels, reduction)
    return nn.Sequential(
        nn.Linear(channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, channels, bias=False)
    )


def _reduced(channels: int, reduction: int) -> int:
    """Return the number of units that the channels are reduced to."""
    if reduction < 1:
        raise ValueError(f"expected a reduction of at least 1, got {reduction}")
    return max(1, channels // reduction)
