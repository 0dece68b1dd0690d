import torch

from course_utils.models import AttnVGG
from course_utils.studies.presets import PRESETS
from course_utils.studies.variants import Variant

SOFTMAX = Variant(AttnVGG, {"alignment": "softmax"})


def test_building_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    SOFTMAX.build(10, PRESETS["cpu"], seed=5)
    assert torch.equal(torch.rand(2), expected)


def test_a_seed_fixes_the_initial_weights():
    one, same, other = (SOFTMAX.build(10, PRESETS["cpu"], seed=s).state_dict() for s in (1, 1, 2))
    name = "features.0.weight"
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])


def test_the_preset_sets_the_size():
    with torch.device("meta"):
        assert SOFTMAX.build(10, PRESETS["cpu"]).features[0].out_channels == 8
        assert SOFTMAX.build(10).features[0].out_channels == 64
