"""Exercises of the chapter Channel and spatial attention."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.attention import gates
from course_utils.exercises._feedback import as_number, as_tensor, refuse, require, require_tensor


def cbam(functions) -> str:
    """Write CBAM's channel gate, its spatial gate, and the block of both, from the drawing.

    Args:
        functions: From x, W_1 (C / r, C) and W_2 (C, C / r) to the weights (B, C, 1, 1); from x, a
            kernel (1, 2, 7, 7) and its bias (1) to the weights (B, 1, H, W); and from all five to
            the gated features (B, C, H, W).
    """
    channel, spatial, block = functions
    # With as many channels as rows and columns, a wrong dimension is named instead of an error.
    for B, C, H, W in ((2, 9, 9, 9), (3, 8, 7, 10)):
        l = torch.randn(B, C, H, W)
        W_1, W_2 = torch.randn(C // 2, C) / C, torch.randn(C, C // 2)
        W_1[0] += 1 / C  # one hidden unit is active for the maxima, which are positive
        W_1[1] -= 1 / C  # and one isn't
        kernel, bias = torch.randn(1, 2, 7, 7) / 7, torch.randn(1).sign()
        _check_channel_gate(channel(l, W_1, W_2), l, W_1, W_2)
        _check_spatial_gate(spatial(l, kernel, bias), l, kernel, bias)
        gated = block(l, W_1, W_2, kernel, bias)
        _check_block(gated, l, (W_1, W_2), (kernel, bias))
    return (
        f"Right, all three. The spatial gate has {kernel.numel() + 1} parameters, however many "
        "channels there are."
    )


def _check_channel_gate(answer, l: Tensor, W_1: Tensor, W_2: Tensor) -> None:
    """Tell apart the mistakes in the weights of the channels."""
    B, C, H, W = l.shape
    _refuse_gated(answer, l, "The channel gate")
    weights = as_tensor(answer, (B, C, 1, 1), "The tensor of channel weights").flatten(1)
    mistakes = _channel_mistakes(l, W_1, W_2)
    for dims in ((1, 2), (1, 3)) if C == H == W else ():
        wrong = _scores(l.amax(dim=dims), W_1, W_2)
        for z in (l.mean(dim=(2, 3)), l.mean(dim=dims)):
            mistakes.append(
                (
                    (_scores(z, W_1, W_2) + wrong).sigmoid(),
                    "Your maxima run over the channels. Each channel has a maximum of its own.",
                )
            )
    require_tensor(
        weights,
        _channel_weights(l, W_1, W_2).flatten(1),
        mistakes,
        "The channel weights have the right shape, but wrong values. Follow the drawing: two "
        "vectors, the same two matrices for both, a sum, a sigmoid.",
    )


def _channel_mistakes(l: Tensor, W_1: Tensor, W_2: Tensor) -> list[tuple[Tensor, str]]:
    """Return the channel weights that each mistake leads to, with the sentence about it."""
    means, maxima = l.mean(dim=(2, 3)), l.amax(dim=(2, 3))  # (B, C)
    first, second = _scores(means, W_1, W_2), _scores(maxima, W_1, W_2)
    separate = first.sigmoid() + second.sigmoid()
    return [
        (first.sigmoid(), "Your channel gate uses only the means. That is squeeze-and-excitation."),
        (second.sigmoid(), "Your channel gate uses only the maxima. The drawing has two branches."),
        (
            separate,
            "In your channel gate, each branch has its own sigmoid, so a weight can exceed 1. "
            "Where is the plus in the drawing?",
        ),
        (
            separate / 2,
            "Your channel gate averages two sigmoids. Where is the plus in the drawing?",
        ),
        (
            (first + second).softmax(dim=1),
            "Your channel weights sum to 1, so the channels compete. In CBAM they don't.",
        ),
        (
            ((means + maxima) @ W_1.T @ W_2.T).sigmoid(),
            "The ReLU is missing in your channel gate, so the two matrices act as a single matrix.",
        ),
        (
            _scores(means + maxima, W_1, W_2).sigmoid(),
            "Your channel gate adds means and maxima before the matrices. Follow each branch in "
            "the drawing to its end.",
        ),
        (
            F.relu(first + second).sigmoid(),
            "After your last ReLU, no channel weight can be below 1/2.",
        ),
        (first + second, "The sigmoid is missing in your channel gate."),
    ]


def _scores(z: Tensor, W_1: Tensor, W_2: Tensor) -> Tensor:
    return F.relu(z @ W_1.T) @ W_2.T


def _check_spatial_gate(answer, l: Tensor, kernel: Tensor, bias: Tensor) -> None:
    """Tell apart the mistakes in the weights of the positions."""
    B, _, H, W = l.shape
    _refuse_gated(answer, l, "The spatial gate")
    refuse(
        getattr(answer, "shape", None) == (B, 1, H - 6, W - 6),
        f"Your spatial map has {H - 6} × {W - 6} positions, not {H} × {W}: without padding, a 7 × "
        "7 kernel loses three at each edge.",
    )
    weights = as_tensor(answer, (B, 1, H, W), "The tensor of spatial weights")
    require_tensor(
        weights,
        _spatial_weights(l, kernel, bias),
        _spatial_mistakes(l, kernel, bias),
        "The spatial weights have the right shape, but wrong values. Follow the drawing: two maps, "
        "one convolution, a sigmoid.",
    )


def _spatial_mistakes(l: Tensor, kernel: Tensor, bias: Tensor) -> list[tuple[Tensor, str]]:
    """Return the spatial weights that each mistake leads to, with the sentence about it."""

    def scores(first: Tensor, second: Tensor, b: Tensor | None = bias) -> Tensor:
        return F.conv2d(torch.stack([first, second], dim=1), kernel, b, padding=3)

    mean, maximum = l.mean(dim=1), l.amax(dim=1)  # (B, H, W)
    right = scores(mean, maximum)
    mistakes = [
        (
            scores(maximum, mean).sigmoid(),
            "The two maps of your spatial gate are in the wrong order: the mean comes first.",
        ),
        (scores(mean, maximum, None).sigmoid(), "Your spatial gate doesn't use its bias."),
        (
            scores(mean, mean).sigmoid(),
            "Your spatial gate uses only the mean over the channels. The drawing has two maps.",
        ),
        (
            right.flatten(1).softmax(dim=1).view_as(right),
            "Your spatial weights sum to 1, so the positions compete. In CBAM they don't.",
        ),
        (right, "The sigmoid is missing in your spatial gate."),
    ]
    for dim in (2, 3) if l.shape[1] == l.shape[2] == l.shape[3] else ():
        wrong = scores(l.mean(dim=dim), l.amax(dim=dim)).sigmoid()
        mistakes.append(
            (wrong, "Your spatial gate pools over rows or columns. It should pool over channels.")
        )
    return mistakes


def _check_block(
    answer, l: Tensor, matrices: tuple[Tensor, Tensor], convolution: tuple[Tensor, Tensor]
) -> None:
    """Tell apart the mistakes in the block, given the right weights of both gates."""
    gated = as_tensor(answer, tuple(l.shape), "The output of the block")
    early = _spatial_weights(l, *convolution)
    by_channel = _channel_weights(l, *matrices) * l
    late = _spatial_weights(by_channel, *convolution)
    expected = late * by_channel
    mistakes = [
        (
            early * by_channel,
            "Both gates are right, but your spatial gate reads the features from before the "
            "channel gate. Where does its arrow start in the drawing?",
        ),
        (
            _channel_weights(early * l, *matrices) * early * l,
            "Both gates are right, but in the wrong order. Which one comes first in the drawing?",
        ),
        (
            late * l,
            "Your spatial weights are right, but they multiply x, so the channel gate is lost.",
        ),
        (by_channel, "Your block ends after the channel gate."),
        (l + expected, "Your block adds x again. CBAM itself has no residual connection."),
    ]
    otherwise = "Both gates are right, but the output of the block isn't."
    require_tensor(gated, expected, mistakes, otherwise)


def _refuse_gated(answer, l: Tensor, name: str) -> None:
    refuse(
        getattr(answer, "shape", None) == l.shape,
        f"{name} should return its weights alone, before they multiply the features.",
    )


def _channel_weights(l: Tensor, W_1: Tensor, W_2: Tensor) -> Tensor:
    """Return the weights of CBAM's channel gate with these matrices."""
    gate = gates.ChannelAttention(l.shape[1], l.shape[1] // W_1.shape[0])
    given = {"excite.0.weight": W_1, "excite.2.weight": W_2}
    gate.load_state_dict(given)
    return gate.weights(l).detach()


def _spatial_weights(l: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Return the weights of CBAM's spatial gate with this kernel and bias."""
    gate = gates.SpatialAttention(kernel.shape[-1])
    gate.load_state_dict({"score.weight": kernel, "score.bias": bias})
    return gate.weights(l).detach()


def pair(features) -> str:
    """Find two feature maps that CBAM's channel gate can tell apart, and SE can't."""
    one, two = (
        as_tensor(l, (1, 2, 8, 8), name).double()
        for l, name in zip(features, ("The first", "The second"), strict=True)
    )
    refuse(
        torch.equal(one, two),
        "The two feature maps are identical, so no gate can tell them apart.",
    )
    squeezed = _largest_difference(gates.SqueezeExcitation, one, two)
    require(
        squeezed < 1e-9,
        f"Squeeze-and-excitation gives them weights that differ by up to {squeezed:.1g}. "
        "What does this gate compute from a feature map?",
    )
    maxima = _largest_difference(gates.ChannelAttention, one, two)
    require(
        maxima > 1e-9,
        "CBAM's channel gate can't tell them apart either. What does this gate use besides the "
        "means?",
    )
    coordinates = _largest_difference(gates.CoordinateAttention, one, two)
    verdict = (
        f"can, too: its weights differ by up to {coordinates:.2g}, because rows or columns of the "
        "two have different means"
        if coordinates > 1e-9
        else "can't, because every row and every column has the same mean in both"
    )
    return (
        f"Right: the weights of CBAM's channel gate differ by up to {maxima:.2g}, and those of "
        f"squeeze-and-excitation not at all. Coordinate attention {verdict}."
    )


def average_hurts(design) -> str:
    """Change the data, the gate or the reader so that the gate's mean weights lower the accuracy.

    Args:
        design: A function from n to features (n, 2, 8, 8) and their classes (n), which are 0 or 1;
            the gate's matrices W_1 (any, 2) and W_2 (2, any); the reader's vector (2) and its bias.
            The answer is class 1 if the reader's score of the gated channels' means is positive.
    """
    make, W_1, W_2, u, b = _five(design)
    z, labels = _data(make(400))
    a = (F.relu(z @ W_1.T) @ W_2.T).sigmoid()

    def accuracy(weights: Tensor) -> float:
        return (((weights * z) @ u + b > 0) == labels).double().mean().item()

    own, mean = accuracy(a), accuracy(a.mean(dim=0))
    require(
        own >= 0.9,
        f"With its own weights, your network is right on {_percent(own)} of the images. First get "
        "that above 90\u00a0%: only what works can be hurt.",
    )
    refuse(
        (a - a.mean(dim=0)).abs().max() < 1e-3,
        "Your gate gives all images the same weights, so they are their own mean.",
    )
    linear = _best_linear(z, labels)
    refuse(
        own - mean < 0.1,
        f"With the mean weights, your network is still right on {_percent(mean)} of the images "
        f"(own weights: {_percent(own)}). Does any channel have to be kept in one image and "
        "suppressed in another?",
    )
    refuse(
        own - linear < 0.1,
        f"The mean weights cost {100 * (own - mean):.0f} points, but only because u and b don't "
        f"fit them: without a gate, another linear reader is right on {_percent(linear)}.",
    )
    swapped = accuracy(a[_another_of_the_class(labels)])
    leak = "so the weights alone carry the class: this gate leaks"
    if own - swapped >= 0.05:
        leak = "so the weights have to fit the image, and not only its class"
    return (
        f"Right: {_percent(own)} with its own weights, {_percent(mean)} with the mean weights, "
        f"{_percent(linear)} at best for a linear reader without a gate. With the weights of "
        f"another image of the same class it's {_percent(swapped)}, {leak}."
    )


def _five(design) -> tuple:
    """Return the data, the gate and the reader, whose shapes are checked, in double precision."""
    require(
        isinstance(design, tuple | list) and len(design) == 5,
        "Pass five things: the function that makes the images, W_1, W_2, u and b.",
    )
    make, *parameters, b = design
    hidden = parameters[0].shape[0] if torch.is_tensor(parameters[0]) else 2
    shapes = {"W_1": (hidden, 2), "W_2": (2, hidden), "u": (2,)}
    checked = [
        as_tensor(value, shape, name).double()
        for value, (name, shape) in zip(parameters, shapes.items())
    ]
    return make, *checked, as_number(b, "b")


def _data(made) -> tuple[Tensor, Tensor]:
    """Check features and classes; return the channels' means in double precision, and classes."""
    require(
        isinstance(made, tuple | list) and len(made) == 2,
        "Your function should return two tensors: the features and the classes.",
    )
    features = as_tensor(made[0], (400, 2, 8, 8), "For n = 400, the feature tensor").double()
    labels = as_tensor(made[1], (400,), "For n = 400, the tensor of classes")
    require(((labels == 0) | (labels == 1)).all(), "The classes should be 0 and 1 only.")
    share = labels.double().mean().item()
    require(
        0.3 <= share <= 0.7,
        f"{_percent(share)} of your images have class 1. With one class so frequent, accuracy says "
        "little: make the two about equally frequent.",
    )
    return features.mean(dim=(2, 3)), labels == 1


def _best_linear(z: Tensor, labels: Tensor) -> float:
    """Return the accuracy of the best line between the classes, of 360 directions and any bias."""
    centred = z - z.mean(dim=0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(z))
    white = centred @ axes / variances.clamp(min=1e-12).sqrt()
    angles = torch.arange(360, dtype=z.dtype) * math.pi / 180
    projected, order = (white @ torch.stack([angles.cos(), angles.sin()])).sort(dim=0)  # (n, 360)
    ones = labels[order].double()
    below, above = (1 - ones).cumsum(dim=0)[:-1], ones.sum(dim=0) - ones.cumsum(dim=0)[:-1]
    # No line can pass between images with the same means.
    possible = projected.diff(dim=0) > 1e-9
    right = ((below + above) * possible).max().item()
    return max(right, labels.sum().item(), (~labels).sum().item()) / len(z)


def _another_of_the_class(labels: Tensor) -> Tensor:
    """Return for each image another image of its class, at random; each is used once."""
    donors = torch.empty(len(labels), dtype=torch.long)
    for label in (True, False):
        images = (labels == label).nonzero()[:, 0]
        images = images[torch.randperm(len(images))]
        donors[images] = images.roll(1)
    return donors


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"


def _largest_difference(kind: type, one: Tensor, two: Tensor, draws: int = 30) -> float:
    """Return the largest difference between the weights of two inputs, over random gates."""
    with torch.no_grad():
        every = (kind(2, 1).double().eval() for _ in range(draws))
        return max((gate.weights(one) - gate.weights(two)).abs().max().item() for gate in every)
