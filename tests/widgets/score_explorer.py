"""Helpers that the tests of ScoreExplorer share."""

from functools import partial

import torch

from course_utils.attention import alignments, scores
from course_utils.attention.general import Attention
from course_utils.studies import probes
from course_utils.widgets.score_explorer import SCORES

GRID, SIZE, D, N = 4, 16, 5, 2
SIZES = {
    "additive": (D, D, 6),
    "general": (D, D),
    "biased general": (D, D),
    "activated general": (D, D),
}


def made(name, *sizes):
    """A score with random parameters, in double precision where it has some."""
    score = SCORES[name](*sizes) if name in SIZES else SCORES[name]
    if isinstance(score, scores.ActivatedGeneral):
        torch.nn.init.constant_(score.offset, 0.3)
    return score


def alignment(n):
    """Softmax with another temperature for each score; without any for the first one."""
    return partial(alignments.softmax, temperature=2.0 / n) if n else alignments.softmax


def parts():
    torch.manual_seed(0)
    regions = torch.zeros(N, 1, SIZE, SIZE, dtype=torch.bool)
    regions[0, :, 2:9, 5:12] = regions[1, :, 10:16, 0:3] = True
    features = probes.Features(
        2 * torch.rand(N, GRID**2, D), torch.randn(N, 7), torch.tensor([3, 1]), regions
    )
    pools = {
        name: probes.Guided(Attention(made(name, *SIZES.get(name, ())), alignment(n)), d_g=7, d_l=D)
        for n, name in enumerate(SCORES)
    }
    boxes = torch.tensor([[5, 2, 12, 9], [0, 10, 3, 16]])
    return {
        "images": torch.rand(N, 1, SIZE, SIZE),
        "boxes": boxes,
        "features": features,
        "pools": pools,
        "plane": scores.Additive(2, 2, 4),
    }
