"""Values and helpers that the tests of attention share."""

from functools import partial

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.testing import assert_close

from course_utils.attention import scores
from course_utils.attention.alignments import local
from course_utils.attention.general import Attention

INF = float("inf")
WINDOW = 2.5  # of `on_a_line`

few = settings(max_examples=15, deadline=None)
more = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 1000)
close = partial(assert_close, rtol=0, atol=1e-12)
dot = Attention(scores.scaled_multiplicative)


def made(kind, *arguments):
    """A module in double precision, with the same parameters in every test."""
    torch.manual_seed(0)
    return kind(*arguments).double()


def line_of(scores):
    """Positions 0, 1, 2, … for the scores of a row."""
    return torch.arange(scores.shape[-1] if scores.ndim else 1, dtype=scores.dtype)[:, None]


def on_a_line(scores, *, mask=None):
    """`local` around position 2 of a line, for any number of rows."""
    centres = torch.full((*scores.shape[:-1], 1), 2.0, dtype=scores.dtype)
    return local(scores, centres, line_of(scores), window=WINDOW, mask=mask)


@st.composite
def scores_of(draw, rows=3, lowest=3, highest=12):
    """Scores (rows, K) in double precision: between −30 and 30, and often with equal ones."""
    shape = (rows, draw(st.integers(lowest, highest)))
    values = st.one_of(st.floats(-30, 30), st.sampled_from([-1.0, 0.0, 0.5]))
    return torch.from_numpy(draw(arrays(np.float64, shape, elements=values)))
