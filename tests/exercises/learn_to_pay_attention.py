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


def shifted(g, labels, steps):
    """Give each image the g of one that is some steps away when they are sorted by digit."""
    order = labels.argsort()
    donors = torch.empty_like(order)
    donors[order] = order.roll(steps)
    return g[donors]


def most_frequent(g, labels):
    return shifted(g, labels, -int(labels.bincount().max()))


def next_image(g, labels):
    return g.roll(1, dims=0)


def one_donor(g, labels):
    """Give each image the first g of another digit."""
    return g[[int((labels != label).nonzero()[0]) for label in labels]]


def random_pairing(g, labels):
    """Swap pairs of images until no image has the g of its own digit."""
    donors = torch.arange(len(labels))
    while (same := labels[donors] == labels).any():
        i = int(same.nonzero()[0])
        j = int(torch.randint(len(labels), ()))
        donors[[i, j]] = donors[[j, i]]
    return g[donors]


CASES = {
    "control": Case(
        wrong=[
            (lambda g, labels: g, "images keep their own g"),
            (next_image, "get the g of the same digit|images keep their own g"),
            (lambda g, labels: shifted(g, labels, len(labels) // 10), "^With unequally frequent"),
            (lambda g, labels: g.mean(dim=0).expand_as(g), "^That's the mean of all g"),
            (lambda g, labels: torch.randn_like(g), "aren't the g of any image"),
            (one_donor, "are never used"),
            (lambda g, labels: g[1:], r"should have the shape \(60, 8\)"),
            (lambda g, labels: labels, r"should have the shape \(60, 8\), not \(60\)"),
        ],
        right=[most_frequent, random_pairing],
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
