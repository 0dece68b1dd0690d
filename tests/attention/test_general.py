import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from course_utils.attention import alignments, scores
from course_utils.attention.general import (
    Attention,
    AttentionPooling,
    MultiDimensional,
    to_maps,
    to_sequence,
)
from tests.attention.cases import close, dot, few, made, seeds
from tests.references import gradcheck, normal, numpy, softmax

sizes = st.tuples(*[st.integers(1, 4)] * 5)  # B, Q, K, d_k, d_v


def qkv(seed, B=2, Q=3, K=4, d_k=5, d_v=2):
    return normal(seed, (B, Q, d_k), (B, K, d_k), (B, K, d_v))


def multi_dimensional(alignment=alignments.softmax):
    """Multi-dimensional attention for the sizes of `qkv`."""
    return made(MultiDimensional, 5, 5, 2, 3, alignment)


def additive(alignment=alignments.softmax):
    return Attention(made(scores.Additive, 5, 5, 3), alignment)


ALIGNMENTS = [alignments.softmax, alignments.sparsemax, alignments.entmax, alignments.sigmoid]
MODULES = [dot, additive(), Attention(scores.euclidean, alignments.entmax), multi_dimensional()]
MODULES += [multi_dimensional(alignments.entmax)]
every = pytest.mark.parametrize("module", MODULES)


def test_by_hand():
    """With scores 0 and ln 3, the second key has three times the weight."""
    query, keys = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 5.0], [math.log(3), 1.0]]])
    context, weights = Attention(scores.multiplicative)(query, keys, torch.tensor([[[4.0], [8.0]]]))
    assert_close(weights, torch.tensor([[[0.25, 0.75]]]))
    assert_close(context, torch.tensor([[[7.0]]]))


@few
@given(sizes, seeds)
def test_equals_torch(shape, seed):
    q, k, v = qkv(seed, *shape)
    close(dot(q, k, v).context, F.scaled_dot_product_attention(q, k, v))


@few
@given(sizes, seeds, st.data())
def test_equals_torch_under_a_mask(shape, seed, data):
    q, k, v = qkv(seed, *shape)
    mask = torch.rand(shape[:3], generator=torch.Generator().manual_seed(seed)) < 0.5
    # PyTorch leaves rows without an allowed position undefined, so every row gets one.
    mask[..., data.draw(st.integers(0, shape[2] - 1))] = True
    close(dot(q, k, v, mask).context, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize(
    "score", [scores.cosine, scores.euclidean, scores.Additive(5, 5, 3), scores.General(5, 5)]
)
def test_equals_the_sum_over_pairs(score, alignment):
    score = score.double() if isinstance(score, torch.nn.Module) else score
    q, k, v = qkv(0)
    context, weights = Attention(score, alignment)(q, k, v)
    for b in range(2):
        for i in range(3):
            r = torch.stack(
                [score(q[b, i].view(1, 1, -1), k[b, j].view(1, 1, -1)).squeeze() for j in range(4)]
            )
            a = alignment(r)
            close(weights[b, i], a)
            close(context[b, i], sum(a[j] * v[b, j] for j in range(4)))


def test_multi_dimensional_equals_its_formula_feature_by_feature():
    module = multi_dimensional()
    q, k, v = qkv(1)
    context, weights = numpy(*module(q, k, v))
    W_q, W_k, b, W = numpy(
        module.project_query.weight, *module.project_key.parameters(), module.score.weight
    )
    q, k, v = numpy(q, k, v)
    for n in range(2):
        for i in range(3):
            hidden = [
                torch.tanh(torch.from_numpy(W_q @ q[n, i] + W_k @ key + b)).numpy() for key in k[n]
            ]
            for feature in range(2):
                a = softmax([W[feature] @ h for h in hidden])
                close(weights[n, i, :, feature], a)
                close(context[n, i, feature], a @ v[n, :, feature])


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_multi_dimensional_with_the_same_scores_for_all_features_is_attention(alignment):
    many, one = multi_dimensional(alignment), additive(alignment)
    one.score.project_query, one.score.project_key = many.project_query, many.project_key
    with torch.no_grad():
        many.score.weight[:] = one.score.score.weight
    q, k, v = qkv(2)
    mask = torch.tensor([True, True, False, True])
    for given_mask in (None, mask, mask.expand(3, 4), mask.expand(2, 3, 4), torch.tensor(True)):
        context, weights = many(q, k, v, given_mask)
        close(context, one(q, k, v, given_mask).context)
        for feature in range(2):
            close(weights[..., feature], one(q, k, v, given_mask).weights)


@every
@few
@given(seed=seeds, K=st.integers(1, 6))
def test_weights_are_non_negative_and_sum_to_1(module, seed, K):
    weights = module(*qkv(seed, K=K)).weights
    assert weights.min() >= 0
    close(weights.sum(dim=2), torch.ones_like(weights[:, :, 0]))


@every
@few
@given(seed=seeds, order=st.permutations(range(4)))
def test_order_of_positions_does_not_change_the_context(module, seed, order):
    q, k, v = qkv(seed)
    context, weights = module(q, k, v)
    permuted = module(q, k[:, order], v[:, order])
    close(permuted.context, context)
    close(permuted.weights, weights[:, :, order])


@every
def test_each_query_and_each_image_is_attended_by_itself(module):
    q, k, v = qkv(3)
    whole = module(q, k, v)
    for b in range(2):
        for i in range(3):
            alone = module(q[b : b + 1, i : i + 1], k[b : b + 1], v[b : b + 1])
            close(alone.context[0, 0], whole.context[b, i])
            close(alone.weights[0, 0], whole.weights[b, i])


@every
def test_masked_positions_have_no_effect_and_fully_masked_rows_are_zero(module):
    q, k, v = qkv(4)
    mask = torch.tensor([[True, True, False, True], [False] * 4, [True, False, False, False]])
    context, weights = module(q, k, v, mask)
    assert (weights[:, 1] == 0).all()
    assert (context[:, 1] == 0).all()
    close(context[:, 2], v[:, 0])
    assert (weights[:, 0, 2] == 0).all()
    k[:, 2], v[:, 2] = 100, -100
    close(module(q, k, v, mask).context, context)


@every
def test_gradients(module):
    assert gradcheck(module, *qkv(5))


@pytest.mark.parametrize("module", MODULES[:3])
def test_gradients_under_a_mask_are_finite(module):
    q, k, v = (x.requires_grad_() for x in qkv(6))
    mask = torch.tensor([[True, True, False, True], [False] * 4, [True] * 4])
    module(q, k, v, mask).context.sum().backward()
    assert all(x.grad.isfinite().all() for x in (q, k, v))
    assert (q.grad[:, 1] == 0).all()


def test_pooling_uses_the_same_query_for_every_image():
    torch.manual_seed(0)
    pool = AttentionPooling(dot, 5).double()
    _, k, v = qkv(7)
    mask = torch.tensor([True, False, True, True])
    query = pool.query.expand(2, 1, 5)
    assert_close(pool(k), dot(query, k, k))
    assert_close(pool(k, v), dot(query, k, v))
    assert_close(pool(k, v, mask), dot(query, k, v, mask))
    assert gradcheck(pool, k, v)


@few
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_to_maps_is_the_inverse_of_to_sequence(B, C, H, W):
    features = torch.arange(B * C * H * W).view(B, C, H, W).float()
    sequence = to_sequence(features)
    assert sequence.shape == (B, H * W, C)
    assert torch.equal(to_maps(sequence.mT, H), features)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda q, k, v: dot(q, k, v[:, :3]),
            r"\(2, 3, 2\) for \(2, 4, 5\)",
        ),
        (lambda q, k, v: dot(q, k[:, :0], v[:, :0]), "at least one key"),
        (lambda q, k, v: dot(q[:1], k, v), r"\(1, 3, 5\) and \(2, 4, 5\)"),
        (
            lambda q, k, v: multi_dimensional()(q[..., :4], k, v),
            r"queries of shape \(any, any, 5\), got \(2, 3",
        ),
        (
            lambda q, k, v: multi_dimensional()(q, k[0], v),
            r"keys of shape \(2, any, 5\), got \(4, 5\)",
        ),
        (
            lambda q, k, v: multi_dimensional()(q, k, v[:, 1:]),
            r"values of shape \(2, 4, 2\), got \(2, 3, 2\)",
        ),
        (lambda q, k, v: multi_dimensional()(q, k[:, :0], v[:, :0]), "at least one position"),
        (
            lambda q, k, v: multi_dimensional()(q, k, v, torch.ones(7).bool()),
            "mask that can be broadcast",
        ),
        (
            lambda q, k, v: to_maps(torch.zeros(2, 1, 6), 4),
            "6 positions, got 4",
        ),
    ],
)
def test_errors_name_the_expected_and_the_given_values(call, message):
    with pytest.raises(ValueError, match=message):
        call(*qkv(8))


@pytest.mark.usefixtures("unchecked")
def test_ranks_that_would_give_no_error_later_are_refused():
    with pytest.raises(ValueError, match=r"\(any, any, any, any\), got \(3, 6, 7\)"):
        to_sequence(torch.rand(3, 6, 7))
    with pytest.raises(ValueError, match=r"got \(5, 5\) for \(5, 5, 4\)"):
        dot(torch.rand(5, 3, 4), torch.rand(5, 5, 4), torch.rand(5, 5))
