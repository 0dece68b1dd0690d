import pytest
import torch

from course_utils.models import AttnVGG
from course_utils.models.weights import load_weights


def network(classes=10, width=0.0625, **options):
    return AttnVGG(classes, width=width, head="independent", **options)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            network(classes=7),
            r"'classifiers.0.weight' of shape \(7, 16\), .* \(10, 16\).*classes",
        ),
        (network(width=0.125), r"'features.0.weight' of shape \(8, .* \(4, .*width"),
        (network(alignment=None), r"'attention.0.project_global.weight'.*in the network"),
    ],
)
def test_weights_of_another_network_are_named_and_nothing_is_loaded(other, message):
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_weights(model, other.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_weights_that_the_network_lacks_are_named():
    with pytest.raises(ValueError, match=r"'attention.0.project_global.weight'.*in the weights"):
        load_weights(network(alignment=None), network().state_dict())
