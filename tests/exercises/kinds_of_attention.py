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
            ((ONE, ONE, ONE), r"^For nine positions the weights go from .* should be even"),
            ((ZERO, ZERO, ZERO), "the contexts 0"),
            ((ZERO, ONE, ONE / 64), r"each context is 0\.0156 times the average"),
            ((ZERO, ONE, torch.ones(32, 32)), "what they average is not the input"),
            ((ZERO, ONE, ONE[:16]), r"^W_v should have the shape \(32, 32\), not \(16, 32\)"),
            ((0, ONE, ONE), r"^W_q should be a tensor \(32, 32\), not an int"),
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
            (lambda h, w: same(torch.arange(h * w) % w), "^That looks along the column"),
            (lambda h, w: same(torch.arange(h * w) // h), "a row has five positions"),
            (lambda h, w: ~rows(h, w), "^That is the opposite"),
            (lambda h, w: torch.eye(h * w).bool(), "itself only"),
            (lambda h, w: rows(h, w).float(), r"should be boolean, and yours is torch\.float32"),
            (lambda h, w: same(torch.arange(h)), r"should have the shape \(15, 15\), not \(3, 3\)"),
            (
                lambda h, w: same(torch.arange(15) // 5),
                r"^For a grid of 2 × 4 .* the shape \(8, 8\), not \(15, 15\)",
            ),
            (lambda h, w: same(torch.arange(h * w) // 5), r"and on one of 2 × 4 it is not"),
            (neighbours, "position 1 may look at 5, which is in another row"),
            (
                lambda h, w: rows(h, w).tril(),
                "position 0 may not look at 1, which is in its own row",
            ),
        ],
        right=[rows, lambda h, w: torch.block_diag(*[torch.ones(w, w)] * h) > 0],
    ),
    "gigabyte": Case(
        wrong=[
            (10**9 // 32, "one for each pair"),
            (15811, "one head; here are eight"),
            (11180, "weights of one byte"),
            (5792, "2³⁰ bytes"),
            (5591, r"need 1\.0003 · 10⁹ bytes"),
            (5000, "one position more as well"),
            (5590.17, "whole and above 0, and yours is 5590.17"),
            (0, "above 0"),
        ],
        right=[5590, 5590.0, torch.tensor(5590)],
    ),
}
