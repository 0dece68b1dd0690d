"""Exercises of the chapter Channel and spatial attention."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from course_utils.attention import gates
from course_utils.core import profiling
from course_utils.exercises._feedback import as_number, as_tensor, refuse, require


def squeeze(function, blocks: Sequence[int]) -> str:
    """Count the parameters of squeeze-and-excitation gates as a function of the reduction r.

    Args:
        function: The answer.
        blocks: The number of channels of each block that has a gate.
    """
    divisors = [r for r in range(2, min(blocks) + 1) if math.gcd(*blocks) % r == 0]
    for r in (divisors[i] for i in torch.randperm(len(divisors))[:3]):
        count = round(as_number(function(r), f"For r = {r} the answer"))
        expected, biases = _parameters(blocks, r), sum(C + C // r for C in blocks)
        refuse(
            count == expected / 2,
            f"For r = {r} that is half of the parameters: a gate has two matrices.",
        )
        refuse(
            count == _parameters(set(blocks), r),
            f"For r = {r} you count each width once, but every block has its own gate.",
        )
        refuse(
            count == expected + biases,
            f"For r = {r} you count {biases:,} biases, but these gates have none.",
        )
        refuse(
            count == r * expected,
            f"For r = {r} that is {r} times too many. What size does the vector between the two "
            "matrices have?",
        )
        require(
            count == expected,
            f"For r = {r} you get {count:,} parameters, but the gates have {expected:,}.",
        )
    return f"Right: {_parameters(blocks, 16):,} parameters for r = 16."


def pair(pictures) -> str:
    """Find two inputs that CBAM's channel gate can tell apart, and squeeze-and-excitation can't."""
    one, two = (
        as_tensor(picture, (1, 2, 8, 8), name).double()
        for picture, name in zip(pictures, ("The first", "The second"), strict=True)
    )
    refuse(torch.equal(one, two), "The two pictures are identical, so no gate can tell them apart.")
    squeezed = _largest_difference(gates.SqueezeExcitation, one, two)
    require(
        squeezed < 1e-9,
        f"Squeeze-and-excitation gives them weights that differ by up to {squeezed:.1g}. "
        "What does this gate compute from a picture?",
    )
    cbam = _largest_difference(gates.ChannelAttention, one, two)
    require(
        cbam > 1e-9,
        "CBAM's channel gate cannot tell them apart either. "
        "What does this gate use besides the means?",
    )
    return (
        f"Right: CBAM's channel gate gives them weights that differ by up to {cbam:.2g}; "
        "squeeze-and-excitation doesn't."
    )


def most_needed(name, network: nn.Module, weights: dict, images, labels) -> str:
    """Find the gate that costs most accuracy if its weights are replaced by their average.

    Args:
        name: The answer.
        network: A network with gates.
        weights: The weights of each gate for the images, by the gate's name.
        images: Images for which the accuracy is measured.
        labels: Their classes.
    """
    is_number = isinstance(name, int | float) or torch.is_tensor(name)
    refuse(is_number, "That is a number. Give the name of a gate: a key of w.")
    require(name in weights, f"There is no such gate: choose one of {', '.join(weights)}.")
    left = {
        gate: _accuracy_with_average(network, gate, a, images, labels)
        for gate, a in weights.items()
    }
    lowest = min(left.values())
    refuse(
        left[name] == max(left.values()) > lowest,
        f"That gate costs the least: with its average the accuracy is still {left[name]:.3f}.",
    )
    require(
        left[name] == lowest,
        "Another gate costs more: with the average of this one the accuracy is still "
        f"{left[name]:.3f}.",
    )
    values = ", ".join(f"{value:.3f}" for value in left.values())
    return f"Right. The accuracies, with one gate averaged at a time, are {values}."


def _parameters(blocks: Collection[int], r: int) -> int:
    with torch.device("meta"):  # counted without memory for the weights
        return sum(profiling.parameters(gates.SqueezeExcitation(C, r)) for C in blocks)


def _largest_difference(kind: type, one: Tensor, two: Tensor, draws: int = 100) -> float:
    """Return the largest difference between the weights of two inputs, over random gates."""
    with torch.no_grad():
        every = (kind(2, 1).double() for _ in range(draws))
        return max((gate.weights(one) - gate.weights(two)).abs().max().item() for gate in every)


def _accuracy_with_average(network, name, weights, images, labels) -> float:
    """Measure the accuracy with one gate's weights replaced by their average over the images."""
    average = weights.mean(dim=0, keepdim=True)
    hook = network.get_submodule(name).register_forward_hook(
        lambda gate, inputs, output: average * inputs[0]
    )
    try:
        with torch.inference_mode():
            batches = images.split(100)
            answers = torch.cat([network(batch).logits.argmax(dim=1) for batch in batches])
    finally:
        hook.remove()
    return (answers == labels).double().mean().item()
