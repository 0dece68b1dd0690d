"""The exercises of chapter 07."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.attention import alignments
from course_utils.attention.spatial import PayAttention, attend
from course_utils.exercises._feedback import close, require, tensor, truth


def first_tap(function) -> str:
    """The scores of pc where the local features have half as many channels as g, which is projected down."""
    layer, l, g = (
        PayAttention(32, 64, "pc").requires_grad_(False),
        torch.randn(3, 32, 5, 6),
        torch.randn(3, 64),
    )
    u, W_g = layer.u.weight.flatten(), layer.project_global.weight
    r = function(l, g, u, W_g)
    require(
        getattr(r, "shape", None) != (3, 1, 5, 6),
        "The scores should have no axis of size 1: (B, H, W).",
    )
    r, expected = tensor(r, (3, 5, 6), "The scores"), layer.scores(l, g)[:, 0]
    weights = expected.flatten(1).softmax(dim=1).view_as(expected)
    require(
        not close(r, weights), "Those are the weights already: the scores are what softmax takes."
    )
    of_l, of_g = _product(l, u), expected - _product(l, u)
    require(not close(r, of_l), "g is missing: the scores are those of the local features alone.")
    require(
        not close(r, of_g),
        "The local features are missing: the scores are the same at every position.",
    )
    dot = torch.einsum("bchw,bc->bhw", l, g @ W_g.T)
    require(
        not close(r, dot), "That is dp, the product of l and g. In pc the vector u reads their sum."
    )
    require(
        close(r, expected),
        "Other scores come out. What is brought to which size, and what does u then read?",
    )
    return f"Right. All that g does is to add one number to each image: {', '.join(f'{x:.2f}' for x in of_g[:, 0, 0])}."


def other_alignments(answers) -> str:
    """Softmax with one more in its denominator, and in which of three alignments g acts with pc."""
    off_by_one, g_acts = answers
    r = 2 * torch.randn(9, dtype=torch.double)
    found = tensor(off_by_one(r), (9,), "The weights")
    require(
        not close(found, r.softmax(dim=0)),
        "That is softmax: its weights sum to 1, and here something should be left over.",
    )
    require(not close(found, r.exp()), "Nothing divides these weights yet.")
    inside = r.exp() / (1 + r.exp())
    require(
        not close(found, inside),
        "That is the sigmoid of each score: the sum of the others is missing below.",
    )
    expected = r.exp() / (1 + r.exp().sum())
    total = f"{found.sum():.3f}, and it should be {expected.sum():.3f}"
    require(
        close(found, expected, 1e-6),
        f"Other weights come out: for some random scores their sum is {total}.",
    )
    aligns = {
        "sparsemax": alignments.sparsemax,
        "entmax": alignments.entmax,
        "off by one": off_by_one,
    }
    for name, align in aligns.items():
        require(name in g_acts, f"g_acts has no answer for {name}.")
        acts = truth(g_acts[name], f"g_acts for {name}")
        moved = (align(r + 0.7) - align(r)).abs().max().item()
        require(
            acts == (moved > 1e-6),
            f"{name}: add the same number to all scores. Do the weights move?",
        )
    return f"Right: 0.7 more on all scores moves a weight of off by one by {moved:.1g}, and none of the others."


def let_it_act(function) -> str:
    """Scores from pc's vector u in which g acts under softmax, and which are pc's where l + g is nowhere negative."""
    l, u = torch.rand(2, 16, 6, 6).double(), torch.randn(16).double()
    above, g = torch.rand(2, 16).double(), torch.randn(2, 16).double().requires_grad_()
    r = function(l, g, u)
    tensor(r, (2, 6, 6), "The scores")
    require(r.requires_grad, "No gradient reaches g: for autograd, the scores do not depend on it.")
    for v in (u, -u):
        same = tensor(function(l, above, v), (2, 6, 6), "The scores")
        product = _product(l * above[..., None, None], v)
        require(
            not close(same, product), "With a product g acts, but no score is that of pc any more."
        )
        pc = _product(l + above[..., None, None], v)
        require(
            close(same, pc),
            "g may act, but where nothing in l + g is negative the scores should be those of pc.",
        )
    attend(r[:, None], l, "softmax")[0].square().sum().backward()
    reached = 0 if g.grad is None else g.grad.norm()
    require(
        reached > 1e-6,
        "No gradient reaches g: it is still one number for all positions, and softmax drops it.",
    )
    with torch.no_grad():
        moved = (_weights(r) - _weights(function(l, -g, u))).abs().max().item()
    require(moved > 1e-3, "A gradient reaches g, but another g gives the same weights.")
    return f"Right: another g moves a weight by {moved:.1e}."


def _product(l: Tensor, u: Tensor) -> Tensor:
    return torch.einsum("bchw,c->bhw", l, u)


def _weights(r: Tensor) -> Tensor:
    return r.flatten(1).softmax(dim=1)
