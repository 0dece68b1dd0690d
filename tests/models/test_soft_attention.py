import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_utils.core.profiling import parameters as count
from course_utils.models import SoftAttentionCNN


def test_parameter_counts_of_the_source():
    with torch.device("meta"):
        model = SoftAttentionCNN(6, image_size=128, gate="flat")
        assert count(model) == 326_131_276
        assert count(model.gate.project) == 321_144_320
        assert count(SoftAttentionCNN(6, gate="conv").gate) == 70 * 70 + 70


@pytest.mark.parametrize("alignment", ["sigmoid", "softmax"])
@pytest.mark.parametrize("gate", ["flat", "conv"])
def test_equals_the_network_written_out(gate, alignment):
    torch.manual_seed(0)
    model = (
        SoftAttentionCNN(3, image_size=16, gate=gate, alignment=alignment, width=0.125)
        .double()
        .eval()
    )
    x = images = torch.rand(2, 3, 16, 16).double()
    convs = [m for m in model.features if isinstance(m, nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [16, 16, 16, 9]
    for i, conv in enumerate(convs):
        x = F.relu(F.conv2d(x, conv.weight, conv.bias, padding=1))
        if i == 0:
            norm = model.features[2]
            x = (x - norm.running_mean[:, None, None]) / (
                norm.running_var[:, None, None] + norm.eps
            ).sqrt()
        x = F.max_pool2d(x, 2) if i < 3 else x
    flat = x.flatten(1)
    project = model.gate.project
    if gate == "flat":
        scores = model.gate.scale * F.relu(flat @ project.weight.T + project.bias)
        weights = (
            scores.sigmoid()
            if alignment == "sigmoid"
            else scores.exp() / scores.exp().sum(1, keepdim=True)
        )
    else:
        scores = (
            torch.einsum("dc,bchw->bdhw", project.weight[:, :, 0, 0], x)
            + project.bias[:, None, None]
        )
        weights = scores.sigmoid()
        if alignment == "softmax":
            weights = scores.exp() / scores.exp().sum(dim=(2, 3), keepdim=True)
        weights = weights.flatten(1)
    hidden = F.relu((weights * flat) @ model.dense[0].weight.T + model.dense[0].bias)
    linear = model.classifiers[0]
    output = model(images)
    torch.testing.assert_close(output.logits, hidden @ linear.weight.T + linear.bias)
    torch.testing.assert_close(
        output.maps[0], (weights * flat).view_as(x).amax(dim=1, keepdim=True)
    )
    before, after = model.before_and_after(images)
    torch.testing.assert_close((before, after), (x, (weights * flat).view_as(x)))


def test_without_a_gate_nothing_changes():
    model = SoftAttentionCNN(3, gate=None, width=0.125)
    before, after = model.before_and_after(torch.rand(1, 1, 32, 32))
    assert before is after
    assert model(torch.rand(1, 1, 32, 32)).maps == ()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gate": "hard"}, "'hard'.* flat, conv"),
        ({"gate": "flat"}, "image_size, got None"),
        (
            {"alignment": "sparsemax"},
            "'sparsemax'.* sigmoid, softmax",
        ),
        ({"image_size": 7}, "8 × 8 .*got 7"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SoftAttentionCNN(2, width=0.125, **options)


def test_images_of_another_size_than_it_was_built_for_are_refused():
    model = SoftAttentionCNN(2, width=0.125, image_size=32, gate="flat")
    with pytest.raises(ValueError, match="32 × 32 pixels, got 40 × 32"):
        model(torch.rand(1, 1, 40, 32))
