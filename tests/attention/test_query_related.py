from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from course_utils.attention import alignments, scores
from course_utils.attention.general import Attention, AttentionPooling
from course_utils.attention.query_related import (
    Capsuled,
    Capsules,
    ClassQueries,
    MultiHead,
    MultiHop,
    SelfAttention,
)
from tests.attention.cases import close, dot, few, made, seeds
from tests.references import attend, gradcheck, normal, numpy


def on_one_set(x, mask=None, *, module):
    return module(x, x, x, mask)


def additive(d):
    return made(scores.Additive, d, d, 3)


SELF = {
    "self": made(SelfAttention, dot, 6, 2, 3),
    "self, additive, entmax": made(
        SelfAttention, Attention(additive(2), alignments.entmax), 6, 2, 3
    ),
    "heads": partial(on_one_set, module=made(MultiHead, dot, 6, 3)),
    "heads, additive, entmax": partial(
        on_one_set, module=made(MultiHead, Attention(additive(2), alignments.entmax), 6, 3)
    ),
    "hops": partial(on_one_set, module=MultiHop(dot, 3)),
    "hops, additive": partial(on_one_set, module=MultiHop(Attention(additive(6)), 2)),
}
of_one_set = pytest.mark.parametrize("module", SELF.values(), ids=SELF)


def test_self_attention_equals_its_formula():
    module = SELF["self"]
    (x,) = normal(1, (2, 4, 6))
    context, weights = module(x)
    W_q, W_k, W_v = numpy(*module.parameters())
    for n, one in enumerate(x.numpy()):
        for i in range(4):
            expected, a = attend(W_q @ one[i], one @ W_k.T, one @ W_v.T)
            close(context[n, i].detach().numpy(), expected)
            close(weights[n, i].detach().numpy(), a)


def in_torch(module):
    """The layer of PyTorch with the parameters of our module."""
    layer = nn.MultiheadAttention(6, module.heads, batch_first=True).double()
    projections = module.project_query, module.project_key, module.project_value
    with torch.no_grad():
        for chunk, bias, projection in zip(
            layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3), projections
        ):
            chunk.copy_(projection.weight)
            bias.copy_(projection.bias)
        layer.out_proj.weight.copy_(module.combine.weight)
        layer.out_proj.bias.copy_(module.combine.bias)
    return layer


@pytest.mark.parametrize("heads", [1, 2, 3, 6])
@pytest.mark.parametrize("masked", [False, True])
def test_heads_and_their_gradients_equal_those_of_torch(heads, masked):
    module = made(MultiHead, dot, 6, heads)
    layer = in_torch(module)
    ours, theirs = (
        [x.requires_grad_() for x in normal(2, (2, 3, 6), (2, 5, 6), (2, 5, 6))] for _ in range(2)
    )
    mask = (
        torch.tensor([[True, True, False, True, False], [False] * 4 + [True], [True] * 5])
        if masked
        else None
    )
    context, weights = module(*ours, mask)
    expected, a = layer(*theirs, attn_mask=~mask if masked else None, average_attn_weights=False)
    close(context, expected)
    close(weights, a)
    # Sines, so that every entry of the results has another gradient.
    (context.sin().sum() + weights.sin().sum()).backward()
    (expected.sin().sum() + a.sin().sum()).backward()
    for our, their in zip(ours, theirs):
        close(our.grad, their.grad)
    projections = module.project_query, module.project_key, module.project_value
    close(torch.cat([p.weight.grad for p in projections]), layer.in_proj_weight.grad)
    close(module.project_value.bias.grad, layer.in_proj_bias.grad.chunk(3)[2])
    close(module.combine.weight.grad, layer.out_proj.weight.grad)
    close(module.combine.bias.grad, layer.out_proj.bias.grad)


def test_padding_mask_equals_that_of_torch():
    module = made(MultiHead, dot, 6, 2)
    q, k, v = normal(3, (2, 3, 6), (2, 5, 6), (2, 5, 6))
    there = torch.arange(5) < torch.tensor([[2], [4]])  # (B, K)
    context, weights = in_torch(module)(
        q, k, v, key_padding_mask=~there, average_attn_weights=False
    )
    close(tuple(module(q, k, v, there[:, None])), (context, weights))


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_hops_equal_loops(hops):
    q, k, v = normal(4, (2, 3, 5), (2, 4, 5), (2, 4, 5))
    context, weights = MultiHop(dot, hops)(q, k, v)
    assert weights.shape == (2, hops, 3, 4)
    for n in range(2):
        for i in range(3):
            query = q[n, i].numpy()
            for hop in range(hops):
                expected, a = attend(query, k[n].numpy(), v[n].numpy())
                query = query + expected
                close(weights[n, hop, i].numpy(), a)
            close(context[n, i].numpy(), expected)


def test_one_hop_is_attention():
    q, k, v = normal(5, (2, 3, 5), (2, 4, 5), (2, 4, 5))
    once, hop = dot(q, k, v), MultiHop(dot, 1)(q, k, v)
    assert torch.equal(hop.context, once.context)
    assert torch.equal(hop.weights[:, 0], once.weights)


def test_class_queries_equal_their_formula():
    module = made(ClassQueries, dot, 4, 6, 6)
    x, module.bias.data = normal(6, (2, 5, 6), (4,))
    result = module(x)
    queries, W, b = numpy(*module.parameters())
    for n, one in enumerate(x.numpy()):
        for c in range(4):
            context, a = attend(queries[c], one, one)
            close(result.context[n, c].detach().numpy(), context)
            close(result.weights[n, c].detach().numpy(), a)
            probability = 1 / (1 + np.exp(-(W[c] @ context + b[c])))
            assert result.probabilities[n, c].item() == pytest.approx(probability, abs=1e-12)


def test_class_query_is_attention_pooling_and_independent_of_the_others():
    module = made(ClassQueries, Attention(made(scores.Additive, 5, 6, 3)), 3, 5, 6)
    (x,) = normal(7, (2, 4, 6))
    before = module(x)
    for c in range(3):
        pool = AttentionPooling(module.attention, 5)
        pool.query.data = module.queries[c].data
        close(before.context[:, c], pool(x).context[:, 0])
    with torch.no_grad():
        module.queries[0] += 1
        module.bias[0] += 1
    after = module(x)
    assert torch.equal(after.logits[:, 1:], before.logits[:, 1:])
    assert not torch.equal(after.logits[:, 0], before.logits[:, 0])


def test_capsules_are_class_queries_that_reconstruct():
    capsules, by_class = made(Capsules, dot, 4, 6, 6), made(ClassQueries, dot, 4, 6, 6)
    (x,) = normal(15, (2, 5, 6))
    found, expected = capsules(x), by_class(x)
    close(tuple(found[:3]), tuple(expected))
    for n in range(2):
        for m in range(4):
            p = 1 / (1 + np.exp(-expected.logits[n, m].item()))
            close(found.reconstructions[n, m], p * expected.context[n, m])
            assert found.probabilities[n, m].item() == pytest.approx(p, abs=1e-12)


def test_loss_of_capsules_by_hand():
    """Class 0 is there with probability 0.9, class 1 isn't, with 0.2; the mean input is (1, 2)."""
    logits = torch.logit(torch.tensor([[0.9, 0.2]]))
    context = torch.tensor([[[0.5, 0.0], [0.0, 1.0]]])
    rebuilt = torch.tensor([[[0.45, 0.0], [0.0, 0.2]]])
    inputs = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    loss = Capsules.loss(
        Capsuled(context, torch.ones(1, 2, 2) / 2, logits, rebuilt),
        inputs,
        torch.tensor([[1.0, 0.0]]),
    )
    # 1 − 0.9 + 0.2, and 1 − 0.45 · 1 + 0.2 · 2
    assert loss.item() == pytest.approx(0.3 + 0.95, abs=1e-6)


def test_loss_of_capsules_is_a_hinge():
    """A capsule that is certain and much like the mean costs nothing more."""
    context = torch.tensor([[[9.0], [0.0]]])
    logits, inputs = torch.tensor([[50.0, -50.0]]), torch.ones(1, 3, 1)
    sure = Capsuled(context, torch.ones(1, 2, 3) / 3, logits, context)
    assert Capsules.loss(sure, inputs, torch.tensor([[1.0, 0.0]])).item() == 0


@of_one_set
@few
@given(seed=seeds, K=st.integers(1, 5))
def test_weights_are_non_negative_and_sum_to_1(module, seed, K):
    (x,) = normal(seed, (2, K, 6))
    weights = module(x).weights
    assert weights.min() >= 0
    close(weights.sum(dim=-1), torch.ones_like(weights[..., 0]))


@of_one_set
@few
@given(seed=seeds, order=st.permutations(range(4)))
def test_permuted_positions_give_permuted_results(module, seed, order):
    (x,) = normal(seed, (2, 4, 6))
    context, weights = module(x)
    permuted = module(x[:, order])
    close(permuted.context, context[:, order])
    close(permuted.weights, weights[..., order, :][..., order])


@few
@given(seed=seeds, order=st.permutations(range(4)))
def test_class_queries_ignore_the_order_of_positions(seed, order):
    module = made(ClassQueries, dot, 3, 6, 6)
    (x,) = normal(seed, (2, 4, 6))
    result, permuted = module(x), module(x[:, order])
    close((permuted.context, permuted.logits), (result.context, result.logits))
    close(permuted.weights, result.weights[..., order])
    close(result.weights.sum(dim=-1), torch.ones(2, 3).double())


@pytest.mark.parametrize("module", [*SELF.values(), made(ClassQueries, dot, 3, 6, 6)])
def test_each_image_of_a_batch_is_attended_by_itself(module):
    (x,) = normal(8, (3, 4, 6))
    whole = module(x)
    for b in range(3):
        for alone, part in zip(module(x[b : b + 1]), whole):
            close(alone[0], part[b])


@pytest.mark.parametrize("kind", SELF)
def test_query_without_an_allowed_position_gives_no_weight(kind):
    module = SELF[kind]
    (x,) = normal(9, (2, 3, 6))
    mask = torch.tensor([[True, False, True], [False] * 3, [True] * 3])
    context, weights = module(x, mask)
    assert (weights[..., 1, :] == 0).all()
    assert (weights[..., 0, 1] == 0).all()
    nothing = (
        module.keywords["module"].combine.bias
        if "heads" in kind
        else torch.zeros(context.shape[-1]).double()
    )
    close(context[:, 1], nothing.expand_as(context[:, 1]))


def test_class_queries_under_a_mask():
    module = made(ClassQueries, dot, 3, 6, 6)
    (x,) = normal(10, (2, 4, 6))
    mask = torch.tensor([[True, False, True, True], [False] * 4])[:, None]
    context, weights, _ = module(x, mask)
    assert (weights[0, :, 1] == 0).all()
    assert (weights[1] == 0).all()
    assert (context[1] == 0).all()


@pytest.mark.parametrize("kind", ["self", "self, additive, entmax"])
def test_gradients_of_self_attention(kind):
    assert gradcheck(SELF[kind], *normal(11, (2, 3, 6)))


@pytest.mark.parametrize(
    "module",
    [
        made(MultiHead, dot, 4, 2),
        MultiHop(dot, 3),
        MultiHop(Attention(additive(4), alignments.entmax), 2),
    ],
)
def test_gradients_of_heads_and_hops(module):
    assert gradcheck(module, *normal(12, (1, 2, 4), (1, 3, 4), (1, 3, 4)))


def test_gradients_of_capsules():
    assert gradcheck(made(Capsules, dot, 3, 6, 6), *normal(16, (2, 4, 6)))


def test_gradients_of_class_queries():
    assert gradcheck(made(ClassQueries, dot, 3, 6, 6), *normal(13, (2, 4, 6)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: SelfAttention(dot, 5, 2, 3).double()(x),
            r"inputs of shape \(any, any, 5\), got \(2, 4, 6\)",
        ),
        (lambda x: SELF["self"](x[:, :0]), "at least one key"),
        (
            lambda x: MultiHead(dot, 6, 4),
            "size 6, got 4",
        ),
        (
            lambda x: MultiHead(dot, 6, 0),
            "size 6, got 0",
        ),
        (
            lambda x: SELF["heads"](x[..., :5]),
            r"queries of shape \(any, any, 6\), got \(2, 4, 5\)",
        ),
        (lambda x: SELF["heads"](x[:, :0]), "at least one key"),
        (lambda x: made(MultiHead, dot, 6, 2)(x, x, x[:, 1:]), "value for each key"),
        (lambda x: MultiHop(dot, 0), "got 0"),
        (
            lambda x: MultiHop(dot, 2)(x, x, x[..., :5]),
            r"values of shape \(any, any, 6\), got \(2, 4, 5\)",
        ),
        (lambda x: SELF["hops"](x[:, :0]), "at least one key"),
        (lambda x: ClassQueries(dot, 0, 6, 6), "got 0"),
        (
            lambda x: made(ClassQueries, dot, 3, 6, 6)(x[..., :5]),
            r"inputs of shape \(any, any, 6\)",
        ),
        (lambda x: made(ClassQueries, dot, 3, 5, 6)(x), "d_q = d_k"),
    ],
)
def test_errors_name_the_expected_and_the_given_values(call, message):
    with pytest.raises(ValueError, match=message):
        call(*normal(14, (2, 4, 6)))
