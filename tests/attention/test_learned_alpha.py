"""The gradient of entmax with respect to α."""

import entmax as package
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import grad, jacfwd, vmap
from torch.testing import assert_close

from course_utils.attention.alignments import entmax, softmax, sparsemax
from tests.attention.cases import more, scores_of

# PyTorch warns of its own code for forward-mode derivatives.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")


def rows(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def learned(value, dtype=torch.double):
    return torch.tensor(value, dtype=dtype, requires_grad=True)


def slope(scores, alpha, factors):
    """The derivative with respect to α of the weights times the factors."""
    total = (entmax(scores, alpha=alpha) * factors).sum()
    return torch.autograd.grad(total, alpha)[0]


@pytest.mark.parametrize("alpha", [1.0001, 1.01, 1.2, 1.5, 1.9, 1.999])
def test_first_and_second_gradients_in_alpha_and_the_scores(alpha):
    mask = torch.tensor([[True] * 6, [False] + [True] * 5, [False] * 6])
    align = lambda scores, alpha: entmax(scores, alpha=alpha, mask=mask)  # noqa: E731
    inputs = rows(3, 6).requires_grad_(), learned(alpha)
    assert torch.autograd.gradcheck(align, inputs, eps=1e-7, atol=1e-5, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(align, inputs, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("alpha", [1.05, 1.5, 1.9])
@more
@given(scores=scores_of(lowest=1, highest=60), seed=st.integers(0, 1000))
def test_the_gradient_of_alpha_equals_the_packages(alpha, scores, seed):
    factors, value = rows(*scores.shape, seed=seed), learned(alpha)
    weights = package.entmax_bisect(scores, alpha=value, n_iter=80)
    if ((weights > 0) & (weights < 1e-7)).any():
        return  # a kink: the gradients of both sides are right
    expected = torch.autograd.grad((weights * factors).sum(), value)[0]
    assert_close(slope(scores, value, factors), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("end", "step"), [(1.0, 1e-5), (2.0, -1e-5)])
def test_the_gradient_at_the_ends_is_the_one_sided_one(end, step):
    scores, factors = rows(3, 6), rows(3, 6, seed=1)
    at = [(entmax(scores, alpha=end + n * step) * factors).sum() for n in range(3)]
    expected = (-3 * at[0] + 4 * at[1] - at[2]) / (2 * step)
    assert_close(slope(scores, learned(end), factors), expected, rtol=1e-6, atol=1e-8)


def test_the_gradient_at_softmax_by_hand():
    """Correia et al. 2019, prop. 1, the case α = 1, for two weights of 1/4 and 3/4."""
    a = torch.tensor([0.25, 0.75]).double()
    h = -a * a.log()
    expected = (h * a.log() - a * (h * a.log()).sum()) / 2
    for n in range(2):
        assert_close(slope(a.log(), learned(1.0), torch.eye(2).double()[n]), expected[n])


@pytest.mark.parametrize("alpha", [1.0, 1.0 + 1e-6, 1.001, 1.1, 1.5, 2.0])
@pytest.mark.parametrize("spread", [0.01, 1, 20])
def test_the_gradient_is_accurate_in_single_precision(alpha, spread):
    scores, factors = spread * rows(4, 784), rows(4, 784, seed=1)
    value = torch.tensor(alpha).double().float().item()  # both precisions get the same α
    exact = slope(scores, learned(value), factors)
    found = slope(scores.float(), learned(value, torch.float), factors.float())
    assert_close(found.double(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_alpha_may_have_another_precision_than_the_scores(dtype, shape):
    alpha = torch.nn.Parameter(torch.full(shape, 1.5))
    scores = rows(2, 5).to(dtype).requires_grad_()
    weights = entmax(scores, alpha=alpha)
    assert torch.equal(weights, entmax(scores, alpha=1.5))
    weights.square().sum().backward()
    assert weights.dtype == scores.grad.dtype == dtype
    assert alpha.grad.shape == shape
    assert alpha.grad.abs().sum() > 0


def test_a_tensor_gives_the_weights_of_its_value():
    scores = rows(3, 6)
    assert torch.equal(entmax(scores, alpha=torch.tensor(1.0)), softmax(scores))
    assert torch.equal(entmax(scores, alpha=torch.tensor([2.0])), sparsemax(scores))


def test_descent_finds_the_alpha_of_given_weights():
    scores, parameter = rows(20, 8), learned(0.0)
    target = entmax(scores, alpha=1.8)
    optimizer = torch.optim.Adam([parameter], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        (entmax(scores, alpha=1 + parameter.sigmoid()) - target).square().sum().backward()
        optimizer.step()
    assert 1 + parameter.sigmoid().item() == pytest.approx(1.8, abs=1e-3)


def test_vmap_takes_one_alpha_per_head():
    scores, alphas, factors = rows(4, 3, 6), torch.tensor([1.0, 1.3, 1.5, 2.0]).double(), rows(6)
    each = vmap(lambda scores, alpha: entmax(scores, alpha=alpha))
    one_by_one = [entmax(head, alpha=alpha.item()) for head, alpha in zip(scores, alphas)]
    assert_close(each(scores, alphas), torch.stack(one_by_one))
    assert_close(
        vmap(lambda alpha: entmax(scores, alpha=alpha))(alphas)[1], entmax(scores, alpha=1.3)
    )

    def total(scores, alpha):
        return (entmax(scores, alpha=alpha) * factors).sum()

    expected = [slope(head, learned(alpha.item()), factors) for head, alpha in zip(scores, alphas)]
    assert_close(vmap(grad(total, argnums=1))(scores, alphas), torch.stack(expected))
    assert_close(jacfwd(total, argnums=1)(scores[1], alphas[1]), expected[1])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (torch.tensor(2.5), "alpha from 1 .* to 2 .*, got 2.5"),
        (torch.tensor(np.nan), "got nan"),
        (torch.ones(3), r"alpha to be one number, got a tensor \(3,\)"),
        (torch.ones(2, 1, 1), r"got a tensor \(2, 1, 1\)"),
    ],
)
def test_other_alphas_are_refused(alpha, message):
    with pytest.raises(ValueError, match=message):
        entmax(torch.zeros(2, 3), alpha=alpha)
    if alpha.numel() == 1:
        with pytest.raises(ValueError, match=message):
            vmap(lambda alpha: entmax(torch.zeros(2, 3), alpha=alpha))(alpha[None])


@pytest.mark.usefixtures("unchecked")
def test_one_temperature_per_row_is_refused():
    with pytest.raises(ValueError, match=r"temperature to be one number, got a tensor \(2, 1\)"):
        softmax(torch.zeros(2, 3), temperature=torch.ones(2, 1))
