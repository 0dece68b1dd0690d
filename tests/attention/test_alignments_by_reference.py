"""Each alignment compared with a reference or with results by hand, and its errors."""

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
from tests.attention.cases import INF, WINDOW, line_of, more, on_a_line, scores_of


@more
@given(scores=scores_of())
def test_softmax_equals_torchs_and_temperature_divides_the_scores(scores):
    assert torch.equal(softmax(scores), scores.softmax(dim=-1))
    assert_close(
        softmax(scores, temperature=0.7), (scores / 0.7).softmax(dim=-1), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_temperatures(dtype):
    scores = torch.tensor([0.2, 0.5, -1e4, 0.1], dtype=dtype, requires_grad=True)
    cold = softmax(scores, temperature=1e-30)
    assert torch.equal(cold, torch.tensor([0.0, 1, 0, 0], dtype=dtype))
    cold[0].backward()
    assert torch.equal(scores.grad, torch.zeros(4, dtype=dtype))
    assert_close(softmax(scores, temperature=1e30), torch.full((4,), 0.25, dtype=dtype))


def by_bisection(scores):
    """The Euclidean projection on the simplex, from the root τ of Σ [r − τ]₊ = 1."""
    tau = brentq(
        lambda tau: np.maximum(scores - tau, 0).sum() - 1,
        scores.max() - 1,
        scores.max(),
        xtol=1e-15,
    )
    return np.maximum(scores - tau, 0)


@more
@given(scores=scores_of(rows=1, lowest=1))
def test_sparsemax_is_the_nearest_point_of_the_simplex(scores):
    row = scores[0].numpy()
    assert_close(sparsemax(scores)[0], torch.from_numpy(by_bisection(row)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_sparsemax_equals_a_general_solver(seed):
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
@more
@given(scores=scores_of(lowest=1, highest=60), seed=st.integers(0, 1000))
def test_entmax_and_its_gradient_equal_the_packages(alpha, scores, seed):
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
    # Where a weight just reaches 0, entmax has a kink, and the gradients of both sides are right.
    smooth = (((ours > 0) == (theirs > 0)) & ((ours == 0) | (ours > 1e-7))).all(dim=-1)
    assert_close(our_gradient[smooth], their_gradient[smooth], rtol=0, atol=1e-6)


@pytest.mark.parametrize("alpha", [1.0001, 1.01, 1.1, 1.5, 1.9, 2.0])
def test_entmax_is_accurate_in_single_precision(alpha):
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
    weights = local(scores, torch.tensor([[2.0]]), positions, window=1.5)
    # Softmax in the window gives 0.2, 0.6 and 0.2. One step away, with σ = 0.75, the Gaussian is
    # exp(−1 / (2 · 0.5625)).
    g = torch.exp(torch.tensor(-8 / 9))
    assert_close(weights, torch.stack([g * 0, 0.2 * g, g * 0 + 0.6, 0.2 * g, g * 0])[None])
    edge = local(scores, torch.tensor([[2.0]]), positions, window=2.0)
    assert (edge > 0).all()  # the border belongs to the window


def test_local_on_a_grid_by_hand():
    positions = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))
    weights = local(torch.zeros(1, 9), torch.tensor([[0.0, 0.0]]), positions, window=1.0)
    near, diagonal = torch.exp(torch.tensor(-2.0)) / 4, torch.exp(torch.tensor(-4.0)) / 4  # σ = 1/2
    expected = torch.zeros(3, 3)
    expected[0, 0], expected[0, 1], expected[1, 0], expected[1, 1] = 0.25, near, near, diagonal
    assert_close(weights, expected.view(1, 9))


@more
@given(scores=scores_of())
def test_local_weights_over_the_gaussian_sum_to_1_and_off_centre_weights_to_less(scores):
    gaussian = torch.exp(-((line_of(scores) - 2).flatten() ** 2) / (2 * (WINDOW / 2) ** 2))
    assert_close((on_a_line(scores) / gaussian).sum(dim=-1), torch.ones(3).double())
    centres = torch.full((3, 1), 1.3).double()
    off_centre = local(scores, centres, line_of(scores), window=2.0)
    assert (off_centre.sum(dim=-1) < 1).all()


def test_window_without_a_position_gives_zeros():
    scores, centres = torch.zeros(2, 3), torch.tensor([[1.0], [7.0]])
    weights = local(scores, centres, torch.arange(3.0)[:, None], window=1.0)
    assert (weights[1] == 0).all()
    assert weights[0].sum() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_weights_have_the_dtype_of_the_scores_not_of_the_positions(dtype):
    centres, positions = torch.zeros(1, 1).double(), torch.zeros(3, 1).double()
    weights = local(torch.zeros(1, 3, dtype=dtype), centres, positions, window=1.0)
    assert weights.dtype == dtype


def test_gradient_reaches_the_centre_through_the_gaussian():
    centres = torch.tensor([[1.2]], dtype=torch.double, requires_grad=True)
    positions = torch.arange(4).double()[:, None]
    scores = torch.tensor([[0.1, 0.4, -0.2, 0.3]]).double()
    assert torch.autograd.gradcheck(
        lambda centres: local(scores, centres, positions, window=1.5), centres
    )


def test_allowed_is_where_the_mask_is_true_and_the_score_above_minus_infinity():
    scores = torch.tensor([[0.0, -INF, 1.0], [-INF, -INF, -INF]])
    assert allowed(scores).tolist() == [[True, False, True], [False] * 3]
    assert allowed(scores, torch.tensor([False, True, True])).tolist() == [
        [False, False, True],
        [False] * 3,
    ]


fine = torch.zeros(2, 3)
BAD = {
    "no positions": (torch.zeros(2, 0), {}, r"at least one .* got \(2, 0\)"),
    "no axis": (torch.tensor(1.0), {}, r"at least one .* got \(\)"),
    "integers": (
        torch.zeros(2, 3, dtype=torch.long),
        {},
        "floating point, got torch.int64",
    ),
    "NaN": (torch.tensor([0.0, float("nan")]), {}, "got nan"),
    "NaN under the mask": (
        torch.tensor([0, INF * 0]),
        {"mask": torch.tensor([True, False])},
        "got nan",
    ),
    "+∞": (torch.tensor([0.0, INF]), {}, "got inf"),
    "shape of mask": (
        fine,
        {"mask": torch.ones(2, 4) > 0},
        r"got \(2, 4\) for \(2, 3\)",
    ),
    "rank of mask": (
        fine,
        {"mask": torch.ones(1, 2, 3) > 0},
        r"got \(1, 2, 3\) for \(2, 3\)",
    ),
    "type of mask": (fine, {"mask": torch.ones(2, 3)}, "boolean mask, .* got torch.float32"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("scores", "options", "message"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("align", [softmax, sparsemax, our_entmax, sigmoid, on_a_line])
def test_errors_of_scores_and_masks(align, scores, options, message):
    with pytest.raises(ValueError, match=message):
        align(scores, **options)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), INF])
def test_errors_of_temperatures(temperature):
    with pytest.raises(ValueError, match=f"temperature, got {temperature}"):
        softmax(fine, temperature=temperature)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("alpha", [0.999, 2.001, float("nan"), INF])
def test_errors_of_alpha(alpha):
    with pytest.raises(ValueError, match=rf"alpha from 1 .* to 2 .*, got {alpha}"):
        our_entmax(fine, alpha=alpha)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window, got 0"),
        ({"window": -1.0}, "window, got -1.0"),
        ({"window": float("nan")}, "window, got nan"),
        (
            {"positions": torch.zeros(4, 1)},
            r"\(K, n\) for each of 3 scores, got \(4, 1\)",
        ),
        ({"positions": torch.zeros(3)}, r"\(K, n\) for each of 3 scores, got \(3,\)"),
        (
            {"positions": torch.zeros(3, 2)},
            r"row of scores, \(2, 2\), got \(2, 1\)",
        ),
        ({"centres": torch.zeros(2)}, r"row of scores, \(2, 1\), got \(2,\)"),
        (
            {"centres": torch.zeros(1, 1)},
            r"row of scores, \(2, 1\), got \(1, 1\)",
        ),
        (
            {"centres": torch.full((2, 1), float("nan"))},
            "finite centres and positions",
        ),
        (
            {"positions": torch.full((3, 1), INF)},
            "finite centres and positions",
        ),
    ],
)
def test_errors_of_centres_and_positions(options, message):
    usual = {"centres": torch.zeros(2, 1), "positions": torch.zeros(3, 1), "window": 1.0}
    with pytest.raises(ValueError, match=message):
        local(fine, **usual | options)


def test_temperature_of_1_has_a_gradient():
    temperature = torch.ones((), dtype=torch.double, requires_grad=True)
    scores = torch.tensor([1.0, 2.0, 4.0]).double()
    softmax(scores, temperature=temperature)[0].backward()
    a = scores.softmax(dim=0)
    by_hand = -a[0] * (scores[0] - (a * scores).sum())  # da/dT at T = 1
    assert_close(temperature.grad, by_hand)


@pytest.mark.parametrize("temperature", [1e-46, 1e-300])
def test_temperature_that_is_zero_in_the_precision_of_the_scores_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature, got 1e-"):
        softmax(torch.zeros(3), temperature=temperature)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_window_is_exact_in_half_precision(dtype):
    scores, positions = torch.zeros(1, 600), torch.arange(600.0)[:, None]
    expected = local(scores, torch.tensor([[290.0]]), positions, window=280.0)
    found = local(scores.to(dtype), torch.tensor([[290.0]]), positions, window=280.0)
    assert ((found > 0) == (expected > 0)).all()
    assert_close(found.float(), expected, rtol=0.01, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("mask", [np.array([True, False, True]), [True, False, True]])
def test_mask_that_is_not_a_tensor_is_refused(mask):
    with pytest.raises(ValueError, match=f"boolean mask, a tensor .* got {type(mask).__name__}"):
        softmax(torch.zeros(3), mask=mask)
