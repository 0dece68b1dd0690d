import warnings
from threading import Lock

import pytest
import torch
from torch import nn
from torchvision.models import (
    efficientnet_b0,
    efficientnet_v2_s,
    mobilenet_v2,
    mobilenet_v3_small,
    resnet18,
    resnext50_32x4d,
    vgg16,
)
from torchvision.models.efficientnet import FusedMBConv, MBConv
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.mobilenetv3 import InvertedResidual as InvertedResidual3

from course_utils.attention import gates
from course_utils.explain.diagnosis import diagnose, suggest_layers
from course_utils.explain.grad_cam import gradcam
from course_utils.models import VGG, AttnVGG, PayAttentionVGG, ResNet
from course_utils.models.efficientnet_lite import efficientnet_lite0
from tests.explain.cases import assert_unchanged, state


def names(model, size=64):
    return [layer.name for layer in suggest_layers(model, torch.rand(2, 3, size, size))]


def test_the_last_relu_of_each_block_of_a_vgg_is_suggested():
    assert names(AttnVGG(5, width=0.125)) == [f"features.{i}" for i in (43, 42, 32, 22, 12, 5)]
    assert names(vgg16()) == [f"features.{i}" for i in (30, 29, 22, 15, 8, 3)]
    deepest, *_ = suggest_layers(VGG(5, width=0.125), torch.rand(1, 3, 64, 96))
    assert deepest == ("features.43", "MaxPool2d", 64, 2, 3)


def test_the_blocks_of_a_resnet_are_suggested():
    """The ReLU of a block runs twice, and changes the sum before it in place."""
    assert names(ResNet(5, gate=gates.CBAM)) == ["features.3.0", "features.2.0", "features.1.0"]
    assert names(resnet18()) == ["layer4.1", "layer3.1", "layer2.1", "layer1.1", "relu"]


INVERTED = InvertedResidual, InvertedResidual3, MBConv, FusedMBConv


@pytest.mark.parametrize(
    "build", [mobilenet_v2, mobilenet_v3_small, efficientnet_b0, efficientnet_v2_s]
)
def test_an_expansion_is_not_suggested(build):
    """With a stride of 2, a block's expansion has the most channels of its size."""
    model = build()
    outputs = {}
    for name, block in model.named_modules():
        if isinstance(block, INVERTED):
            block.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out}))
    layers = suggest_layers(model, torch.rand(1, 3, 64, 64))
    assert len(layers) == 5
    for layer in layers:
        for name, output in outputs.items():
            if f"{layer.name}.".startswith(f"{name}."):
                assert layer.channels == output.shape[1]


def test_the_last_blocks_before_each_stride_are_suggested():
    assert names(mobilenet_v2())[1:4] == [f"features.{i}" for i in (13, 6, 3)]
    assert names(efficientnet_b0())[1:4] == [f"features.{i}" for i in ("5.2", "3.1", "2.1")]
    # its strides pad the maps first, which isn't a size of its own
    lite = [f"_blocks.{i}" for i in (10, 4, 2)]
    assert names(efficientnet_lite0())[:4] == ["_bn1", *lite]
    # its blocks are as wide inside as the block before them
    assert names(resnext50_32x4d()) == [
        *(f"layer{i}.{last}" for i, last in ((4, 2), (3, 5), (2, 3), (1, 2))),
        "relu",
    ]


def classifier(features, channels):
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))


class Pooling(nn.Module):
    """A block that ends with a pooling."""

    def __init__(self, channels, out):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, padding=1)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(2)

    def forward(self, maps):
        return self.pool(self.relu(self.conv(maps)))


class Backbone(nn.Module):
    """Three such blocks; with three strides it is no block itself."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = Pooling(3, 8), Pooling(8, 16), Pooling(16, 32)

    def forward(self, images):
        return self.third(self.second(self.first(images)))


def test_inside_a_block_that_pools_the_layer_before_the_pooling_is_suggested():
    """It has the channels of the block's output, as in a VGG without such blocks."""
    expected = ["third.pool", "third.relu", "second.relu", "first.relu"]
    assert names(classifier(Backbone(), 32), 16) == [f"0.{name}" for name in expected]


class Widening(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(8, 48, 1), nn.Conv2d(48, 8, 1)

    def forward(self, maps):
        return maps + self.narrow(self.wide(maps))


class Shrinking(nn.Module):
    """Its size changes once, so it is a block, and all its layers before that are steps."""

    def __init__(self):
        super().__init__()
        self.stem, self.widening = nn.Conv2d(3, 8, 1), Widening()
        self.shrink = nn.Conv2d(8, 16, 2, stride=2)

    def forward(self, images):
        return self.shrink(self.widening(self.stem(images)))


def test_a_step_inside_one_block_is_preferred_to_a_step_inside_two():
    assert names(classifier(Shrinking(), 16), 8) == ["0.shrink", "0.widening"]


@pytest.mark.parametrize(
    "build", [efficientnet_b0, mobilenet_v3_small, lambda: PayAttentionVGG(5, width=0.125)]
)
def test_grad_cam_accepts_every_suggested_layer(build):
    torch.manual_seed(0)
    model, images = build(), torch.rand(2, 3, 64, 64)
    before = state(model)
    layers = suggest_layers(model, images)
    assert_unchanged(before, state(model))
    assert len(layers) >= 4
    areas = [layer.height * layer.width for layer in layers]
    assert areas == sorted(set(areas))
    for layer in layers:
        assert gradcam(model, images, layer.name).shape == (2, 1, layer.height, layer.width)


def head(*weights):
    """A network whose layer returns the image; logits are the channels' means times weights."""

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.linear = (
                nn.Identity(),
                nn.Linear(len(weights[0]), len(weights), bias=False),
            )
            self.linear.weight.data = torch.tensor(weights)

        def forward(self, images):
            return self.linear(self.layer(images).mean(dim=(2, 3)))

    return Head()


def one(model, image, layer="layer", classes=0):
    (sentence,) = diagnose(model, image, layer, classes)
    return sentence


def test_a_good_map_is_fine():
    image = torch.tensor([[[[1.0, 0.0], [4.0, -2.0]]]])
    assert one(head([8.0], [1.0]), image) == "fine: from -4 to 8, above 0 at 2 of 4 positions"


def test_every_way_to_fail_has_its_own_diagnosis():
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert one(head([-1.0], [1.0]), image).startswith(
        "negative: every position of 'layer' (Identity)"
    )
    assert one(head([1.0], [1.0]), 0 * image).startswith(
        "blank: 'layer' (Identity) returns 0 everywhere"
    )
    assert one(head([0.0], [1.0]), image).startswith("blank: the logit does not depend on 'layer'")
    assert (
        one(head([1.0], [1.0]), torch.ones_like(image))
        == "flat: 'layer' (Identity) returns the same values at every position"
    )
    assert one(head([1.0], [1.0]), torch.ones(1, 1, 1, 1)).startswith(
        "flat: 'layer' (Identity) has only one position"
    )
    assert (
        one(head([1.0], [1.0]), image * float("nan"))
        == "not a number: the image itself contains NaN or infinity"
    )
    assert one(head([float("inf")], [1.0]), image).startswith(
        "not a number: the weights linear.weight contain"
    )


def test_a_gradient_with_mean_zero_differs_from_a_gradient_of_zero():
    class Difference(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, images):
            x = self.layer(images)
            return torch.stack([x[:, 0, 0, 0] - x[:, 0, 1, 1], x.mean(dim=(1, 2, 3))], dim=1)

    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert one(Difference(), image).startswith(
        "blank: the gradient at 'layer' (Identity) is not 0, but its mean"
    )
    assert one(Difference(), image, classes=1).startswith("fine")


def test_each_image_has_its_own_sentence():
    good = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    images = torch.stack([good, -good, good * float("nan")])
    found = diagnose(head([1.0], [1.0]), images, "layer", 0)
    assert [sentence.split(":")[0] for sentence in found] == ["fine", "negative", "not a number"]
    assert all("\n" not in sentence for sentence in found)


def test_the_first_layer_that_overflows_is_named():
    model = nn.Sequential(
        nn.Conv2d(1, 1, 1, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(1, 2),
    )
    nn.init.constant_(model[0].weight, 1e38)
    sentence = one(model, torch.full((1, 1, 2, 2), 100.0), "1")
    assert sentence.startswith("not a number: '0' (Conv2d) is the first layer")


def test_a_gradient_that_is_nan_differs_from_values_that_are_nan():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, images):
            return self.layer(images).sqrt().mean(dim=3)[:, 0]

    assert one(Root(), torch.zeros(1, 1, 2, 2)).startswith(
        "not a number: only the gradient at 'layer' (Identity)"
    )


def test_with_softmax_and_pc_the_logits_do_not_depend_on_the_last_block():
    """The finding of the chapter Learn to Pay Attention: with softmax and pc, g cancels."""
    torch.manual_seed(0)
    images = torch.rand(2, 3, 32, 32)
    start = "blank: the logit does not depend on 'features.48' (ReLU)"

    def blank(model):
        return [d.startswith(start) for d in diagnose(model, images, "features.48")]

    assert all(blank(PayAttentionVGG(5, width=0.125)))
    loud = PayAttentionVGG(5, width=0.125)
    for attend in loud.attention:
        # scores so large that single precision rounds them visibly
        torch.nn.init.normal_(attend.u.weight, std=30.0)
    assert all(blank(loud))
    assert not any(blank(PayAttentionVGG(5, width=0.125, compatibility="scaled_dp")))


class Keeps(nn.Module):
    """A network that keeps its features, as tutorials teach, and so can't be copied."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, images):
        self.kept = self.layer(images)
        return self.head(self.kept.mean(dim=(2, 3)))


class Casts(Keeps):
    """A network that converts its input to single precision."""

    def forward(self, images):
        return super().forward(images.float())


class FixedKernel(Keeps):
    """A network with a tensor that is neither a parameter nor a buffer."""

    def __init__(self):
        super().__init__()
        self.kernel = torch.rand(3, 3, 3, 3)

    def forward(self, images):
        return super().forward(nn.functional.conv2d(images, self.kernel))


class Locked(Keeps):
    """A network with a lock, which can't be copied, and with extra state that is no tensor."""

    def __init__(self):
        super().__init__()
        self.lock = Lock()

    def get_extra_state(self):
        return {"version": 2}

    def set_extra_state(self, state):
        pass


@pytest.mark.parametrize("build", [Keeps, Casts, FixedKernel, Locked])
def test_whatever_has_a_map_has_a_diagnosis(build):
    model, images = build(), torch.rand(2, 3, 8, 8)
    gradcam(model, images, "layer")
    before = state(model)
    found = diagnose(model, images, "layer")
    assert_unchanged(before, state(model))
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert [sentence.split(":")[0] for sentence in found] == ["fine", "fine"]
    single = [sentence.endswith("does not run in double") for sentence in found]
    assert single == [build in (Casts, FixedKernel)] * 2
    nn.init.zeros_(model.head.weight)
    assert all(d.startswith("blank") for d in diagnose(model, images, "layer"))


def test_layers_that_the_target_does_not_depend_on_are_not_suggested():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Conv2d(3, 6, 3), nn.Conv2d(3, 8, 3)

        def forward(self, images):
            other = self.unused(images)
            used = self.used(images).mean(dim=(2, 3))
            return torch.cat([used, 0 * other.mean(dim=(2, 3))], dim=1)

    assert names(Branch(), 8) == ["used"]
    images = torch.rand(2, 3, 8, 8)
    assert suggest_layers(Branch(), images, lambda output: output[:, 7]) == []


def test_the_network_is_left_as_it_was():
    model = AttnVGG(5, width=0.125).train()
    before = state(model)
    diagnose(model, torch.rand(1, 3, 32, 32), "features.32")
    diagnose(model, torch.full((1, 3, 32, 32), float("inf")), "features.32")
    with pytest.raises(ValueError, match="has no layer"):
        diagnose(model, torch.rand(1, 3, 32, 32), "features.99")
    assert_unchanged(before, state(model))


class Moving(Keeps):
    """A network that replaces a buffer in every run, and changes another in place."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("runs", torch.zeros(()))

    def forward(self, images):
        self.mean = 0.9 * self.mean + 0.1 * images.mean()
        self.runs += 1
        return super().forward(images)


@pytest.mark.parametrize("build", [Moving, lambda: normalised(Keeps())])
def test_nothing_is_left_in_double_precision(build):
    model, images = build(), torch.rand(2, 3, 8, 8)
    diagnose(model, images, "layer")
    left = [
        value
        for module in model.modules()
        for names in (module._parameters, module._buffers, vars(module))
        for value in names.values()
        if torch.is_tensor(value)
    ]
    assert {tensor.dtype for tensor in left} == {torch.float32}
    assert gradcam(model, images, "layer").dtype == torch.float32


def normalised(model):
    """A network whose weight is computed anew before each run, and is no parameter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.nn.utils.weight_norm(model.layer)
    return model
