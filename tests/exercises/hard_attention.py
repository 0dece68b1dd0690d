import torch
import torch.nn.functional as F

from course_utils.attention.glimpses import cell_centres, retina
from course_utils.exercises.hard_attention import FEATURES, POSITIONS, SCORE, VALUE
from tests.exercises.cases import Case


def drawn(a, i):
    return F.one_hot(torch.tensor(i), len(a))


def lengths(a):
    return (torch.eye(len(a), dtype=a.dtype) - a).square().sum(dim=1)


def best(a, R):
    return (a * lengths(a) * R).sum() / (a * lengths(a)).sum()


def by_autograd(a, i, R, R_0):
    r = a.log().requires_grad_()
    return torch.autograd.grad((R - R_0) * r.log_softmax(dim=0)[i], r)[0]


def by_search(a, R):
    line = torch.linspace(0, 10, 2_000_001, dtype=torch.double)
    noise = sum(p * n * (x - line) ** 2 for p, n, x in zip(a, lengths(a), R, strict=True))
    return line[noise.argmin()].item()


def cut(images, cells, *, shift=12, clamp=True, swap=False):
    windows = []
    for image, cell in zip(images, cells.tolist(), strict=True):
        row, column = divmod(cell, 8)
        if swap:
            row, column = column, row
        top, left = (8 * n + 4 - shift for n in (row, column))
        if clamp:
            top, left = (min(max(n, 0), 40) for n in (top, left))
        padded = F.pad(image, (24, 48, 24, 48))
        windows.append(padded[:, top + 24 : top + 48, left + 24 : left + 48])
    return torch.stack(windows)


SOFT, HARD = POSITIONS * (FEATURES + SCORE + VALUE), POSITIONS * (FEATURES + SCORE)

CASES = {
    "one_draw": Case(
        wrong=[
            (lambda a, i, R, R_0: (R - R_0) * (a - drawn(a, i)), "points downhill"),
            (lambda a, i, R, _: R * (drawn(a, i) - a), "baseline is missing"),
            (lambda a, i, R, R_0: (R + R_0) * (drawn(a, i) - a), "baseline is added"),
            (lambda a, i, R, R_0: (R - R_0) * a[i] * (drawn(a, i) - a), "gradient of log a"),
            (lambda a, i, R, R_0: (R - R_0) * drawn(a, i).float(), "Only the drawn score moves"),
            (lambda a, i, R, R_0: drawn(a, i) - a, "larger the step"),
            (lambda a, i, R, R_0: (R - R_0) * a, "isn't the gradient"),
            (lambda a, i, R, R_0: a[:2], r"shape \(6\)"),
        ],
        right=[lambda a, i, R, R_0: (R - R_0) * (drawn(a, i) - a), by_autograd],
    ),
    "best_baseline": Case(
        wrong=[
            (lambda a, R: a @ R, "expected reward"),
            (lambda a, R: R.mean(), "plain mean"),
            (lambda a, R: (lengths(a) * R).sum() / lengths(a).sum(), "How often"),
            (
                lambda a, R: (a * lengths(a).sqrt() @ R) / (a * lengths(a).sqrt()).sum(),
                "their squares",
            ),
            (lambda a, R: (a * lengths(a) * R).sum(), "sum of its weights"),
            (lambda a, R: -1.0, "times the smallest possible"),
        ],
        right=[best, by_search],
    ),
    "work": Case(
        wrong=[
            ((SOFT, FEATURES + SCORE), "before the draw"),
            ((SOFT, FEATURES), "before the draw"),
            ((SOFT, POSITIONS * SCORE + FEATURES), "you score all positions"),
            ((SOFT, SOFT), "one part of the work"),
            ((SOFT, HARD + VALUE), "just copied"),
            ((HARD, HARD), "weighted sum is missing"),
            ((FEATURES + SCORE + VALUE, HARD), "there are 256"),
            ((POSITIONS * FEATURES, HARD), "only the features"),
            ((7, HARD), "soft: count"),
            ((SOFT, 7), "hard: go through"),
        ],
        right=[(SOFT, HARD), (torch.tensor(SOFT), int(HARD))],
    ),
    "second_look": Case(
        wrong=[
            (lambda images, cells: cut(images, cells, swap=True), "Row and column"),
            (lambda images, cells: cut(images, cells, shift=0), "begin at the middle"),
            (lambda images, cells: cut(images, cells, shift=8), "4 pixels too far"),
            (lambda images, cells: cut(images, cells, shift=16), "Away from the border"),
            (lambda images, cells: cut(images, cells, clamp=False), "at the border"),
            (lambda images, cells: images, r"shape \(64, 1, 24, 24\)"),
        ],
        right=[
            cut,
            lambda images, cells: retina(images, cell_centres(8)[cells], [24], size=24),
        ],
    ),
}
