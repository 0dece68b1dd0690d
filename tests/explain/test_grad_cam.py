"""Grad-CAM and Grad-CAM++ against captum, the grad-cam package and cases worked by hand."""

import copy
import warnings

import pytest
import torch
from captum.attr import LayerGradCam
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_utils.explain.cam import class_activation_map
from course_utils.explain.grad_cam import (
    activation_and_gradient,
    gradcam,
    gradcam_plus_plus,
)
from course_utils.models import VGG, AttnVGG, PayAttentionVGG
from tests.explain.cases import (
    NETWORKS,
    LogitsOnly,
    assert_unchanged,
    feature_layers,
    made,
    plain,
    spread,
    state,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget


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
    """Check that maps agree to 1e-5 of their largest value, or are 0 up to rounding.

    At the scores of a softmax, for instance, the gradient is 0.
    """
    scale = expected.abs().amax(dim=(1, 2, 3), keepdim=True)
    assert ((found - expected).abs() <= 1e-5 * scale + 1e-16).all()


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("name", NETWORKS)
def test_grad_cam_equals_captums_and_the_grad_cam_packages(name, batch):
    model, images = made(name).double(), torch.rand(batch, 3, 48, 64).double()
    classes = torch.arange(batch) % 5
    layers = feature_layers(model, images)
    assert len(layers) == 4
    compared = 0
    for layer_name, changed_in_place in layers:
        layer = model.get_submodule(layer_name)
        found = gradcam(model, images, layer_name, classes, relu=False)
        close(found, LayerGradCam(LogitsOnly(model), layer).attribute(images, classes).detach())
        # The sum of a residual block works in place; of such a layer, the package returns the
        # gradient after the change.
        if not changed_in_place:
            close(found, package(GradCAM, model, layer, images, classes))
        torch.testing.assert_close(gradcam(model, images, layer, classes), found.relu())
        compared += found.abs().max() > 0
    assert compared >= 2


@pytest.mark.parametrize("name", NETWORKS)
def test_grad_cam_plus_plus_equals_the_packages(name):
    # The package adds 1e-6 to every denominator, which is negligible beside large gradients.
    model, images = LogitsOnly(made(name).double(), 1e4), torch.rand(4, 3, 64, 64).double()
    classes = torch.tensor([0, 3, 1, 4])
    layers = spread(
        [
            layer
            for layer, changed_in_place in feature_layers(model, images, n=None)
            if isinstance(model.get_submodule(layer), nn.ReLU | nn.MaxPool2d)
            and not changed_in_place
        ]
    )
    assert layers
    for layer in layers:
        expected = package(GradCAMPlusPlus, model, model.get_submodule(layer), images, classes)
        close(gradcam_plus_plus(model, images, layer, classes), expected.relu())


def test_grad_cam_equals_the_package_in_single_precision_as_well():
    model, images, classes = made("AttnVGG"), torch.rand(8, 3, 64, 64), torch.arange(8) % 5
    for name in ("features.22", "features.32", "features.42"):
        layer = model.get_submodule(name)
        close(
            gradcam(model, images, name, classes, relu=False),
            package(GradCAM, model, layer, images, classes),
        )


class ByHand(nn.Module):
    """The image itself as activation; logit 0 reads a few positions, logit 1 is its negative."""

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
    """Mean gradients are 4 · 4 / 16 = 1 and −16 / 16 = −1, so the map is channel 0 − channel 1."""
    first = torch.tensor([[3.0, 0, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 5, 0]])
    second = torch.tensor([[1.0, 0, 0, 4], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 2, 0]])
    images = torch.stack([first, second])[None]
    expected = torch.tensor([[2.0, 0, 0, -3], [0, 2, 0, 0], [0, 0, -1, 0], [0, 0, 3, 0]])
    model = ByHand()
    assert torch.equal(gradcam(model, images, "layer", 0, relu=False)[0, 0], expected)
    assert torch.equal(gradcam(model, images, "layer", 0)[0, 0], expected.relu())
    assert torch.equal(gradcam(model, images, "layer", 1)[0, 0], (-expected).relu())
    # Grad-CAM++: where G = 4 and ΣA = 11, w = 16 / (32 + 64 · 11) at four positions, each with
    # ReLU(G) = 4; channel 1 has no positive gradient.
    weight = 4 * 4 * 16 / (32 + 64 * 11)
    torch.testing.assert_close(gradcam_plus_plus(model, images, "layer", 0)[0, 0], weight * first)
    activation, gradient = activation_and_gradient(model, images, "layer", 0)
    assert torch.equal(activation, images)
    assert torch.equal(gradient[0].flatten(), model.head.weight[0])


@pytest.mark.parametrize("name", ["VGG", "ResNet"])
def test_cam_is_grad_cam_times_the_number_of_positions_if_the_head_averages(name):
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
def test_an_image_gets_the_same_map_alone_and_in_a_batch(seed):
    model = made("AttnVGG").double()
    images = torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(seed)).double()
    classes = torch.tensor([4, 0, 4])
    for method in (gradcam, gradcam_plus_plus):
        together = method(model, images, "features.32", classes)
        alone = torch.cat(
            [method(model, image[None], "features.32", int(c)) for image, c in zip(images, classes)]
        )
        torch.testing.assert_close(together, alone)


def test_the_default_class_is_the_predicted_one():
    model, images = made("VGG"), torch.rand(4, 3, 32, 32)
    predicted = model(images).logits.argmax(dim=1)
    assert torch.equal(
        gradcam(model, images, "features.42"), gradcam(model, images, "features.42", predicted)
    )
    one = gradcam(model, images, "features.42", 3)
    assert torch.equal(one, gradcam(model, images, "features.42", torch.full((4,), 3)))


def test_the_network_stays_as_it_was_even_after_an_error():
    model = AttnVGG(5, width=0.125).train()
    model.features[0].eval()
    model.features[3].weight.requires_grad_(False)
    before = state(model)
    gradcam(model, torch.rand(2, 3, 32, 32), "features.32")
    assert_unchanged(before, state(model))
    for layer, images, classes in (
        ("features.32", torch.rand(2, 4, 32, 32), None),  # the network refuses the images
        ("classifiers.0", torch.rand(2, 3, 32, 32), None),  # refused inside the hook
        ("features.32", torch.rand(2, 3, 32, 32), 9),  # refused after the forward pass
    ):
        with pytest.raises(ValueError, match="expected"):
            gradcam(model, images, layer, classes)
        assert_unchanged(before, state(model))


def test_images_stay_as_they_are_and_get_no_gradient():
    model, images = plain(), torch.rand(2, 3, 16, 16, requires_grad=True)
    gradcam(model, images, "0")
    assert images.grad is None
    assert not gradcam(model, images, "0").requires_grad


def test_a_layer_before_a_relu_in_place_is_read_before_the_change():
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


def test_maps_are_the_same_in_any_mode_of_the_caller_and_in_any_wrapper():
    model, images = made("AttnVGG"), torch.rand(2, 3, 32, 32)
    expected = gradcam(model, images, "features.32")
    with torch.no_grad():
        assert torch.equal(gradcam(model, images, "features.32"), expected)
    with torch.inference_mode():
        inside = images + 0  # autograd refuses such a tensor
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


class Odd(nn.Module):
    """A network with layers that Grad-CAM can't explain, named for the reason."""

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
        ("twise", None, "Odd.*'twise'.*twice"),
        ("zzz", None, "Odd.*'zzz'.*head"),
        (nn.ReLU(), None, "ReLU.*Odd"),
        ("never", None, r"'never' \(Conv2d\) does not run"),
        ("twice", None, r"'twice' \(Conv2d\) runs 2 times"),
        ("head", None, r"'head' \(Linear\).* got \(2, 5\)"),
        ("cut", None, r"no gradient.*'cut' \(Conv2d\)"),
        ("unused", None, r"no gradient.*'unused' \(Conv2d\)"),
        ("unused", 5, "from 0 to 4 .* 2 images, got 5"),
        (
            "unused",
            torch.tensor([0, -1]),
            r"from 0 to 4 .* 2 images, got \[0, -1\]",
        ),
        ("unused", torch.tensor([0, 1, 2]), r"2 images, got \[0, 1, 2\]"),
        ("unused", 1.0, r"2 images, got 1\.0"),
    ],
)
def test_invalid_layers_and_classes_are_refused(layer, classes, message):
    for frozen in (False, True):
        model = Odd()
        for parameter in model.parameters():
            parameter.requires_grad_(not frozen)
        for method in (gradcam, gradcam_plus_plus):
            with pytest.raises(ValueError, match=message) as error:
                method(model, torch.rand(2, 3, 8, 8), layer, classes)
            assert "\n" not in str(error.value)


def test_with_softmax_and_pc_the_last_block_gets_no_gradient_and_no_map():
    """The finding of the chapter Learn to Pay Attention, seen by Grad-CAM: g cancels."""
    model, images = (
        PayAttentionVGG(5, width=0.125).double().eval(),
        torch.rand(2, 3, 32, 32).double(),
    )
    assert gradcam(model, images, "features.48", relu=False).abs().max() < 1e-12
    assert gradcam(model, images, "features.40", relu=False).abs().max() > 1e-6
