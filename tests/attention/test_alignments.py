"""Properties that every alignment has: the simplex, masks, order, gradients, precision."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from course_utils.attention.alignments import entmax, sigmoid, softmax, sparsemax
from tests.attention.cases import INF, more, on_a_line, scores_of

SIMPLEX = {
    "softmax": softmax,
    "cold softmax": partial(softmax, temperature=0.3),
    "entmax 1.01": partial(entmax, alpha=1.01),
    "entmax 1.2": partial(entmax, alpha=1.2),
    "entmax 1.5": entmax,
    "entmax 1.9": partial(entmax, alpha=1.9),
    "sparsemax": sparsemax,
}


ALL = SIMPLEX | {"sigmoid": sigmoid, "local": on_a_line}
on_simplex = pytest.mark.parametrize("align", SIMPLEX.values(), ids=SIMPLEX)
every = pytest.mark.parametrize("align", ALL.values(), ids=ALL)


@on_simplex
@more
@given(scores=scores_of(lowest=1))
def test_weights_lie_on_the_simplex(align, scores):
    weights = align(scores)
    assert weights.min() >= 0
    assert_close(weights.sum(dim=-1), torch.ones(3).double(), rtol=0, atol=1e-12)


@on_simplex
@more
@given(scores=scores_of(lowest=1), shift=st.floats(-100, 100))
def test_adding_a_constant_to_all_scores_changes_nothing(align, scores, shift):
    assert_close(align(scores + shift), align(scores), rtol=0, atol=1e-10)


@more
@given(scores=scores_of(), shift=st.floats(-100, 100))
def test_adding_a_constant_does_not_change_local_weights(scores, shift):
    assert_close(on_a_line(scores + shift), on_a_line(scores), rtol=0, atol=1e-10)


def test_adding_a_constant_changes_sigmoid_weights():
    assert_close(sigmoid(torch.zeros(2)), torch.tensor([0.5, 0.5]))
    assert_close(sigmoid(torch.zeros(2) + 3), torch.tensor([0.9525741, 0.9525741]))


@pytest.mark.parametrize("align", [*SIMPLEX.values(), sigmoid], ids=[*SIMPLEX, "sigmoid"])
@more
@given(scores=scores_of(), seed=st.integers(0, 1000))
def test_reordered_scores_give_reordered_weights(align, scores, seed):
    order = torch.randperm(scores.shape[-1], generator=torch.Generator().manual_seed(seed))
    assert_close(align(scores[:, order]), align(scores)[:, order], rtol=0, atol=1e-12)


@every
@more
@given(scores=scores_of())
def test_each_row_is_aligned_by_itself(align, scores):
    alone = torch.cat([align(row[None]) for row in scores])
    assert_close(align(scores), alone, rtol=0, atol=1e-12)
    assert_close(align(scores.view(3, 1, -1)), alone.view(3, 1, -1), rtol=0, atol=1e-12)


@every
@more
@given(scores=scores_of(), seed=st.integers(0, 1000))
def test_masked_positions_do_not_affect_the_others(align, scores, seed):
    mask = torch.rand(scores.shape[-1], generator=torch.Generator().manual_seed(seed)) < 0.6
    mask[2] = True  # where the window of `local` is
    weights = align(scores, mask=mask)
    assert (weights[:, ~mask] == 0).all()
    assert torch.equal(weights, align(scores.masked_fill(~mask, -INF)))
    if align in (softmax, sigmoid, sparsemax):
        assert_close(weights[:, mask], align(scores[:, mask]), rtol=0, atol=1e-12)
    everything = torch.ones_like(scores, dtype=torch.bool)
    assert torch.equal(align(scores, mask=everything), align(scores))


@on_simplex
def test_positions_that_a_mask_leaves_share_a_weight_of_one(align):
    scores = torch.tensor([0.3, 5.0, 0.1, -0.4]).double()
    mask = torch.tensor([True, False, True, True])
    assert_close(align(scores, mask=mask)[mask], align(scores[mask]))


@every
def test_row_without_an_allowed_position_is_zeros_and_has_no_gradient(align):
    torch.manual_seed(0)
    # The scores are so close to each other that sparsemax keeps them all.
    scores = torch.randn(2, 2, 5, dtype=torch.double) / 10
    scores[0, 0, 1] = scores[1, 1] = -INF
    scores.requires_grad_()
    weights = align(scores, mask=torch.tensor([True, False])[:, None])
    assert (weights[:, 1] == 0).all()
    assert weights[0, 0].sum() > 0
    upstream = torch.randn(2, 2, 5).double()
    weights.backward(upstream)
    assert scores.grad.isfinite().all()
    assert (scores.grad[:, 1] == 0).all()
    assert scores.grad[0, 0, 1] == 0
    assert scores.grad[0, 0].abs().max() > 0


@every
@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_first_and_second_gradients(align, spread):
    torch.manual_seed(0)
    scores = (torch.randn(3, 5).double() * spread).requires_grad_()
    mask = torch.tensor([[True] * 5, [False] + [True] * 4, [False] * 5])
    assert torch.autograd.gradcheck(partial(align, mask=mask), scores)
    assert torch.autograd.gradgradcheck(partial(align, mask=mask), scores)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@every
def test_large_scores_give_finite_results_in_every_precision(align, dtype):
    torch.manual_seed(0)
    scores = (torch.randn(4, 6) * 1e4).to(dtype).requires_grad_()
    weights = align(scores)
    weights.sum(dim=-1).square().sum().backward()
    assert weights.dtype == scores.grad.dtype == dtype
    assert weights.isfinite().all()
    assert scores.grad.isfinite().all()
    assert weights.min() >= 0
    assert weights.max() <= 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("align", [*SIMPLEX.values(), sigmoid], ids=[*SIMPLEX, "sigmoid"])
def test_half_precision_is_single_precision_rounded(align, dtype):
    scores = torch.randn(4, 300, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(align(scores), align(scores.float()).to(dtype))


@every
@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 4)])
def test_no_rows_give_no_rows(align, shape):
    scores = torch.zeros(shape, requires_grad=True)
    weights = align(scores)
    weights.sum().backward()
    assert weights.shape == scores.grad.shape == shape


@on_simplex
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_scores(align, dtype):
    assert_close(align(torch.tensor([[-7.5]], dtype=dtype)), torch.ones(1, 1, dtype=dtype))
    for K in (2, 49, 4096):
        for level in (-1e30, 0, 1e30):
            assert_close(
                align(torch.full((K,), level, dtype=dtype)), torch.full((K,), 1 / K, dtype=dtype)
            )
    # The difference of the first two overflows in single precision.
    far_apart = torch.tensor([3e38, -3e38, 1.0, 0.0], dtype=dtype)
    assert torch.equal(align(far_apart), torch.tensor([1.0, 0, 0, 0], dtype=dtype))
