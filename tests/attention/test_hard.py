import math
import re
from functools import partial

import pytest
import torch
from scipy.stats import chisquare
from torch.testing import assert_close

from course_utils.attention import alignments, hard, scores
from course_utils.attention.general import Attention
from tests.attention.cases import INF

ROW = torch.tensor([0.5, -0.3, 1.2, 0.0], dtype=torch.double)
REWARDS = torch.tensor([6.0, 8.0, 3.0, 5.5], dtype=torch.double)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(align, **options):
    """The weights of either way to draw."""
    result = align(**options)
    return result.weights if isinstance(result, hard.Sample) else result


both = pytest.mark.parametrize("align", [hard.sample, hard.straight_through])


@both
def test_one_position_per_row_gets_all_of_the_weight(align):
    weights = drawn(align, scores=torch.randn(5, 6, 7, generator=seeded()), generator=seeded())
    assert ((weights == 0) | (weights == 1)).all()
    assert (weights.sum(dim=-1) == 1).all()


@both
@pytest.mark.parametrize("options", [{}, {"mask": torch.tensor([True, True, False, True])}])
def test_frequencies_follow_softmax(align, options):
    counts = drawn(align, scores=ROW.expand(20_000, 4), generator=seeded(), **options).sum(dim=0)
    expected = alignments.softmax(ROW, **options) * 20_000
    where = expected > 0
    assert (counts[~where] == 0).all()
    assert chisquare(counts[where], expected[where]).pvalue > 0.01
    assert chisquare(counts[where], expected[where].roll(1)).pvalue < 1e-9  # the test has power


def test_temperature_does_not_change_the_draw():
    draw = partial(hard.straight_through, torch.randn(50, 9, generator=seeded()))
    usual = draw(generator=seeded(1))
    for temperature in (1e-20, 0.1, 10.0, 1e20):
        assert torch.equal(draw(temperature=temperature, generator=seeded(1)), usual)


@both
def test_generators_make_draws_reproducible(align):
    row = torch.zeros(100, 5)
    first, same, other = (drawn(align, scores=row, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        default = drawn(align, scores=row)
        torch.manual_seed(3)
        assert torch.equal(drawn(align, scores=row), default)
        state = torch.get_rng_state()
        drawn(align, scores=row, generator=seeded())
        assert torch.equal(torch.get_rng_state(), state)


@both
def test_rows_without_an_allowed_position_are_zeros_and_have_no_gradient(align):
    rows = torch.randn(3, 4, generator=seeded())
    rows[1], rows[2, 0] = -INF, -INF
    rows.requires_grad_()
    result = align(rows, mask=torch.tensor([[False], [True], [True]]), generator=seeded())
    weights, log_prob = result if isinstance(result, hard.Sample) else (result, result.sum(dim=-1))
    assert (weights[:2] == 0).all()
    assert weights[2].sum() == 1
    assert (log_prob[:2] == 0).all()
    (log_prob.sum() + (weights * torch.arange(4)).sum()).backward()
    assert rows.grad.isfinite().all()
    assert (rows.grad[:2] == 0).all()
    assert rows.grad[2, 1:].abs().min() > 0


def test_log_prob_is_that_of_the_draw():
    rows = torch.randn(6, 5, generator=seeded()).double().requires_grad_()
    sample = hard.sample(rows, generator=seeded())
    assert not sample.weights.requires_grad
    index = sample.weights.argmax(dim=-1)
    expected = rows.log_softmax(dim=-1)[torch.arange(6), index]
    assert_close(sample.log_prob, expected)
    (gradient,) = torch.autograd.grad(sample.log_prob.sum(), rows)
    # the score function of a categorical distribution
    assert_close(gradient, sample.weights - rows.softmax(dim=-1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@both
def test_large_scores_give_finite_results_in_every_precision(align, dtype):
    rows = (torch.randn(20, 6, generator=seeded()) * 1e4).to(dtype).requires_grad_()
    result = align(rows, generator=seeded())
    values = result if isinstance(result, hard.Sample) else [result]
    assert {value.dtype for value in values} == {dtype}
    assert all(value.isfinite().all() for value in values)
    values[-1].sum().backward()
    assert rows.grad.isfinite().all()
    assert torch.equal(values[0].argmax(dim=-1), rows.argmax(dim=-1))  # certain


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@both
def test_half_precision_is_single_precision_rounded(align, dtype):
    rows = torch.randn(20, 300, generator=seeded()).to(dtype)
    in_half, in_single = (align(some, generator=seeded()) for some in (rows, rows.float()))
    if align is hard.straight_through:
        in_half, in_single = [in_half], [in_single]
    assert all(torch.equal(a, b.to(dtype)) for a, b in zip(in_half, in_single))


@both
def test_masked_positions_are_not_drawn_even_when_all_clocks_are_zero(align, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda clocks, generator: clocks.zero_())
    weights = drawn(
        align, scores=torch.zeros(2, 3), mask=torch.tensor([[False, False, True], [False] * 3])
    )
    assert weights.tolist() == [[0, 0, 1], [0, 0, 0]]


@both
def test_no_rows_give_no_rows(align):
    assert drawn(align, scores=torch.zeros(0, 4)).shape == (0, 4)


def test_no_rows_give_no_subsets():
    weights, log_prob = hard.SubsetPolicy(2)(torch.zeros(0, 3, 4), torch.zeros(0, 4, 2))
    assert weights.shape == (0, 3, 4)
    assert log_prob.shape == (0, 3)


def expected_gradient():
    """Gradient of the expected reward Σ a_i R_i, by hand: a_i (R_i − Σ a_j R_j)."""
    probabilities = ROW.softmax(dim=-1)
    return probabilities * (REWARDS - probabilities @ REWARDS)


def estimates(baseline, n=20_000):
    """REINFORCE's estimates of the gradient of the expected reward, one per draw."""
    rows = ROW.repeat(n, 1).requires_grad_()
    sample = hard.sample(rows, generator=seeded())
    hard.reinforce_loss(sample.log_prob, sample.weights @ REWARDS, baseline).backward()
    return -rows.grad * n


def standard_errors_off(estimated, exact):
    standard_error = estimated.std(dim=0) / len(estimated) ** 0.5
    return ((estimated.mean(dim=0) - exact) / standard_error).abs().max()


def test_reinforce_is_right_on_average_and_a_baseline_reduces_its_noise():
    expected_reward = float(ROW.softmax(dim=-1) @ REWARDS)
    plain, far, near = (estimates(baseline) for baseline in (0.0, 20.0, expected_reward))
    for estimated in (plain, far, near):
        assert standard_errors_off(estimated, expected_gradient()) < 3.5
        assert standard_errors_off(estimated, expected_gradient() * 1.5) > 5  # the test has power
    assert near.var(dim=0).sum() < 0.2 * plain.var(dim=0).sum()
    assert far.var(dim=0).sum() > 5 * plain.var(dim=0).sum()


def test_reinforce_loss_by_hand():
    log_prob = torch.tensor([-1.0, -2.0], requires_grad=True)
    reward = torch.tensor([3.0, 1.0], requires_grad=True)
    baseline = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = hard.reinforce_loss(log_prob, reward, baseline)
    assert_close(loss, torch.tensor(0.0))  # −((3 − 1)(−1) + (1 − 2)(−2)) / 2
    assert_close(hard.reinforce_loss(log_prob, reward, 0.5), torch.tensor(1.75))
    loss.backward()
    assert_close(log_prob.grad, torch.tensor([-1.0, 0.5]))
    assert reward.grad is None
    assert baseline.grad is None


def test_straight_through_is_biased_where_reinforce_is_not():
    """If the weights are one-hot, the reward (a · c)² equals the linear reward a · c²."""
    values = torch.tensor([1.0, 2.0, -2.0, 0.0]).double()
    probabilities = ROW.softmax(dim=-1)
    exact = probabilities * (values**2 - probabilities @ values**2)
    bias, noise = [], []
    for temperature in (2.0, 0.5, 0.1):
        rows = ROW.repeat(20_000, 1).requires_grad_()
        weights = hard.straight_through(rows, temperature=temperature, generator=seeded())
        (weights @ values).square().sum().backward()
        assert standard_errors_off(rows.grad, exact) > 5 or temperature < 0.5
        bias.append((rows.grad.mean(dim=0) - exact).norm())
        noise.append(rows.grad.var(dim=0).sum())
    assert bias[0] > 1.5 * bias[1] > 3 * bias[2]
    assert noise[0] < noise[1] / 2 < noise[2] / 4
    rows = ROW.repeat(20_000, 1).requires_grad_()
    sample = hard.sample(rows, generator=seeded())
    hard.reinforce_loss(sample.log_prob, (sample.weights @ values).square()).backward()
    assert standard_errors_off(-rows.grad * len(rows), exact) < 3.5


def test_straight_through_has_the_gradient_of_the_noisy_softmax():
    rows, upstream = torch.randn(2, 8, 5, generator=seeded()).double()
    rows.requires_grad_()
    weights = hard.straight_through(rows, temperature=0.7, generator=seeded(4))
    (gradient,) = torch.autograd.grad(weights, rows, upstream)
    clocks = torch.empty(8, 5, dtype=torch.double).exponential_(generator=seeded(4))
    soft = ((rows - clocks.log()) / 0.7).softmax(dim=-1)
    assert torch.equal(weights.argmax(dim=-1), soft.argmax(dim=-1))
    assert_close(gradient, torch.autograd.grad(soft, rows, upstream)[0])


def test_straight_through_works_as_an_alignment():
    torch.manual_seed(0)
    queries, keys, values = torch.randn(2, 3, 4), torch.randn(2, 6, 4), torch.randn(2, 6, 5)
    keys.requires_grad_()
    attended = Attention(scores.multiplicative, hard.straight_through)(queries, keys, values)
    chosen = values.gather(1, attended.weights.argmax(dim=-1)[..., None].expand(-1, -1, 5))
    assert_close(attended.context, chosen)
    attended.context.sum().backward()
    assert keys.grad.abs().sum() > 0


@pytest.fixture
def policy():
    """A policy that keeps a position with probability σ(key)."""
    made = hard.SubsetPolicy(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        # Two hidden units compute ReLU(key) − ReLU(−key) = key.
        made.policy[0].weight[:2, 0] = torch.tensor([1.0, -1.0])
        made.policy[2].weight[0, :2] = torch.tensor([1.0, -1.0])
    return made


KEYS = torch.tensor([[[0.4], [-1.0], [2.0]]])  # (1, 3, 1)


def kept_probability(kept):
    """Probability of this subset of KEYS, by hand."""
    chances = [1 / (1 + math.exp(-key)) for key in KEYS.flatten().tolist()]
    return math.prod(chance if keep else 1 - chance for keep, chance in zip(kept, chances))


def test_subsets_are_drawn_with_the_probability_in_log_prob(policy):
    n = 20_000
    weights, log_prob = policy(torch.zeros(1, n, 3), KEYS, generator=seeded())
    codes = ((weights[0] > 0) * torch.tensor([4, 2, 1])).sum(dim=-1)
    counts = codes.bincount(minlength=8)
    expected = torch.tensor([kept_probability([code & 4, code & 2, code & 1]) for code in range(8)])
    assert_close(log_prob[0].exp(), expected[codes])
    assert chisquare(counts.double(), expected.double() / expected.double().sum() * n).pvalue > 0.01


def test_softmax_weights_the_kept_positions(policy):
    rows = torch.randn(1, 50, 3, generator=seeded())
    weights, _ = policy(rows, KEYS, generator=seeded())
    assert torch.equal(weights, alignments.softmax(rows, mask=weights > 0))
    assert torch.equal(weights, policy(rows, KEYS, generator=seeded()).weights)
    assert not torch.equal(weights > 0, policy(rows, KEYS, generator=seeded(1)).weights > 0)
    empty = (weights == 0).all(dim=-1)
    assert empty.any()  # a subset can be empty, and its row is all zeros
    assert_close(weights.sum(dim=-1), (~empty).float())


def test_evaluation_mode_keeps_positions_above_one_half(policy):
    policy.eval()
    rows = torch.randn(1, 3, generator=seeded())
    weights, log_prob = policy(rows, KEYS)
    assert torch.equal(weights, alignments.softmax(rows, mask=torch.tensor([True, False, True])))
    assert log_prob.item() == pytest.approx(math.log(kept_probability([1, 0, 1])))
    assert torch.equal(policy(rows, -KEYS.abs()).weights, torch.zeros(1, 3))


def test_masked_positions_do_not_count(policy):
    policy.eval()
    alone = policy(torch.zeros(1, 1), KEYS[:, :1])
    first = torch.tensor([True, False, False])
    for rows, mask in ((torch.zeros(1, 3), first), (torch.tensor([[0, -INF, -INF]]), None)):
        weights, log_prob = policy(rows, KEYS, mask=mask)
        assert torch.equal(weights, torch.tensor([[1.0, 0, 0]]))
        assert_close(log_prob, alone.log_prob)
    weights, log_prob = policy(torch.zeros(1, 3), KEYS, mask=torch.tensor(False))
    assert (weights == 0).all()
    assert (log_prob == 0).all()


def test_gradient_reaches_the_policy_through_log_prob_and_the_scores_through_the_weights(policy):
    rows = torch.randn(1, 3, generator=seeded()).requires_grad_()
    keys = KEYS.abs()  # so that all are kept
    sample = policy.eval()(rows, keys, mask=torch.tensor([True, True, False]))
    sample.weights[0, 0].backward()
    assert rows.grad[0, :2].abs().min() > 0
    assert all(parameter.grad is None for parameter in policy.parameters())
    sample.log_prob.sum().backward()
    chances = torch.sigmoid(keys[0, :2, 0])  # d log σ(z) / dz = 1 − σ(z)
    assert_close(policy.policy[2].bias.grad, (1 - chances).sum()[None])


def test_reinforce_trains_the_policy_to_keep_useful_positions():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = hard.SubsetPolicy(2)
    keys = torch.eye(2).repeat(1, 3, 1)  # (1, 6, 2): two kinds of keys; the first is useful
    useful, rows = keys[0, :, 0], torch.zeros(1, 64, 6)
    optimizer, generator = torch.optim.Adam(policy.parameters(), lr=0.03), seeded()
    before = (policy(rows, keys, generator=generator).weights @ useful).mean()
    for _ in range(60):
        weights, log_prob = policy(rows, keys, generator=generator)
        reward = weights @ useful
        optimizer.zero_grad()
        hard.reinforce_loss(log_prob, reward, baseline=float(reward.mean())).backward()
        optimizer.step()
    assert before < 0.65
    assert (weights @ useful).mean() > 0.9
    assert torch.equal(policy.eval()(torch.zeros(1, 6), keys).weights[0], useful / 3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (torch.zeros(2, 0), {}, r"at least one .* got \(2, 0\)"),
        (torch.zeros(2, 3, dtype=torch.int32), {}, "floating point, got torch.int32"),
        (torch.tensor([0.0, math.nan]), {}, "got nan"),
        (torch.tensor([0.0, INF]), {}, "got inf"),
        (torch.zeros(2, 3), {"mask": torch.ones(2) > 0}, r"got \(2,\) for \(2, 3\)"),
        (torch.zeros(2, 3), {"mask": torch.ones(2, 3)}, "boolean mask, .* got torch.float32"),
    ],
)
def test_errors_of_scores_and_masks(values, options, message):
    policy = hard.SubsetPolicy(2)
    keys = torch.zeros(len(values), values.shape[-1], 2)
    for align in (hard.sample, hard.straight_through, partial(policy, keys=keys)):
        with pytest.raises(ValueError, match=message):
            align(values, **options)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("temperature", [0, -0.5, math.nan, INF])
def test_errors_of_temperatures(temperature):
    with pytest.raises(ValueError, match=f"temperature, got {temperature}"):
        hard.straight_through(torch.zeros(2, 3), temperature=temperature)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("rows", "keys"),
    [((2, 5, 3), (2, 4, 2)), ((2, 3), (3, 3, 2)), ((2, 3), (3, 2)), ((3,), (3, 3, 2))],
)
def test_errors_of_keys(rows, keys):
    with pytest.raises(ValueError, match=re.escape(f"got {rows} and {keys}")):
        hard.SubsetPolicy(2)(torch.zeros(rows), torch.zeros(keys))


@pytest.mark.usefixtures("unchecked")
def test_errors_of_rewards_and_baselines():
    with pytest.raises(ValueError, match=r"reward .* \(4,\), got \(4, 1\)"):
        hard.reinforce_loss(torch.zeros(4), torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"baseline, .* \(4,\), got \(4, 1\)"):
        hard.reinforce_loss(torch.zeros(4), torch.zeros(4), torch.zeros(4, 1))


def test_rewards_can_be_integers_or_booleans():
    log_prob, baseline = torch.tensor([-1.0, -2.0]), 0.5
    expected = hard.reinforce_loss(log_prob, torch.tensor([1.0, 0.0]), baseline)
    assert expected == -0.25
    for reward in (torch.tensor([1, 0]), torch.tensor([True, False])):
        assert hard.reinforce_loss(log_prob, reward, baseline) == expected
    with pytest.raises(ValueError, match="finite rewards, got NaN"):
        hard.reinforce_loss(log_prob, torch.tensor([1.0, float("nan")]), baseline)
