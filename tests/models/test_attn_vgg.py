from typing import get_args

import pytest
import torch
from torch import nn
from torchvision.models import vgg16_bn

from course_utils.attention.spatial import Alignment
from course_utils.core.profiling import parameters as count
from course_utils.models import POOLS, AttnVGG
from course_utils.models.vgg import Taps


@pytest.fixture(scope="module")
def full():
    torch.manual_seed(0)
    return AttnVGG(2).eval()


def test_parameter_counts_of_the_full_width(full):
    assert count(full) == 15_184_964
    assert count(full.attention) == 459_266
    assert count(AttnVGG(2, alignment=None)) == 14_725_698


def test_the_backbone_is_torchvisions(full):
    reference = vgg16_bn(weights=None).features
    assert [repr(a) for a in full.features] == [repr(b) for b in reference]
    assert [i for i, module in enumerate(reference) if isinstance(module, nn.MaxPool2d)] == list(
        POOLS
    )
    assert full.features.state_dict().keys() == reference.state_dict().keys()


@pytest.mark.parametrize("alignment", get_args(Alignment))
@pytest.mark.parametrize("taps", get_args(Taps))
def test_equals_the_network_written_out(alignment, taps):
    """Blocks are cut by hand at 24 and 34 (after their pool) or at 23 and 33 (before it)."""
    torch.manual_seed(0)
    model = AttnVGG(5, width=0.125, alignment=alignment, taps=taps).double().eval()
    x = torch.rand(2, 3, 64, 64).double()
    f = model.features
    cut3, cut4 = (24, 34) if taps == "after" else (23, 33)
    l3, l4, g = f[:cut3](x), f[:cut4](x), f(x)
    c3, a3 = model.attention[0](l3, g)
    c4, a4 = model.attention[1](l4, g)
    logits = model.classifiers[0](torch.cat([c3, c4, g.mean(dim=(2, 3))], dim=1))
    output = model(x)
    torch.testing.assert_close(output.logits, logits, rtol=0, atol=1e-10)
    torch.testing.assert_close(output.maps, (a3, a4), rtol=0, atol=1e-12)
    torch.testing.assert_close(output.heads, logits[:, None], rtol=0, atol=1e-10)


def test_independent_heads_average_probabilities():
    torch.manual_seed(0)
    model = AttnVGG(5, width=0.125, head="independent").eval()
    output = model(torch.rand(3, 1, 48, 48))
    assert output.heads.shape == (3, 3, 5)
    torch.testing.assert_close(output.logits.exp(), output.heads.softmax(-1).mean(1))


def test_the_control_is_attention_with_equal_weights():
    torch.manual_seed(0)
    attended = AttnVGG(5, width=0.125, alignment="softmax").eval()
    for block in attended.attention:
        nn.init.zeros_(block.score.weight)
    control = AttnVGG(5, width=0.125, alignment=None).eval()
    control.load_state_dict(
        {k: v for k, v in attended.state_dict().items() if not k.startswith("attention")}
    )
    x = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(attended(x).logits, control(x).logits)
    assert control(x).maps == ()


@pytest.mark.parametrize(
    ("size", "taps", "maps"),
    [
        ((64, 64), "before", [(16, 16), (8, 8)]),
        ((64, 64), "after", [(8, 8), (4, 4)]),
        ((96, 64), "before", [(24, 16), (12, 8)]),
        ((33, 50), "after", [(4, 6), (2, 3)]),
    ],
)
def test_maps_at_any_image_size_and_in_a_batch_of_one(size, taps, maps):
    output = AttnVGG(3, width=0.0625, taps=taps).eval()(torch.rand(1, 1, *size))
    assert output.logits.shape == (1, 3)
    assert [tuple(m.shape) for m in output.maps] == [(1, 1, *m) for m in maps]


def test_full_width_runs_at_224(full):
    with torch.inference_mode():
        output = full(torch.rand(1, 3, 224, 224))
    assert [tuple(m.shape) for m in output.maps] == [(1, 1, 28, 28), (1, 1, 14, 14)]


def test_initialisation_of_the_classifiers():
    torch.manual_seed(0)
    for linear in AttnVGG(100, width=0.5, head="independent").classifiers:
        assert linear.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert linear.bias.abs().max() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taps": "middle"}, "'middle'.* before, after"),
        ({"head": "both"}, "'both'.* concat, independent"),
        (
            {"alignment": "hard"},
            "'hard'.* softmax, sigmoid, sparsemax, entmax",
        ),
        ({"width": 0.5, "pretrained": True}, "got width=0.5"),
        ({"width": 0}, "got 0"),
        ({"dropout": 1}, r"\[0, 1\), got 2 and 1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AttnVGG(2, **{"width": 0.125, **options})


def test_dropout_acts_on_descriptors_in_training_only():
    torch.manual_seed(0)
    model, x = AttnVGG(4, width=0.125, dropout=0.5), torch.rand(2, 1, 32, 32)
    seen = []
    model.classifiers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(x)
    assert 0.3 < (seen[0] == 0).float().mean() < 0.8
    model.eval()(x)
    model(x)
    torch.testing.assert_close(seen[1], seen[2], rtol=0, atol=0)
