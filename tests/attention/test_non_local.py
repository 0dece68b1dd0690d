import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from course_utils.attention import SelfAttention, gates, to_sequence
from course_utils.attention.general import Attention
from course_utils.attention.non_local import GlobalContext, NonLocal, RelativePositions
from course_utils.attention.scores import scaled_multiplicative
from course_utils.core.profiling import parameters as count
from tests.attention import cases
from tests.attention.cases import few
from tests.references import gradcheck, normal, numpy, softmax

C = 6
KINDS = {
    "gaussian": lambda: NonLocal(C),
    "dot product": lambda: NonLocal(C, "dot_product"),
    "gaussian, relative": lambda: NonLocal(C, reach=2),
    "dot product, relative": lambda: NonLocal(C, "dot_product", reach=2),
    "global context": lambda: GlobalContext(C),
}
NON_LOCAL = [kind for kind in KINDS if kind != "global context"]
every = pytest.mark.parametrize("kind", KINDS)
sides = st.integers(1, 4)


def made(kind):
    """A block in evaluation mode that adds something, as if it were trained."""
    block = cases.made(KINDS[kind]).eval()
    torch.manual_seed(1)
    last = block.norm if isinstance(block, NonLocal) else block.transform[-1]
    torch.nn.init.normal_(last.weight)
    torch.nn.init.normal_(last.bias)
    return block


def kernel(conv):
    return numpy(conv.weight[:, :, 0, 0])[0]


# The formulas, for one image (C, H, W), position by position.


def non_local(block, x):
    """Weights (H, W, H, W) and features."""
    W_q, W_k, W_v, W_z = map(
        kernel, (block.project_query, block.project_key, block.project_value, block.combine)
    )
    places = list(np.ndindex(x.shape[1:]))
    a, z = np.zeros((*x.shape[1:], *x.shape[1:])), np.zeros_like(x)
    for i in places:
        q, scores = W_q @ x[:, *i], []
        for j in places:
            key = W_k @ x[:, *j]
            if block.positions is not None:
                reach = block.positions.reach
                down, right = (max(-reach, min(reach, b - a)) for a, b in zip(i, j))
                key = key + numpy(block.positions.rows)[0][down + reach]
                key = key + numpy(block.positions.columns)[0][right + reach]
            scores.append(q @ key)
        if block.similarity == "embedded_gaussian":
            row = softmax([score / math.sqrt(len(q)) for score in scores])
        else:
            row = [score / len(places) for score in scores]
        context = np.zeros(len(W_v))
        for weight, j in zip(row, places):
            a[(*i, *j)] = weight
            context += weight * (W_v @ x[:, *j])
        gamma, beta = numpy(block.norm.weight, block.norm.bias)
        z[:, *i] = x[:, *i] + gamma * (W_z @ context) / math.sqrt(1 + 1e-5) + beta
    return a, z


def global_context(block, x):
    """Weights (1, H, W) and features."""
    places = list(np.ndindex(x.shape[1:]))
    (w,) = kernel(block.score)
    row = softmax([w @ x[:, *j] for j in places])
    context = sum(weight * x[:, *j] for weight, j in zip(row, places))
    W_1, b_1, gamma, beta, W_2, b_2 = numpy(*block.transform.parameters())
    hidden = W_1 @ context + b_1
    hidden = gamma * (hidden - hidden.mean()) / np.sqrt(hidden.var() + 1e-5) + beta
    added = W_2 @ np.maximum(hidden, 0) + b_2
    return row.reshape(1, *x.shape[1:]), x + added[:, None, None]


@every
@few
@given(H=sides, W=sides, seed=cases.seeds)
def test_a_block_equals_its_formula(kind, H, W, seed):
    block, (x,) = made(kind), normal(seed, (2, C, H, W))
    formula = global_context if kind == "global context" else non_local
    weights, features = map(np.stack, zip(*(formula(block, image) for image in x.numpy())))
    got = block.weights(x)
    assert_close(got, torch.from_numpy(weights).view_as(got), rtol=0, atol=1e-12)
    assert_close(block(x), torch.from_numpy(features), rtol=0, atol=1e-11)


def test_embedded_gaussian_is_pytorchs_attention_and_self_attention():
    block, (x,) = made("gaussian"), normal(0, (2, C, 3, 5))
    queries, keys, values = (
        to_sequence(project(x))
        for project in (block.project_query, block.project_key, block.project_value)
    )
    theirs = F.scaled_dot_product_attention(queries, keys, values)
    assert_close(block.weights(x) @ values, theirs)
    ours = SelfAttention(Attention(scaled_multiplicative), C, C // 2, C // 2).double()
    for part in ("project_query", "project_key", "project_value"):
        getattr(ours, part).weight.data = getattr(block, part).weight.data[:, :, 0, 0]
    context, weights = ours(to_sequence(x))
    assert_close(context, theirs)
    assert_close(weights, block.weights(x))


def test_relative_positions_are_a_bias_of_pytorchs_attention():
    block, (x,) = made("gaussian, relative"), normal(0, (2, C, 3, 5))
    q, k, v = (
        to_sequence(project(x))
        for project in (block.project_query, block.project_key, block.project_value)
    )
    bias = block.positions(block.project_query(x) / math.sqrt(C // 2))
    assert_close(block.weights(x) @ v, F.scaled_dot_product_attention(q, k, v, attn_mask=bias))


def test_scores_of_relative_positions_depend_on_the_offset_only():
    torch.manual_seed(0)
    positions, (query,) = RelativePositions(4, 3).double(), normal(0, (1, 4, 1, 1))
    scores = positions(query.expand(-1, -1, 5, 6)).view(5, 6, 5, 6)  # the same query everywhere
    for row, column in np.ndindex(4, 5):
        assert_close(scores[row + 1, column + 1, 1:, 1:], scores[row, column, :-1, :-1])
    assert_close(scores[0, :, 3], scores[0, :, 4])  # beyond the reach of 3 rows
    assert scores[0, :, 2].ne(scores[0, :, 3]).all()


@every
def test_a_fresh_block_returns_its_input(kind):
    torch.manual_seed(0)
    block, x = KINDS[kind](), torch.randn(3, C, 4, 5)
    for mode in (block.train(), block.eval()):
        assert torch.equal(mode(x), x)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(mode(x), x)


@every
def test_on_the_first_step_only_the_last_layer_learns_and_later_all_layers_do(kind):
    torch.manual_seed(0)
    block, (x, target) = KINDS[kind]().train(), torch.randn(2, 3, C, 4, 5)
    optimizer = torch.optim.SGD(block.parameters(), 0.1)
    learning = []
    for _ in range(2):
        optimizer.zero_grad()
        (block(x) - target).square().mean().backward()
        learning.append({name for name, p in block.named_parameters() if p.grad.abs().max() > 1e-9})
        optimizer.step()
    last = "transform.3" if kind == "global context" else "norm"
    assert learning[0] == {f"{last}.weight", f"{last}.bias"}
    assert learning[1] == {name for name, _ in block.named_parameters()}


@every
def test_gradients_are_exact(kind):
    assert gradcheck(made(kind), *normal(2, (2, C, 2, 3)))


@every
@pytest.mark.parametrize("shape", [(1, C, 1, 1), (1, C, 7, 3), (3, C, 9, 8)])
def test_features_keep_their_shape_and_images_do_not_mix(kind, shape):
    block, (x,) = made(kind), normal(3, shape)
    assert block(x).shape == shape
    assert_close(block(x)[:1], block(x[:1]))
    assert_close(block(x.contiguous(memory_format=torch.channels_last)), block(x))


@every
def test_autocast_stays_close(kind):
    block, (x,) = made(kind).float(), normal(4, (2, C, 5, 6))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        got = block(x.float())
    assert_close(got.float(), block(x.float()), rtol=0.05, atol=0.05)


@few
@given(seed=cases.seeds)
def test_only_relative_positions_see_the_arrangement(seed):
    (x,) = normal(seed, (1, C, 4, 4))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(seed))

    def shuffled(features):
        return features.flatten(2)[:, :, order].view_as(features)

    for kind in ("gaussian", "dot product", "global context"):
        block = made(kind)
        assert_close(block(shuffled(x)), shuffled(block(x)), rtol=0, atol=1e-11)
    for kind in ("gaussian, relative", "dot product, relative"):
        block = made(kind)
        assert not torch.allclose(block(shuffled(x)), shuffled(block(x)))


@pytest.mark.parametrize("kind", ["gaussian", "gaussian, relative", "global context"])
def test_weights_of_softmax_sum_to_1(kind):
    weights = made(kind).weights(*normal(5, (2, C, 4, 3)))
    assert weights.min() > 0
    total = weights.sum(dim=(2, 3) if kind == "global context" else 2)
    assert_close(total, torch.ones_like(total))


def test_weights_of_the_dot_product_can_be_negative():
    assert made("dot product").weights(*normal(5, (2, C, 4, 3))).min() < 0


@every
def test_the_weights_can_be_replaced(kind):
    """With uniform weights, every position gets the context of the average."""
    block, (x,) = made(kind), normal(6, (2, C, 4, 3))
    assert_close(block.add_context(x, block.weights(x)), block(x))
    uniform = torch.full_like(block.weights(x), 1 / 12)
    added = block.add_context(x, uniform) - x
    assert_close(added, added[:, :, :1, :1].expand_as(added))


@every
def test_observe_returns_the_weights(kind):
    block, (x,) = made(kind), normal(7, (2, C, 4, 3))
    seen = gates.observe(torch.nn.Sequential(torch.nn.Identity(), block), x)
    assert list(seen) == ["1"]
    assert_close(seen["1"], block.weights(x))


def test_parameter_counts():
    """For the 1,024 channels of res4, where the papers have the blocks."""
    with torch.device("meta"):
        assert count(NonLocal(1024)) == 4 * 1024 * 512 + 2 * 1024
        offsets = 2 * (2 * 13 + 1)  # of 14 rows and 14 columns
        assert count(NonLocal(1024, reach=13)) - count(NonLocal(1024)) == offsets * 512
        assert count(GlobalContext(1024)) == 2 * 1024 * 64 + 3 * 64 + 2 * 1024
        assert count(GlobalContext(16)) == 2 * 16 * 8 + 3 * 8 + 2 * 16  # at least 8 units


def test_large_features_are_finite_in_half_precision():
    torch.manual_seed(0)
    x = 100 * torch.randn(1, 64, 16, 16)
    for block in (NonLocal(64), NonLocal(64, "dot_product"), GlobalContext(64)):
        with torch.autocast("cpu", torch.float16):
            assert block.weights(x).isfinite().all()


@pytest.mark.usefixtures("unchecked")
@every
@pytest.mark.parametrize("shape", [(2, C), (C, 4, 4), (2, C + 1, 4, 4)])
def test_features_of_another_shape_are_refused(kind, shape):
    with pytest.raises(ValueError, match=re.escape(f"got {shape}")):
        made(kind)(torch.rand(shape).double())


@pytest.mark.usefixtures("unchecked")
def test_invalid_options_are_refused():
    with pytest.raises(ValueError, match=r"'gaussian': .* embedded_gaussian, dot_product"):
        NonLocal(C, "gaussian")
    with pytest.raises(ValueError, match="got 0"):
        NonLocal(C, reach=0)
    with pytest.raises(ValueError, match="got 0"):
        GlobalContext(C, 0)
