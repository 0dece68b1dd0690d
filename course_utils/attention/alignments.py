r"""Alignment functions: from scores, which may be any real numbers, to non-negative weights.

All alignment functions are called in the same way. They take scores (..., K) and an optional
boolean mask, true where attention is allowed, and return weights (..., K), computed along the last
dimension. There are two families:

- With `softmax`, `sparsemax` and `entmax`, each row of weights sums to 1 (it lies on the simplex).
  The positions compete: more weight at one position means less at the others.
- With `sigmoid`, each position is weighted independently, and with `local`, the distance to a
  centre reduces the weights. The sum of a row is not fixed.

`hard` has the alignments that draw weights at random.

A masked position, or one with a score of −∞, gets a weight of exactly 0. A row in which no position
is allowed is all zeros, never NaN. Half-precision scores are aligned in single precision.

Like PyTorch's own softmax, all of them work under `torch.func`, `torch.vmap`, `torch.compile` and
`torch.export`. Under the last three, no branch may depend on a tensor's values, so values are not
checked there: scores with NaN give weights with NaN. There is one exception: training through
`sparsemax` or `entmax` can't be compiled with ``fullgraph=True``.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from course_utils.attention._entmax import Entmax
from course_utils.core.tensor_checks import truth_of

Scores = Float[Tensor, "*rows K"]
Weights = Float[Tensor, "*rows K"]
Mask = Bool[Tensor, "*broadcastable"]
OneNumber = float | Float[Tensor, ""] | Float[Tensor, "1"]  # a tensor if it is learned


def softmax(scores: Scores, *, temperature: OneNumber = 1.0, mask: Mask | None = None) -> Weights:
    r"""Return :math:`a_i = e^{r_i/T} / \sum_j e^{r_j/T}`, the exponentials over their sum.

    All weights are positive.

    Args:
        scores: (..., K).
        temperature: T, positive; a tensor if it is learned. A high temperature makes the weights
            more alike, and a low one gives almost all of the weight to the highest score.
        mask: True where attention is allowed.

    Raises:
        ValueError: If the temperature is not one number, or is not positive and finite in the
            precision of the scores; see also `allowed`.
    """
    ready, where = _prepared(scores, mask)
    _check_single("temperature", temperature)
    fits = (temperature >= torch.finfo(ready.dtype).tiny) & (temperature < math.inf)
    if truth_of(fits) is False:
        raise ValueError(f"expected a positive, finite temperature, got {temperature}")
    if torch.is_tensor(temperature) or temperature != 1:
        # Softmax sees differences only. Moving the highest score to 0 before the division changes
        # nothing, and a low temperature can't make the quotient overflow.
        ready = (ready - ready.detach().amax(dim=-1, keepdim=True)) / temperature
    return _finished(ready.softmax(dim=-1), where, scores.dtype)


def sparsemax(scores: Scores, *, mask: Mask | None = None) -> Weights:
    """Return the point of the simplex nearest to the scores (Martins and Astudillo 2016).

    Low scores get weights of exactly 0.

    Raises:
        ValueError: See `allowed`.
    """
    return entmax(scores, alpha=2.0, mask=mask)


def entmax(scores: Scores, *, alpha: OneNumber = 1.5, mask: Mask | None = None) -> Weights:
    r"""Return weights between softmax (α = 1) and sparsemax (α = 2) (Peters et al. 2019).

    .. math:: a_i = [(\alpha - 1)\, r_i - \tau]_+^{1/(\alpha - 1)}

    The threshold τ is the only one for which the weights sum to 1. The larger α, the more weights
    are exactly 0.

    Sources: Peters, Niculae and Martins 2019; for the gradient of α, Correia, Niculae and Martins
    2019, who learn it.

    Args:
        scores: (..., K).
        alpha: α, in [1, 2]; a tensor if it is learned. At both ends, its gradient is one-sided. An
            optimiser can step outside the range, so compute α from a parameter that can have any
            value, for example as ``1 + parameter.sigmoid()``. For `torch.export`, α must be a
            number.
        mask: True where attention is allowed.

    Raises:
        ValueError: If α is not one number, or is outside [1, 2]; see also `allowed`.
    """
    _check_single("alpha", alpha)
    ready, where = _prepared(scores, mask)
    if torch.is_tensor(alpha):
        alpha = alpha.reshape(()).to(ready)
    return _finished(Entmax.apply(ready, alpha), where, scores.dtype)


def sigmoid(scores: Scores, *, mask: Mask | None = None) -> Weights:
    """Return a weight in (0, 1) for each score independently; a row can sum to any value up to K.

    Raises:
        ValueError: See `allowed`.
    """
    ready, where = _prepared(scores, mask)
    return _finished(ready.sigmoid(), where, scores.dtype)


def local(
    scores: Scores,
    centres: Float[Tensor, "*rows n"],
    positions: Float[Tensor, "K n"],
    *,
    window: float,
    mask: Mask | None = None,
) -> Weights:
    r"""Return softmax weights within a window, times a Gaussian around the window's centre.

    .. math::
        a_i = \mathrm{softmax}_{|p_j - p| \le D}(r)_i \; e^{-2 |p_i - p|^2 / D^2}

    The Gaussian has the standard deviation D / 2. On a line (n = 1), this is the local attention of
    the paper. On a grid (n = 2), the window is a square and the Gaussian is round. The Gaussian
    makes a row sum to at most 1, as in the paper.

    The paper has two variants. Its *predictive* variant computes the centre from the query and
    learns it through the Gaussian. Its *monotonic* variant moves the centre along with the query,
    and has no Gaussian.

    Source: Luong, Pham and Manning 2015, eq. 10.

    Args:
        scores: (..., K).
        centres: Centre p for each row, in the units of the positions.
        positions: Coordinates of the K positions.
        window: D, half the side of the window. A row without a position in its window is all zeros.
        mask: True where attention is allowed.

    Raises:
        ValueError: If the window is not positive, or the centres and positions do not fit the
            scores or are not finite; see also `allowed`.
    """
    where = allowed(scores, mask)
    offset = _offsets(scores, centres, positions, window)  # (..., K, n)
    weights = softmax(scores, mask=where & (offset.abs().amax(dim=-1) <= window))
    sigma = window / 2
    gaussian = torch.exp(-offset.square().sum(dim=-1) / (2 * sigma**2))  # (..., K)
    return weights * gaussian.to(weights.dtype)


def _offsets(scores: Tensor, centres: Tensor, positions: Tensor, window: float) -> Tensor:
    """Check the geometry of `local`, and return the position minus the centre, (..., K, n)."""
    if truth_of(window > 0) is False:
        raise ValueError(f"expected a positive window, got {window}")
    if positions.ndim != 2 or positions.shape[:1] != scores.shape[-1:]:
        raise ValueError(
            f"expected a position (K, n) for each of {scores.shape[-1]} scores, "
            f"got {tuple(positions.shape)}"
        )
    expected = (*scores.shape[:-1], positions.shape[1])
    if centres.shape != expected:
        raise ValueError(
            f"expected a centre for each row of scores, {expected}, got {tuple(centres.shape)}"
        )
    # Half precision has no exact integers beyond 2,048 (bfloat16: 256), so distant positions would
    # coincide.
    wide = torch.promote_types(positions.dtype, torch.float32)
    offset = positions.to(wide) - centres[..., None, :].to(wide)  # (K, n) − (..., 1, n)
    if truth_of(offset.isfinite().all()) is False:
        raise ValueError("expected finite centres and positions, got NaN or ∞ among them")
    return offset


def allowed(scores: Scores, mask: Mask | None = None) -> Bool[Tensor, "*rows K"]:
    """Return where attention is allowed: where the mask is true and the score is above −∞.

    Every alignment function checks its input here.

    Raises:
        ValueError: If the scores are not floating point, have no positions, or contain NaN or +∞;
            or if the mask is not a boolean tensor that can be broadcast to the scores.
    """
    if not scores.is_floating_point():
        raise ValueError(f"expected scores in floating point, got {scores.dtype}")
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise ValueError(
            f"expected scores (..., K) with at least one position, got {tuple(scores.shape)}"
        )
    # The maximum is NaN if any score is, so one comparison finds NaN and +∞.
    if scores.numel() and truth_of((highest := scores.amax()) < torch.inf) is False:
        raise ValueError(f"expected finite scores or −∞, got {highest.item()} among them")
    above = scores != -torch.inf  # true for NaN, which then reaches the weights
    if mask is None:
        return above
    if not torch.is_tensor(mask) or mask.dtype != torch.bool:
        kind = mask.dtype if torch.is_tensor(mask) else type(mask).__name__
        raise ValueError(
            f"expected a boolean mask, a tensor that is true where attention is allowed, got {kind}"
        )
    try:
        return above & mask.broadcast_to(scores.shape)
    except RuntimeError:
        given = f"{tuple(mask.shape)} for {tuple(scores.shape)}"
        raise ValueError(
            f"expected a mask that can be broadcast to the scores, got {given}"
        ) from None


def _check_single(name: str, value: OneNumber) -> None:
    """Check that an option is a number or a tensor with one element."""
    if torch.is_tensor(value) and value.numel() != 1:
        raise ValueError(f"expected {name} to be one number, got a tensor {tuple(value.shape)}")


def _prepared(scores: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Check the input, and return scores that are safe to align, and where attention is allowed.

    The second result is None if attention is allowed everywhere.
    """
    where = allowed(scores, mask)
    scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
    if truth_of(where.all()):
        return scores, None
    filled = scores.masked_fill(~where, -torch.inf)
    # A row of −∞ alone would become NaN. It gets zeros here, and `_finished` removes its weights.
    return filled.masked_fill(~where.any(dim=-1, keepdim=True), 0), where


def _finished(weights: Tensor, where: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Set weights to exactly 0 where attention is not allowed, in the precision of the scores."""
    return (weights if where is None else weights * where).to(dtype)
