import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_utils.attention import map_pools
from course_utils.attention.spatial import GridAttention

POOLS = {
    "average": map_pools.AveragePool,
    "hidden": lambda: map_pools.WithHidden(3, map_pools.AveragePool()),
    "hidden, softmax": lambda: map_pools.WithHidden(3, GridAttention(3, 5, 2)),
    "max": map_pools.MaxPool,
    "gem": map_pools.GeMPool,
    "self-attention": lambda: map_pools.SelfAttentionPool(3, 2),
    "fixed": lambda: map_pools.FixedMap(4),
    "unguided": lambda: map_pools.Unguided(3, 5, 2),
}
WITH_MAP = ("hidden, softmax", "self-attention", "fixed", "unguided")
GUIDED = ("hidden, softmax",)
DOUBLE = {"rtol": 0, "atol": 1e-12}


def features(batch=2, height=4, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    l = torch.randn(batch, 3, height, width, generator=generator)
    return l, torch.randn(batch, 5, 2, 2, generator=generator)


def built(name, seed=0):
    torch.manual_seed(seed)
    return POOLS[name]()


@pytest.mark.parametrize("name", POOLS)
@settings(max_examples=10)
@given(st.integers(1, 3), st.integers(0, 1000))
def test_every_pool_returns_a_vector_and_a_map_or_none(name, batch, seed):
    context, weights = built(name)(*features(batch, seed=seed))
    assert context.shape == (batch, 3)
    assert (weights is not None) == (name in WITH_MAP)
    if weights is not None:
        assert weights.shape == (batch, 1, 4, 4)
        assert weights.min() >= 0
        torch.testing.assert_close(weights.sum(dim=(1, 2, 3)), torch.ones(batch))


@pytest.mark.parametrize("name", sorted(set(POOLS) - {"fixed", "hidden, softmax", "unguided"}))
@settings(max_examples=10)
@given(st.permutations(range(12)))
def test_pools_without_a_prior_ignore_the_order_of_the_positions(name, order):
    pool, (l, g) = built(name).double(), features(height=3)
    l = l.double()
    moved = l.flatten(2)[..., order].view_as(l)
    torch.testing.assert_close(pool(moved, g)[0], pool(l, g)[0])


@pytest.mark.parametrize("name", POOLS)
def test_only_guided_pools_use_the_guide(name):
    pool, (l, g) = built(name), features()
    same = torch.equal(pool(l, g)[0], pool(l, 5 * g.flip(1) + 1)[0])
    assert same == (name not in GUIDED)


@pytest.mark.parametrize("name", POOLS)
def test_gradients_are_exact(name):
    pool, (l, g) = built(name).double(), features()
    l = l.double().abs().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pool(x, g.double())[0], l)


def test_average_and_maximum_by_hand():
    l = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[-4.0, -1.0], [-2.0, -1.0]]]])
    assert map_pools.AveragePool()(l, l)[0].tolist() == [[3, -2]]
    assert map_pools.MaxPool()(l, l)[0].tolist() == [[6, -1]]


def test_generalised_mean_by_hand():
    l = torch.tensor([[[[1.0, 2.0], [3.0, -6.0]]]])
    expected = ((1 + 8 + 27) / 4) ** (1 / 3)  # its exponent starts at 3
    assert map_pools.GeMPool()(l, l)[0].item() == pytest.approx(expected)


def test_hidden_features_are_pooled_after_their_relu():
    pool, (l, g) = map_pools.WithHidden(3, map_pools.AveragePool()), features()
    W, b = pool.hidden.weight[:, :, 0, 0], pool.hidden.bias
    by_hand = torch.stack(
        [(W @ l[:, :, y, x].T + b[:, None]).clamp(min=0) for y in range(4) for x in range(4)]
    ).mean(dim=0)
    torch.testing.assert_close(pool(l, g)[0], by_hand.T)
    torch.manual_seed(0)
    wide = map_pools.WithHidden(256, map_pools.AveragePool())
    assert wide.hidden.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.05)


def test_hidden_features_reach_the_pool_with_the_guide():
    block, (l, g) = built("hidden, softmax"), features()
    for got, expected in zip(block(l, g), block.pool(block.hidden(l).relu(), g), strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("scale", [1.0, 0.25, 4.0])
def test_self_attention_equals_the_mean_of_the_contexts_of_all_positions(scale):
    torch.manual_seed(0)
    pool = map_pools.SelfAttentionPool(3, 2, scale).double()
    l, g = features(height=3)
    l = l.double()
    positions = l.flatten(2).mT  # (B, 12, 3)
    Q, K = pool.project_query.weight, pool.project_key.weight
    contexts, rows = torch.zeros(2, 3).double(), torch.zeros(2, 12).double()
    for b in range(2):
        for i in range(12):
            scores = torch.stack(
                [scale * (Q @ positions[b, i]) @ (K @ positions[b, j]) / 2**0.5 for j in range(12)]
            )
            weights = scores.exp() / scores.exp().sum()
            rows[b] += weights / 12
            contexts[b] += sum(w * x for w, x in zip(weights, positions[b])) / 12
    context, weights = pool(l, g)
    torch.testing.assert_close(context, contexts, **DOUBLE)
    torch.testing.assert_close(weights, rows.view(2, 1, 3, 4), **DOUBLE)


def test_self_attention_with_equal_scores_is_the_average():
    pool, (l, g) = built("self-attention"), features()
    nn.init.zeros_(pool.project_key.weight)
    torch.testing.assert_close(pool(l, g)[0], l.mean(dim=(2, 3)))


def test_fixed_map_is_the_same_for_every_image():
    pool, (l, g) = map_pools.FixedMap(2), features(3, 2, 2)
    context, weights = pool(l, g)
    torch.testing.assert_close(context, l.mean(dim=(2, 3)))  # before training
    with torch.no_grad():
        pool.scores.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]).log())
    context, weights = pool(l, g)
    expected = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    torch.testing.assert_close(weights, expected.expand(3, 1, 2, 2))
    torch.testing.assert_close(context, torch.einsum("bchw,hw->bc", l, expected))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("grid", [(2, 2), (2, 8), (8, 2), (5, 5)])
def test_fixed_map_of_another_grid_is_refused(grid):
    with pytest.raises(ValueError, match=rf"\(any, any, 4, 4\), got \(2, 3, {grid[0]}, {grid[1]}"):
        map_pools.FixedMap(4)(*features(2, *grid))


def test_unguided_equals_grid_attention_with_zeros_as_guide():
    pool, (l, g) = built("unguided"), features()
    guided = GridAttention(3, 5, 2)
    guided.load_state_dict(pool.state_dict())
    expected = guided(l, torch.zeros_like(g))
    for got, e in zip(pool(l, g), expected, strict=True):
        assert torch.equal(got, e)
    assert pool.project_global.weight.requires_grad


def test_object_pool_by_hand():
    l = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 8.0], [0.0, 4.0]]]])
    share = torch.tensor([[[[0.0, 1.0], [0.0, 0.5]]]])
    context, weights = map_pools.ObjectPool()(l, share)
    torch.testing.assert_close(weights, torch.tensor([[[[0, 2 / 3], [0, 1 / 3]]]]))
    torch.testing.assert_close(context, torch.tensor([[8 / 3, 20 / 3]]))


def test_object_pool_takes_boolean_masks():
    l, _ = features()
    mask = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    mask[0, 0, 1:3, 2] = True
    mask[1, 0, 0, 0] = True
    context, weights = map_pools.ObjectPool()(l, mask)
    torch.testing.assert_close(context, torch.stack([l[0, :, 1:3, 2].mean(1), l[1, :, 0, 0]]))
    assert torch.equal(weights > 0, mask)


def test_object_that_covers_everything_gives_the_average():
    l, _ = features()
    context, _ = map_pools.ObjectPool()(l, torch.full((2, 1, 4, 4), 0.3))
    torch.testing.assert_close(context, l.mean(dim=(2, 3)))
