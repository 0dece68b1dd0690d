import pytest
import torch
from torch import nn
from torchvision.models import resnet50, resnet101, resnet152
from torchvision.models.resnet import BasicBlock, Bottleneck

from course_utils.attention import gates
from course_utils.attention.non_local import GlobalContext, NonLocal
from course_utils.core.profiling import parameters as count
from course_utils.models import ResNet, resnet


@pytest.mark.parametrize(("depth", "theirs"), [(50, resnet50), (101, resnet101), (152, resnet152)])
def test_parameter_counts_are_those_of_torchvision_and_of_the_sources(depth, theirs):
    with torch.device("meta"):
        plain = count(ResNet(1000, depth=depth))
        assert plain == count(theirs())
        added = {
            gate: count(ResNet(1000, depth=depth, gate=gate)) - plain
            for gate in (gates.Streamlined, gates.CBAM)
        }
        se = count(ResNet(1000, depth=depth, gate=gates.SqueezeExcitation)) - plain
        blocks = [m for m in ResNet(1000, depth=depth).modules() if isinstance(m, Bottleneck)]
        sizes = [block.conv3.out_channels for block in blocks]
        for gate in (gates.ECA, gates.CoordinateAttention, GlobalContext):
            expected = sum(count(gate(channels)) for channels in sizes)
            assert count(ResNet(1000, depth=depth, gate=gate)) - plain == expected
        assert count(ResNet(1000, depth=depth, between=NonLocal)) - plain == 2 * 1024**2 + 2 * 1024
    if depth == 50:
        assert added[gates.Streamlined] == 20_119_552
        assert se == 2_514_944
    assert added[gates.Streamlined] == 8 * se  # channels² instead of 2 channels² / 16
    assert added[gates.CBAM] == se + sum({50: 16, 101: 33, 152: 50}[depth] * [2 * 49 + 1])


def test_without_a_gate_it_is_torchvisions_network():
    torch.manual_seed(0)
    ours, theirs = ResNet(5, depth=50).eval(), resnet50(num_classes=5).eval()
    stem, *stages = ours.features
    for own, their in zip(
        [*stem, *stages], [theirs.conv1, theirs.bn1, theirs.relu, theirs.maxpool, theirs.layer1]
    ):
        their.load_state_dict(own.state_dict())
    for own, their in zip(stages[1:], [theirs.layer2, theirs.layer3, theirs.layer4]):
        their.load_state_dict(own.state_dict())
    theirs.fc.load_state_dict(ours.classifiers[0].state_dict())
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x).logits, theirs(x))


@pytest.mark.parametrize(
    "block", [BasicBlock(6, 6), Bottleneck(24, 6)], ids=["basic", "bottleneck"]
)
def test_the_gate_acts_before_the_addition(block):
    """relu(x + gate(F(x))), by hand."""
    torch.manual_seed(0)
    x = torch.rand(2, block.conv1.in_channels, 5, 5).double()
    block = nn.Sequential(block).double().eval()
    inner, last = [], "bn3" if isinstance(block[0], Bottleneck) else "bn2"
    hook = getattr(block[0], last).register_forward_hook(
        lambda _, inputs, output: inner.append(output.clone())
    )
    block(x)
    hook.remove()
    resnet.insert(block, lambda channels: gates.SqueezeExcitation(channels, 2).double())
    gate = getattr(block[0], last)[1]
    torch.testing.assert_close(block(x), (x + gate(inner[0])).relu())


@pytest.mark.parametrize(
    ("depth", "place", "channels"), [(8, 1, 32), (14, 1, 32), (20, 2, 32), (50, 5, 1024)]
)
def test_self_attention_stands_before_the_last_block_of_the_last_stage_but_one(
    depth, place, channels
):
    plain, model = (ResNet(3, depth=depth, between=between) for between in (None, NonLocal))
    stages = list(zip(plain.features, model.features, strict=True))
    assert all(len(before) == len(after) for before, after in stages if after is not stages[-2][1])
    before, after = stages[-2]
    kinds = [type(block) for block in before]
    assert [type(block) for block in after] == [*kinds[:place], NonLocal, *kinds[place:]]
    assert after[place].combine.out_channels == channels
    side = 64 // (16 if depth == 50 else 4)
    (weights,) = gates.observe(model, torch.rand(1, 3, 64, 64)).values()
    assert weights.shape == (1, side**2, side**2)


@pytest.mark.parametrize("depth", [8, 14, 50])
@pytest.mark.parametrize(
    "option", [{"gate": GlobalContext}, {"between": NonLocal}, {"between": GlobalContext}]
)
def test_a_fresh_block_that_adds_leaves_the_network_unchanged(depth, option):
    torch.manual_seed(0)
    plain, model = ResNet(3, depth=depth).eval(), ResNet(3, depth=depth, **option).eval()
    blocks = [m for m in model.modules() if isinstance(m, NonLocal | GlobalContext)]
    new = {id(tensor) for block in blocks for tensor in block.state_dict(keep_vars=True).values()}
    theirs = [v for v in model.state_dict(keep_vars=True).values() if id(v) not in new]
    for ours, copy in zip(plain.state_dict().values(), theirs, strict=True):
        copy.data.copy_(ours)
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(x).logits, plain(x).logits)


@pytest.mark.parametrize(("depth", "layers"), [(8, 8), (14, 14), (20, 20)])
def test_small_depths_count_their_layers(depth, layers):
    model = ResNet(10, depth=depth)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convs) + 1 == layers  # and the linear one
    assert model.features(torch.rand(1, 3, 64, 64)).shape == (1, 64, 8, 8)
    gated = ResNet(10, depth=depth, gate=gates.Streamlined)
    assert sum(isinstance(m, gates.Gate) for m in gated.modules()) == (depth - 2) // 2


def test_pretrained_weights_are_those_of_the_plain_network(monkeypatch):
    stored = resnet50()
    requested = []

    def build(weights=None):
        requested.append(weights)
        return stored

    monkeypatch.setitem(resnet.TORCHVISION, 50, build)
    kernel = stored.layer4[2].bn3.weight
    model = ResNet(3, depth=50, gate=gates.SqueezeExcitation, pretrained=True)
    assert requested == ["IMAGENET1K_V1"]
    assert model.features[4][2].bn3[0].weight is kernel


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 34}, "34.* 8, 14, 20, 50, 101, 152"),
        ({"depth": 50, "width": 0.5}, "ResNet-50 .* got width=0.5"),
        ({"depth": 8, "pretrained": True}, "50, 101 and 152, got depth=8"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ResNet(2, **options)
