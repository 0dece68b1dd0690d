import torch
import torch.nn.functional as F

from tests.exercises.cases import Case

ACTS = {"sparsemax": False, "entmax": False, "off by one": True}


def pc(l, g, u):
    return torch.einsum("bchw,c->bhw", l + g[:, :, None, None], u)


def cut(l, g, u):
    return torch.einsum("bchw,c->bhw", F.relu(l + g[:, :, None, None]), u)


def off_by_one(r):
    return r.exp() / (1 + r.exp().sum())


def nothing_scores_0(r):
    return torch.cat([r, r.new_zeros(1)]).softmax(dim=0)[:-1]


CASES = {
    "first_tap": Case(
        wrong=[
            (lambda l, g, u, W_g: torch.einsum("bchw,c->bhw", l, u), "^g is missing"),
            (
                lambda l, g, u, W_g: torch.einsum("bchw,bc->bhw", l, g @ W_g.T),
                "dp, the dot product",
            ),
            (lambda l, g, u, W_g: pc(l, g @ W_g.T, u)[:, None], "no axis of size 1"),
            (
                lambda l, g, u, W_g: pc(l, g @ W_g.T, u).flatten(1),
                r"should have the shape \(3, 5, 6\)",
            ),
            (
                lambda l, g, u, W_g: pc(l, g @ W_g.T, u).flatten(1).softmax(1).view(3, 5, 6),
                "weights already",
            ),
            (lambda l, g, u, W_g: pc(0 * l, g @ W_g.T, u), "local features are missing"),
            (lambda l, g, u, W_g: pc(l, g[:, :32], u), "scores are wrong"),
            (lambda l, g, u, W_g: pc(l, g, u), "stops with RuntimeError"),
        ],
        right=[
            lambda l, g, u, W_g: F.conv2d(
                l + (g @ W_g.T)[..., None, None], u.view(1, -1, 1, 1)
            ).squeeze(1),
            lambda l, g, u, W_g: torch.einsum("bchw,c->bhw", l, u) + (g @ W_g.T @ u)[:, None, None],
        ],
    ),
    "other_alignments": Case(
        wrong=[
            (
                (lambda r: r.softmax(dim=0), ACTS),
                "That is softmax.* left over",
            ),
            ((torch.sigmoid, ACTS), "sigmoid of each score"),
            ((lambda r: r.exp() / (len(r) + r.exp().sum()), ACTS), "weights are wrong"),
            ((torch.exp, ACTS), "not divided"),
            (
                (lambda r: off_by_one(r).sum(), ACTS),
                r"should have the shape \(9\), not \(\)",
            ),
            ((off_by_one, ACTS | {"entmax": True}), "^entmax: add the same number to all scores"),
            ((off_by_one, ACTS | {"off by one": False}), "^off by one: add the same number"),
            (
                (off_by_one, ACTS | {"sparsemax": "no"}),
                "^g_acts for sparsemax should be True or False, not 'no'",
            ),
            ((off_by_one, {"sparsemax": False}), "no entry for entmax"),
            ((off_by_one, ACTS | {"sparsemax": ...}), "^Nothing to check yet"),
            ((lambda r: None, ACTS), "^Nothing to check yet"),
        ],
        right=[
            (off_by_one, ACTS),
            (nothing_scores_0, {name: int(acts) for name, acts in ACTS.items()}),
        ],
    ),
    "let_it_act": Case(
        wrong=[
            (pc, "No gradient reaches g: it still adds the same number"),
            (
                lambda l, g, u: torch.einsum("bchw,bc->bhw", l, g),
                "scores should be those of pc",
            ),
            (lambda l, g, u: torch.einsum("bchw,bc,c->bhw", l, g, u), "^With a product g acts"),
            (lambda l, g, u: F.relu(pc(l, g, u)), "scores should be those of pc"),
            (
                lambda l, g, u: torch.einsum("bchw,c->bhw", l, u),
                "No gradient reaches g: for autograd, your scores do not depend on it",
            ),
            (
                lambda l, g, u: cut(l, g.detach(), u),
                "No gradient reaches g: for autograd, your scores do not depend on it",
            ),
            (
                lambda l, g, u: cut(l, g, u)[:, None],
                r"should have the shape \(2, 6, 6\)",
            ),
        ],
        right=[
            cut,
            lambda l, g, u: pc(l, g, u) + pc((-l - g[..., None, None]).clamp(min=0), 0 * g, u) / 2,
            lambda l, g, u: torch.einsum("bchw,c->bhw", (l + g[..., None, None]).abs(), u),
        ],
    ),
}
