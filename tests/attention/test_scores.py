import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from course_utils.attention import alignments, scores
from tests.attention.cases import close, few, seeds
from tests.references import gradcheck, normal, numpy

sizes = st.tuples(*[st.integers(1, 5)] * 4)  # B, Q, K, d
FUNCTIONS = [scores.multiplicative, scores.scaled_multiplicative, scores.cosine, scores.euclidean]
MODULES = [
    scores.Additive,
    scores.Concat,
    scores.General,
    scores.BiasedGeneral,
    scores.ActivatedGeneral,
]


def made(kind, d_q, d_k, seed=0):
    """A module in double precision with random parameters, so that none of them is zero."""
    torch.manual_seed(seed)
    hidden = (4,) if kind in (scores.Additive, scores.Concat) else ()
    module = kind(d_q, d_k, *hidden).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def pairs(seed, B=2, Q=3, K=4, d_q=5, d_k=5):
    return normal(seed, (B, Q, d_q), (B, K, d_k))


def ready(score, d=5):
    return made(score, d, d) if isinstance(score, type) else score


every = pytest.mark.parametrize("score", [*FUNCTIONS, *MODULES], ids=lambda score: score.__name__)
every_function = pytest.mark.parametrize("score", FUNCTIONS, ids=lambda score: score.__name__)
every_module = pytest.mark.parametrize("score", MODULES, ids=lambda score: score.__name__)

# The formulas for one query and one key, with the parameters as arrays.
FORMULAS = {
    "multiplicative": lambda q, k: sum(a * b for a, b in zip(q, k)),
    "scaled_multiplicative": lambda q, k: sum(a * b for a, b in zip(q, k)) / math.sqrt(len(k)),
    "cosine": lambda q, k: sum(a * b for a, b in zip(q, k)) / (math.hypot(*q) * math.hypot(*k)),
    "euclidean": lambda q, k: -math.dist(q, k),
    "Additive": lambda q, k, W_q, W_k, b, w: w[0] @ np.tanh(W_q @ q + W_k @ k + b),
    "Concat": lambda q, k, W, b, w: w[0] @ np.tanh(W @ np.concatenate([q, k]) + b),
    "General": lambda q, k, W: k @ (W @ q),
    "BiasedGeneral": lambda q, k, W, b: k @ (W @ q + b),
    "ActivatedGeneral": lambda q, k, b, W: math.tanh(k @ (W @ q) + b),
}


def by_formula(score, queries, keys):
    """Scores of all pairs, from the formula in a loop."""
    formula = FORMULAS[getattr(score, "__name__", type(score).__name__)]
    parameters = numpy(*score.parameters()) if isinstance(score, torch.nn.Module) else []
    queries, keys = numpy(queries, keys)
    found = [
        [[formula(q, k, *parameters) for k in ks] for q in qs] for qs, ks in zip(queries, keys)
    ]
    return torch.from_numpy(np.array(found))


@every_function
@few
@given(shape=sizes, seed=seeds)
def test_functions_equal_their_formula_in_a_loop(score, shape, seed):
    B, Q, K, d = shape
    queries, keys = pairs(seed, B, Q, K, d, d)
    close(score(queries, keys), by_formula(score, queries, keys))


@every_module
@few
@given(shape=sizes, d_k=st.integers(1, 5), seed=seeds)
def test_modules_equal_their_formula_in_a_loop(score, shape, d_k, seed):
    B, Q, K, d_q = shape
    module, (queries, keys) = made(score, d_q, d_k, seed), pairs(seed, B, Q, K, d_q, d_k)
    close(module(queries, keys), by_formula(module, queries, keys))


def test_by_hand():
    query = torch.tensor([[[3.0, 4.0]]])
    keys = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 4.0], [-6.0, -8.0]]])
    expected = {
        scores.multiplicative: [3, 8, 25, -50],
        scores.scaled_multiplicative: [3 / 2**0.5, 8 / 2**0.5, 25 / 2**0.5, -50 / 2**0.5],
        scores.cosine: [0.6, 0.8, 1, -1],
        scores.euclidean: [-(20**0.5), -(13**0.5), 0, -15],
    }
    for score, row in expected.items():
        assert_close(score(query, keys), torch.tensor([[row]], dtype=torch.float32))


@every_function
def test_gradients_of_functions_are_exact(score):
    assert torch.autograd.gradcheck(score, [tensor.requires_grad_() for tensor in pairs(1)])


@every_module
def test_gradients_of_modules_are_exact(score):
    assert gradcheck(made(score, 5, 5), *pairs(1))


@every_module
def test_every_parameter_gets_a_gradient(score):
    module = made(score, 5, 5)
    module(*pairs(2)).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in module.parameters())


@every
@few
@given(seed=seeds)
def test_each_pair_is_scored_by_itself(score, seed):
    """Other pairs change nothing, and shuffled queries and keys give shuffled scores."""
    score, (queries, keys) = ready(score), pairs(seed)
    found = score(queries, keys)
    close(score(queries[1:], keys[1:]), found[1:])
    close(score(queries[:, :1], keys[:, 2:3]), found[:, :1, 2:3])
    random = torch.Generator().manual_seed(seed)
    rows, columns = torch.randperm(3, generator=random), torch.randperm(4, generator=random)
    close(score(queries[:, rows], keys[:, columns]), found[:, rows][:, :, columns])


def test_concat_computes_the_same_as_additive():
    concat, additive = made(scores.Concat, 3, 5), made(scores.Additive, 3, 5)
    W = concat.project.weight.data
    additive.project_query.weight.data, additive.project_key.weight.data = W[:, :3], W[:, 3:]
    additive.project_key.bias.data = concat.project.bias.data
    additive.score.weight.data = concat.score.weight.data
    queries, keys = pairs(3, d_q=3)
    close(concat(queries, keys), additive(queries, keys))


def test_general_scores_contain_the_dot_product():
    queries, keys = pairs(4)
    general, biased = made(scores.General, 5, 5), made(scores.BiasedGeneral, 5, 5)
    activated = made(scores.ActivatedGeneral, 5, 5)
    for module in (general, biased, activated):
        module.project.weight.data = torch.eye(5, dtype=torch.float64)
    dots = scores.multiplicative(queries, keys)
    close(general(queries, keys), dots)
    close(activated(queries, keys), torch.tanh(dots + activated.offset))
    preference = (keys @ biased.project.bias)[:, None]  # (B, 1, K): the same for every query
    close(biased(queries, keys), dots + preference)


def test_vector_bias_outside_the_brackets_does_not_give_a_score():
    """The printed formula does not fit (B, Q, K); if K = d_k, it adds the bias to positions."""
    module, (queries, keys) = made(scores.BiasedGeneral, 5, 5), pairs(5)
    bilinear = queries @ module.project.weight.mT @ keys.mT
    with pytest.raises(RuntimeError):
        bilinear + module.project.bias
    queries, keys = pairs(5, K=5)
    printed = queries @ module.project.weight.mT @ keys.mT + module.project.bias
    shuffled = queries @ module.project.weight.mT @ keys.flip(1).mT + module.project.bias
    assert not torch.allclose(shuffled, printed.flip(2))
    close(module(queries, keys.flip(1)), module(queries, keys).flip(2))


@few
@given(seed=seeds, factor=st.floats(0.1, 10))
def test_changes_that_leave_scores_as_they_are(seed, factor):
    queries, keys = pairs(seed)
    shift = normal(seed + 1, (5,))[0]
    turn = torch.linalg.qr(normal(seed + 2, (5, 5))[0]).Q
    close(scores.cosine(queries, factor * keys), scores.cosine(queries, keys))
    close(scores.euclidean(queries + shift, keys + shift), scores.euclidean(queries, keys))
    for score in FUNCTIONS:
        close(score(queries @ turn, keys @ turn), score(queries, keys))


def test_changes_that_change_scores():
    queries, keys = pairs(6)
    for score in (scores.multiplicative, scores.scaled_multiplicative, scores.euclidean):
        assert not torch.allclose(score(queries, 2 * keys), score(queries, keys))
    for score in (scores.multiplicative, scores.scaled_multiplicative, scores.cosine):
        assert not torch.allclose(score(queries + 1, keys + 1), score(queries, keys))
    general = made(scores.General, 5, 5)
    turn = torch.linalg.qr(normal(7, (5, 5))[0]).Q
    assert not torch.allclose(general(queries @ turn, keys @ turn), general(queries, keys))


@few
@given(seed=seeds)
def test_ranges(seed):
    queries, keys = pairs(seed)
    assert scores.cosine(queries, keys).abs().max() <= 1 + 1e-12
    assert scores.euclidean(queries, keys).max() <= 0
    close(scores.cosine(queries, 3 * queries).diagonal(dim1=1, dim2=2), torch.ones(2, 3).double())
    close(scores.euclidean(queries, queries).diagonal(dim1=1, dim2=2), torch.zeros(2, 3).double())


def test_scores_are_zero_and_gradients_finite_where_a_formula_is_undefined():
    """A zero vector has no angle, and the distance of equal vectors has no gradient."""
    queries, keys = pairs(8)
    queries[:, 0] = keys[:, 0] = 0
    leaves = [queries.requires_grad_(), keys.requires_grad_()]
    for score in (scores.cosine, scores.euclidean):
        found = score(*leaves)
        assert (found[:, 0, 0] == 0).all()
        assert all(
            gradient.isfinite().all() for gradient in torch.autograd.grad(found.sum(), leaves)
        )


def test_small_distances_are_exact_in_single_precision():
    keys = torch.full((1, 2, 64), 1000.0)
    keys[0, 1] += 0.125
    assert_close(scores.euclidean(keys[:, :1], keys), torch.tensor([[[0.0, -1.0]]]))


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_close_to_double(score, dtype):
    score, (queries, keys) = ready(score, d=16), pairs(9, d_q=16, d_k=16)
    expected = score(queries, keys)
    half = score.to(dtype) if isinstance(score, torch.nn.Module) else score
    found = half(queries.to(dtype), keys.to(dtype))
    assert found.dtype == dtype
    assert_close(found.double(), expected, rtol=0.05, atol=0.05 * expected.abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_scores_stay_finite_in_half_precision(dtype):
    # The dot products are 102,400, and float16 ends at 65,504.
    queries = keys = torch.full((1, 2, 64), 40.0, dtype=dtype)
    scaled = scores.scaled_multiplicative(queries, keys)
    weights = alignments.softmax(scaled)
    assert_close(scaled.float(), torch.full((1, 2, 2), 12800.0))
    assert_close(weights.float(), torch.full((1, 2, 2), 0.5))
    far = 250 * keys  # of length 80,000
    assert_close(scores.cosine(far, far).float(), torch.ones(1, 2, 2), atol=0.01, rtol=0)
    assert_close(
        scores.euclidean(far, 0.5 * far).float(), torch.full((1, 2, 2), -40000.0), atol=0, rtol=0.01
    )


@pytest.mark.usefixtures("unchecked")
@every
def test_errors_name_the_given_shapes(score):
    score, (queries, keys) = ready(score), pairs(0)
    for given_queries, given_keys, shapes in [
        (queries[0], keys, r"got \(3, 5\) and \(2, 4, 5\)"),
        (queries, keys[..., None], r"got \(2, 3, 5\) and \(2, 4, 5, 1\)"),
        (queries[:1], keys, r"batch size, got \(1, 3, 5\) and \(2, 4, 5\)"),
        (queries, keys[:, :0], r"at least one key, got \(2, 3, 5\) and \(2, 0, 5\)"),
        (queries, keys[..., 1:], r"(d_q = d_k|queries of size 5 and keys of size 5), got .*4"),
    ]:
        with pytest.raises(ValueError, match=shapes):
            score(given_queries, given_keys)


@pytest.mark.usefixtures("unchecked")
@every_module
def test_vectors_of_another_size_are_refused(score):
    module, (queries, keys) = made(score, 3, 5), pairs(0)
    with pytest.raises(
        ValueError, match=r"queries of size 3 and keys of size 5, got \(2, 3, 5\) and \(2, 4, 5\)"
    ):
        module(queries, keys)


@pytest.mark.usefixtures("unchecked")
@every
def test_integers_are_refused(score):
    with pytest.raises(ValueError, match=r"got torch.int64 and torch.float64"):
        ready(score)(torch.ones(2, 3, 5, dtype=torch.long), pairs(0)[1])
