r"""Alignments that draw their weights at random, and how to learn through a draw.

What is drawn does not move when the scores move a little, so that no gradient comes back through the draw. There are
two ways out. *REINFORCE* (`reinforce_loss`) needs only the logarithm of the probability of what was drawn; it is right
on average, but noisy. *Straight-through* (`straight_through`) lets the gradient of a soft stand-in pass: that tells all
positions, not only the drawn one, what they would have been good for, but on average it is not the right gradient.

As in `alignments` the positions under a mask and those with a score of −∞ get exactly 0, and a row in which nothing may
be attended is all zeros. Random numbers come from the generator that is given, else from torch's own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from course_utils.attention import alignments
from course_utils.attention.alignments import Mask, Scores, Weights


class Sample(NamedTuple):
    """What was drawn, row by row.

    Attributes:
        weights (Tensor): (..., K).
        log_prob (Tensor): (...), the logarithm of the probability of drawing just this; the gradient comes through it.
    """

    weights: Weights
    log_prob: Float[Tensor, "*rows"]


def sample(
    scores: Scores, *, mask: Mask | None = None, generator: torch.Generator | None = None
) -> Sample:
    """Draw one position a row, each with its softmax weight as probability, and give it all the weight.

    The weights carry no gradient, `log_prob` carries that of the scores. A row in which nothing may be attended draws
    nothing, which is certain: its `log_prob` is 0. Source: the hard attention of Xu et al. 2015, section 4.1.

    Raises:
        ValueError: see `alignments.softmax`.
    """
    probabilities = alignments.softmax(_single(scores), mask=mask)
    weights, _ = _drawn(probabilities, generator)
    drawn = (probabilities * weights).sum(dim=-1)
    log_prob = torch.where(weights.any(dim=-1), drawn, 1).log()
    return Sample(weights.to(scores.dtype), log_prob.to(scores.dtype))


def reinforce_loss(
    log_prob: Float[Tensor, "*rows"],
    reward: Shaped[Tensor, "*rows"],
    baseline: float | Float[Tensor, "*#rows"] = 0.0,
) -> Float[Tensor, ""]:
    r"""A loss whose gradient is, on average over draws, that of minus the expected reward (Williams 1992).

    .. math:: -\frac{1}{N} \sum_n (R_n - b) \log p(\text{what was drawn in } n)

    Its value means nothing. A baseline near the usual reward lowers the noise as a rule; it leaves the mean alone as
    long as it does not depend on what was drawn. Neither reward nor baseline gets a gradient from here.

    Args:
        log_prob: from a `Sample`.
        reward: R, one for each draw; more is better.
        baseline: b, one number, or one for each draw.

    Raises:
        ValueError: not one reward for each draw, one that is not finite, or a baseline of another shape.
    """
    if reward.shape != log_prob.shape:
        raise ValueError(
            f"expected one reward for each draw, {tuple(log_prob.shape)}, got {tuple(reward.shape)}"
        )
    reward = reward.to(
        log_prob.dtype
    )  # right or wrong, as booleans or whole numbers, is a reward too
    if not reward.isfinite().all():
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
    r"""Draw as `hard` does, but let the gradient of a softmax over the same noisy scores pass.

    .. math:: \mathrm{softmax}((r + G) / T), \quad G_i = -\log E_i, \quad E_i \sim \mathrm{Exp}(1)

    The noise G is Gumbel's: the highest r + G falls on each position with its softmax probability. The temperature T
    changes the gradient only: a low one is more noisy and, for some rewards, less biased. Sources: the straight-through
    estimator of Jang, Gu and Poole 2017, section 2.2; the distribution is also that of Maddison, Mnih and Teh 2017.

    Raises:
        ValueError: see `alignments.softmax`.
    """
    ready = _single(scores)
    weights, clocks = _drawn(alignments.softmax(ready, mask=mask), generator)
    soft = alignments.softmax(ready - clocks.log(), temperature=temperature, mask=mask)
    return (weights + (soft - soft.detach())).to(scores.dtype)  # the bracket is exactly 0


class SubsetPolicy(nn.Module):
    """The reinforced alignment: a policy draws the positions to keep, softmax runs over those (after Shen et al. 2018).

    The policy is a small network that gives each position, from its key alone, the probability of being kept; all are
    decided at once and independently. The softmax is learned through `weights`, the policy through `log_prob`.

    What differs from the paper: its policy also sees a summary of all inputs; in its self-attention two policies choose
    separately who attends and who is attended; and its reward has a penalty on the number kept, which is left to the
    caller here.
    """

    def __init__(self, d_k: int, hidden: int = 32):
        """Make the policy for keys of size d_k."""
        super().__init__()
        self.policy = nn.Sequential(nn.Linear(d_k, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(
        self,
        scores: Float[Tensor, "B K"] | Float[Tensor, "B Q K"],
        keys: Float[Tensor, "B K d_k"],
        *,
        mask: Mask | None = None,
        generator: torch.Generator | None = None,
    ) -> Sample:
        """Draw a subset for each row; in eval mode keep what is more likely kept than not.

        A subset without any position that may be attended gives a row of zeros, as a mask would. Positions that may not
        be attended anyway do not count in `log_prob`.

        Args:
            scores: (B, K) or (B, Q, K); with Q queries each draws its own subset.
            keys: (B, K, d_k).
            mask: what may be attended.
            generator: where the random numbers come from.

        Raises:
            ValueError: shapes that do not fit; see also `alignments.softmax`.
        """
        allowed = alignments.allowed(scores, mask)
        if (
            scores.ndim not in (2, 3)
            or keys.ndim != 3
            or keys.shape[:2] != (len(scores), scores.shape[-1])
        ):
            given = f"{tuple(scores.shape)} and {tuple(keys.shape)}"
            raise ValueError(
                f"expected scores (B, K) or (B, Q, K) and keys (B, K, d_k), got {given}"
            )
        logits = self.policy(keys).mT  # (B, 1, K)
        logits = logits.expand(scores.shape) if scores.ndim == 3 else logits.squeeze(1)
        chance = (
            torch.rand(scores.shape, generator=generator, device=scores.device)
            if self.training
            else 0.5
        )
        kept = logits.sigmoid() > chance
        log_probs = F.logsigmoid(torch.where(kept, logits, -logits))
        return Sample(
            alignments.softmax(scores, mask=allowed & kept),
            torch.where(allowed, log_probs, 0).sum(dim=-1),
        )


def _single(scores: Tensor) -> Tensor:
    """Single precision at least: half precision cannot tell rare events apart."""
    return scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores


def _drawn(probabilities: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """One position a row as 0s and a 1, all 0 where nothing has a probability; and the clocks that decided.

    Each position waits E ~ Exp(1), divided by its probability; the first to be done is drawn.
    """
    clocks = torch.empty_like(probabilities).exponential_(generator=generator)
    clocks = clocks.clamp(min=torch.finfo(clocks.dtype).tiny)  # 0 could win without any probability
    speed = probabilities.detach() / clocks
    first = F.one_hot(speed.argmax(dim=-1), speed.shape[-1])
    return (first * (speed > 0)).to(speed.dtype), clocks
