"""Grad-CAM and Grad-CAM++ against captum, the grad-cam package and hand-worked cases; the network left as it was."""

import copy
import warnings
from collections import OrderedDict, namedtuple

import pytest
import torch
from captum.attr import LayerGradCam
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_utils.attention import gates
from course_utils.explain.cam import class_activation_map
from course_utils.explain.grad_cam import (
    activation_and_gradient,
    gradcam,
    gradcam_plus_plus,
    logits_of,
)
from course_utils.models import VGG, AttnVGG, PayAttentionVGG, ResNet

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget


def plain():
    layers = [
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5))


NETWORKS = {
    "plain": plain,
    "VGG": lambda: VGG(5, width=0.125),
    "VGG dense": lambda: VGG(5, width=0.0625, head="dense"),
    "ResNet": lambda: ResNet(5, gate=gates.CBAM),
    "AttnVGG": lambda: AttnVGG(5, width=0.125, alignment="sigmoid"),
    "AttnVGG independent": lambda: AttnVGG(5, width=0.125, head="independent"),
}


def made(name):
    """A network whose values in place are not: the references would see what the next layer made of them."""
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    for layer in model.modules():
        if hasattr(layer, "inplace"):
            layer.inplace = False
        if isinstance(layer, nn.BatchNorm2d):  # as after some training
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2)
        if isinstance(layer, nn.Linear):  # the heads start small
            nn.init.normal_(layer.weight, std=0.3)
    return model


def layers_of(model, images):
    """The names of all layers that run once and put out (B, K, h, w), and whether that is changed in place later on."""
    seen, hooks = [], []
    for name, layer in model.named_modules():
        note = lambda _, __, output, name=name: seen.append(
            (name, output, getattr(output, "_version", None))
        )  # noqa: E731
        hooks.append(layer.register_forward_hook(note))
    model(images)
    for hook in hooks:
        hook.remove()
    names = [name for name, *_ in seen]
    good = [
        part
        for part in seen
        if torch.is_tensor(part[1]) and part[1].ndim == 4 and names.count(part[0]) == 1
    ]
    return {name: output._version != version for name, output, version in good}


class LogitsOnly(nn.Module):
    def __init__(self, model, factor=1.0):
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, images):
        return self.factor * logits_of(self.model(images))


def package(kind, model, layer, images, classes):
    """The raw maps of the grad-cam package, before it rescales them."""
    with kind(LogitsOnly(model), [layer]) as reference:
        outputs = reference.activations_and_grads(images)
        sum(ClassifierOutputTarget(c)(o) for c, o in zip(classes.tolist(), outputs)).backward()
        store = reference.activations_and_grads
        a, g = (tensors[0].detach().numpy() for tensors in (store.activations, store.gradients))
        weights = reference.get_cam_weights(images, layer, None, a, g)
    return torch.from_numpy((weights[:, :, None, None] * a).sum(axis=1, keepdims=True))


def close(found, expected):
    """Equal to 1e-5 of the largest value of each map; or both 0 up to rounding, as at the scores of a softmax."""
    scale = expected.abs().amax(dim=(1, 2, 3), keepdim=True)
    assert ((found - expected).abs() <= 1e-5 * scale + 1e-16).all()


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_captum_and_to_the_package_at_every_layer(name, batch):
    model, images = made(name).double(), torch.rand(batch, 3, 48, 64).double()
    classes = torch.arange(batch) % 5
    names = layers_of(model, images)
    assert len(names) > 4
    compared = 0
    for name, changed_in_place in names.items():
        layer = model.get_submodule(name)
        found = gradcam(model, images, name, classes, relu=False)
        close(found, LayerGradCam(LogitsOnly(model), layer).attribute(images, classes).detach())
        if (
            not changed_in_place
        ):  # by the sum of a residual block: the package sees the gradient of what it became
            close(found, package(GradCAM, model, layer, images, classes))
        torch.testing.assert_close(gradcam(model, images, layer, classes), found.relu())
        compared += found.abs().max() > 0
    assert compared > len(names) / 2


@pytest.mark.parametrize("name", NETWORKS)
def test_plus_plus_equals_the_packages(name):
    # the package adds 1e-6 to every denominator, which is nothing beside large gradients
    model, images = LogitsOnly(made(name).double(), 1e4), torch.rand(4, 3, 64, 64).double()
    classes, compared = torch.tensor([0, 3, 1, 4]), 0
    for layer, changed_in_place in layers_of(model, images).items():
        module = model.get_submodule(layer)
        if isinstance(module, nn.ReLU | nn.MaxPool2d) and not changed_in_place:
            found = gradcam_plus_plus(model, images, layer, classes, relu=False)
            close(found, package(GradCAMPlusPlus, model, module, images, classes))
            compared += 1
    assert compared


def test_single_precision_equals_the_package_as_well():
    model, images, classes = made("AttnVGG"), torch.rand(8, 3, 64, 64), torch.arange(8) % 5
    for name in ("features.22", "features.32", "features.42"):
        layer = model.get_submodule(name)
        close(
            gradcam(model, images, name, classes, relu=False),
            package(GradCAM, model, layer, images, classes),
        )


class ByHand(nn.Module):
    """The image itself as activation; logit 0 weighs a few positions of each channel, logit 1 is its negative."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Identity()
        self.head = nn.Linear(32, 2, bias=False)
        weight = torch.zeros(2, 4, 4)
        weight[0, :2, :2], weight[1, 0, 0] = 4.0, -16.0
        self.head.weight.data = torch.stack([weight.flatten(), -weight.flatten()])

    def forward(self, images):
        return self.head(self.layer(images).flatten(1))


def test_a_case_by_hand():
    """Mean gradients are 4 · 4 / 16 = 1 and −16 / 16 = −1, so the map is channel 0 less channel 1."""
    first = torch.tensor([[3.0, 0, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 5, 0]])
    second = torch.tensor([[1.0, 0, 0, 4], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 2, 0]])
    images = torch.stack([first, second])[None]
    expected = torch.tensor([[2.0, 0, 0, -3], [0, 2, 0, 0], [0, 0, -1, 0], [0, 0, 3, 0]])
    model = ByHand()
    assert torch.equal(gradcam(model, images, "layer", 0, relu=False)[0, 0], expected)
    assert torch.equal(gradcam(model, images, "layer", 0)[0, 0], expected.relu())
    assert torch.equal(gradcam(model, images, "layer", 1)[0, 0], (-expected).relu())
    # Grad-CAM++: where G = 4 and ΣA = 11, w = 16 / (32 + 64 · 11) at four places, each with ReLU(G) = 4; channel 1
    # has no positive gradient
    weight = 4 * 4 * 16 / (32 + 64 * 11)
    torch.testing.assert_close(gradcam_plus_plus(model, images, "layer", 0)[0, 0], weight * first)
    activation, gradient = activation_and_gradient(model, images, "layer", 0)
    assert torch.equal(activation, images)
    assert torch.equal(gradient[0].flatten(), model.head.weight[0])


@pytest.mark.parametrize("name", ["VGG", "ResNet"])
def test_cam_is_grad_cam_up_to_the_number_of_positions_where_the_head_averages(name):
    model, images, classes = (
        made(name).double(),
        torch.rand(3, 3, 64, 96).double(),
        torch.tensor([0, 4, 2]),
    )
    last = model.features[-1]
    found, exact = (
        gradcam(model, images, last, classes, relu=False),
        class_activation_map(model, images, classes),
    )
    torch.testing.assert_close(found * exact[0].numel(), exact)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_an_image_is_explained_alike_alone_and_in_a_batch(seed):
    model = made("AttnVGG").double()
    images = torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(seed)).double()
    classes = torch.tensor([4, 0, 4])
    for method in (gradcam, gradcam_plus_plus):
        together = method(model, images, "features.32", classes)
        alone = torch.cat(
            [method(model, image[None], "features.32", int(c)) for image, c in zip(images, classes)]
        )
        torch.testing.assert_close(together, alone)


def test_without_classes_it_is_the_predicted_one():
    model, images = made("VGG"), torch.rand(4, 3, 32, 32)
    predicted = model(images).logits.argmax(dim=1)
    assert torch.equal(
        gradcam(model, images, "features.42"), gradcam(model, images, "features.42", predicted)
    )
    one = gradcam(model, images, "features.42", 3)
    assert torch.equal(one, gradcam(model, images, "features.42", torch.full((4,), 3)))


def state(model):
    return (
        [module.training for module in model.modules()],
        [(p.requires_grad, p.grad) for p in model.parameters()],
        [
            len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
            for m in model.modules()
        ],
        {name: value.clone() for name, value in model.state_dict().items()},
        torch.is_grad_enabled(),
    )


def unchanged(before, after):
    assert before[:3] == after[:3]
    assert before[4] == after[4]
    assert all(torch.equal(value, after[3][name]) for name, value in before[3].items())


def test_nothing_is_left_behind_even_after_an_error():
    model = AttnVGG(5, width=0.125).train()
    model.features[0].eval()
    model.features[3].weight.requires_grad_(False)
    before = state(model)
    gradcam(model, torch.rand(2, 3, 32, 32), "features.32")
    unchanged(before, state(model))
    for layer, images, classes in (
        ("features.32", torch.rand(2, 4, 32, 32), None),  # the network refuses the images
        ("classifiers.0", torch.rand(2, 3, 32, 32), None),  # refused inside the hook
        ("features.32", torch.rand(2, 3, 32, 32), 9),  # refused after the forward pass
    ):
        with pytest.raises(ValueError, match="expected"):
            gradcam(model, images, layer, classes)
        unchanged(before, state(model))


def test_images_stay_as_they_are_and_get_no_gradient():
    model, images = plain(), torch.rand(2, 3, 16, 16, requires_grad=True)
    gradcam(model, images, "0")
    assert images.grad is None
    assert not gradcam(model, images, "0").requires_grad


def test_a_layer_before_a_relu_in_place_is_seen_as_it_was():
    torch.manual_seed(0)
    model, images = VGG(5, width=0.125).eval(), torch.rand(2, 3, 32, 32)
    apart = copy.deepcopy(model)
    for layer in apart.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    activation, _ = activation_and_gradient(model, images, "features.41")
    assert activation.min() < 0
    for name in ("features.41", "features.42"):
        torch.testing.assert_close(
            gradcam(model, images, name, relu=False),
            gradcam(apart, images, name, relu=False),
            rtol=0,
            atol=0,
        )


def test_callers_in_any_mode():
    model, images = made("AttnVGG"), torch.rand(2, 3, 32, 32)
    expected = gradcam(model, images, "features.32")
    with torch.no_grad():
        assert torch.equal(gradcam(model, images, "features.32"), expected)
    with torch.inference_mode():
        inside = images + 0  # a tensor of which no graph could be made
        assert inside.is_inference()
        assert torch.equal(gradcam(model, inside, "features.32"), expected)
        assert torch.is_inference_mode_enabled()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert torch.equal(gradcam(model, images, "features.32"), expected)
    assert torch.equal(gradcam(nn.DataParallel(model), images, model.features[32]), expected)
    assert torch.equal(gradcam(torch.compile(model), images, "features.32"), expected)


def test_autocast_gives_a_map_in_single_precision():
    model, images = made("AttnVGG"), torch.rand(2, 3, 64, 64)
    expected = gradcam(model, images, "features.32", 1)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradcam(model, images, "features.32", 1)
    assert found.dtype == torch.float32
    scale = expected.amax(dim=(1, 2, 3), keepdim=True)
    assert (found - expected).abs().max() > 0
    assert ((found - expected).abs() < 0.1 * scale).all()


def test_logits_are_found_wherever_they_are():
    logits, other = torch.rand(2, 5), torch.rand(2, 1, 4, 4)
    field = namedtuple("Field", ["maps", "logits"])
    for output in (
        logits,
        (logits, other),
        [other, logits],
        field(torch.rand(2, 3), logits),
        {"maps": other, "out": logits},
        OrderedDict(logits=logits),
    ):
        assert logits_of(output) is logits
    for output in (other, (other,), None, {"a": other}):
        with pytest.raises(
            ValueError, match=r"returns logits \(B, classes\), got (Tensor|tuple|NoneType|dict)"
        ):
            logits_of(output)


class Odd(nn.Module):
    """A layer that runs twice, one that never does, one that is cut off and one whose output is not used."""

    def __init__(self):
        super().__init__()
        self.twice, self.never = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.cut, self.unused = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(3, 5)

    def forward(self, images):
        x = self.twice(self.twice(images))
        self.unused(x)
        return self.head(self.cut(x).detach().mean(dim=(2, 3)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("layer", "classes", "message"),
    [
        ("twise", None, r"Odd has no layer 'twise': it has twice"),
        ("zzz", None, r"Odd has no layer 'zzz': it has head and others"),
        (nn.ReLU(), None, "the layer ReLU is not in this Odd: is it another's"),
        ("never", None, r"a layer that runs once, and 'never' \(Conv2d\) is not reached"),
        ("twice", None, r"a layer that runs once, and 'twice' \(Conv2d\) runs 2 times"),
        ("head", None, r"output \(B, K, h, w\), got \(2, 5\) from 'head' \(Linear\)"),
        ("cut", None, r"no gradient leads from the logits to 'cut' \(Conv2d\)"),
        ("unused", None, r"no gradient leads from the logits to 'unused' \(Conv2d\)"),
        ("unused", 5, r"a class from 0 to 4 for each of 2 images, got 5"),
        (
            "unused",
            torch.tensor([0, -1]),
            r"a class from 0 to 4 for each of 2 images, got \[0, -1\]",
        ),
        ("unused", torch.tensor([0, 1, 2]), r"each of 2 images, got \[0, 1, 2\]"),
        ("unused", 1.0, r"each of 2 images, got 1.0"),
    ],
)
def test_what_cannot_be_done_is_said(layer, classes, message):
    for frozen in (False, True):
        model = Odd()
        for parameter in model.parameters():
            parameter.requires_grad_(not frozen)
        for method in (gradcam, gradcam_plus_plus):
            with pytest.raises(ValueError, match=message) as error:
                method(model, torch.rand(2, 3, 8, 8), layer, classes)
            assert "\n" not in str(error.value)


def test_a_layer_that_returns_a_tuple_is_named():
    model = AttnVGG(5, width=0.125)
    with pytest.raises(ValueError, match=r"got a tuple from 'attention.0' \(GridAttention\)"):
        gradcam(model, torch.rand(1, 3, 32, 32), "attention.0")


def test_softmax_pc_gives_the_last_block_no_gradient_and_so_no_map():
    """Chapter 07's finding, seen by Grad-CAM: g does nothing there."""
    model, images = (
        PayAttentionVGG(5, width=0.125).double().eval(),
        torch.rand(2, 3, 32, 32).double(),
    )
    assert gradcam(model, images, "features.48", relu=False).abs().max() < 1e-12
    assert gradcam(model, images, "features.40", relu=False).abs().max() > 1e-6
