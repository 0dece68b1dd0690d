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
            (1.0, r"At T = 1 the highest weight is 0\.4\d+, not 0\.9\. Try a lower"),
            (0.1, r"highest weight is 0\.99\d+, not 0\.9\. Try a higher"),
            (1 / T, "T divides the scores"),
            (-T, "yours is -0.217"),
            (
                alignments.softmax(R, temperature=T),
                r"^T should be one number, not a tensor of shape \(8\)",
            ),
        ],
        right=[T, 0.217, torch.tensor(T)],
        given=scores,
    ),
    "top_three": Case(
        wrong=[
            (
                lambda r: above(r, r.flatten().topk(3).values[-1]),
                "three scores of the whole tensor",
            ),
            (
                lambda r: above(r, r.topk(3, dim=-2).values[..., -1:, :]),
                "three scores of each column",
            ),
            (lambda r: alignments.softmax(r, mask=r > r.topk(3).values[..., -1:]), "one has 2"),
            (
                lambda r: alignments.softmax(
                    r, mask=r <= r.topk(3, largest=False).values[..., -1:]
                ),
                "three lowest",
            ),
            (lambda r: scattered(r.roll(1, dims=-1)), "not the three highest"),
            (cut, r"row sum to 0\.\d+: .* before the softmax"),
            (lambda r: scattered(r).sign() / 3, "not the softmax of their scores"),
            (
                lambda r: r.masked_fill_(r < r.topk(3).values[..., -1:], -torch.inf).softmax(-1),
                "changes a tensor",
            ),
            (lambda r: r.softmax(dim=-1), "softmax over all positions"),
            (lambda r: above(r, r.topk(3).values[:, :, -1:]), "stops with IndexError"),
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
            (-R.logsumexp(0), r"exponentials sum to 1, but the sigmoid weights to 0\.\d+"),
            (1 - R.sigmoid().sum(), "the sum of the weights lacks"),
            ((1 - R.sigmoid().sum()) / 8, "each weight lacks"),
            (-CONSTANT, "sign is wrong"),
            (0, r"With 0 the weights sum to 4\.3176, not 1\. Try a lower"),
            (-5, "a higher constant"),
        ],
        right=[CONSTANT, torch.tensor(-2.638)],
        given=scores,
    ),
}
