"""Weights of a network: loading them with checks, and storing them in half precision."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those in floating point in half precision, the others as they are.

    Raises:
        ValueError: a number that half precision can't hold.
    """
    result = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    for name, t in result.items():
        if not t.isfinite().all():
            largest = tensors[name].abs().max().item()
            raise ValueError(f"{name} goes up to {largest:.3g}, and half precision ends at 65,504")
    return result


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights into a model whose names and shapes they fit; otherwise the model stays as it is.

    Names and shapes do not tell all options apart: not softmax from sigmoid, nor dp from scaled dp.

    Raises:
        ValueError: weights of another network, or of one with other channel or class counts; the message names both.
    """
    own = model.state_dict()
    for name in sorted(set(own) ^ set(weights)):
        has, lacks = ("network", "weights") if name in own else ("weights", "network")
        raise ValueError(
            f"the weights are not of this network: {name!r} is in the {has} and not in the {lacks}"
        )
    for name, value in weights.items():
        if value.shape != own[name].shape:
            given, expected = tuple(value.shape), tuple(own[name].shape)
            what = (
                "number of classes" if name.startswith("classifiers") else "width or another option"
            )
            raise ValueError(
                f"the weights have {name!r} of shape {given}, the network expects {expected}: another {what}?"
            )
    model.load_state_dict(weights)
