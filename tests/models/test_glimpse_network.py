import pytest
import torch
from torch.testing import assert_close

from course_utils.attention import hard
from course_utils.attention.glimpses import cell_centres
from course_utils.core import profiling
from course_utils.models.glimpse_network import POLICIES, GlimpseNetwork

IMAGES = torch.rand(6, 1, 64, 64, generator=torch.Generator().manual_seed(0))


def network(policy, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GlimpseNetwork(policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_shapes(policy):
    out = network(policy)(IMAGES)
    assert out.logits.shape == (6, 10)
    assert out.centres.shape == (6, 2)
    assert out.scores.shape == (6, 64)
    assert out.log_prob.shape == (6,)
    assert out.centres.abs().max() < 1


def test_the_second_look_is_all_that_the_classifier_sees_of_the_window():
    """What the first look averages away is seen only inside the window."""
    model = network("middle").eval()
    checkered = IMAGES.clone()
    pattern = 0.1 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(8, 8)  # has the mean 0
    checkered[:, :, 24:40, 24:40] += pattern
    with torch.no_grad():
        away, there = (
            [model(x, torch.full((6, 2), place)).logits for x in (IMAGES, checkered)]
            for place in (-0.9, 0.0)
        )
    assert_close(*away, atol=1e-4, rtol=0)
    assert (there[0] - there[1]).abs().max() > 1e-3


def test_a_draw_is_one_cell_in_training_and_the_most_probable_one_afterwards():
    model, cells = network("draw"), cell_centres(8)
    torch.manual_seed(0)
    out = model(IMAGES)
    distances = torch.cdist(out.centres, cells)
    assert_close(distances.amin(dim=1), torch.zeros(6))
    chosen = out.scores.log_softmax(dim=1).gather(1, distances.argmin(dim=1, keepdim=True))
    assert_close(out.log_prob, chosen[:, 0])
    out = model.eval()(IMAGES)
    assert torch.equal(out.centres, cells[out.scores.argmax(dim=1)])


@pytest.mark.parametrize("policy", POLICIES)
def test_through_which_policies_the_loss_reaches_the_scores(policy):
    model = network(policy)
    model(IMAGES).logits.square().sum().backward()
    gradient = model.score.weight.grad
    reached = gradient is not None and bool(gradient.any())
    assert reached == (policy in ("straight-through", "soft"))


def test_apart_the_scores_do_not_train_the_first_look():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GlimpseNetwork("draw", apart=True)
    hard.reinforce_loss(model(IMAGES).log_prob, torch.ones(6)).backward()
    assert model.score.weight.grad.abs().max() > 0
    assert model.first[0].weight.grad is None


def test_reinforce_reaches_the_scores_of_a_draw():
    model = network("draw")
    out = model(IMAGES)
    hard.reinforce_loss(out.log_prob, torch.ones(6)).backward()
    assert model.score.weight.grad.abs().max() > 0
    assert model.classifier[0].weight.grad is None


def test_random_places_do_not_depend_on_the_scores():
    model = network("random").eval()
    with torch.no_grad():
        model.score.bias.fill_(3.0)
        model.score.weight.mul_(1000)
    places = {tuple(x.tolist()) for _ in range(20) for x in model(IMAGES).centres}
    assert len(places) > 40


def test_a_second_look_costs_less_than_the_layers_over_the_whole_image():
    one, two = (
        profiling.multiply_adds(network(policy), IMAGES[:1]) for policy in ("none", "middle")
    )
    first = 9 * (256 * 1 * 8 + 64 * 8 * 16 + 64 * 16 * 32) + 64 * 32  # three layers, and the scores
    assert one == first + 32 * 64 + 64 * 10
    second = 9 * (24**2 * 1 * 8 + 12**2 * 8 * 16 + 6**2 * 16 * 32)
    assert two - one == second + 288 * 64


def test_unknown_policies_are_refused():
    with pytest.raises(ValueError, match=r"'dice'.*draw, straight-through"):
        GlimpseNetwork("dice")
