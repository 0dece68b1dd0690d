import pytest
import torch
from torch import nn
from torchvision.models import densenet121, mobilenet_v2, resnet18

from course_utils.attention import gates
from course_utils.explain.cam import allows_cam, class_activation_map
from course_utils.explain.targets import Class
from course_utils.models import VGG, AttnVGG, PayAttentionVGG, ResNet, SoftAttentionCNN

NETWORKS = {
    "vgg": lambda: VGG(5, width=0.125),
    "resnet": lambda: ResNet(5),
    "resnet with gates": lambda: ResNet(5, gate=gates.CBAM),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_mean_of_a_map_is_the_logit_minus_its_bias(name):
    torch.manual_seed(0)
    model = NETWORKS[name]().double().eval()
    torch.nn.init.normal_(model.classifiers[0].bias)
    x, classes = torch.rand(3, 1, 64, 96).double(), torch.tensor([4, 0, 2])
    expected = (model(x).logits - model.classifiers[0].bias)[range(3), classes]
    maps = class_activation_map(model, x, classes)
    torch.testing.assert_close(maps.mean(dim=(1, 2, 3)), expected)
    assert maps.min() < 0 < maps.max()
    torch.testing.assert_close(
        class_activation_map(model, x), class_activation_map(model, x, model(x).logits.argmax(1))
    )


def test_the_mode_and_the_batch_statistics_stay_as_they_were():
    model = ResNet(5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    class_activation_map(model, torch.rand(2, 1, 32, 32))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_parts_in_another_mode_keep_it_even_after_an_error():
    model = ResNet(5).train()
    model.features[0].eval()
    class_activation_map(model, torch.rand(2, 1, 32, 32))
    with pytest.raises(ValueError, match="grey or RGB"):
        class_activation_map(model, torch.rand(2, 4, 32, 32))
    assert model.training
    assert not model.features[0].training
    assert not model.features[0][1].training


@pytest.mark.usefixtures("unchecked")
def test_classes_may_be_of_any_integer_type():
    model, x = ResNet(5).eval(), torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(
        class_activation_map(model, x, torch.tensor([1, 4], dtype=torch.uint8)),
        class_activation_map(model, x, torch.tensor([1, 4])),
    )


class Normalised(nn.Module):
    """The average of the features is normalised before the linear layer reads it."""

    def __init__(self):
        super().__init__()
        self.features, self.norm, self.fc = nn.Conv2d(1, 8, 3), nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, images):
        return self.fc(self.norm(self.features(images).mean(dim=(2, 3))))


# DenseNet calls its last ReLU and its pooling as functions, so no module returns the features.
@pytest.mark.parametrize("build", [resnet18, mobilenet_v2, densenet121])
def test_networks_of_others_have_maps_that_average_to_their_logits(build):
    torch.manual_seed(0)
    model, images = build().double().eval(), torch.rand(2, 3, 64, 96).double()
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    nn.init.normal_(last.bias)
    expected = model(images)[:, 7] - last.bias[7]
    maps = class_activation_map(nn.DataParallel(model), images, 7)
    assert maps.shape == (2, 1, 2, 3)
    torch.testing.assert_close(maps.mean(dim=(1, 2, 3)), expected)
    assert not maps.requires_grad
    assert allows_cam(model, images)


def test_features_of_a_single_position_allow_no_map():
    images = torch.rand(2, 3, 32, 32)
    assert not allows_cam(VGG(5, width=0.125), images)
    assert allows_cam(VGG(5, width=0.125), torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match="several positions"):
        class_activation_map(VGG(5, width=0.125), images)


@pytest.mark.parametrize(
    "model",
    [
        AttnVGG(5, width=0.125),
        AttnVGG(5, width=0.125, head="independent"),
        PayAttentionVGG(5, width=0.125),
        SoftAttentionCNN(5, width=0.125),
        VGG(5, width=0.125, head="dense"),
        nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 5)),
        nn.Sequential(nn.Conv2d(1, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        Normalised(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_other_heads_are_refused(model):
    with pytest.raises(
        ValueError, match=f"one linear layer on the average.*{type(model).__name__}.*gradcam"
    ):
        class_activation_map(model, torch.rand(1, 1, 32, 32))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("classes", [[5, 0], [-1, 0], [0]])
def test_classes_that_do_not_fit_are_refused(classes):
    with pytest.raises(ValueError, match=r"each of 2 images, got \["):
        class_activation_map(ResNet(5), torch.rand(2, 1, 32, 32), torch.tensor(classes))


class Averages(nn.Module):
    """Logits from the average of features that differ little from the features before them."""

    def __init__(self, outputs=5):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, outputs)

    def forward(self, images):
        features = self.first(images)
        self.kept = features + 0.01 * self.second(features)
        return self.fc(self.kept.mean(dim=(2, 3)))


@pytest.mark.parametrize("shape", ["(B, 1)", "(B,)"])
def test_a_single_logit_has_two_sides(shape):
    torch.manual_seed(0)
    model, images = Averages(outputs=1), torch.rand(2, 3, 8, 8)
    if shape == "(B,)":
        model = nn.Sequential(model, nn.Flatten(0))
    head = model.fc if shape == "(B, 1)" else model[0].fc
    yes, no = (class_activation_map(model, images, c) for c in (1, 0))
    assert torch.equal(yes, -no)
    torch.testing.assert_close(yes.mean(dim=(1, 2, 3)), (model(images) - head.bias).reshape(2))
    for bias, predicted in ((5.0, yes), (-5.0, no)):
        nn.init.constant_(head.bias, bias)
        assert torch.equal(class_activation_map(model, images), predicted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 1e-7])
def test_the_features_are_those_that_the_linear_layer_reads(dtype, scale):
    torch.manual_seed(0)
    model, images = Averages(), torch.rand(2, 3, 16, 16)
    model.first.weight.data *= scale
    model.first.bias.data *= scale
    model.second.bias.data *= scale
    model.to(dtype)
    with torch.no_grad():
        maps = class_activation_map(model, images.to(dtype), 3)
        expected = torch.einsum("bdhw,d->bhw", model.kept.float(), model.fc.weight[3].float())
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps[:, 0], expected, rtol=1e-4, atol=1e-9)


def test_of_several_outputs_the_caller_names_one():
    class Two(Averages):
        def forward(self, images):
            logits = super().forward(images)
            return {"scores": logits, "embedding": self.kept.mean(dim=(2, 3))}

    torch.manual_seed(0)
    model, images = Two(), torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"scores: \(2, 5\), embedding: \(2, 8\)"):
        class_activation_map(model, images)
    found = class_activation_map(model, images, Class(2, output="scores"))
    expected = model(images)["scores"][:, 2] - model.fc.bias[2]
    torch.testing.assert_close(found.mean(dim=(1, 2, 3)), expected)
    assert class_activation_map(ResNet(5), torch.rand(0, 3, 32, 32)).shape[:2] == (0, 1)
