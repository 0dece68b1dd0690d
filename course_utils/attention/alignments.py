r"""Alignment functions: from scores, any real numbers, to weights, none of them negative.

All have one call shape: scores (..., K) and an optional boolean mask of what may be attended → weights (..., K), along
the last dimension. They come in two families. `softmax`, `sparsemax` and `entmax` put their weights on the simplex:
each row sums to 1, so that more weight here is less weight there. With `sigmoid` every position decides alone, and
with `local` the distance to a centre takes weight away; rows sum to what they sum to. `sampling` has the alignments
that draw their weights at random.

Under a mask the positions left out get exactly 0, and a row in which nothing may be attended is all zeros, never NaN.
A score of −∞ is left out in the same way. Half-precision scores are aligned in single precision.
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
    r"""Exponentials over their sum, :math:`a_i = e^{r_i/T} / \sum_j e^{r_j/T}`.

    A high temperature T levels the weights; a low one leaves all of it to the highest score. All weights are positive.
    It may be a parameter that is learned.

    Raises:
        ValueError: a temperature that is not positive, not finite, or 0 in the precision of the scores; see also
            `allowed`.
    """
    ready, where = _prepared(scores, mask)
    if not torch.finfo(ready.dtype).tiny <= temperature < math.inf:
        raise ValueError(f"expected a positive, finite temperature, got {temperature}")
    if (
        torch.is_tensor(temperature) or temperature != 1
    ):  # the highest score becomes 0 first, so that nothing can overflow
        ready = (ready - ready.detach().amax(dim=-1, keepdim=True)) / temperature
    return _finished(ready.softmax(dim=-1), where, scores.dtype)


def sparsemax(scores: Scores, *, mask: Mask | None = None) -> Weights:
    """The point of the simplex nearest to the scores: low scores get exactly 0 (Martins and Astudillo 2016).

    Raises:
        ValueError: see `allowed`.
    """
    return entmax(scores, alpha=2.0, mask=mask)


def entmax(scores: Scores, *, alpha: float = 1.5, mask: Mask | None = None) -> Weights:
    r"""The family from softmax (α = 1) to sparsemax (α = 2) (Peters, Niculae and Martins 2019).

    .. math:: a_i = [(\alpha - 1)\, r_i - \tau]_+^{1/(\alpha - 1)}

    with the one threshold τ that makes the weights sum to 1. The larger α, the more of them are exactly 0.

    Raises:
        ValueError: α outside [1, 2]; see also `allowed`.
    """
    if not 1 <= alpha <= 2:
        raise ValueError(f"expected alpha from 1 (softmax) to 2 (sparsemax), got {alpha}")
    if alpha == 1:
        return softmax(scores, mask=mask)
    ready, where = _prepared(scores, mask)
    return _finished(_Entmax.apply(ready, alpha), where, scores.dtype)


def sigmoid(scores: Scores, *, mask: Mask | None = None) -> Weights:
    """Each weight from its own score alone, in (0, 1); a row sums to anything from 0 to K.

    Raises:
        ValueError: see `allowed`.
    """
    ready, where = _prepared(scores, mask)
    return _finished(ready.sigmoid(), where, scores.dtype)


def local(
    scores: Scores,
    centres: Float[Tensor, "*rows n"],
    positions: Float[Tensor, "K n"],
    *,
    window: float,
    gaussian: bool = True,
    mask: Mask | None = None,
) -> Weights:
    r"""Softmax within a window around a centre, times a Gaussian around it (Luong, Pham and Manning 2015, eq. 10).

    .. math:: a_i = \mathrm{softmax}_{|x_j - p| \le D}(r)_i \; e^{-|x_i - p|^2 / (2 \sigma^2)}, \quad \sigma = D / 2

    On a line (n = 1) this is the paper's; on a grid (n = 2) the window is a square and the Gaussian round. The paper's
    *monotonic* form moves the centre along with the query and has no Gaussian; its *predictive* form computes the
    centre from the query. With the Gaussian a row sums to at most 1, as in the paper.

    Args:
        scores: (..., K).
        centres: p for each row, in the units of the positions.
        positions: where each of the K positions lies.
        window: D, half the side of the window. A window without a position gives a row of zeros.
        gaussian: multiply by the Gaussian.
        mask: what may be attended.

    Raises:
        ValueError: a window that is not positive, centres and positions that do not fit the scores or are not finite;
            see also `allowed`.
    """
    where = allowed(scores, mask)
    if not window > 0:
        raise ValueError(f"expected a positive window, got {window}")
    if positions.ndim != 2 or positions.shape[:1] != scores.shape[-1:]:
        raise ValueError(
            f"expected a position (K, n) for each of {scores.shape[-1]} scores, got {tuple(positions.shape)}"
        )
    if centres.shape != (*scores.shape[:-1], positions.shape[1]):
        expected = (*scores.shape[:-1], positions.shape[1])
        raise ValueError(
            f"expected a centre for each row of scores, {expected}, got {tuple(centres.shape)}"
        )
    wide = torch.promote_types(
        positions.dtype, torch.float32
    )  # half precision cannot tell far positions apart
    offset = positions.to(wide) - centres[..., None, :].to(wide)  # (..., K, n)
    if not offset.isfinite().all():
        raise ValueError("expected finite centres and positions, got NaN or ∞ among them")
    weights = softmax(scores, mask=where & (offset.abs().amax(dim=-1) <= window))
    if not gaussian:
        return weights
    return weights * torch.exp(-offset.square().sum(dim=-1) / (2 * (window / 2) ** 2)).to(
        weights.dtype
    )


def allowed(scores: Scores, mask: Mask | None = None) -> Bool[Tensor, "*rows K"]:
    """Where attention may go: what the mask leaves of the scores above −∞. Every alignment checks its input here.

    Raises:
        ValueError: scores that are no floating-point numbers, no positions, NaN or +∞ among the scores, or a mask that
            is not boolean or does not fit them.
    """
    if not scores.is_floating_point():
        raise ValueError(f"expected scores in floating point, got {scores.dtype}")
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise ValueError(
            f"expected scores (..., K) with at least one position, got {tuple(scores.shape)}"
        )
    if scores.numel() and not (highest := scores.amax()) < torch.inf:  # NaN if any score is
        raise ValueError(f"expected scores that are numbers or −∞, got {highest.item()} among them")
    above = scores > -torch.inf
    if mask is None:
        return above
    if not torch.is_tensor(mask) or mask.dtype != torch.bool:
        given = mask.dtype if torch.is_tensor(mask) else type(mask).__name__
        raise ValueError(
            f"expected a boolean mask, a tensor that is true where attention may go, got {given}"
        )
    try:
        return above & mask.broadcast_to(scores.shape)
    except RuntimeError:
        given = f"{tuple(mask.shape)} for {tuple(scores.shape)}"
        raise ValueError(
            f"expected a mask that can be broadcast to the scores, got {given}"
        ) from None


class _Entmax(torch.autograd.Function):
    """Entmax along the last dimension, for finite scores or −∞, with at least one finite score a row."""

    @staticmethod
    def forward(ctx, scores: Tensor, alpha: float) -> Tensor:
        r"""Find the threshold by Newton's method; nothing is sorted.

        With K positions and :math:`p = 1 / (\alpha - 1)` the weights are :math:`a_i = [1 + x_i - t]_+^p / K`, where
        :math:`x_i = (\alpha - 1) K^{\alpha - 1} (r_i - \max r)`. Written so, nothing is lost to rounding near softmax,
        where p is huge and x tiny, or where all weights are alike and t near 0. Newton's method finds t where the
        p-norm of what is in the brackets, :math:`K^{1/p}`, is reached. That norm falls and is convex in t: steps from
        below the root stay below it. It is a straight line for equal scores, and for all scores in the limit of
        softmax; so few steps are needed, and for sparsemax they end at the root itself.
        """
        power, widest = 1 / (alpha - 1), scores.shape[-1] ** (alpha - 1)
        x = (scores - scores.amax(dim=-1, keepdim=True)) * ((alpha - 1) * widest)
        t = torch.full_like(x[..., :1], 1 - widest)  # all weight on the highest score
        for _ in range(100):  # 1 to 10 are needed
            slopes, weights = _powers((x - t).clamp_(min=-1), power)
            mean = weights.mean(dim=-1, keepdim=True)  # shall be 1
            step = -mean * torch.expm1((1 - alpha) * mean.log()) / slopes.mean(dim=-1, keepdim=True)
            moved = torch.maximum(t, t + step)  # rounding must not undo what is reached
            if torch.equal(moved, t):
                break
            t = moved
        weights /= weights.sum(dim=-1, keepdim=True)
        ctx.save_for_backward(weights)
        ctx.alpha = alpha
        return weights

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        """The Jacobian is diag(s) − s sᵀ / Σs with s = a^(2 − α) on the support: softmax's, if α were 1."""
        (weights,) = ctx.saved_tensors
        s = torch.where(
            weights > 0, weights.clamp(min=torch.finfo(weights.dtype).tiny) ** (2 - ctx.alpha), 0
        )
        mean = (s * gradient).sum(dim=-1, keepdim=True) / s.sum(dim=-1, keepdim=True)
        return s * (gradient - mean), None


def _powers(x: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """(1 + x)^(power − 1), taken as 0 at x = −1, and (1 + x)^power; the quick ways are sparsemax's and entmax-1.5's."""
    base = 1 + x
    if power == 1:
        return base.sign(), base
    slopes = base if power == 2 else (x.log1p() * (power - 1)).exp()
    return slopes, slopes * base


def _prepared(scores: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Check; put −∞ where nothing may be attended, and 0 in rows without any choice; single precision at least."""
    where = allowed(scores, mask)
    scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
    if where.all():
        return scores, None
    filled = scores.masked_fill(~where, -torch.inf)
    return filled.masked_fill(~where.any(dim=-1, keepdim=True), 0), where


def _finished(weights: Tensor, where: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Exact zeros where nothing may be attended, in the precision of the scores."""
    return (weights if where is None else weights * where).to(dtype)
