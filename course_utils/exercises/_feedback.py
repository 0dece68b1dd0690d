"""What a check says about an answer: each function raises one sentence, or hands the answer on."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

Number = float | Tensor  # of one element


class WrongError(Exception):
    """The answer is not right; the message is the sentence that the learner reads."""


class UnfinishedError(Exception):
    """There is no answer yet."""


def require(good: bool | Tensor, sentence: str) -> None:
    """Go on where all is well.

    Raises:
        WrongError: with the sentence, where it is not.
    """
    if not good:
        raise WrongError(sentence)


def number(given: object, what: str = "The answer") -> float:
    """The answer as a number: an int, a float, or a tensor or array with one element.

    Raises:
        WrongError: it is none, or not finite.
    """
    try:
        value = float(given.item() if hasattr(given, "item") else given)
    except (TypeError, ValueError, RuntimeError):
        value = None
    require(
        value is not None and not isinstance(given, str),
        f"{what} should be one number, not {_kind(given)}.",
    )
    require(math.isfinite(value), f"{what} should be a finite number, not {value}.")
    return value


def tensor(given: object, shape: tuple[int, ...], what: str = "The answer") -> Tensor:
    """The answer as a tensor of a shape, detached.

    Raises:
        WrongError: it is no tensor, has another shape, or holds what is not finite.
    """
    require(
        torch.is_tensor(given), f"{what} should be a tensor {_shape(shape)}, not {_kind(given)}."
    )
    require(
        given.shape == shape,
        f"{what} should have the shape {_shape(shape)}, not {_shape(given.shape)}.",
    )
    require(
        torch.isfinite(given).all(), f"{what} should be finite everywhere, and there is inf or nan."
    )
    return given.detach()


def truth(given: object, what: str = "The answer") -> bool:
    """The answer as True or False, of Python, NumPy or PyTorch.

    Raises:
        WrongError: it is neither.
    """
    require(given in (True, False), f"{what} should be True or False, not {given!r}.")
    return bool(given)


def expect(
    given: float,
    expected: Number,
    slips: dict[str, Number],
    otherwise: str,
    tolerance: float = 1e-3,
) -> None:
    """Go on where a number is what it should be; elsewhere say which known slip gives it.

    Args:
        given: the learner's number.
        expected: the right one.
        slips: a sentence about each mistake, and the number that it leads to.
        otherwise: the sentence about any other number.
        tolerance: how far apart two numbers may be and still count as one.

    Raises:
        WrongError: it is another number.
    """
    if abs(given - expected) > tolerance:
        nearest, slip = min(
            slips.items(), key=lambda pair: abs(given - pair[1]), default=(otherwise, given)
        )
        require(False, nearest if abs(given - slip) <= tolerance else otherwise)


def close(given: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    """Whether two tensors agree, by the size of the numbers in the second; their kinds of floats may differ."""
    expected = expected.detach().double()
    return bool(
        (given.detach().double() - expected).abs().max()
        <= tolerance * expected.abs().max().clamp(min=1)
    )


def _kind(given: object) -> str:
    if torch.is_tensor(given):
        return f"a tensor {_shape(given.shape)}"
    if given is None:
        return "None"
    name = (
        type(given).__name__ if isinstance(given, nn.Module) or not callable(given) else "function"
    )
    return f"{'an' if name[0] in 'aeiou' or name == 'ndarray' else 'a'} {name}"


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
