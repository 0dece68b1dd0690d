import pandas as pd
import torch

from course_utils.attention import alignments
from course_utils.studies import alignment_functions as study
from tests.exercises.cases import Case

R = torch.tensor([1, -0.5, 2, 0.5, -1, 1.5, 0, -2], dtype=torch.double)
CONSTANT = -2.63809  # by halving an interval


def scores():
    return {"r": R}


def above(r, threshold):
    return alignments.softmax(r, mask=r >= threshold)


def scattered(r):
    high = r.topk(3, dim=-1)
    return torch.zeros_like(r).scatter(-1, high.indices, high.values.softmax(dim=-1))


def cut(r):
    return r.softmax(dim=-1) * (r >= r.topk(3).values[..., -1:])


def positions(r):
    return torch.arange(float(len(r)), dtype=r.dtype)


def bell(r, p, width):
    return torch.exp(-((positions(r) - p) ** 2) / (2 * width**2))


def near(r, p, D):
    return (positions(r) - p).abs() <= D


def window(r, p, D):
    return alignments.softmax(r, mask=near(r, p, D))


def local(r, p, D):
    return window(r, p, D) * bell(r, p, D / 2)


def by_exponentials(r, p, D):
    powers = r.exp() * near(r, p, D)
    return powers / powers.sum() * torch.exp(-2 * (positions(r) - p) ** 2 / D**2)


def runs():
    return {"runs": study.runs()}


def fair(table, by="val_pointing", keys=("alignment", "scale", "rate"), then="pointing"):
    means = table.groupby(list(keys)).mean(numeric_only=True)
    return {
        name: means.loc[means.loc[[name], by].idxmax(), then] for name in ("softmax", "sparsemax")
    }


def fair_by_sorting(table):
    means = table.groupby(["alignment", "scale", "rate"], as_index=False).mean(numeric_only=True)
    best = means.sort_values("val_pointing").groupby("alignment").tail(1)
    return best.set_index("alignment").pointing[["softmax", "sparsemax"]]


CASES = {
    "constant": Case(
        wrong=[
            (-R.logsumexp(0), r"exponentials sum to 1, but the sigmoid weights to 0\.\d+"),
            (-torch.tensor(8.0).log(), r"That's −log K\. .* sum to 1\.\d+"),
            (1 - R.sigmoid().sum(), "the sum of the weights lacks"),
            ((1 - R.sigmoid().sum()) / 8, "each weight lacks"),
            (-CONSTANT, "sign is wrong"),
            (0, r"With 0 the weights sum to 4\.3176, not 1\. Try a lower"),
            (-5, "a higher constant"),
        ],
        right=[CONSTANT, torch.tensor(-2.638)],
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
            (cut, r"row sum to 0\.\d+\. .* before the softmax"),
            (lambda r: scattered(r).sign() / 3, "aren't the softmax of their scores"),
            (
                lambda r: r.masked_fill_(r < r.topk(3).values[..., -1:], -torch.inf).softmax(-1),
                "changes a tensor",
            ),
            (lambda r: r.softmax(dim=-1), "softmax over all positions"),
            (lambda r: above(r, r.topk(3).values[:, :, -1:]), "stops with IndexError"),
            (lambda r: above(r, r.topk(3).values[..., -1:]), "tie for third place, you keep 5"),
            (
                lambda r: r.topk(3).values.softmax(dim=-1),
                r"the shape \(4, 5, 20\), not \(4, 5, 3\)",
            ),
        ],
        right=[
            scattered,
            lambda r: (
                r.new_full(r.shape, -torch.inf)
                .scatter(-1, r.topk(3).indices, r.topk(3).values)
                .softmax(-1)
            ),
            lambda r: alignments.softmax(r, mask=r.argsort(-1, True).argsort(-1) < 3),
            lambda r: scattered(r.double()),
        ],
    ),
    "in_a_window": Case(
        wrong=[
            (window, "Gaussian is missing"),
            (lambda r, p, D: r.softmax(0) * bell(r, p, D / 2), "Positions outside the window"),
            (
                lambda r, p, D: r.softmax(0) * near(r, p, D) * bell(r, p, D / 2),
                "softmax still runs over all",
            ),
            (lambda r, p, D: window(r, p, D) * bell(r, p, D), "D / 2, not D"),
            (lambda r, p, D: window(r, p, D / 2) * bell(r, p, D / 2), "too narrow"),
            (lambda r, p, D: local(r, p, D) / local(r, p, D).sum(), "weights sum to 1"),
            (
                lambda r, p, D: alignments.softmax(r * bell(r, p, D / 2), mask=near(r, p, D)),
                "Multiply the weights",
            ),
            (lambda r, p, D: local(r, round(p), D), "aren't softmax times the Gaussian"),
            (lambda r, p, D: local(r, p, D + 1), "A position outside the window"),
            (
                lambda r, p, D: (
                    alignments.softmax(r, mask=(positions(r) - p).abs() < D) * bell(r, p, D / 2)
                ),
                "Use ≤, not <",
            ),
            (lambda r, p, D: local(r, p, D)[:, None], r"\(12\), not \(12, 1\)"),
        ],
        right=[
            local,
            by_exponentials,
            lambda r, p, D: alignments.local(r, torch.tensor([p]), positions(r)[:, None], window=D),
        ],
    ),
    "fair_comparison": Case(
        wrong=[
            (lambda t: fair(t, by="pointing"), "on the test images"),
            (lambda t: fair(t, by="energy"), "setting by its energy"),
            (lambda t: fair(t, by="val_accuracy"), "setting by its accuracy"),
            (lambda t: fair(t, then="energy"), "you report the energy"),
            (
                lambda t: fair(t.assign(again=t.val_pointing), then="again"),
                "report the validation images",
            ),
            (lambda t: fair(t, keys=("alignment", "scale")), "average over the rates"),
            (
                lambda t: fair(t, keys=("alignment", "scale", "rate", "seed")),
                "luckiest seed",
            ),
            (lambda t: t.groupby("alignment").pointing.mean().to_dict(), "average over all"),
            (lambda t: t.groupby("alignment").pointing.max(), "highest pointing of all"),
            (lambda t: 0.98, "Return a dictionary"),
            (lambda t: {"softmax": 0.98, "sparsemax": 0.9}, "These aren't the mean test"),
            (0.98, "Write a function"),
        ],
        right=[fair, fair_by_sorting, lambda t: pd.Series(fair(t))],
        given=runs,
    ),
}
