from collections import namedtuple

import torch

from tests.exercises.cases import Case

Projections = namedtuple("Projections", "query key value")
ZERO, ONE = torch.zeros(32, 32), torch.eye(32)


def same(row):
    return row[:, None] == row


def rows(height, width):
    return same(torch.arange(height * width) // width)


def neighbours(height, width):
    i = torch.arange(height * width)
    return (i[:, None] - i).abs() < width


CASES = {
    "average": Case(
        wrong=[
            ((ONE, ONE, ONE), r"nine positions range from"),
            ((ZERO, ZERO, ZERO), "all contexts are 0"),
            ((ZERO, ONE, ONE / 64), r"each context is 0\.0156 times the average"),
            ((ZERO, ONE, torch.ones(32, 32)), "values they average are not the input"),
            ((ZERO, ONE, ONE[:16]), r"^W_v should have the shape \(32, 32\), not \(16, 32\)"),
            ((0, ONE, ONE), r"^W_q should be a tensor of shape \(32, 32\), not an int"),
        ],
        right=[
            (ZERO, torch.randn(32, 32), ONE),
            (torch.randn(32, 32), ZERO, ONE.double()),
            [ZERO, ZERO, ONE],
            Projections(ZERO, ZERO, ONE),
        ],
    ),
    "row_mask": Case(
        wrong=[
            (lambda h, w: same(torch.arange(h * w) % w), "sees its column"),
            (lambda h, w: same(torch.arange(h * w) // h), "your rows have three"),
            (lambda h, w: ~rows(h, w), "the opposite"),
            (lambda h, w: torch.eye(h * w).bool(), "only itself"),
            (lambda h, w: rows(h, w).float(), r"should be boolean, but yours is torch\.float32"),
            (lambda h, w: same(torch.arange(h)), r"should have the shape \(15, 15\), not \(3, 3\)"),
            (
                lambda h, w: same(torch.arange(15) // 5),
                r"2 × 4 grid .* the shape \(8, 8\), not \(15, 15\)",
            ),
            (lambda h, w: same(torch.arange(h * w) // 5), r"but not for a 2 × 4 grid"),
            (neighbours, "position 1 sees position 5, which is in another row"),
            (
                lambda h, w: rows(h, w).tril(),
                "position 0 does not see position 1, which is in its own row",
            ),
        ],
        right=[rows, lambda h, w: torch.block_diag(*[torch.ones(w, w)] * h) > 0],
    ),
    "gigabyte": Case(
        wrong=[
            (10**9 // 32, "one per pair"),
            (15811, "one head, but there are eight"),
            (11180, "weights of one byte"),
            (5792, "2³⁰ bytes"),
            (5591, r"need 1\.0003 · 10⁹ bytes"),
            (5000, "one more position would fit"),
            (5590.17, "yours is 5590.17"),
            (0, "yours is 0"),
        ],
        right=[5590, 5590.0, torch.tensor(5590)],
    ),
}
