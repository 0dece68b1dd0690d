"""Tests that every network must pass, with or without attention."""

import pytest
import torch
from torch import nn

from course_utils.attention import gates
from course_utils.attention.non_local import GlobalContext, NonLocal
from course_utils.models import (
    VGG,
    AttnVGG,
    Output,
    PayAttentionVGG,
    ResNet,
    SoftAttentionCNN,
    VisionTransformer,
)

PAY = {"width": 0.0625, "dropout": 0.0}


def adding(network):
    """A network whose blocks add something, as if they were trained; fresh ones add nothing."""
    for module in network.modules():
        if isinstance(module, NonLocal | GlobalContext):
            last = module.norm if isinstance(module, NonLocal) else module.transform[-1]
            nn.init.normal_(last.weight, std=0.3)
    return network


NETWORKS = {
    "vgg": lambda: VGG(4, width=0.0625),
    "vgg, dense": lambda: VGG(4, width=0.0625, head="dense"),
    "attn, softmax": lambda: AttnVGG(4, width=0.0625),
    "attn, sigmoid, before, independent": lambda: AttnVGG(
        4, width=0.0625, alignment="sigmoid", taps="before", head="independent"
    ),
    "attn, none": lambda: AttnVGG(4, width=0.0625, alignment=None),
    "pay, pc": lambda: PayAttentionVGG(4, **PAY),
    "pay, dp, up, after, independent": lambda: PayAttentionVGG(
        4, **PAY, compatibility="dp", project="up", taps="after", head="independent"
    ),
    "pay, sigmoid": lambda: PayAttentionVGG(4, **PAY, alignment="sigmoid", normalise=False),
    "pay, average": lambda: PayAttentionVGG(4, **PAY, alignment=None, project="up"),
    "pay, scaled dp": lambda: PayAttentionVGG(4, **PAY, compatibility="scaled_dp"),
    "pay, plain": lambda: PayAttentionVGG(4, **PAY, levels=0),
    "soft, conv": lambda: SoftAttentionCNN(4, width=0.125),
    "soft, none": lambda: SoftAttentionCNN(4, width=0.125, gate=None),
    "soft, softmax": lambda: SoftAttentionCNN(4, width=0.125, alignment="softmax"),
    "resnet": lambda: ResNet(4, width=0.5),
    "resnet, cbam": lambda: ResNet(4, width=0.5, gate=lambda channels: gates.CBAM(channels, 2)),
    "resnet, squeeze": lambda: ResNet(
        4, width=0.5, gate=lambda channels: gates.SqueezeExcitation(channels, 2)
    ),
    "resnet, streamlined": lambda: ResNet(4, width=0.5, gate=gates.Streamlined),
    "resnet, second order": lambda: ResNet(4, width=0.5, gate=gates.SecondOrder),
    "resnet, eca": lambda: ResNet(4, width=0.5, gate=gates.ECA),
    "resnet, coordinate": lambda: ResNet(4, width=0.5, gate=gates.CoordinateAttention),
    "resnet, global context": lambda: adding(ResNet(4, width=0.5, gate=GlobalContext)),
    "resnet, non-local": lambda: adding(ResNet(4, width=0.5, between=NonLocal)),
    "resnet, relative": lambda: adding(
        ResNet(4, width=0.5, between=lambda channels: NonLocal(channels, "dot_product", reach=5))
    ),
    "transformer": lambda: VisionTransformer(4, depth=2, heads=4, width=1 / 32),
}
# sides of the maps, for images of 64 × 96 pixels
MAPS = {
    "attn, softmax": [(8, 12), (4, 6)],
    "attn, sigmoid, before, independent": [(16, 24), (8, 12)],
    "pay, pc": [(64, 96), (32, 48), (16, 24)],
    "pay, dp, up, after, independent": [(32, 48), (16, 24), (8, 12)],
    "pay, scaled dp": [(64, 96), (32, 48), (16, 24)],
    "pay, sigmoid": [(64, 96), (32, 48), (16, 24)],
    "soft, conv": [(8, 12)],
    "soft, softmax": [(8, 12)],
    "transformer": [(8, 12), (8, 12)],
}
every = pytest.mark.parametrize("name", NETWORKS)


def made(name):
    torch.manual_seed(0)
    return NETWORKS[name]().eval()


def images(*shape, seed=1):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def tensors(output):
    return [output.logits, output.heads, *output.maps]


def assert_same(got, expected, **tolerance):
    for a, b in zip(tensors(got), tensors(expected), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@every
@pytest.mark.parametrize("size", [(64, 64), (96, 96), (192, 192), (224, 224), (64, 96), (33, 50)])
def test_any_size(name, size):
    output = made(name)(images(1, 1, *size))
    assert output.logits.shape == (1, 4)
    assert output.logits.isfinite().all()
    ratio = [m.shape[-2] / size[0] for m in output.maps]
    assert ratio == sorted(ratio, reverse=True)  # each tap at most as fine as the one before
    if size == (64, 96):
        assert [tuple(m.shape[-2:]) for m in output.maps] == MAPS.get(name, [])


@every
def test_images_of_a_batch_are_independent(name):
    model, x = made(name).double(), images(3, 3, 64, 64).double()
    whole = model(x)
    assert isinstance(whole, Output)
    for i in range(3):
        alone = model(x[i : i + 1])
        for a, b in zip(tensors(alone), tensors(whole), strict=True):
            torch.testing.assert_close(a, b[i : i + 1], rtol=0, atol=1e-12)


@every
def test_maps_have_the_sum_or_the_range_of_their_alignment(name):
    model = made(name)
    output = model(images(2, 1, 64, 64))
    for m in output.maps:
        assert m.min() >= 0
        if isinstance(model, AttnVGG | PayAttentionVGG):
            if model.attention[0].alignment == "softmax":
                torch.testing.assert_close(m.sum(dim=(1, 2, 3)), torch.ones(2))
            else:
                assert m.max() < 1


@every
def test_grey_equals_rgb_of_equal_channels(name):
    model, x = made(name), images(2, 1, 32, 32)
    assert_same(model(x), model(x.repeat(1, 3, 1, 1)))


@every
def test_channels_last_gives_the_same(name):
    model, x = made(name).double(), images(2, 3, 64, 64).double()
    expected = model(x)
    got = model.to(memory_format=torch.channels_last)(
        x.contiguous(memory_format=torch.channels_last)
    )
    assert_same(got, expected, rtol=0, atol=1e-10)


@every
def test_training_and_evaluation_agree_if_nothing_depends_on_the_batch(name):
    """With batch norm in evaluation mode and without dropout, the mode changes nothing."""
    model, x = made(name), images(2, 1, 32, 32)
    expected = model(x)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.Dropout):
            module.eval()
    assert_same(model(x), expected)


# Parameters without a gradient. Batch norm and softmax cancel a constant, so a bias before them
# learns nothing. With pc and softmax, the layers behind the last tap learn nothing either, which is
# the finding of the chapter Learn to Pay Attention.
BEHIND_THE_LAST_TAP = {
    "dense.weight",
    "dense.bias",
    *(f"features.{i}.{w}" for i in (42, 43, 46, 47) for w in ("weight", "bias")),
}
STILL = {
    "attn, softmax": {"attention.0.score.bias", "attention.1.score.bias"},
    "pay, pc": BEHIND_THE_LAST_TAP | {"attention.0.project_global.weight"},
    "pay, average": BEHIND_THE_LAST_TAP,
    "pay, plain": {"dense.bias"},
    "soft, softmax": {"gate.project.bias"},
    # The bias of the keys adds the same number to all scores of a query.
    "transformer": {f"blocks.{i}.attention.project_key.bias" for i in (0, 1)},
}


@every
def test_every_parameter_learns(name):
    model = made(name).train()
    output = model(images(4, 1, 64, 64))
    (output.heads.square().sum() + output.logits.square().sum()).backward()
    norms = {
        key: 0.0 if p.grad is None else p.grad.norm().item() for key, p in model.named_parameters()
    }
    under_norm = set()
    if not isinstance(model, SoftAttentionCNN | VisionTransformer):
        convolutions = {
            f"features.{i}.bias" for i, m in enumerate(model.features) if isinstance(m, nn.Conv2d)
        }
        under_norm = convolutions & norms.keys()
    still = {key for key, norm in norms.items() if norm <= 1e-6 * max(norms.values())}
    assert still | under_norm == STILL.get(name, set()) | under_norm


@every
def test_autocast_stays_close(name):
    model, x = made(name), images(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = model(x)
    for a, b in zip(tensors(got), tensors(expected), strict=True):
        assert a.isfinite().all()
        scale = b.abs().max()
        assert (a.float() - b).abs().max() <= 0.05 * scale


@every
@pytest.mark.usefixtures("unchecked")  # the run-time check of shapes can't be compiled
def test_the_network_compiles_to_one_graph_with_the_same_output(name):
    """The graph is captured without a break and run; the benchmark tests the code generator."""
    model, x = made(name), images(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
        got = torch.compile(model, backend="aot_eager", fullgraph=True)(x)
    torch.compiler.reset()
    assert_same(Output(*got), expected)


@every
@pytest.mark.usefixtures("unchecked")
def test_an_exported_network_gives_the_same_at_any_batch_size(name):
    """A page that runs a network in the browser relies on this."""
    model = made(name)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model, (images(2, 3, 64, 64),), dynamic_shapes=({0: batch},))
    x = images(5, 3, 64, 64, seed=2)
    with torch.no_grad():
        assert_same(exported.module()(x), model(x))


@every
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(1, 3, 7, 64), (1, 2, 64, 64), (3, 64, 64)])
def test_invalid_images_are_refused(name, shape):
    with pytest.raises(ValueError, match=r"at least \d+ × \d+ .*got \(") as error:
        made(name)(torch.rand(shape))
    assert str(shape) in str(error.value)


@every
def test_the_least_size_is_the_smallest_that_works(name):
    model = made(name)
    least = model.least_size
    assert model(torch.rand(1, 1, least, least)).logits.shape == (1, 4)
    with pytest.raises(ValueError, match=f"at least {least} × {least} "):
        model(torch.rand(1, 1, least, least - 1))
