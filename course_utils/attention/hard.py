r"""Hard attention: alignments that draw their weights at random, and two ways to train them.

A draw does not change when the scores change a little, so no gradient passes through it. There are
two ways around this:

- *REINFORCE* (`reinforce_loss`) needs only the logarithm of the probability of the draw. Its
  gradient is right on average, but noisy.
- *Straight-through* (`straight_through`) replaces the gradient of the draw by that of a softmax.
  Every position gets a gradient, not only the drawn one, but on average this gradient is not the
  right one.

As in `alignments`, a masked position, or one with a score of −∞, gets a weight of exactly 0, and a
row in which no position is allowed is all zeros. The random numbers come from ``generator`` if you
pass one, otherwise from PyTorch's default generator.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from course_utils.attention import alignments
from course_utils.attention.alignments import Mask, Scores, Weights
from course_utils.core.tensor_checks import truth_of

POLICY_HIDDEN = 32  # hidden units of the network in `SubsetPolicy`


class Sample(NamedTuple):
    """A random draw for each row of scores.

    Attributes:
        weights (Tensor): (..., K), the drawn weights.
        log_prob (Tensor): (...), the logarithm of the probability of the draw. The gradient passes
            through it.
    """

    weights: Weights
    log_prob: Float[Tensor, "*rows"]


def sample(
    scores: Scores, *, mask: Mask | None = None, generator: torch.Generator | None = None
) -> Sample:
    """Draw one position per row, with its softmax weight as its probability.

    The drawn position gets a weight of 1. The weights have no gradient, and `log_prob` has that of
    the scores. In a row in which no position is allowed, nothing is drawn. This outcome is certain,
    so its `log_prob` is 0.

    Source: the hard attention of Xu et al. 2015, section 4.1.

    Raises:
        ValueError: See `alignments.softmax`.
    """
    probabilities = alignments.softmax(_single(scores), mask=mask)
    weights, _ = _drawn(probabilities, generator)
    drawn = (probabilities * weights).sum(dim=-1)  # (..., K) → (...): probability of the draw
    log_prob = torch.where(weights.any(dim=-1), drawn, 1).log()
    return Sample(weights.to(scores.dtype), log_prob.to(scores.dtype))


def reinforce_loss(
    log_prob: Float[Tensor, "*rows"],
    reward: Shaped[Tensor, "*rows"],
    baseline: float | Float[Tensor, "*#rows"] = 0.0,
) -> Float[Tensor, ""]:
    r"""Return a loss whose gradient is, on average, that of minus the expected reward.

    .. math:: -\frac{1}{N} \sum_n (R_n - b) \log p(\text{draw } n)

    The value of the loss itself has no meaning. A baseline near the usual reward reduces the noise
    of the gradient in most cases. It doesn't change the mean, as long as it does not depend on the
    draw. No gradient reaches the reward or the baseline.

    Source: Williams 1992.

    Args:
        log_prob: Logarithm of the probability of each draw, from a `Sample`.
        reward: R, one reward per draw; more is better. Booleans and integers are accepted too.
        baseline: b, one number, or one per draw.

    Raises:
        ValueError: If there is not one finite reward per draw, or the baseline has another shape.
    """
    if reward.shape != log_prob.shape:
        raise ValueError(
            f"expected one reward for each draw, {tuple(log_prob.shape)}, got {tuple(reward.shape)}"
        )
    reward = reward.to(log_prob.dtype)  # booleans are accepted: the answer was right or wrong
    if truth_of(reward.isfinite().all()) is False:
        raise ValueError("expected finite rewards, got NaN or ∞ among them")
    baseline = torch.as_tensor(baseline, dtype=reward.dtype)
    if baseline.shape not in ((), reward.shape):
        given = tuple(baseline.shape)
        raise ValueError(
            f"expected one baseline, or one for each draw, {tuple(reward.shape)}, got {given}"
        )
    return -((reward - baseline).detach() * log_prob).mean()


def straight_through(
    scores: Scores,
    *,
    temperature: float = 1.0,
    mask: Mask | None = None,
    generator: torch.Generator | None = None,
) -> Weights:
    r"""Draw one position per row as `sample` does, with the gradient of a softmax.

    .. math:: \mathrm{softmax}((r + G) / T), \quad G_i = -\log E_i, \quad E_i \sim \mathrm{Exp}(1)

    The noise G follows the Gumbel distribution: each position has the highest r + G with its
    softmax probability. The draw is the position where this softmax is highest, and it gets the
    gradient of this softmax.

    Sources: the straight-through estimator of Jang, Gu and Poole 2017, section 2.2; Maddison, Mnih
    and Teh 2017 describe the same distribution.

    Args:
        scores: (..., K).
        temperature: T, positive. It changes the gradient only: a low temperature makes it noisier
            and, for some rewards, less biased.
        mask: True where attention is allowed.
        generator: Source of the random numbers.

    Raises:
        ValueError: See `alignments.softmax`.
    """
    ready = _single(scores)
    weights, clocks = _drawn(alignments.softmax(ready, mask=mask), generator)
    soft = alignments.softmax(ready - clocks.log(), temperature=temperature, mask=mask)
    return (weights + (soft - soft.detach())).to(scores.dtype)  # the brackets are exactly 0


class SubsetPolicy(nn.Module):
    """Reinforced alignment: a policy draws the positions to keep, and softmax gives them weights.

    The policy is a small network that computes from the key of each position the probability of
    keeping it. All positions are drawn independently. The scores are trained through ``weights``,
    and the policy is trained through ``log_prob``.

    Source: after Shen et al. 2018. In the paper, the policy also sees a summary of all inputs; its
    self-attention has two policies, one for the positions that attend and one for those that are
    attended to; and the reward has a penalty on the number of kept positions, which is left to the
    caller here.
    """

    def __init__(self, d_k: int):
        """Create the policy for keys of size d_k."""
        super().__init__()
        self.policy = nn.Sequential(
            nn.Linear(d_k, POLICY_HIDDEN), nn.ReLU(), nn.Linear(POLICY_HIDDEN, 1)
        )

    def forward(
        self,
        scores: Float[Tensor, "B K"] | Float[Tensor, "B Q K"],
        keys: Float[Tensor, "B K d_k"],
        *,
        mask: Mask | None = None,
        generator: torch.Generator | None = None,
    ) -> Sample:
        """Draw a subset of the positions for each row of scores.

        In evaluation mode nothing is drawn: the positions with a probability above 1/2 are kept.

        If no allowed position is kept, the row is all zeros, as under a mask. Positions that are
        not allowed do not count in ``log_prob``.

        Args:
            scores: (B, K), or (B, Q, K) for Q queries, each of which draws its own subset.
            keys: (B, K, d_k).
            mask: True where attention is allowed.
            generator: Source of the random numbers.

        Raises:
            ValueError: If scores and keys do not fit each other; see also `alignments.softmax`.
        """
        allowed = alignments.allowed(scores, mask)
        _check_keys(scores, keys)
        logits = self.policy(keys).mT  # (B, K, 1) → (B, 1, K)
        logits = logits.expand(scores.shape) if scores.ndim == 3 else logits.squeeze(1)
        threshold: Tensor | float = 0.5
        if self.training:
            threshold = torch.rand(scores.shape, generator=generator, device=scores.device)
        kept = logits.sigmoid() > threshold  # the shape of the scores
        # log σ(z) is the log-probability of keeping a position, and log σ(−z) that of dropping it.
        log_probs = F.logsigmoid(torch.where(kept, logits, -logits))
        return Sample(
            alignments.softmax(scores, mask=allowed & kept),
            torch.where(allowed, log_probs, 0).sum(dim=-1),
        )


def _check_keys(scores: Tensor, keys: Tensor) -> None:
    """Check that there is one key for each position of the scores."""
    fit = keys.ndim == 3 and keys.shape[:2] == (len(scores), scores.shape[-1])
    if scores.ndim not in (2, 3) or not fit:
        raise ValueError(
            "expected scores (B, K) or (B, Q, K) and keys (B, K, d_k), "
            f"got {tuple(scores.shape)} and {tuple(keys.shape)}"
        )


def _single(scores: Tensor) -> Tensor:
    """Return the scores in at least single precision: half is too coarse for rare draws."""
    return scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores


def _drawn(probabilities: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Draw one position per row by a race of exponential clocks.

    Each position waits for a time E ~ Exp(1), divided by its probability. The first position to
    finish is drawn, and each position finishes first with exactly its probability.

    Returns:
        A 1 at the drawn position and 0 elsewhere, and the times E, both of the same shape. A row
        without any probability is all zeros.
    """
    clocks = torch.empty_like(probabilities).exponential_(generator=generator)
    # A time of 0 would be an infinite speed, or 0 / 0 at a position with a probability of 0.
    clocks = clocks.clamp(min=torch.finfo(clocks.dtype).tiny)
    speed = probabilities.detach() / clocks  # (..., K), one over the waiting time
    positions = torch.arange(speed.shape[-1], device=speed.device)
    first = positions == speed.argmax(dim=-1, keepdim=True)  # (..., K)
    return (first * (speed > 0)).to(speed.dtype), clocks
