"""Building blocks of a check: each raises an error with one sentence if the answer is wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

Number = float | Tensor  # a tensor with one element


class WrongError(Exception):
    """The answer is wrong; the message is the sentence that the learner reads."""


class UnfinishedError(Exception):
    """There is no answer yet."""


def require(condition: bool | Tensor, sentence: str) -> None:
    """Raise an error with the sentence unless the condition holds.

    Raises:
        WrongError: If the condition does not hold.
    """
    if not condition:
        raise WrongError(sentence)


def refuse(mistake: bool | Tensor, sentence: str) -> None:
    """Raise an error with the sentence if the answer contains this mistake.

    Raises:
        WrongError: If the mistake was made.
    """
    if mistake:
        raise WrongError(sentence)


def as_number(value: Any, name: str = "The answer") -> float:
    """Return the value as a float: an int, a float, or a tensor or array with one element.

    Raises:
        WrongError: If the value is not a single number, or is NaN or infinite.
    """
    sentence = f"{name} should be one number, not {_describe(value)}."
    refuse(isinstance(value, str), sentence)
    try:
        result = float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):
        raise WrongError(sentence) from None
    require(math.isfinite(result), f"{name} should be a finite number, not {result}.")
    return result


def as_tensor(value: Any, shape: tuple[int, ...], name: str = "The answer") -> Tensor:
    """Return the value as a detached tensor.

    Raises:
        WrongError: If the value is not a tensor of this shape, or contains NaN or infinity.
    """
    wanted = _describe_shape(shape)
    require(
        torch.is_tensor(value),
        f"{name} should be a tensor of shape {wanted}, not {_describe(value)}.",
    )
    require(
        value.shape == shape,
        f"{name} should have the shape {wanted}, not {_describe_shape(value.shape)}.",
    )
    require(torch.isfinite(value).all(), f"{name} should be finite, but contains inf or nan.")
    return value.detach()


def as_bool(value: object, name: str = "The answer") -> bool:
    """Return the value as a bool: True or False from Python, NumPy or PyTorch, or 1 or 0.

    Raises:
        WrongError: If the value is neither.
    """
    require(value in (True, False), f"{name} should be True or False, not {value!r}.")
    return bool(value)


def require_number(
    value: float,
    expected: Number,
    mistakes: Sequence[tuple[Number, str]],
    otherwise: str,
    tolerance: float = 1e-3,
) -> None:
    """Require a number, and name the known mistake that leads to another one.

    Args:
        value: The learner's number.
        expected: The right number.
        mistakes: The number that each known mistake leads to, with the sentence about it.
        otherwise: The sentence about any other number.
        tolerance: The largest difference between two numbers that count as equal.

    Raises:
        WrongError: If the number is not the expected one.
    """

    def distance(other: Number) -> float:
        return math.fabs(value - other)

    if distance(expected) <= tolerance:
        return
    # Two mistakes can lead to similar numbers, so the nearest one decides.
    nearest, sentence = min(
        mistakes, key=lambda mistake: distance(mistake[0]), default=(value, otherwise)
    )
    raise WrongError(sentence if distance(nearest) <= tolerance else otherwise)


def require_tensor(
    value: Tensor, expected: Tensor, mistakes: Sequence[tuple[Tensor, str]], otherwise: str
) -> None:
    """Require a tensor, and name the known mistake that leads to another one.

    Args:
        value: The learner's tensor.
        expected: The right tensor, of the same shape.
        mistakes: The tensor that each known mistake leads to, with the sentence about it.
        otherwise: The sentence about any other tensor.

    Raises:
        WrongError: If the tensor is not the expected one.
    """
    # For some random inputs a mistake makes no difference, so the right tensor comes first.
    if is_close(value, expected):
        return
    for mistaken, sentence in mistakes:
        refuse(is_close(value, mistaken), sentence)
    raise WrongError(otherwise)


def is_close(value: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    """Return whether two tensors agree, relative to the largest absolute value expected.

    That value counts as 1 if it is smaller. The tensors may differ in dtype.
    """
    expected = expected.detach().double()
    error = (value.detach().double() - expected).abs().max()
    return bool(error <= tolerance * expected.abs().max().clamp(min=1))


def _describe(value: object) -> str:
    if torch.is_tensor(value):
        return f"a tensor of shape {_describe_shape(value.shape)}"
    if value is None:
        return "None"
    is_function = callable(value) and not isinstance(value, nn.Module)
    name = "function" if is_function else type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _describe_shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
