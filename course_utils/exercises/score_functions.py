"""Exercises of the chapter Score functions."""

from __future__ import annotations

import copy
import math
from typing import cast

import torch
from torch import Tensor, nn

from course_utils.attention import Attention, alignments, scores
from course_utils.exercises._feedback import (
    UnfinishedError,
    as_bool,
    as_number,
    as_tensor,
    is_close,
    refuse,
    require,
)
from course_utils.studies import probes

RATIO = 8.0  # not the ratio of the chapter, so a function that ignores its argument is noticed


def temperature(T) -> str:
    """Find the temperature that gives one key of cosine 1 among 255 of cosine −1 the weight 0.9."""
    T = as_number(T, "T")
    require(T > 0, f"A temperature is positive, but yours is {T:.3g}.")
    r = torch.cat([torch.ones(1), -torch.ones(255)]).double()
    top = alignments.softmax(r, temperature=T)[0].item()
    refuse(
        abs(alignments.softmax(r, temperature=1 / T)[0].item() - 0.9) < 1e-3,
        "That's 1 / T. Multiplying the scores by your number would work, but T divides them.",
    )
    refuse(
        abs(alignments.softmax((r + 1) / 2, temperature=T)[0].item() - 0.9) < 1e-3,
        "That would be right if the other keys had a cosine of 0. But theirs is −1, "
        "so the scores differ by 2.",
    )
    direction = "lower" if top < 0.9 else "higher"
    require(
        abs(top - 0.9) < 1e-3,
        f"At T = {T:.4g} the weight is {top:.4f}, not 0.9. Try a {direction} temperature.",
    )
    return f"Right: at T = {T:.4f} the key gets a weight of {top:.4f}."


def thin_matrices(W, W_q, W_k) -> str:
    """Find the matrix of a general score that equals two thin projections and a scaled product.

    Args:
        W: The answer.
        W_q: The projection of the queries, (4, 6).
        W_k: The projection of the keys, (4, 8).
    """
    d_k, d_q = W_k.shape[1], W_q.shape[1]
    refuse(
        torch.is_tensor(W) and W.shape == (d_q, d_k),
        "That's the transpose: W maps a query to the space of the keys, "
        f"so its shape is ({d_k}, {d_q}).",
    )
    W = as_tensor(W, (d_k, d_q), "W").float()
    q, k = torch.randn(2, 3, d_q), torch.randn(2, 5, d_k)
    expected = scores.scaled_multiplicative(q @ W_q.mT, k @ W_k.mT)
    r, scale = q @ W.mT @ k.mT, math.sqrt(len(W_q))
    refuse(
        is_close(r, scale * expected),
        f"The product is right, but the factor 1 / √{len(W_q)} is missing.",
    )
    require(
        is_close(r, expected),
        "This W gives different scores. Write the score as kᵀ (…) q. What stands between k and q?",
    )
    rank = int(torch.linalg.matrix_rank(W))
    return (
        f"Right. W has {W.numel()} entries but only rank {rank}, which leaves it "
        f"{rank} · ({d_k} + {d_q} − {rank}) = {rank * (d_k + d_q - rank)} degrees of freedom. "
        f"The two thin matrices describe it with {W_q.numel() + W_k.numel()} parameters, "
        "so some of these are redundant."
    )


def start_only(function) -> str:
    """Divide a pool's scores at the start by a ratio, without a divisor that stays.

    Args:
        function: Takes a `probes.Guided` pool and the ratio, and returns the pool.
    """
    pool = probes.Guided(Attention(scores.multiplicative))
    old = copy.deepcopy(pool)
    result = function.run(pool, RATIO)
    if result is None or result is ...:
        pairs = zip(pool.parameters(), old.parameters(), strict=True)
        if all(torch.equal(now, before) for now, before in pairs):
            raise UnfinishedError
    require(
        isinstance(result, nn.Module),
        "Your function should return the pool: end it with `return pool`.",
    )
    require(
        [p.shape for p in result.parameters() if p.requires_grad] == [(32, 64), (32,)],
        "Training should still change W and b of the projection, and nothing else. "
        "Keep these two parameters, and scale them in place.",
    )
    local, g = torch.randn(8, 10, 32) / 10, torch.randn(8, 64)  # small, or weights underflow
    of_W, of_b = (
        _ratio(now, before)
        for now, before in zip(_parts(result, local, g), _parts(old, local, g), strict=True)
    )
    _check_lasting(result, old, local, g, started_as_before=_near(of_W, 1.0) and _near(of_b, 1.0))
    _check_start(of_W, of_b)
    _check_step(result, old, local, g)
    return (
        f"Right: the scores start at 1/{RATIO:.0f} of what they were, and no divisor stays. "
        "Now train this probe, and compare it with one whose divisor stays."
    )


def own_score(answer) -> str:
    """Write a score function, and predict which changes of its input leave its weights alone.

    Args:
        answer: A function from queries (B, Q, 8) and keys (B, K, 8) to scores (B, Q, K), and a
            dictionary with True or False for each change: do the softmax weights stay the same?
    """
    function, stays = answer
    q, k = torch.randn(16, 3, 8) / 2, torch.randn(16, 10, 8) / 2
    r = _check_score(function, q, k)
    changes = _changes(q, k)
    require(
        isinstance(stays, dict) and set(stays) == set(changes),
        f"Predict True or False for each of these changes: {', '.join(changes)}.",
    )
    moved = {}
    for name, pair in changes.items():
        after = as_tensor(function(*pair), r.shape, f"After the change {name}, the score tensor")
        apart = (_centred(after) - _centred(r)).abs().max() / _centred(r).abs().max()
        change = (alignments.softmax(after) - alignments.softmax(r)).abs().max().item()
        # The comparison of scores is relative, so it works for any range of scores.
        moved[name] = change if apart > 1e-3 else 0.0
    wrong = [name for name in changes if as_bool(stays[name], name) == (moved[name] > 0)]
    if wrong:
        first = wrong[0]
        found = f"one changes by {moved[first]:.2g}" if moved[first] else "they stay the same"
        expected = "the same weights" if stays[first] else "different weights"
        count = f"{5 - len(wrong)} of your 5 predictions are right."
        refuse(True, f"{first}: you predict {expected}, but {found}. {count}")
    blind = [name for name, change in moved.items() if not change]
    return f"Right, all five. Softmax can't see these changes: {', '.join(blind) or 'none'}."


def _parts(pool: nn.Module, local: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Return the parts that W and b of the projection contribute to the scores, up to a constant.

    The scores are linear in g, so g = 0 leaves the part of b.
    """
    all_of_it, of_b = _pool_scores(pool, local, g), _pool_scores(pool, local, torch.zeros_like(g))
    return all_of_it - of_b, of_b


@torch.no_grad()
def _pool_scores(pool: nn.Module, local: Tensor, g: Tensor) -> Tensor:
    context, weights = pool(local, g)
    require(
        is_close(context, weights @ local),
        "The context should still be the weighted sum of the local features. "
        "Leave the features as they are.",
    )
    return _centred(weights.log())  # softmax hides a constant, and nothing else


def _centred(r: Tensor) -> Tensor:
    return r - r.mean(dim=-1, keepdim=True)


def _ratio(now: Tensor, before: Tensor) -> float:
    """Return the factor between two tensors, or NaN if they are not proportional."""
    factor = (now * before).sum() / before.square().sum()
    fits = (now - factor * before).norm() <= 0.01 * now.norm()
    return factor.item() if fits else math.nan


def _near(factor: float, expected: float) -> bool:
    return abs(factor - expected) < 0.01 * expected


@torch.no_grad()
def _check_lasting(
    pool: nn.Module, old: nn.Module, local: Tensor, g: Tensor, *, started_as_before: bool
) -> None:
    """Check that the pool scores as it used to, once its old parameters are copied back."""
    for now, before in zip(pool.parameters(), old.parameters(), strict=True):
        now.copy_(before)
    lasting = _ratio(_pool_scores(pool, local, g), _pool_scores(old, local, g))
    require(
        _near(lasting, 1.0),
        "Your divisor stays. If training brings W and b back to their old values, the scores are "
        f"still {lasting:.3g} times the old ones. Scale W and b themselves.",
    )
    refuse(started_as_before, "The scores start as large as before: neither W nor b has changed.")


def _check_start(of_W: float, of_b: float) -> None:
    """Check by which factors the parts of W and b in the first scores have changed."""
    goal = 1 / RATIO
    refuse(
        math.isnan(of_W) or math.isnan(of_b),
        "These aren't the old scores on a smaller scale. Scale the W and b that the pool has; "
        "drawing new ones would be a second change.",
    )
    refuse(
        _near(of_W, goal) and _near(of_b, 1.0),
        "You scale W but not b, so the part that b adds to the scores, b·k, is as large as before.",
    )
    refuse(
        _near(of_W, RATIO),
        f"The scores start {RATIO:.0f} times larger. Divide by the ratio instead of multiplying.",
    )
    require(
        _near(of_W, goal) and _near(of_b, goal),
        f"For a ratio of {RATIO:.0f}, the scores should start at {goal} of what they were. "
        f"The part of W starts at {of_W:.3g}, and the part of b at {of_b:.3g}.",
    )


def _check_step(pool: nn.Module, old: nn.Module, local: Tensor, g: Tensor) -> None:
    """Check that two pools with the same parameters would take the same gradient step."""
    for module in (pool, old):
        module.zero_grad()
        module(local, g)[1].square().sum().backward()
    now, before = (  # after all hooks
        torch.cat([cast(Tensor, p.grad).flatten() for p in module.parameters()])
        for module in (pool, old)
    )
    factor = _ratio(now, before)
    require(
        _near(factor, 1.0),
        "The scores start as they should, but your function also changes the gradients, and with "
        "them the steps of training. Change the start alone.",
    )


def _check_score(function, q: Tensor, k: Tensor) -> Tensor:
    """Check a score function on queries (B, Q, 8) and keys (B, K, 8), and return its scores."""
    q, k = q.requires_grad_(), k.requires_grad_()
    r = function(q, k)
    values = as_tensor(r, (len(q), q.shape[1], k.shape[1]), "The score tensor")
    _check_gradient(r, {"query": q, "keys": k})
    refuse(
        _centred(values).abs().max() <= 1e-4 * values.abs().max(),
        "All keys get the same score, so the softmax weights are uniform, whatever the input is.",
    )
    require(
        is_close(function(q, k), values),
        "Two calls with the same q and k give different scores. If your score has random "
        "parameters, draw them once, outside the function.",
    )
    order = torch.randperm(k.shape[1])
    require(
        is_close(function(q, k[:, order]), values[..., order]),
        "Your score depends on a key's position in the list. If two keys swap positions, "
        "their scores should swap, too.",
    )
    _check_new(function, q.detach(), k.detach())
    return values


def _check_new(function, q: Tensor, k: Tensor) -> None:
    """Check that the chapter doesn't have the score, up to a factor and a constant per query."""
    known = {
        "That's the multiplicative score": scores.multiplicative,
        "That's the cosine score": scores.cosine,
        "That's the euclidean score": scores.euclidean,
        "The weights are those of the Gaussian bell": lambda q, k: -torch.cdist(q, k).square(),
    }

    def scored(q: Tensor, k: Tensor) -> Tensor:
        return _centred(function(q, k).detach())

    r = scored(q, k)
    for sentence, score in known.items():
        refuse(
            _ratio(r, _centred(score(q, k))) > 0,
            f"{sentence} of the chapter, up to a factor. Try another one.",
        )
    ends = (q.flip(0), k), (q, k.flip(0))
    halves = ((q + q.flip(0)) / 2, k), (q, (k + k.flip(0)) / 2)
    linear = [is_close(scored(*half), (r + scored(*end)) / 2) for half, end in zip(halves, ends)]
    refuse(
        all(linear),
        "Your score is linear in the query and in the key, so it's one of the general scores of "
        "the chapter, kᵀ(Wq + b). Try another one.",
    )


def _check_gradient(r: Tensor, inputs: dict[str, Tensor]) -> None:
    """Check that the scores have a gradient with respect to the query and the keys."""
    gradients: tuple[Tensor | None, ...] = (None,) * len(inputs)
    if r.requires_grad:
        reward = (r * torch.randn_like(r)).sum()  # the plain sum can have a gradient of 0
        gradients = torch.autograd.grad(reward, list(inputs.values()), allow_unused=True)
    for name, gradient in zip(inputs, gradients, strict=True):
        if gradient is None or not gradient.any():
            refuse(
                True,
                f"No gradient reaches the {name}, so training can't change your scores through it. "
                "Use it, and only in operations that have a gradient.",
            )
        else:
            require(
                gradient.isfinite().all(), f"The gradient for the {name} contains NaN or infinity."
            )


def _changes(q: Tensor, k: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the changes of the chapter's table of invariances: pairs of queries and keys."""
    q, k = q.detach(), k.detach()
    k_0 = torch.randn(len(k), 1, k.shape[-1]) / 2
    R, _ = torch.linalg.qr(torch.randn(k.shape[-1], k.shape[-1]))
    return {
        "keys × 2": (q, 2 * k),
        "query × 2": (2 * q, k),
        "keys + k₀": (q, k + k_0),
        "both + k₀": (q + k_0, k + k_0),
        "both turned": (q @ R.mT, k @ R.mT),
    }
