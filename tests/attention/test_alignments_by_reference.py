"""Each alignment against an independent reference or by hand, and what it refuses."""

from functools import partial

import entmax
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from torch.testing import assert_close

from course_utils.attention.alignments import allowed, local, sigmoid, softmax, sparsemax
from course_utils.attention.alignments import entmax as our_entmax
from tests.attention.test_alignments import INF, few, on_a_line, scores_of


@few
@given(scores=scores_of())
def test_softmax_is_that_of_torch_and_temperature_divides(scores):
    assert torch.equal(softmax(scores), scores.softmax(dim=-1))
    assert_close(
        softmax(scores, temperature=0.7), (scores / 0.7).softmax(dim=-1), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ends_of_temperature(dtype):
    scores = torch.tensor([0.2, 0.5, -1e4, 0.1], dtype=dtype, requires_grad=True)
    cold = softmax(scores, temperature=1e-30)
    assert torch.equal(cold, torch.tensor([0.0, 1, 0, 0], dtype=dtype))
    cold[0].backward()
    assert torch.equal(scores.grad, torch.zeros(4, dtype=dtype))
    assert_close(softmax(scores, temperature=1e30), torch.full((4,), 0.25, dtype=dtype))


def by_bisection(scores):
    """The Euclidean projection on the simplex, from the root of Σ [r − τ]₊ = 1: no sorting, no Newton steps."""
    tau = brentq(
        lambda tau: np.maximum(scores - tau, 0).sum() - 1,
        scores.max() - 1,
        scores.max(),
        xtol=1e-15,
    )
    return np.maximum(scores - tau, 0)


@few
@given(scores=scores_of(rows=1, lowest=1))
def test_sparsemax_is_the_nearest_point_of_the_simplex(scores):
    row = scores[0].numpy()
    assert_close(sparsemax(scores)[0], torch.from_numpy(by_bisection(row)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_sparsemax_against_a_general_solver(seed):
    row = np.random.default_rng(seed).normal(size=6)
    simplex = {"constraints": {"type": "eq", "fun": lambda a: a.sum() - 1}, "bounds": [(0, 1)] * 6}
    nearest = minimize(
        lambda a: ((a - row) ** 2).sum(), np.full(6, 1 / 6), method="SLSQP", tol=1e-14, **simplex
    ).x
    assert_close(sparsemax(torch.from_numpy(row)), torch.from_numpy(nearest), rtol=0, atol=1e-6)


REFERENCES = {
    1.5: (entmax.entmax15, 1e-12),
    2.0: (entmax.sparsemax, 1e-12),
    1.1: (partial(entmax.entmax_bisect, alpha=1.1, n_iter=60), 1e-9),
    1.3: (partial(entmax.entmax_bisect, alpha=1.3, n_iter=60), 1e-9),
    1.8: (partial(entmax.entmax_bisect, alpha=1.8, n_iter=60), 1e-9),
}


@pytest.mark.parametrize("alpha", REFERENCES)
@few
@given(scores=scores_of(lowest=1, highest=60), seed=st.integers(0, 1000))
def test_entmax_and_its_gradient_against_the_package(alpha, scores, seed):
    reference, tolerance = REFERENCES[alpha]
    upstream = torch.randn(
        scores.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double
    )
    results = []
    for align in (partial(our_entmax, alpha=alpha), reference):
        inputs = scores.clone().requires_grad_()
        weights = align(inputs)
        weights.backward(upstream)
        results.append((weights.detach(), inputs.grad))
    (ours, our_gradient), (theirs, their_gradient) = results
    assert_close(ours, theirs, rtol=0, atol=tolerance)
    # At a kink, where a weight just reaches 0, both of two gradients are right.
    smooth = (((ours > 0) == (theirs > 0)) & ((ours == 0) | (ours > 1e-7))).all(dim=-1)
    assert_close(our_gradient[smooth], their_gradient[smooth], rtol=0, atol=1e-6)


@pytest.mark.parametrize("alpha", [1.0001, 1.01, 1.1, 1.5, 1.9, 2.0])
def test_single_precision_is_enough(alpha):
    torch.manual_seed(0)
    for spread in (0.001, 1, 5, 100):
        scores = torch.randn(20, 784) * spread
        exact = our_entmax(scores.double(), alpha=alpha)
        assert_close(our_entmax(scores, alpha=alpha).double(), exact, rtol=0, atol=1e-6)


def test_entmax_goes_from_softmax_to_sparsemax():
    scores = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)).double()
    assert torch.equal(our_entmax(scores, alpha=1.0), softmax(scores))
    assert torch.equal(our_entmax(scores, alpha=2.0), sparsemax(scores))
    for beyond in (1e-3, 1e-6, 1e-9, 3e-16):
        assert_close(
            our_entmax(scores, alpha=1 + beyond), softmax(scores), rtol=0, atol=10 * beyond + 1e-12
        )
    zeros = [(our_entmax(scores, alpha=alpha) == 0).sum() for alpha in (1.0, 1.25, 1.5, 1.75, 2.0)]
    assert zeros[0] == 0
    assert zeros == sorted(zeros)
    assert len(set(map(int, zeros))) > 3


def test_entmax_by_hand():
    assert_close(sparsemax(torch.tensor([1.0, 0.5, -1.0])), torch.tensor([0.75, 0.25, 0.0]))
    # With α = 1.5 and two scores at distance 1: (d + 1/2)² + d² = 1 gives d = (√7 − 1) / 4.
    low = ((7**0.5 - 1) / 4) ** 2
    assert_close(our_entmax(torch.tensor([1.0, 0.0])), torch.tensor([1 - low, low]))


def test_local_on_a_line_by_hand():
    scores = torch.tensor([[9.0, 0.0, torch.tensor(3.0).log(), 0.0, 9.0]])
    positions = torch.arange(5.0)[:, None]
    weights = local(scores, torch.tensor([[2.0]]), positions, window=1.5, gaussian=False)
    assert_close(weights, torch.tensor([[0, 0.2, 0.6, 0.2, 0]]))
    g = torch.exp(torch.tensor(-8 / 9))  # one step away, σ = 0.75: exp(−1 / (2 · 0.5625))
    weights = local(scores, torch.tensor([[2.0]]), positions, window=1.5)
    assert_close(weights, torch.stack([g * 0, 0.2 * g, g * 0 + 0.6, 0.2 * g, g * 0])[None])
    edge = local(scores, torch.tensor([[2.0]]), positions, window=2.0, gaussian=False)
    assert (edge > 0).all()  # the border of the window belongs to it


def test_local_on_a_grid_by_hand():
    positions = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))
    weights = local(torch.zeros(1, 9), torch.tensor([[0.0, 0.0]]), positions, window=1.0)
    near, diagonal = torch.exp(torch.tensor(-2.0)) / 4, torch.exp(torch.tensor(-4.0)) / 4  # σ = 1/2
    expected = torch.zeros(3, 3)
    expected[0, 0], expected[0, 1], expected[1, 0], expected[1, 1] = 0.25, near, near, diagonal
    assert_close(weights, expected.view(1, 9))


@few
@given(scores=scores_of())
def test_local_sums(scores):
    assert_close(on_a_line(scores, gaussian=False).sum(dim=-1), torch.ones(3).double())
    off_centre = local(
        scores,
        torch.full((3, 1), 1.3).double(),
        torch.arange(scores.shape[-1])[:, None].double(),
        window=2.0,
    )
    assert (off_centre.sum(dim=-1) < 1).all()


def test_a_window_without_position_gives_zeros():
    scores, centres = torch.zeros(2, 3), torch.tensor([[1.0], [7.0]])
    weights = local(scores, centres, torch.arange(3.0)[:, None], window=1.0)
    assert (weights[1] == 0).all()
    assert weights[0].sum() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_weights_have_the_type_of_the_scores_whatever_the_places_have(dtype):
    scores, centres, positions = (
        torch.zeros(1, 3, dtype=dtype),
        torch.zeros(1, 1).double(),
        torch.zeros(3, 1).double(),
    )
    assert local(scores, centres, positions, window=1.0).dtype == dtype


def test_the_predicted_centre_is_learned_through_the_gaussian():
    centres = torch.tensor([[1.2]], dtype=torch.double, requires_grad=True)
    positions = torch.arange(4).double()[:, None]
    scores = torch.tensor([[0.1, 0.4, -0.2, 0.3]]).double()
    assert torch.autograd.gradcheck(
        lambda centres: local(scores, centres, positions, window=1.5), centres
    )


def test_allowed_is_the_mask_without_minus_infinity():
    scores = torch.tensor([[0.0, -INF, 1.0], [-INF, -INF, -INF]])
    assert allowed(scores).tolist() == [[True, False, True], [False] * 3]
    assert allowed(scores, torch.tensor([False, True, True])).tolist() == [
        [False, False, True],
        [False] * 3,
    ]


fine = torch.zeros(2, 3)
BAD = {
    "no positions": (torch.zeros(2, 0), {}, r"at least one position, got \(2, 0\)"),
    "no axis": (torch.tensor(1.0), {}, r"at least one position, got \(\)"),
    "whole numbers": (
        torch.zeros(2, 3, dtype=torch.long),
        {},
        "scores in floating point, got torch.int64",
    ),
    "NaN": (torch.tensor([0.0, float("nan")]), {}, "numbers or −∞, got nan among them"),
    "NaN under the mask": (
        torch.tensor([0, INF * 0]),
        {"mask": torch.tensor([True, False])},
        "got nan among",
    ),
    "+∞": (torch.tensor([0.0, INF]), {}, "numbers or −∞, got inf among them"),
    "shape of mask": (
        fine,
        {"mask": torch.ones(2, 4) > 0},
        r"broadcast to the scores, got \(2, 4\) for \(2, 3\)",
    ),
    "rank of mask": (
        fine,
        {"mask": torch.ones(1, 2, 3) > 0},
        r"broadcast to the scores, got \(1, 2, 3\) for \(2, 3\)",
    ),
    "type of mask": (fine, {"mask": torch.ones(2, 3)}, "a boolean mask, .* got torch.float32"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("scores", "options", "message"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("align", [softmax, sparsemax, our_entmax, sigmoid, on_a_line])
def test_bad_scores_and_masks(align, scores, options, message):
    with pytest.raises(ValueError, match=f"^expected .*{message}[^.]*$"):
        align(scores, **options)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), INF])
def test_bad_temperatures(temperature):
    with pytest.raises(
        ValueError, match=f"expected a positive, finite temperature, got {temperature}"
    ):
        softmax(fine, temperature=temperature)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("alpha", [0.999, 2.001, float("nan"), INF])
def test_bad_alphas(alpha):
    with pytest.raises(
        ValueError, match=rf"expected alpha from 1 \(softmax\) to 2 \(sparsemax\), got {alpha}"
    ):
        our_entmax(fine, alpha=alpha)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "a positive window, got 0"),
        ({"window": -1.0}, "a positive window, got -1.0"),
        ({"window": float("nan")}, "a positive window, got nan"),
        (
            {"positions": torch.zeros(4, 1)},
            r"a position \(K, n\) for each of 3 scores, got \(4, 1\)",
        ),
        ({"positions": torch.zeros(3)}, r"a position \(K, n\) for each of 3 scores, got \(3,\)"),
        (
            {"positions": torch.zeros(3, 2)},
            r"a centre for each row of scores, \(2, 2\), got \(2, 1\)",
        ),
        ({"centres": torch.zeros(2)}, r"a centre for each row of scores, \(2, 1\), got \(2,\)"),
        (
            {"centres": torch.zeros(1, 1)},
            r"a centre for each row of scores, \(2, 1\), got \(1, 1\)",
        ),
        (
            {"centres": torch.full((2, 1), float("nan"))},
            "finite centres and positions, got NaN or ∞ among them",
        ),
        (
            {"positions": torch.full((3, 1), INF)},
            "finite centres and positions, got NaN or ∞ among them",
        ),
    ],
)
def test_bad_places(options, message):
    usual = {"centres": torch.zeros(2, 1), "positions": torch.zeros(3, 1), "window": 1.0}
    with pytest.raises(ValueError, match=f"expected {message}"):
        local(fine, **usual | options)


def test_a_temperature_can_be_learned_from_1_on():
    temperature = torch.ones((), dtype=torch.double, requires_grad=True)
    scores = torch.tensor([1.0, 2.0, 4.0]).double()
    softmax(scores, temperature=temperature)[0].backward()
    a = scores.softmax(dim=0)
    assert_close(
        temperature.grad, -a[0] * (scores[0] - (a * scores).sum())
    )  # by hand: da/dT at T = 1


@pytest.mark.parametrize("temperature", [1e-46, 1e-300])
def test_a_temperature_that_is_zero_in_the_precision_of_the_scores_is_said(temperature):
    with pytest.raises(ValueError, match="a positive, finite temperature, got 1e-"):
        softmax(torch.zeros(3), temperature=temperature)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_window_is_exact_in_half_precision(dtype):
    scores, positions = torch.zeros(1, 600), torch.arange(600.0)[:, None]
    expected = local(scores, torch.tensor([[290.0]]), positions, window=280.0)
    found = local(scores.to(dtype), torch.tensor([[290.0]]), positions, window=280.0)
    assert ((found > 0) == (expected > 0)).all()
    assert_close(found.float(), expected, rtol=0.01, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("mask", [np.array([True, False, True]), [True, False, True]])
def test_a_mask_that_is_no_tensor_is_said(mask):
    with pytest.raises(ValueError, match=f"a boolean mask, a tensor .* got {type(mask).__name__}"):
        softmax(torch.zeros(3), mask=mask)
