"""Exercises of the chapter Learn to Pay Attention."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.attention import alignments
from course_utils.attention.spatial import attend
from course_utils.exercises._feedback import as_bool, as_tensor, is_close, refuse, require


def control(function) -> str:
    """Give each image the g of an image with another digit, and use every g exactly once."""
    even = torch.arange(10).repeat(6)
    uneven = torch.tensor([3] * 30 + [7] * 9 + [1] * 15 + [0] * 6)  # half of the images are a 3
    for name, digits in (("equally frequent digits", even), ("unequally frequent digits", uneven)):
        labels = digits[torch.randperm(len(digits))]
        given = torch.randn(len(labels), 8)
        result = as_tensor(function(given.clone(), labels.clone()), given.shape, "The new g")
        distance = (result[:, None] - given).abs().amax(dim=-1)  # new g × given g
        closest, donors = distance.min(dim=1)
        refuse(
            is_close(result, given.mean(dim=0).expand_as(given)),
            "That's the mean of all g, so no image gets the g of another one. Here, only the "
            "pairing should change.",
        )
        refuse(
            closest.max() > 1e-4,
            "Some rows aren't the g of any image. A vector that the network has never seen "
            "could hurt for that reason alone.",
        )
        kept = int((donors == torch.arange(len(labels))).sum())
        refuse(kept > 0, f"With {name}, {kept} of {len(labels)} images keep their own g.")
        same = int((labels[donors] == labels).sum())
        refuse(
            same > 0, f"With {name}, {same} of {len(labels)} images get the g of the same digit."
        )
        missing = len(labels) - len(donors.unique())
        refuse(
            missing > 0,
            f"With {name}, {missing} of {len(labels)} g are never used, and others more than once.",
        )
    return "Right: only the pairing has changed, and no image has the g of its own digit."


def other_alignments(answers) -> str:
    """Write softmax with an extra 1 in its denominator, and decide where g acts with pc.

    Args:
        answers: A function of scores (K,), and True or False for each of three alignments.
    """
    off_by_one, g_acts = answers
    r = 2 * torch.randn(9, dtype=torch.double)
    weights = as_tensor(off_by_one(r), (9,), "The weight tensor")
    refuse(
        is_close(weights, r.softmax(dim=0)),
        "That is softmax: its weights sum to 1, but here some of the total should be left over.",
    )
    refuse(is_close(weights, r.exp()), "These exponentials are not divided by anything yet.")
    refuse(
        is_close(weights, r.sigmoid()),
        "That is the sigmoid of each score: its denominator lacks the exponentials of the others.",
    )
    expected = r.exp() / (1 + r.exp().sum())
    require(
        is_close(weights, expected, 1e-6),
        f"The weights are wrong: for nine random scores, they sum to {weights.sum():.3f} "
        f"instead of {expected.sum():.3f}.",
    )
    aligns = {
        "sparsemax": alignments.sparsemax,
        "entmax": alignments.entmax,
        "off by one": off_by_one,
    }
    for name, align in aligns.items():
        require(name in g_acts, f"g_acts has no entry for {name}.")
        acts = as_bool(g_acts[name], f"g_acts for {name}")
        moved = (align(r + 0.7) - align(r)).abs().max().item()
        require(
            acts == (moved > 1e-6),
            f"{name}: add the same number to all scores. Do the weights change?",
        )
    return (
        f"Right: adding 0.7 to all scores changes a weight of off by one by {moved:.1g}, "
        "and none of the others."
    )


def let_it_act(function) -> str:
    """Write scores with pc's vector u in which g acts under softmax.

    Where l + g has no negative entry, the scores have to be those of pc.
    """
    l, u = torch.rand(2, 16, 6, 6).double(), torch.randn(16).double()
    positive_g, g = torch.rand(2, 16).double(), torch.randn(2, 16).double().requires_grad_()
    r = function(l, g, u)
    as_tensor(r, (2, 6, 6), "The score tensor")
    require(
        r.requires_grad, "No gradient reaches g: for autograd, your scores do not depend on it."
    )
    _check_equals_pc(function, l, positive_g, u)
    attend(r[:, None], l, "softmax")[0].square().sum().backward()
    gradient = 0 if g.grad is None else g.grad.norm()
    require(
        gradient > 1e-6,
        "No gradient reaches g: it still adds the same number at all positions, "
        "and softmax cancels that.",
    )
    with torch.no_grad():
        moved = (_softmax(r) - _softmax(function(l, -g, u))).abs().max().item()
    require(moved > 1e-3, "A gradient reaches g, but another g still gives the same weights.")
    return f"Right: another g changes a weight by up to {moved:.1g}."


def _check_equals_pc(function, l: Tensor, g: Tensor, u: Tensor) -> None:
    """Check the scores where l + g has no negative entry."""
    # Both signs of u: a ReLU after u instead of before it would pass with one of them.
    for v in (u, -u):
        r = as_tensor(function(l, g, v), (2, 6, 6), "The score tensor")
        refuse(
            is_close(r, _read(l * g[..., None, None], v)),
            "With a product g acts, but your scores aren't those of pc anywhere.",
        )
        require(
            is_close(r, _read(l + g[..., None, None], v)),
            "g may act now, but where l + g has no negative entry, your scores should be "
            "those of pc.",
        )


def _read(l: Tensor, u: Tensor) -> Tensor:
    """Return the product of u with the features of each position."""
    return torch.einsum("bchw,c->bhw", l, u)


def _softmax(r: Tensor) -> Tensor:
    return r.flatten(1).softmax(dim=1)
