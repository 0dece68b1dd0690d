"""Entmax as a function that PyTorch can differentiate; call it through `alignments.entmax`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

NEWTON_STEPS = 30  # an upper limit; rows of 100,000 scores, whatever their range, needed up to 14


class Entmax(torch.autograd.Function):
    """Entmax along the last dimension.

    The scores are finite or −∞, and each row has at least one finite score. α is a number, or a
    zero-dimensional tensor if it needs a gradient.
    """

    @staticmethod
    def forward(scores: Tensor, alpha: float | Tensor) -> Tensor:
        """Return the weights."""
        number = float(alpha)
        if not 1 <= number <= 2:
            raise ValueError(f"expected alpha from 1 (softmax) to 2 (sparsemax), got {number}")
        return scores.softmax(dim=-1) if number == 1 else _by_newton(scores, number)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, float | Tensor], output: Tensor) -> None:
        """Keep what both derivatives need: the weights and α."""
        _, alpha = inputs
        learned = alpha if torch.is_tensor(alpha) else None
        ctx.save_for_backward(output, learned)
        ctx.save_for_forward(output, learned)
        ctx.number = alpha if learned is None else None

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        """Multiply by the Jacobian, which is symmetric."""
        weights, learned = ctx.saved_tensors
        alpha = ctx.number if learned is None else learned
        for_scores = _jacobian_product(gradient, weights, alpha)
        if not ctx.needs_input_grad[1]:
            return for_scores, None
        return for_scores, (gradient * _slope_in_alpha(weights, alpha)).sum()

    @staticmethod
    def jvp(ctx, scores: Tensor | None, alpha: Tensor | None) -> Tensor:
        """Add up the changes of the weights for changes of the scores and of α."""
        weights, learned = ctx.saved_tensors
        at = ctx.number if learned is None else learned
        changes = []
        if scores is not None:
            changes.append(_jacobian_product(scores, weights, at))
        if alpha is not None:
            changes.append(alpha * _slope_in_alpha(weights, at))
        return sum(changes[1:], changes[0])

    @staticmethod
    def vmap(info, in_dims: tuple[Any, Any], scores: Tensor, alpha: Any) -> tuple[Tensor, int]:
        """Process a batch of scores in one call, but a batch of values of α one by one."""
        of_scores, of_alpha = in_dims
        if of_alpha is None:
            return Entmax.apply(scores.movedim(of_scores, 0), alpha), 0
        rows = [scores] * info.batch_size if of_scores is None else scores.unbind(of_scores)
        return torch.stack([Entmax.apply(*pair) for pair in zip(rows, alpha.unbind(of_alpha))]), 0


def _by_newton(scores: Tensor, alpha: float) -> Tensor:
    r"""Find the threshold of entmax by Newton's method, without sorting, and return the weights.

    With K positions and :math:`p = 1 / (\alpha - 1)`, the weights are
    :math:`a_i = [1 + x_i - t]_+^p / K`, where
    :math:`x_i = (\alpha - 1) K^{\alpha - 1} (r_i - \max r)`. This form keeps its precision near
    softmax, where p is huge and x is tiny, and for nearly equal weights, where t is near 0.

    Newton's method looks for the t at which the p-norm of the brackets is :math:`K^{1/p}`. That
    norm is decreasing and convex in t, so a step from below the root never overshoots it. For equal
    scores, and for all scores in the limit of softmax, the norm is a straight line, so a few steps
    are enough. For sparsemax, they end at the root itself.
    """
    power = 1 / (alpha - 1)
    widest = scores.shape[-1] ** (alpha - 1)
    x = (scores - scores.amax(dim=-1, keepdim=True)) * ((alpha - 1) * widest)  # (..., K)
    # Start below the root: with this t, the highest score alone has a weight of 1.
    t = torch.full_like(x[..., :1], 1 - widest)  # (..., 1)
    for _ in range(NEWTON_STEPS):
        slopes, weights = _powers((x - t).clamp_(min=-1), power)
        mean = weights.mean(dim=-1, keepdim=True)  # is 1 at the root
        step = -mean * torch.expm1((1 - alpha) * mean.log()) / slopes.mean(dim=-1, keepdim=True)
        moved = torch.maximum(t, t + step)  # only rounding can cause a step back
        if not torch.compiler.is_compiling() and torch.equal(moved, t):
            break
        t = moved
    weights /= weights.sum(dim=-1, keepdim=True)
    return weights


def _on_support(weights: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return s = a^(2 − α) where the weight a > 0, else 0; and a, clamped to be positive.

    The clamp comes first, because a power of 0 has an infinite slope, which `where` would turn into
    NaN in the second derivative.
    """
    positive = weights.clamp(min=torch.finfo(weights.dtype).tiny)
    return torch.where(weights > 0, positive ** (2 - alpha), 0), positive


def _jacobian_product(vector: Tensor, weights: Tensor, alpha: float | Tensor) -> Tensor:
    """Multiply by the Jacobian of the weights with respect to the scores, diag(s) − s sᵀ / Σs.

    For α = 1, s is a, and this is the Jacobian of softmax.
    """
    s, _ = _on_support(weights, alpha)
    return s * (vector - (s * vector).sum(dim=-1, keepdim=True) / s.sum(dim=-1, keepdim=True))


def _slope_in_alpha(weights: Tensor, alpha: Tensor) -> Tensor:
    r"""Return the derivative of the weights with respect to α (Correia et al. 2019, prop. 1).

    The paper divides by :math:`(\alpha - 1)^2`, and has a separate formula for α = 1. With

    .. math::
        q_i = a_i (\log a_i)^2\, \phi\big((1 - \alpha) \log a_i\big), \quad
        \phi(y) = \frac{e^y - 1 - y}{y^2},

    the derivative is :math:`s_i / \sum_j s_j \cdot \sum_j q_j - q_i` for every α. Its value is the
    same, but nothing cancels near softmax.
    """
    s, positive = _on_support(weights, alpha)
    log = positive.log()
    phi = _second_order_exp((1 - alpha) * log)
    q = torch.where(weights > 0, positive * log.square() * phi, 0)
    return s / s.sum(dim=-1, keepdim=True) * q.sum(dim=-1, keepdim=True) - q


def _second_order_exp(y: Tensor) -> Tensor:
    """Return (exp(y) − 1 − y) / y² for y ≥ 0; it is 1/2 at 0.

    For small y the subtraction would cancel most digits, so a power series is used there.
    """
    few = y.clamp(max=0.5)
    series = torch.zeros_like(y)
    for n in range(15, 1, -1):
        series = series * few + 1 / math.factorial(n)
    many = y.clamp(min=0.5)  # `where` passes a gradient to both sides, so neither may divide by 0
    return torch.where(y < 0.5, series, (many.expm1() - many) / many.square())


def _powers(x: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """Return (1 + x)^(power − 1), or 0 where x = −1, and (1 + x)^power.

    Sparsemax (power 1) and entmax with α = 1.5 (power 2) need no logarithm.
    """
    base = 1 + x
    if power == 1:
        return base.sign(), base
    slopes = base if power == 2 else (x.log1p() * (power - 1)).exp()
    return slopes, slopes * base
