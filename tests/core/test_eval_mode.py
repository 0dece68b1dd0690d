import pytest
import torch
from torch import nn

from course_utils.core.eval_mode import evaluating


@pytest.fixture
def network():
    """A network in training mode with a frozen batch norm, whose dropout is in training mode."""
    made = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    made[1].eval()
    return made


def modes(network):
    return [module.training for module in network.modules()]


def test_network_evaluates_inside_and_each_module_has_its_own_mode_afterwards(network):
    before = modes(network)
    assert before == [True, True, False, True]
    with evaluating(network) as inside:
        assert inside is network
        assert not any(modes(network))
    assert modes(network) == before


def test_output_has_no_gradient_and_repeats(network):
    network.train()
    x = torch.randn(4, 3, requires_grad=True)
    with evaluating(network):
        first, second = network(x), network(x)
    assert not first.requires_grad
    assert torch.equal(first, second)
    assert network[1].num_batches_tracked == 0


def test_results_can_be_used_in_training(network):
    """Results of inference mode could not be used."""
    with evaluating(network):
        features = network(torch.randn(4, 3))
    head = nn.Linear(3, 2)
    head(features).sum().backward()
    assert head.weight.grad is not None


def raising(network):
    with evaluating(network):
        raise KeyError("inside")


def test_modes_and_gradients_are_restored_after_an_error(network):
    before = modes(network)
    with pytest.raises(KeyError, match="inside"):
        raising(network)
    assert modes(network) == before
    assert torch.is_grad_enabled()


class Merging(nn.Module):
    """A network whose own ``train`` and ``eval`` change its weights, as adapters of weights do."""

    def __init__(self):
        super().__init__()
        self.layer, self.merged = nn.Linear(3, 3), False

    def train(self, mode=True):
        super().train(mode)
        if self.merged == mode:
            self.layer.weight.data += -1.0 if mode else 1.0
            self.merged = not mode
        return self


def test_what_a_network_does_in_its_own_train_and_eval_does_not_happen():
    network = Merging()
    before = network.layer.weight.clone()
    with evaluating(network):
        assert not any(modes(network))
        assert torch.equal(network.layer.weight, before)
    assert all(modes(network))
    assert torch.equal(network.layer.weight, before)
    assert not network.merged
