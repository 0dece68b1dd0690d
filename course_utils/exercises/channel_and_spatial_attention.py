"""The exercises of chapter 05."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from course_utils.attention import gates
from course_utils.core import profiling
from course_utils.exercises._feedback import number, require, tensor


def squeeze(function, blocks: Sequence[int]) -> str:
    """The parameters of the gates of squeeze-and-excitation after blocks of so many channels, by the reduction."""
    divisors = [r for r in range(2, min(blocks) + 1) if math.gcd(*blocks) % r == 0]
    for r in (divisors[i] for i in torch.randperm(len(divisors))[:3]):
        found, expected = (
            round(number(function(r), f"For r = {r} the answer")),
            _of_squeezes(blocks, r),
        )
        require(
            found != expected / 2, f"For r = {r} that is half of them: a gate has two matrices."
        )
        each_once = _of_squeezes(set(blocks), r)
        require(
            found != each_once,
            f"For r = {r} that is each width once: every block has a gate of its own.",
        )
        biases = sum(C + C // r for C in blocks)
        require(
            found != expected + biases,
            f"For r = {r} that counts {biases:,} biases, and these gates have none.",
        )
        require(
            found != r * expected,
            f"For r = {r} that is {r} times too many. What lies between the two matrices?",
        )
        require(
            found == expected,
            f"For r = {r} it is {found:,}; the gates themselves have {expected:,}.",
        )
    return f"Right: {_of_squeezes(blocks, 16):,} for r = 16."


def pair(pictures) -> str:
    """Two pictures that are one to squeeze-and-excitation, whatever its parameters, and two to CBAM's channel gate."""
    one, two = (
        tensor(p, (1, 2, 8, 8), name).double()
        for p, name in zip(pictures, ("The first", "The second"))
    )
    require(
        not torch.equal(one, two),
        "That is the same picture twice, and nothing can tell it from itself.",
    )
    squeezed = _apart(gates.SqueezeExcitation, one, two)
    require(
        squeezed < 1e-9,
        f"Squeeze-and-excitation tells them apart, by up to {squeezed:.1g}. What does it see?",
    )
    told = _apart(gates.ChannelAttention, one, two)
    require(
        told > 1e-9,
        "CBAM's channel gate cannot tell them apart either. What does it see beyond the means?",
    )
    return f"Right: CBAM's channel gate tells them apart by up to {told:.2g}, squeeze-and-excitation does not."


def most_needed(name, network: nn.Module, weights: dict, images, labels) -> str:
    """The gate whose weights cost most when each image gets their average instead of its own."""
    number_of = isinstance(name, int | float) or torch.is_tensor(name)
    require(not number_of, "That is a number: the answer is the name of a gate, such as w has it.")
    require(name in weights, f"There is no such gate: choose one of {', '.join(weights)}.")
    left = {
        gate: _accuracy_averaged(network, gate, a, images, labels) for gate, a in weights.items()
    }
    least = min(left.values())
    require(
        left[name] == least or left[name] < max(left.values()),
        f"That is the one that costs least: {left[name]:.3f} are left with its average.",
    )
    require(
        left[name] == least,
        f"Another one costs more: with the average of this one {left[name]:.3f} are left.",
    )
    return f"Right. Left with one averaged: {', '.join(f'{value:.3f}' for value in left.values())}."


def _of_squeezes(blocks, r: int) -> int:
    with torch.device("meta"):
        return sum(profiling.parameters(gates.SqueezeExcitation(C, r)) for C in blocks)


def _apart(kind, one, two, draws: int = 100) -> float:
    """How far the weights of two pictures differ, at most, with random parameters."""
    with torch.no_grad():
        every = (kind(2, 1).double() for _ in range(draws))
        return max((gate.weights(one) - gate.weights(two)).abs().max().item() for gate in every)


def _accuracy_averaged(network, name, weights, images, labels) -> float:
    average = weights.mean(dim=0, keepdim=True)
    hook = network.get_submodule(name).register_forward_hook(
        lambda gate, inputs, output: average * inputs[0]
    )
    try:
        with torch.inference_mode():
            found = torch.cat([network(batch).logits.argmax(dim=1) for batch in images.split(100)])
    finally:
        hook.remove()
    return (found == labels).double().mean().item()
