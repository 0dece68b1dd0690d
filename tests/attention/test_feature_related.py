import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_utils.attention import alignments, scores
from course_utils.attention.feature_related import (
    AttentionViaAttention,
    Hierarchical,
    InteractiveCoAttention,
    MultiRepresentational,
    ParallelCoAttention,
    Rotatory,
    blocks,
)
from course_utils.attention.general import Attention, AttentionPooling
from tests.attention.cases import close, dot, few, made, seeds
from tests.references import attend, gradcheck, normal, numpy, softmax, tensors_in


def pooling(d, alignment=alignments.softmax):
    return made(AttentionPooling, Attention(scores.scaled_multiplicative, alignment), d)


def general(d_q, d_k, alignment=alignments.softmax):
    return Attention(made(scores.General, d_q, d_k), alignment)


def co_attention(alignment=alignments.softmax):
    return made(ParallelCoAttention, scores.General(2, 3), 3, 2, 4, alignment)


def hierarchical(groups, alignment=alignments.softmax):
    return Hierarchical(pooling(3, alignment), made(AttentionPooling, general(2, 3), 2), groups)


def via(alignment=alignments.softmax):
    return AttentionViaAttention(general(2, 3, alignment), general(5, 4, alignment))


def interactive(alignment=alignments.softmax):
    return InteractiveCoAttention(general(2, 3, alignment), general(3, 2, alignment))


def rotatory(alignment=alignments.softmax):
    sizes = (2, 3), (2, 4), (3, 2), (4, 2)  # of a query and a key
    return Rotatory(*(general(*pair, alignment) for pair in sizes))


def mixing(alignment=alignments.softmax):
    return made(MultiRepresentational, pooling(4, alignment), [3, 2, 5], 4)


GRID = blocks(4, 6, 2)
KINDS = {  # each module with the shapes of its inputs
    "co": (co_attention(), (2, 5, 3), (2, 4, 2)),
    "co, entmax": (co_attention(alignments.entmax), (2, 5, 3), (2, 4, 2)),
    "interactive": (interactive(), (2, 5, 3), (2, 4, 2)),
    "interactive, entmax": (interactive(alignments.entmax), (2, 5, 3), (2, 4, 2)),
    "rotatory": (rotatory(), (2, 3, 2), (2, 4, 3), (2, 5, 4)),
    "rotatory, entmax": (rotatory(alignments.entmax), (2, 3, 2), (2, 4, 3), (2, 5, 4)),
    "via": (via(), (2, 2, 2), (2, 4, 3), (2, 6, 4)),
    "via, entmax": (via(alignments.entmax), (2, 2, 2), (2, 4, 3), (2, 6, 4)),
    "hierarchical": (hierarchical(GRID), (2, 24, 3)),
    "hierarchical, entmax": (hierarchical(GRID, alignments.entmax), (2, 24, 3)),
    "representations": (mixing(), (2, 4, 3), (2, 4, 2), (2, 4, 5)),
    "representations, entmax": (mixing(alignments.entmax), (2, 4, 3), (2, 4, 2), (2, 4, 5)),
}
every = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def weights_of(result):
    """All weights in a result."""
    if hasattr(result, "weights"):
        return [result.weights, *result[2:]]
    return [weights for part in result for weights in weights_of(part)]


@every
@few
@given(seed=seeds)
def test_weights_are_non_negative_and_sum_to_1(kind, seed):
    module, *shapes = kind
    rows = weights_of(module(*normal(seed, *shapes)))
    assert rows
    for weights in rows:
        assert weights.min() >= 0
        close(weights.sum(dim=-1), torch.ones_like(weights[..., 0]))


@every
def test_each_image_of_a_batch_is_attended_by_itself(kind):
    module, *shapes = kind
    inputs = normal(0, *shapes)
    whole = tensors_in(module(*inputs))
    for b in range(2):
        for alone, part in zip(tensors_in(module(*(x[b : b + 1] for x in inputs))), whole):
            close(alone[0], part[b])


@every
def test_gradients(kind):
    module, *shapes = kind
    assert gradcheck(module, *normal(1, *shapes))


@every
def test_every_input_and_every_parameter_gets_a_gradient(kind):
    module, *shapes = kind
    inputs = [x.requires_grad_() for x in normal(2, *shapes)]
    sum(x.sin().sum() for x in tensors_in(module(*inputs))).backward()
    assert all(x.grad.abs().sum() > 0 for x in inputs)
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


# Parallel co-attention


def test_co_attention_equals_the_paper_position_by_position():
    module = co_attention()
    x, y = normal(3, (2, 5, 3), (2, 4, 2))
    of_x, of_y = module(x, y)
    W, W_x, W_y, w_x, w_y = numpy(*module.parameters())
    for n in range(2):
        V, U = x[n].numpy(), y[n].numpy()
        C = np.array([[np.tanh(V[i] @ W @ U[t]) for i in range(5)] for t in range(4)])
        r_x = [
            w_x[0] @ np.tanh(W_x @ V[i] + sum(W_y @ U[t] * C[t, i] for t in range(4)))
            for i in range(5)
        ]
        r_y = [
            w_y[0] @ np.tanh(W_y @ U[t] + sum(W_x @ V[i] * C[t, i] for i in range(5)))
            for t in range(4)
        ]
        for attended, vectors, r in ((of_x, V, r_x), (of_y, U, r_y)):
            close(attended.weights[n, 0].detach().numpy(), softmax(r))
            close(attended.context[n, 0].detach().numpy(), softmax(r) @ vectors)


@few
@given(seed=seeds, order=st.permutations(range(5)), other=st.permutations(range(4)))
def test_co_attention_ignores_the_order_of_both_sets(seed, order, other):
    x, y = normal(seed, (2, 5, 3), (2, 4, 2))
    (c, a), (d, b) = co_attention()(x, y)
    (c_permuted, a_permuted), (d_permuted, b_permuted) = co_attention()(x[:, order], y[:, other])
    close((c_permuted, d_permuted), (c, d))
    close((a_permuted, b_permuted), (a[..., order], b[..., other]))


def test_co_attention_treats_its_inputs_alike():
    """Swapping the inputs and their parameters swaps the results."""
    module, swapped = co_attention(), made(ParallelCoAttention, scores.General(3, 2), 2, 3, 4)
    with torch.no_grad():
        swapped.score.project.weight.copy_(module.score.project.weight.T)
    swapped.project_x, swapped.project_y = module.project_y, module.project_x
    swapped.score_x, swapped.score_y = module.score_y, module.score_x
    x, y = normal(4, (2, 5, 3), (2, 4, 2))
    first, second = module(x, y)
    close(tuple(swapped(y, x)), (second, first))


# Interactive co-attention


def test_interactive_co_attention_equals_loops():
    x, y = normal(14, (2, 5, 3), (2, 4, 3))
    of_x, of_y = InteractiveCoAttention(dot, dot)(x, y)
    for n in range(2):
        V, U = x[n].numpy(), y[n].numpy()
        for attended, query, vectors in ((of_x, sum(U) / 4, V), (of_y, sum(V) / 5, U)):
            context, weights = attend(query, vectors, vectors)
            close(attended.context[n, 0].numpy(), context)
            close(attended.weights[n, 0].numpy(), weights)


@few
@given(seed=seeds, order=st.permutations(range(5)), other=st.permutations(range(4)))
def test_interactive_co_attention_ignores_the_order_of_both_sets(seed, order, other):
    x, y = normal(seed, (2, 5, 3), (2, 4, 2))
    (c, a), (d, b) = interactive()(x, y)
    (c_permuted, a_permuted), (d_permuted, b_permuted) = interactive()(x[:, order], y[:, other])
    close((c_permuted, d_permuted), (c, d))
    close((a_permuted, b_permuted), (a[..., order], b[..., other]))


def test_only_the_mean_of_a_set_reaches_the_weights_of_the_other():
    """Parallel co-attention notices which words there are, interactive only their mean."""
    x, y = normal(15, (2, 5, 3), (2, 4, 2))
    shifted = y + torch.tensor([1.0, -1.0, 2.0, -2.0])[:, None]  # words with the same mean
    close(interactive()(x, shifted)[0].weights, interactive()(x, y)[0].weights)
    change = co_attention()(x, shifted)[0].weights - co_attention()(x, y)[0].weights
    assert change.abs().max() > 1e-3


# Rotatory attention


def test_rotatory_attention_equals_loops():
    target, left, right = normal(5, (2, 3, 3), (2, 4, 3), (2, 5, 3))
    result = Rotatory(dot, dot, dot, dot)(target, left, right)
    for n in range(2):
        centre = target[n].numpy()
        contexts = []
        for side, attended in ((left[n].numpy(), result.left), (right[n].numpy(), result.right)):
            context, weights = attend(sum(centre) / 3, side, side)
            close(attended.context[n, 0].numpy(), context)
            close(attended.weights[n, 0].numpy(), weights)
            contexts.append(context)
        for query, attended in zip(contexts, (result.target_by_left, result.target_by_right)):
            context, weights = attend(query, centre, centre)
            close(attended.context[n, 0].numpy(), context)
            close(attended.weights[n, 0].numpy(), weights)


def test_rotatory_context_has_four_parts_in_the_order_of_the_paper():
    result = rotatory()(*normal(6, (2, 3, 2), (2, 4, 3), (2, 5, 4)))
    assert result._fields == ("left", "target_by_left", "target_by_right", "right")
    assert [part.context.shape[-1] for part in result] == [3, 2, 2, 4]
    close(result.context[..., 3:5], result.target_by_left.context)
    assert result.context.shape == (2, 1, 11)


@few
@given(seed=seeds, order=st.permutations(range(4)), turned=st.permutations(range(3)))
def test_rotatory_attention_ignores_the_order_of_positions(seed, order, turned):
    target, left, right = normal(seed, (2, 3, 2), (2, 4, 3), (2, 5, 4))
    result = rotatory()(target, left, right)
    permuted = rotatory()(target[:, turned], left[:, order], right)
    close(permuted.context, result.context)
    close(permuted.left.weights, result.left.weights[..., order])
    close(permuted.target_by_left.weights, result.target_by_left.weights[..., turned])


def test_each_side_reaches_only_its_own_half():
    """Another right context leaves the first two contexts as they are."""
    target, left, right = normal(16, (2, 3, 2), (2, 4, 3), (2, 5, 4))
    result, changed = rotatory()(target, left, right), rotatory()(target, left, right.flip(-1))
    close(tuple(changed[:2]), tuple(result[:2]))
    for before, after in zip(result[2:], changed[2:]):
        assert (before.context - after.context).abs().max() > 1e-3


# Attention via attention


def test_attention_via_attention_equals_loops():
    module = via()
    q, coarse, fine = normal(7, (2, 2, 2), (2, 4, 3), (2, 6, 4))
    result = module(q, coarse, fine)
    W, V = numpy(*module.parameters())
    for n in range(2):
        for i in range(2):
            a = softmax([key @ W @ q[n, i].numpy() for key in coarse[n].numpy()])
            context = a @ coarse[n].numpy()
            b = softmax(
                [key @ V @ np.concatenate([q[n, i].numpy(), context]) for key in fine[n].numpy()]
            )
            close(result.coarse.weights[n, i].detach().numpy(), a)
            close(result.coarse.context[n, i].detach().numpy(), context)
            close(result.fine.weights[n, i].detach().numpy(), b)
            close(result.fine.context[n, i].detach().numpy(), b @ fine[n].numpy())


def test_the_context_of_attention_via_attention_holds_both_levels():
    result = via()(*normal(17, (2, 2, 2), (2, 4, 3), (2, 6, 4)))
    close(result.context, torch.cat([result.coarse.context, result.fine.context], dim=-1))
    assert result.context.shape == (2, 2, 7)


@few
@given(seed=seeds, order=st.permutations(range(4)), other=st.permutations(range(6)))
def test_attention_via_attention_ignores_the_order_of_both_levels(seed, order, other):
    q, coarse, fine = normal(seed, (2, 2, 2), (2, 4, 3), (2, 6, 4))
    result, permuted = via()(q, coarse, fine), via()(q, coarse[:, order], fine[:, other])
    close(
        (permuted.coarse.context, permuted.fine.context),
        (result.coarse.context, result.fine.context),
    )
    close(permuted.fine.weights, result.fine.weights[..., other])


def test_fine_level_that_ignores_the_coarse_one_is_attention():
    module = via()
    with torch.no_grad():
        module.fine.score.project.weight[:, 2:] = 0
    alone = general(2, 4)
    with torch.no_grad():
        alone.score.project.weight.copy_(module.fine.score.project.weight[:, :2])
    q, coarse, fine = normal(8, (2, 2, 2), (2, 4, 3), (2, 6, 4))
    close(tuple(module(q, coarse, fine).fine), tuple(alone(q, fine, fine)))


# Hierarchical attention


def test_blocks_by_hand():
    assert blocks(2, 4, 2).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert blocks(2, 3, 1).tolist() == [[0], [1], [2], [3], [4], [5]]
    assert blocks(2, 2, 2).tolist() == [[0, 1, 2, 3]]


@few
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_blocks_are_squares_and_contain_each_position_once(rows, columns, side):
    groups = blocks(rows * side, columns * side, side)
    assert sorted(groups.flatten().tolist()) == list(range(rows * columns * side**2))
    for group in groups:
        y, x = group // (columns * side), group % (columns * side)
        assert y.max() - y.min() == x.max() - x.min() == side - 1


def test_hierarchical_attention_equals_loops():
    groups = torch.tensor([[5, 0, 2], [1, 4, 3]])
    module = hierarchical(groups)
    (l,) = normal(9, (2, 6, 3))
    result = module(l)
    query, over, W = numpy(
        module.within.query, module.over.query, module.over.attention.score.project.weight
    )
    for n, vectors in enumerate(l.numpy()):
        parts = [attend(query, vectors[group], vectors[group]) for group in groups.numpy()]
        b = softmax([context @ W @ over for context, _ in parts])
        close(result.over[n, 0].detach().numpy(), b)
        for g, (_, a) in enumerate(parts):
            close(result.within[n, g].detach().numpy(), a)
            for position, weight in zip(groups[g], a):
                assert result.weights[n, 0, position].item() == pytest.approx(
                    weight * b[g], abs=1e-12
                )
        close(
            result.context[n, 0].detach().numpy(),
            sum(b[g] * context for g, (context, _) in enumerate(parts)),
        )


@few
@given(seed=seeds)
def test_weights_of_both_levels_together_give_the_context(seed):
    (l,) = normal(seed, (2, 24, 3))
    result = hierarchical(GRID)(l)
    close(result.weights @ l, result.context)


def test_one_group_is_attention_pooling():
    (l,) = normal(10, (2, 6, 3))
    pool = pooling(3)
    # All positions in one group, or each in a separate group.
    for groups in (torch.arange(6)[None], torch.arange(6)[:, None]):
        result = Hierarchical(pool, pool, groups)(l)
        close((result.context, result.weights), tuple(pool(l)))


@few
@given(seed=seeds, in_groups=st.permutations(range(4)), of_groups=st.permutations(range(6)))
def test_hierarchical_attention_ignores_the_order_in_groups_and_of_groups(
    seed, in_groups, of_groups
):
    (l,) = normal(seed, (2, 24, 3))
    result, permuted = hierarchical(GRID)(l), hierarchical(GRID[of_groups][:, in_groups])(l)
    close((permuted.context, permuted.weights), (result.context, result.weights))


# Multi-representational attention


def test_mixing_equals_loops():
    module = mixing()
    representations = normal(11, (2, 4, 3), (2, 4, 2), (2, 4, 5))
    context, weights = module(*representations)
    query = module.pool.query.detach().numpy()
    for n in range(2):
        for i in range(4):
            vectors = np.array(
                [
                    W @ x[n, i].numpy() + b
                    for x, (W, b) in zip(
                        representations, (numpy(*p.parameters()) for p in module.projections)
                    )
                ]
            )
            expected, a = attend(query, vectors, vectors)
            close(context[n, i].detach().numpy(), expected)
            close(weights[n, i].detach().numpy(), a)


@few
@given(seed=seeds, order=st.permutations(range(4)))
def test_permuted_positions_give_permuted_results(seed, order):
    representations = normal(seed, (2, 4, 3), (2, 4, 2), (2, 4, 5))
    context, weights = mixing()(*representations)
    permuted = mixing()(*(x[:, order] for x in representations))
    close(tuple(permuted), (context[:, order], weights[:, order]))


def test_single_representation_is_only_projected():
    module = made(MultiRepresentational, pooling(4), [3], 4)
    (x,) = normal(12, (2, 5, 3))
    close(tuple(module(x)), (module.projections[0](x), torch.ones(2, 5, 1).double()))


# Errors


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x, y: co_attention()(y, x),
            r"first input of shape \(any, any, 3\), got \(2, 4, 2\)",
        ),
        (
            lambda x, y: co_attention()(x, y[:1]),
            r"second input of shape \(2, any, 2\), got \(1, 4, 2\)",
        ),
        (lambda x, y: co_attention()(x[:, :0], y), "at least one key"),
        (lambda x, y: co_attention()(x, y[:, :0]), "at least one position"),
        (lambda x, y: interactive()(y, x), "queries of size 2 and keys of size 3"),
        (lambda x, y: InteractiveCoAttention(dot, dot)(x, x[:, :0]), r"one vector .* \(2, 0, 3\)"),
        (lambda x, y: Rotatory(dot, dot, dot, dot)(x, x, y), "d_q = d_k"),
        (lambda x, y: Rotatory(dot, dot, dot, dot)(x, x, x[:, :0]), "at least one key"),
        (lambda x, y: Rotatory(dot, dot, dot, dot)(x[:, :0], x, x), "at least one vector"),
        (lambda x, y: via()(y, x, y), "queries of size 5 and keys of size 4"),
        (lambda x, y: blocks(4, 6, 4), "4 × 6, got 4"),
        (lambda x, y: blocks(4, 6, 0), "4 × 6, got 0"),
        (
            lambda x, y: hierarchical(torch.tensor([[0, 1], [1, 2]])),
            r"groups \(G, n\) .* \(2, 2\)",
        ),
        (lambda x, y: hierarchical(torch.arange(4)), r"groups \(G, n\) .* \(4,\)"),
        (
            lambda x, y: hierarchical(GRID)(x),
            r"local features of shape \(any, 24, any\), got \(2, 5, 3\)",
        ),
        (
            lambda x, y: made(MultiRepresentational, pooling(4), [], 4),
            "at least one .* got none",
        ),
        (lambda x, y: mixing()(x, x), "3 representations, got 2"),
        (
            lambda x, y: mixing()(x, y, x),
            r"representation of shape \(2, 5, 2\), got \(2, 4, 2\)",
        ),
    ],
)
def test_errors_name_the_expected_and_the_given_values(call, message):
    with pytest.raises(ValueError, match=message):
        call(*normal(13, (2, 5, 3), (2, 4, 2)))
