import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
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
from course_utils.core.tensor_checks import check_shape
from tests.references import gradcheck, normal, numpy, softmax

few = settings(max_examples=12, deadline=None)
close = partial(assert_close, rtol=0, atol=1e-12)
dot = Attention(scores.scaled_multiplicative)
sizes = st.tuples(*[st.integers(1, 4)] * 5)  # B, Q, K, d_k, d_v
seeds = st.integers(0, 1000)


def qkv(seed, B=2, Q=3, K=4, d_k=5, d_v=2):
    return normal(seed, (B, Q, d_k), (B, K, d_k), (B, K, d_v))


def multi_dimensional(alignment=alignments.softmax):
    """For the sizes of `qkv`."""
    torch.manual_seed(0)
    return MultiDimensional(5, 5, 2, 3, alignment).double()


def additive(alignment=alignments.softmax):
    torch.manual_seed(0)
    return Attention(scores.Additive(5, 5, 3), alignment).double()


ALIGNMENTS = [alignments.softmax, alignments.sparsemax, alignments.entmax, alignments.sigmoid]
MODULES = [dot, additive(), Attention(scores.euclidean, alignments.entmax), multi_dimensional()]
MODULES += [multi_dimensional(alignments.entmax)]
every = pytest.mark.parametrize("module", MODULES)


def test_by_hand():
    """Scores 0 and ln 3: the second key is three times as likely."""
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
    mask[..., data.draw(st.integers(0, shape[2] - 1))] = (
        True  # torch says nothing about rows without any choice
    )
    close(dot(q, k, v, mask).context, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize(
    "score", [scores.cosine, scores.euclidean, scores.Additive(5, 5, 3), scores.General(5, 5)]
)
def test_equals_the_sum_pair_by_pair(score, alignment):
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
def test_weights_are_shares(module, seed, K):
    weights = module(*qkv(seed, K=K)).weights
    assert weights.min() >= 0
    close(weights.sum(dim=2), torch.ones_like(weights[:, :, 0]))


@every
@few
@given(seed=seeds, order=st.permutations(range(4)))
def test_the_order_of_positions_does_not_matter(module, seed, order):
    q, k, v = qkv(seed)
    context, weights = module(q, k, v)
    permuted = module(q, k[:, order], v[:, order])
    close(permuted.context, context)
    close(permuted.weights, weights[:, :, order])


@every
def test_each_query_and_each_input_is_attended_by_itself(module):
    q, k, v = qkv(3)
    whole = module(q, k, v)
    for b in range(2):
        for i in range(3):
            alone = module(q[b : b + 1, i : i + 1], k[b : b + 1], v[b : b + 1])
            close(alone.context[0, 0], whole.context[b, i])
            close(alone.weights[0, 0], whole.weights[b, i])


@every
def test_masked_positions_do_not_matter_and_rows_without_any_choice_are_zero(module):
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
def test_gradients_under_a_mask_are_numbers(module):
    q, k, v = (x.requires_grad_() for x in qkv(6))
    mask = torch.tensor([[True, True, False, True], [False] * 4, [True] * 4])
    module(q, k, v, mask).context.sum().backward()
    assert all(x.grad.isfinite().all() for x in (q, k, v))
    assert (q.grad[:, 1] == 0).all()


def test_pooling_asks_every_input_the_same():
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
def test_maps_are_sequences_the_other_way_round(B, C, H, W):
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
            r"expected a value for each key, got \(2, 3, 2\) for \(2, 4, 5\)",
        ),
        (lambda q, k, v: dot(q, k[:, :0], v[:, :0]), "expected at least one key"),
        (lambda q, k, v: dot(q[:1], k, v), "expected queries and keys of one batch"),
        (
            lambda q, k, v: multi_dimensional()(q[..., :4], k, v),
            r"expected queries of shape \(any, any, 5\), got \(2, 3",
        ),
        (
            lambda q, k, v: multi_dimensional()(q, k[0], v),
            r"expected keys of shape \(2, any, 5\), got \(4, 5\)",
        ),
        (
            lambda q, k, v: multi_dimensional()(q, k, v[:, 1:]),
            r"expected values of shape \(2, 4, 2\), got \(2, 3, 2\)",
        ),
        (lambda q, k, v: multi_dimensional()(q, k[:, :0], v[:, :0]), "at least one position"),
        (
            lambda q, k, v: multi_dimensional()(q, k, v, torch.ones(7).bool()),
            "a mask that can be broadcast",
        ),
        (
            lambda q, k, v: to_maps(torch.zeros(2, 1, 6), 4),
            "expected a height that divides 6 positions, got 4",
        ),
        (
            lambda q, k, v: check_shape("x", q, 2, None),
            r"expected x of shape \(2, any\), got \(2, 3, 5\)",
        ),
    ],
)
def test_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call(*qkv(8))


@pytest.mark.usefixtures("unchecked")
def test_ranks_that_would_pass_in_silence_are_said():
    with pytest.raises(
        ValueError, match=r"features of shape \(any, any, any, any\), got \(3, 6, 7\)"
    ):
        to_sequence(torch.rand(3, 6, 7))
    with pytest.raises(ValueError, match=r"a value for each key, got \(5, 5\) for \(5, 5, 4\)"):
        dot(torch.rand(5, 3, 4), torch.rand(5, 5, 4), torch.rand(5, 5))
