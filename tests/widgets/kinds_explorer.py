"""Helpers that the tests of KindsExplorer share."""

import torch

from course_utils.attention import query_related, scores
from course_utils.attention.general import Attention, MultiDimensional
from course_utils.widgets.kinds_explorer import Kinds, Scenes, WithQuery

ROWS, COLUMNS, HEIGHT, WIDTH, N, D = 4, 8, 16, 32, 2, 4
K, SIZE = ROWS * COLUMNS, D + 2
NAMES = Kinds._fields
BOXES = torch.tensor([[[2, 3, 9, 12], [20, 1, 27, 9]], [[5, 6, 12, 16], [17, 4, 32, 8]]])
DOT = Attention(scores.scaled_multiplicative)


def kinds():
    """Six kinds; some read the coordinates, some do not."""
    return Kinds(
        learned_query=torch.randn(D),
        multi_dimensional=WithQuery(torch.randn(SIZE), MultiDimensional(SIZE, SIZE, SIZE, 7)),
        self_attention=query_related.SelfAttention(DOT, SIZE, 5, 3),
        multi_head=WithQuery(torch.randn(SIZE), query_related.MultiHead(DOT, SIZE, 2)),
        multi_hop=WithQuery(0.5 * torch.randn(D), query_related.MultiHop(DOT, 3)),
        class_queries=query_related.ClassQueries(DOT, 10, D, D),
    )


def parts():
    """Two scenes and the kinds."""
    torch.manual_seed(0)
    coordinates = torch.cartesian_prod(torch.linspace(-1, 1, ROWS), torch.linspace(-2, 2, COLUMNS))
    images, local = torch.rand(N, 1, HEIGHT, WIDTH), 2 * torch.rand(N, K, D)
    scenes = Scenes(images, local, coordinates, BOXES, torch.tensor([[3, 7], [0, 5]]))
    return scenes, kinds()
