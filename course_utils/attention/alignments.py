r"""Alignment functions: from scores, any real numbers, to non-negative weights.

All alignment functions are called alike: scores (..., K) and an optional boolean mask, true where
attention is allowed → weights (..., K), computed along the last dimension. There are two families:

- With `softmax`, `sparsemax` and `entmax`, each row of weights sums to 1 (it lies on the simplex).
  The positions compete: more weight at one position means less at the others.
- With `sigmoid`, each position is weighted independently, and with `local`, the distance to a
  centre reduces the weights. The sum of a row is not fixed.

`hard` has the alignments that draw weights at random.

A masked position, or one with a score of −∞, gets a weight of exactly 0. A row in which no position
is allowed is all zeros, never NaN. Half-precision scores are aligned in single precision.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Scores = Float[Tensor, "*rows K"]
Weights = Float[Tensor, "*rows K"]
Mask = Bool[Tensor, "*broadcastable"]


def softmax(
    scores: Scores, *, temperature: float | Float[Tensor, ""] = 1.0, mask: Mask | None = None
) -> Weights:
    r"""Return :math:`a_i = e^{r_i/T} / \sum_j e^{r_j/T}`, the exponentials over their sum.

    All weights are positive.

    Args:
        scores: (..., K).
        temperature: T, positive; a tensor if it is learned. A high temperature makes the weights
            more alike, and a low one gives almost all of the weight to the highest score.
        mask: True where attention is allowed.

    Raises:
        ValueError: If the temperature is not positive and finite in the precision of the scores;
            see also `allowed`.
    """
    ready, where = _prepared(scores, mask)
    if not torch.finfo(ready.dtype).tiny <= temperature < math.inf:
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


def entmax(scores: Scores, *, alpha: float = 1.5, mask: Mask | None = None) -> Weights:
    r"""Return weights between softmax (α = 1) and sparsemax (α = 2) (Peters et al. 2019).

    .. math:: a_i = [(\alpha - 1)\, r_i - \tau]_+^{1/(\alpha - 1)}

    The threshold τ is the only one for which the weights sum to 1. The larger α, the more weights
    are exactly 0. Source: Peters, Niculae and Martins 2019.

    Args:
        scores: (..., K).
        alpha: α, in [1, 2].
        mask: True where attention is allowed.

    Raises:
        ValueError: If α is outside [1, 2]; see also `allowed`.
    """
    if not 1 <= alpha <= 2:
        raise ValueError(f"expected alpha from 1 (softmax) to 2 (sparsemax), got {alpha}")
    if alpha == 1:
        return softmax(scores, mask=mask)
    ready, where = _prepared(scores, mask)
    return _finished(_Entmax.apply(ready, alpha), where, scores.dtype)


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
        a_i = \mathrm{softmax}_{|x_j - p| \le D}(r)_i \; e^{-|x_i - p|^2 / (2 \sigma^2)},
        \quad \sigma = D / 2

    On a line (n = 1), this is the local attention of the paper. On a grid (n = 2), the window is a
    square and the Gaussian is round. The Gaussian makes a row sum to at most 1, as in the paper.

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
    if not window > 0:
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
    if not offset.isfinite().all():
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
    if scores.numel() and not (highest := scores.amax()) < torch.inf:
        raise ValueError(f"expected finite scores or −∞, got {highest.item()} among them")
    above = scores > -torch.inf
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


class _Entmax(torch.autograd.Function):
    """Entmax along the last dimension.

    The scores are finite or −∞, and each row has at least one finite score.
    """

    @staticmethod
    def forward(ctx, scores: Tensor, alpha: float) -> Tensor:
        r"""Find the threshold by Newton's method, without sorting.

        With K positions and :math:`p = 1 / (\alpha - 1)`, the weights are
        :math:`a_i = [1 + x_i - t]_+^p / K`, where
        :math:`x_i = (\alpha - 1) K^{\alpha - 1} (r_i - \max r)`. This form keeps its precision near
        softmax, where p is huge and x is tiny, and for nearly equal weights, where t is near 0.

        Newton's method looks for the t at which the p-norm of the brackets is :math:`K^{1/p}`. That
        norm falls and is convex in t, so a step from below the root never passes it. For equal
        scores, and for all scores in the limit of softmax, the norm is a straight line; few steps
        are needed. For sparsemax, they end at the root itself.
        """
        power = 1 / (alpha - 1)
        widest = scores.shape[-1] ** (alpha - 1)
        x = (scores - scores.amax(dim=-1, keepdim=True)) * ((alpha - 1) * widest)  # (..., K)
        # Start below the root: with this t, the highest score alone has a weight of 1.
        t = torch.full_like(x[..., :1], 1 - widest)  # (..., 1)
        for _ in range(100):  # 1 to 10 steps are needed
            slopes, weights = _powers((x - t).clamp_(min=-1), power)
            mean = weights.mean(dim=-1, keepdim=True)  # is 1 at the root
            step = -mean * torch.expm1((1 - alpha) * mean.log()) / slopes.mean(dim=-1, keepdim=True)
            moved = torch.maximum(t, t + step)  # a step back can only be rounding
            if torch.equal(moved, t):
                break
            t = moved
        weights /= weights.sum(dim=-1, keepdim=True)
        ctx.save_for_backward(weights)
        ctx.alpha = alpha
        return weights

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        """Multiply by the Jacobian diag(s) − s sᵀ / Σs, with s = a^(2 − α) where a > 0.

        For α = 1, s would be a, and this the Jacobian of softmax.
        """
        (weights,) = ctx.saved_tensors
        # Clamped first: the power of 0 has an infinite slope, and `where` would make NaN of it in
        # the second derivative.
        positive = weights.clamp(min=torch.finfo(weights.dtype).tiny)
        s = torch.where(weights > 0, positive ** (2 - ctx.alpha), 0)
        mean = (s * gradient).sum(dim=-1, keepdim=True) / s.sum(dim=-1, keepdim=True)
        return s * (gradient - mean), None


def _powers(x: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """Return (1 + x)^(power − 1), or 0 where x = −1, and (1 + x)^power.

    Sparsemax (power 1) and entmax with α = 1.5 (power 2) need no logarithm.
    """
    base = 1 + x
    if power == 1:
        return base.sign(), base
    slopes = base if power == 2 else (x.log1p() * (power - 1)).exp()
    return slopes, slopes * base


def _prepared(scores: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Check the input, and return scores that are safe to align, and where attention is allowed.

    The second result is None if attention is allowed everywhere.
    """
    where = allowed(scores, mask)
    scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
    if where.all():
        return scores, None
    filled = scores.masked_fill(~where, -torch.inf)
    # A row of −∞ alone would become NaN. It gets zeros here, and `_finished` removes its weights.
    return filled.masked_fill(~where.any(dim=-1, keepdim=True), 0), where


def _finished(weights: Tensor, where: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Set weights to exactly 0 where attention is not allowed, in the precision of the scores."""
    return (weights if where is None else weights * where).to(dtype)
