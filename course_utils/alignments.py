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

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Scores = Float[Tensor, "*rows K"]
Weights = Float[Tensor, "*rows K"]
Mask = Bool[Tensor, "*broadcastable"]


def softmax(scores: Scores, *, temperature: float = 1.0, mask: Mask | None = None) -> Weights:
    r"""Exponentials over their sum, :math:`a_i = e^{r_i/T} / \sum_j e^{r_j/T}`.

    A high temperature T levels the weights; a low one leaves all of it to the highest score. All weights are positive.

    Raises:
        ValueError: a temperature that is not positive; see also `sigmoid`.
    """
    if not temperature > 0:
        raise ValueError(f"expected a positive temperature, got {temperature}")
    ready, allowed = _prepared(scores, mask)
    return _finished((ready / temperature).softmax(dim=-1), allowed, scores.dtype)


def sparsemax(scores: Scores, *, mask: Mask | None = None) -> Weights:
    """The point of the simplex nearest to the scores: low scores get exactly 0 (Martins and Astudillo 2016).

    Raises:
        ValueError: see `sigmoid`.
    """
    return entmax(scores, alpha=2.0, mask=mask)


def entmax(scores: Scores, *, alpha: float = 1.5, mask: Mask | None = None) -> Weights:
    r"""The family from softmax (α = 1) to sparsemax (α = 2) (Peters, Niculae and Martins 2019).

    .. math:: a_i = [(\alpha - 1)\, r_i - \tau]_+^{1/(\alpha - 1)}

    with the one threshold τ that makes the weights sum to 1. The larger α, the more of them are exactly 0.

    Raises:
        ValueError: α outside [1, 2]; see also `sigmoid`.
    """
    if not 1 <= alpha <= 2:
        raise ValueError(f"expected alpha from 1 (softmax) to 2 (sparsemax), got {alpha}")
    if alpha == 1:
        return softmax(scores, mask=mask)
    ready, allowed = _prepared(scores, mask)
    return _finished(_Entmax.apply(ready, alpha), allowed, scores.dtype)


def sigmoid(scores: Scores, *, mask: Mask | None = None) -> Weights:
    """Each weight from its own score alone, in (0, 1); a row sums to anything from 0 to K.

    Raises:
        ValueError: no positions, NaN or +∞ among the scores, or a mask that does not fit them.
    """
    ready, allowed = _prepared(scores, mask)
    return _finished(ready.sigmoid(), allowed, scores.dtype)


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
    centre from the query. With the Gaussian a row sums to less than 1, as in the paper.

    Args:
        scores: (..., K).
        centres: p for each row, in the units of the positions.
        positions: where each of the K positions lies.
        window: D, half the side of the window. A window without a position gives a row of zeros.
        gaussian: multiply by the Gaussian.
        mask: what may be attended.

    Raises:
        ValueError: a window that is not positive, centres and positions that fit neither scores nor each other; see
            also `sigmoid`.
    """
    if not window > 0:
        raise ValueError(f"expected a positive window, got {window}")
    if positions.ndim != 2 or positions.shape[:1] != scores.shape[-1:]:
        raise ValueError(
            f"expected a position (K, n) for each of {scores.shape[-1]} scores, got {tuple(positions.shape)}"
        )
    if centres.shape != (*scores.shape[:-1], positions.shape[1]):
        expected = (*scores.shape[:-1], positions.shape[1])
        raise ValueError(f"expected a centre for each row of scores, {expected}, got {tuple(centres.shape)}")
    offset = positions - centres[..., None, :]  # (..., K, n)
    near = offset.abs().amax(dim=-1) <= window
    weights = softmax(scores, mask=near if mask is None else near & mask)
    if not gaussian:
        return weights
    return weights * torch.exp(-offset.square().sum(dim=-1) / (2 * (window / 2) ** 2)).to(weights.dtype)


class _Entmax(torch.autograd.Function):
    """Entmax along the last dimension, for finite scores or −∞, with at least one finite score a row."""

    @staticmethod
    def forward(ctx, scores: Tensor, alpha: float) -> Tensor:
        """Find the threshold by Newton's method.

        The sum of the weights falls and is convex in τ, so that steps from below the root stay below it and close in
        on it; for sparsemax they end after finitely many. Nothing is sorted.
        """
        power = 1 / (alpha - 1)
        scaled = scores * (alpha - 1)
        scaled = scaled - scaled.amax(dim=-1, keepdim=True)  # the highest score is 0: nothing large is subtracted
        tau = torch.full_like(scaled[..., :1], -1.0)  # the weight of the highest score alone is then 1
        for _ in range(100):  # about ln K steps are needed
            rest = (scaled - tau).clamp_(min=0)
            slopes = torch.ones_like(rest).mul_(rest > 0) if alpha == 2 else rest.pow(power - 1)
            step = ((rest * slopes).sum(dim=-1, keepdim=True) - 1) / (power * slopes.sum(dim=-1, keepdim=True))
            moved = torch.maximum(tau, tau + step)  # rounding must not undo what is reached
            if torch.equal(moved, tau):
                break
            tau = moved
        weights = (scaled - tau).clamp_(min=0).pow_(power)
        weights /= weights.sum(dim=-1, keepdim=True)
        ctx.save_for_backward(weights)
        ctx.alpha = alpha
        return weights

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        """The Jacobian is diag(s) − s sᵀ / Σs with s = a^(2 − α) on the support: softmax's, if α were 1."""
        (weights,) = ctx.saved_tensors
        s = torch.where(weights > 0, weights.clamp(min=torch.finfo(weights.dtype).tiny) ** (2 - ctx.alpha), 0)
        mean = (s * gradient).sum(dim=-1, keepdim=True) / s.sum(dim=-1, keepdim=True)
        return s * (gradient - mean), None


def _prepared(scores: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Check; put −∞ where nothing may be attended, and 0 in rows without any choice; single precision at least."""
    if scores.numel() == 0:
        raise ValueError(f"expected scores (..., K) with at least one position, got {tuple(scores.shape)}")
    lowest, highest = scores.aminmax()  # either is NaN if any score is
    if highest.isnan() or highest == torch.inf:
        raise ValueError(f"expected scores that are numbers or −∞, got {highest.item()} among them")
    if mask is not None:
        if mask.dtype != torch.bool:
            raise ValueError(f"expected a boolean mask, true where attention may go, got {mask.dtype}")
        try:
            mask = mask.broadcast_to(scores.shape)
        except RuntimeError:
            given = f"{tuple(mask.shape)} for {tuple(scores.shape)}"
            raise ValueError(f"expected a mask that can be broadcast to the scores, got {given}") from None
    scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
    if mask is None and lowest > -torch.inf:
        return scores, None
    allowed = ~scores.isneginf() if mask is None else mask & ~scores.isneginf()
    filled = scores.masked_fill(~allowed, -torch.inf)
    return filled.masked_fill(~allowed.any(dim=-1, keepdim=True), 0), allowed


def _finished(weights: Tensor, allowed: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Exact zeros where nothing may be attended, in the precision of the scores."""
    return (weights if allowed is None else weights * allowed).to(dtype)
