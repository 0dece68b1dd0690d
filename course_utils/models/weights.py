"""Weights of a network: loading them with checks, and half precision for storage."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert floating-point tensors to half precision; the others stay as they are.

    Raises:
        ValueError: If a value is too large for half precision.
    """
    result = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    for name, t in result.items():
        if not t.isfinite().all():
            largest = tensors[name].abs().max().item()
            raise ValueError(
                "expected values of at most 65,504, the limit of half precision, "
                f"got {largest:.3g} in {name}"
            )
    return result


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights into a model if their names and shapes fit; otherwise the model stays as it is.

    Names and shapes can't tell all options apart: softmax and sigmoid have the same weights, and so
    do dp and scaled dp.

    Raises:
        ValueError: If the weights belong to another network, or to one with other channel or class
            counts; the message gives the name of the weight and both shapes.
    """
    own = model.state_dict()
    for name in sorted(set(own) ^ set(weights)):
        has, lacks = ("network", "weights") if name in own else ("weights", "network")
        raise ValueError(
            "the weights belong to another network: "
            f"{name!r} is in the {has} and not in the {lacks}"
        )
    for name, value in weights.items():
        if value.shape != own[name].shape:
            given, expected = tuple(value.shape), tuple(own[name].shape)
            is_classifier = name.startswith("classifiers")
            cause = "number of classes" if is_classifier else "width or another option"
            raise ValueError(
                f"the weights have {name!r} of shape {given}, the network expects {expected}; "
                f"was it built with another {cause}?"
            )
    model.load_state_dict(weights)
