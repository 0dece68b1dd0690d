import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_utils.attention.simple_pools import GeneralizedMean, LogSumExp, max_pool
from tests.attention.cases import close, few, seeds
from tests.references import gradcheck, normal

POOLS = {
    "max": max_pool,
    "log-sum-exp": LogSumExp(2.0).double(),
    "generalised mean": GeneralizedMean(3.0).double(),
}
every = pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)


def test_values_by_hand():
    x = torch.tensor([[[1.0, 0.0], [3.0, math.log(3)]]], dtype=torch.double)
    close(max_pool(x), torch.tensor([[3.0, math.log(3)]], dtype=torch.double))
    smooth = LogSumExp().double()(x)[0]
    assert smooth[1].item() == pytest.approx(math.log((1 + 3) / 2), abs=1e-12)
    cubes = GeneralizedMean(3.0).double()(x)[0]
    assert cubes[0].item() == pytest.approx(((1 + 27) / 2) ** (1 / 3), abs=1e-12)


@every
@few
@given(seed=seeds, K=st.integers(1, 6), order=st.permutations(range(6)))
def test_a_pool_lies_between_mean_and_maximum_and_ignores_the_order(pool, seed, K, order):
    x = normal(seed, (2, K, 3))[0].abs()
    pooled = pool(x)
    assert (pooled <= x.amax(dim=1) + 1e-9).all()
    assert (pooled >= x.mean(dim=1) - 1e-9).all()
    shuffled = x[:, [i for i in order if i < K]]
    close(pool(shuffled), pooled)


def test_the_limits_are_the_mean_and_the_maximum():
    x = normal(1, (2, 5, 3))[0].abs()
    for pool in (LogSumExp(1e-6), GeneralizedMean(1.0)):
        torch.testing.assert_close(pool.double()(x), x.mean(dim=1), rtol=0, atol=1e-4)
    for pool in (LogSumExp(1e4), GeneralizedMean(400.0)):
        torch.testing.assert_close(pool.double()(x), x.amax(dim=1), rtol=0.01, atol=1e-3)


def test_large_values_do_not_overflow():
    assert LogSumExp(10.0)(torch.full((1, 2, 1), 1e4)).item() == pytest.approx(1e4)


def test_zeros_have_a_gradient_without_nan():
    x = torch.zeros(1, 3, 2, requires_grad=True)
    GeneralizedMean()(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("name", ["log-sum-exp", "generalised mean"])
def test_gradients(name):
    assert gradcheck(POOLS[name], normal(2, (2, 4, 3))[0].abs() + 0.1)


@pytest.mark.usefixtures("unchecked")
@every
def test_the_input_has_three_axes(pool):
    with pytest.raises(ValueError, match=r"got \(2, 3\)"):
        pool(torch.ones(2, 3).double())


def test_parameters_are_positive():
    with pytest.raises(ValueError, match="got 0"):
        LogSumExp(0.0)
    with pytest.raises(ValueError, match="got -1"):
        GeneralizedMean(-1.0)
