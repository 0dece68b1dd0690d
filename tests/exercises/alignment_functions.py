import torch

from course_utils.attention import alignments
from tests.exercises.cases import Case

R = torch.tensor([1, -0.5, 2, 0.5, -1, 1.5, 0, -2], dtype=torch.double)
T = 0.21710  # by halving an interval
CONSTANT = -2.63809


def scores():
    return {"r": R}


def above(r, threshold):
    return alignments.softmax(r, mask=r >= threshold)


def scattered(r):
    high = r.topk(3, dim=-1)
    return torch.zeros_like(r).scatter(-1, high.indices, high.values.softmax(dim=-1))


def cut(r):
    return r.softmax(dim=-1) * (r >= r.topk(3).values[..., -1:])


CASES = {
    "temperature": Case(
        wrong=[
            (1.0, r"^At 1 the highest weight is 0\.4\d+, not 0\.9: a lower"),
            (0.1, r"highest weight is 0\.99\d+, not 0\.9: a higher"),
            (1 / T, "T divides them"),
            (-T, "above 0, and yours is -0.217"),
            (alignments.softmax(R, temperature=T), r"^T should be one number, not a tensor \(8\)"),
        ],
        right=[T, 0.217, torch.tensor(T)],
        given=scores,
    ),
    "top_three": Case(
        wrong=[
            (lambda r: above(r, r.flatten().topk(3).values[-1]), "^Three of all scores together"),
            (lambda r: above(r, r.topk(3, dim=-2).values[..., -1:, :]), "^Three of each column"),
            (lambda r: alignments.softmax(r, mask=r > r.topk(3).values[..., -1:]), "and one has 2"),
            (
                lambda r: alignments.softmax(
                    r, mask=r <= r.topk(3, largest=False).values[..., -1:]
                ),
                "three lowest",
            ),
            (lambda r: scattered(r.roll(1, dims=-1)), "not the three highest"),
            (cut, r"^The weights of a row sum to 0\.\d+: what is left out"),
            (lambda r: scattered(r).sign() / 3, "not those of softmax over them"),
            (
                lambda r: r.masked_fill_(r < r.topk(3).values[..., -1:], -torch.inf).softmax(-1),
                "^It changes a tensor",
            ),
            (lambda r: r.softmax(dim=-1), "^Nothing is left out"),
            (lambda r: above(r, r.topk(3).values[:, :, -1:]), "^It stops with IndexError"),
            (
                lambda r: r.topk(3).values.softmax(dim=-1),
                r"the shape \(4, 5, 20\), not \(4, 5, 3\)",
            ),
        ],
        right=[
            scattered,
            lambda r: cut(r) / cut(r).sum(dim=-1, keepdim=True),
            lambda r: above(r.double(), r.double().topk(3).values[..., -1:]),
        ],
    ),
    "constant": Case(
        wrong=[
            (-R.logsumexp(0), r"^It makes the exponentials sum to 1, and the sigmoids to 0\.\d+"),
            (1 - R.sigmoid().sum(), "^So much is missing in the sum"),
            ((1 - R.sigmoid().sum()) / 8, "^So much would each weight need"),
            (-CONSTANT, "^The sign"),
            (0, r"^With 0 they sum to 4\.3176, not 1: a lower"),
            (-5, "a higher constant"),
        ],
        right=[CONSTANT, torch.tensor(-2.638)],
        given=scores,
    ),
}
