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
`ECA`                  channel                  the means of k neighbouring channels
`ChannelAttention`     channel                  the means and the maxima of the channels
`SpatialAttention`     position                 mean and maximum over the channels, in a window
`Streamlined`          channel                  the means of the channels
`SecondOrder`          channel                  the covariance of the channels
`CoordinateAttention`  channel and position     the means of that row and of that column
=====================  =======================  ====================================================

`CBAM` is `ChannelAttention` followed by `SpatialAttention`. The weights lie in (0, 1), except those
of `Streamlined`, which can be any real numbers.

`observe` returns the weights of all gates inside a network, and those of the blocks of `non_local`.
"""

from __future__ import annotations

import math
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


class Observable(nn.Module):
    """Base class of layers whose weights `observe` can return."""

    def weights(self, x: Tensor) -> Tensor:
        """Return the weights that the layer computes from its input."""
        raise NotImplementedError


class FlatGate(Observable):
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


class Gate(Observable):
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

    Source: Hu, Shen and Sun 2018, "Squeeze-and-Excitation Networks", eq. 2 to 4. The matrices have
    no biases, as in section 6 of the paper.
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


class ECA(Gate):
    r"""Efficient channel attention: a convolution that slides over the channels' means z.

    .. math:: a_j = \sigma\Big(\sum_{i=1}^{k} w_i\, z_{j + i - (k + 1) / 2}\Big)

    It is `SqueezeExcitation` without a bottleneck. All channels share the k weights, and means
    beyond the first and the last channel count as 0. A gate therefore has k parameters: 86 for all
    gates of a ResNet-50 together. The paper's abstract has 80, which fits the model that its
    authors published: there, k is 3 in the first stage, where the paper's rule gives 5.

    Which channels are neighbours means nothing in a freshly initialised network. Training can only
    move what belongs together into neighbouring channels.

    Source: Wang et al. 2020, "ECA-Net", eq. 9, and eq. 12 for k.
    """

    def __init__(self, channels: int, kernel: int | None = None):
        """Create the convolution, without bias.

        Args:
            channels: Channels C of the features.
            kernel: Number k of neighbouring channels, which must be odd. If None, the odd number
                nearest to (log2(C) + 1) / 2, and the larger one of two, as in the paper's figure 3
                (γ = 2, b = 1).

        Raises:
            ValueError: If there are no channels, or the kernel is even or less than 1.
        """
        super().__init__()
        if channels < 1:
            raise ValueError(f"expected at least one channel, got {channels}")
        if kernel is None:
            kernel = 2 * int((math.log2(channels) + 1) / 4) + 1
        self.slide = nn.Conv1d(1, 1, _odd(kernel), padding=kernel // 2, bias=False)

    def weights(self, x: Map) -> Float[Tensor, "B C 1 1"]:
        """Return one weight per channel."""
        means = x.mean(dim=(2, 3))[:, None]  # (B, 1, C)
        return self.slide(means).sigmoid()[:, 0, :, None, None]  # (B, C, 1, 1)


class ChannelAttention(Gate):
    """Channel gate of CBAM: squeeze-and-excitation of the channels' means and of their maxima.

    The same two matrices serve both. Source: Woo et al. 2018, eq. 2. The published code has biases
    in both layers.
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

    Source: Woo et al. 2018, eq. 3. The published code has a batch norm after the convolution, which
    starts with weight 0, so every weight of the gate starts at 1/2.
    """

    def __init__(self, kernel: int = 7):
        """Create the convolution.

        Args:
            kernel: Side of the window. It must be odd, so that the window has a middle.

        Raises:
            ValueError: If the side is even or less than 1.
        """
        super().__init__()
        self.score = nn.Conv2d(2, 1, _odd(kernel), padding=kernel // 2)

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

    Source: after Gao et al. 2019, "Global Second-order Pooling Convolutional Networks". In the
    published code, each row gives four numbers, a batch norm and a ReLU come before the covariance,
    and another batch norm comes after it.
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
        mixtures = reduced(channels, reduction)
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


class CoordinateAttention(Gate):
    r"""One weight per channel and position: that of its row times that of its column.

    .. math::
        [f^h; f^w] = \mathrm{hswish}(\mathrm{norm}(W * [z^h; z^w])), \quad
        a_{cij} = \sigma(W_h f^h_i + b_h)_c \; \sigma(W_w f^w_j + b_w)_c

    :math:`z^h_i` is the mean of row i and :math:`z^w_j` the mean of column j. A channel gate
    suppresses a channel everywhere; this one can keep it in some rows and columns only. The weights
    of a channel are an outer product, so if they are large at two positions, they are also large at
    the other two corners of the rectangle between them.

    All convolutions are 1 × 1, so if you permute the rows or the columns of the features, the
    weights are permuted alike: the gate sees what is in a row, but not where the row is.

    Source: Hou, Zhou and Feng 2021, "Coordinate Attention for Efficient Mobile Network Design",
    eq. 4 to 9. Batch norm, h-swish and the least number of hidden channels are those of the
    published code. It has one more bias, before the batch norm, which cancels it.
    """

    def __init__(self, channels: int, reduction: int = 32):
        """Create the convolutions.

        Args:
            channels: Channels of the features.
            reduction: The rows and columns are mixed in channels / reduction hidden channels, but
                at least 8, as in the published code.

        Raises:
            ValueError: If the reduction is less than 1.
        """
        super().__init__()
        hidden = max(8, reduced(channels, reduction))
        self.squeeze = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.Hardswish()
        )
        self.rows = nn.Conv2d(hidden, channels, 1)
        self.columns = nn.Conv2d(hidden, channels, 1)

    def weights(self, x: Map) -> Map:
        """Return one weight per channel and position."""
        height, width = x.shape[-2:]
        rows = x.mean(dim=3, keepdim=True)  # (B, C, H, 1)
        columns = x.mean(dim=2, keepdim=True).mT  # (B, C, W, 1)
        # One pass, so the batch norm has the same statistics for rows and columns.
        hidden = self.squeeze(torch.cat([rows, columns], dim=2))  # (B, hidden, H + W, 1)
        rows, columns = hidden.split([height, width], dim=2)
        return self.rows(rows).sigmoid() * self.columns(columns.mT).sigmoid()  # (B, C, H, W)


def observe(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Run a network in evaluation mode, and return the weights of each of its gates.

    A gate returns gated features, from which its weights can't be read off. A hook on each gate
    computes them from the gate's input during the forward pass. The network is left as it was: its
    mode is restored and the hooks are removed, even if the forward pass raises.

    Args:
        network: A network with any number of gates, or of the blocks of `non_local`.
        images: Input of the network.

    Returns:
        Weights for these images, by the name of the gate or block in the network.
    """
    seen: dict[str, Tensor] = {}

    def watch(name: str, gate: Observable, inputs: tuple[Tensor]) -> None:
        seen[name] = gate.weights(*inputs)

    hooks = [
        module.register_forward_pre_hook(partial(watch, name))
        for name, module in network.named_modules()
        if isinstance(module, Observable)
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
    hidden = reduced(channels, reduction)
    return nn.Sequential(
        nn.Linear(channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, channels, bias=False)
    )


def reduced(channels: int, reduction: int) -> int:
    """Return the number of units that the channels are reduced to, at least 1.

    Raises:
        ValueError: If the reduction is less than 1.
    """
    if reduction < 1:
        raise ValueError(f"expected a reduction of at least 1, got {reduction}")
    return max(1, channels // reduction)


def _odd(kernel: int) -> int:
    """Return the size of a window, if it has a middle."""
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"expected an odd window, so that it has a middle, got {kernel}")
    return kernel
