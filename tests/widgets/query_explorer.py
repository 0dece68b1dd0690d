"""Helpers that the tests of QueryExplorer share."""

import torch

from course_utils.widgets.query_explorer import QueryExplorer

N, ROWS, COLUMNS, HEIGHT, WIDTH = 2, 3, 8, 12, 32
K = ROWS * COLUMNS
BOXES = torch.tensor([[[5, 2, 13, 11], [20, 1, 27, 9]], [[1, 0, 6, 12], [17, 4, 32, 8]]])
TITLES = ["a 3 and a 7", "a 5 and a 5"]
NAMES = ["trained on pairs", "trained on single digits"]


def parts():
    """Two images, and the weights of two blocks; the second block's are almost uniform."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(N, 1, HEIGHT, WIDTH, generator=generator)
    scores = torch.randn(2, N, K, K, generator=generator)
    pairs, single = (2 * scores[0]).softmax(dim=-1), (0.1 * scores[1]).softmax(dim=-1)
    return images, dict(zip(NAMES, (pairs, single)))


def explorer(**traits):
    images, weights = parts()
    return QueryExplorer.from_block(images, weights, TITLES, BOXES, grid=(ROWS, COLUMNS), **traits)


def square():
    """Square images, whose pictures stand side by side."""
    images, weights = parts()
    return QueryExplorer.from_block(
        images.repeat(1, 1, 2, 1), weights, TITLES, BOXES[:, 0], grid=(ROWS, COLUMNS)
    )
