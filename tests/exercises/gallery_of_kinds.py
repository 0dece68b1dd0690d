import torch

from course_utils.attention import Attention, scores
from tests.exercises.cases import Case

DOT, PLAIN = Attention(scores.scaled_multiplicative), Attention(scores.multiplicative)


def mean(x):
    return x.mean(dim=1, keepdim=True)


def interactive(x, y):
    return DOT(mean(y), x, x).context, DOT(mean(x), y, y).context


def by_hand(x, y):
    a = (x @ mean(y).mT / 5**0.5).softmax(dim=1)
    b = (y @ mean(x).mT / 5**0.5).softmax(dim=1)
    return (a * x).sum(dim=1, keepdim=True), (b * y).sum(dim=1, keepdim=True)


def alternating(x, y):
    c = DOT(mean(y), x, x).context
    return c, DOT(c, y, y).context


def zeroed(columns):
    @torch.no_grad()
    def unlink(via, d_q):
        via.fine.score.project.weight[:, columns(d_q)] = 0
        return via

    return unlink


@torch.no_grad()
def changes_the_coarse_level(via, d_q):
    via.coarse.score.project.weight.zero_()
    return via


@torch.no_grad()
def doubles(via, d_q):
    via.fine.score.project.weight[:, d_q:] = 0
    via.fine.score.project.weight.mul_(2)
    return via


@torch.no_grad()
def by_a_mask(via, d_q):
    weight = via.fine.score.project.weight
    weight.copy_(weight * (torch.arange(weight.shape[1]) < d_q))
    return via


CASES = {
    "interactive": Case(
        wrong=[
            (lambda x, y: interactive(y, x), "in turned order"),
            (lambda x, y: (DOT(mean(x), x, x).context, DOT(mean(y), y, y).context), "own mean"),
            (alternating, "alternating"),
            (lambda x, y: (PLAIN(mean(y), x, x).context, DOT(mean(x), y, y).context), "divided by"),
            (lambda x, y: interactive(x, y)[0], "two contexts"),
            (lambda x, y: (interactive(x, y)[0], mean(y)), "context of y isn't"),
            (lambda x, y: (DOT(y, x, x).context, mean(y)), r"shape \(2, 1, 5\), not \(2, 3, 5\)"),
        ],
        right=[interactive, by_hand],
    ),
    "unlink": Case(
        wrong=[
            (lambda via, d_q: via, "isn't cut"),
            (zeroed(lambda d_q: slice(None, d_q)), "isn't cut"),
            (zeroed(lambda d_q: slice(None)), "don't depend on the query"),
            (changes_the_coarse_level, "changed the coarse level"),
            (doubles, "has changed"),
            (lambda via, d_q: via.fine, "should return the attention-via-attention"),
        ],
        right=[zeroed(lambda d_q: slice(d_q, None)), by_a_mask],
    ),
}
