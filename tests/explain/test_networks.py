"""Networks of all kinds: wrapped, exported, with shared layers, and images that don't fit."""

import copy

import numpy as np
import pytest
import torch
from torch import fx, nn
from torch.utils.checkpoint import checkpoint

from course_utils.explain import networks
from course_utils.explain.cam import class_activation_map
from course_utils.explain.diagnosis import diagnose, suggest_layers
from course_utils.explain.faithfulness import deletion, drop_and_increase, insertion
from course_utils.explain.grad_cam import activation_and_gradient, gradcam, gradcam_plus_plus
from course_utils.explain.networks import NoGradientError, find, unwrapped
from course_utils.explain.saliency import input_gradient
from course_utils.explain.targets import Direction, Region
from tests.explain.cases import plain

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
EXPLANATIONS = {
    "gradcam": lambda model, images: gradcam(model, images, "3"),
    "gradcam_plus_plus": lambda model, images: gradcam_plus_plus(model, images, "3"),
    "input_gradient": input_gradient,
    "diagnose": lambda model, images: diagnose(model, images, "3"),
    "suggest_layers": suggest_layers,
    "deletion": lambda model, images: deletion(model, images, torch.rand(2, 1, 4, 4)),
    "insertion": lambda model, images: insertion(model, images, torch.rand(2, 1, 4, 4)),
    "drop": lambda model, images: drop_and_increase(model, images, torch.rand(2, 1, 4, 4)),
}
EXPORTED = {
    "scripted": lambda net: torch.jit.script(net),
    "traced": lambda net: torch.jit.trace(net, IMAGES),
    "frozen": lambda net: torch.jit.freeze(torch.jit.script(net)),
    "exported": lambda net: torch.export.export(net, (IMAGES,)),
    "exported module": lambda net: torch.export.export(net, (IMAGES,)).module(),
    "script in a wrapper": lambda net: nn.DataParallel(torch.jit.script(net)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("form", EXPORTED)
@pytest.mark.parametrize("method", EXPLANATIONS)
def test_networks_without_python_modules_are_refused_in_one_sentence(method, form):
    torch.manual_seed(0)
    model = EXPORTED[form](plain().eval())
    with pytest.raises(ValueError, match="load its weights into the Python class") as error:
        EXPLANATIONS[method](model, IMAGES)
    assert "\n" not in str(error.value)


def test_a_scripted_layer_of_a_python_network_is_refused():
    model = plain().eval()
    model[3] = torch.jit.script(model[3])
    with pytest.raises(ValueError, match="TorchScript"):
        gradcam(model, IMAGES, "3")


def test_a_symbolic_trace_still_calls_its_layers():
    model = plain().eval()
    traced = fx.symbolic_trace(model)
    assert torch.equal(gradcam(traced, IMAGES, "3"), gradcam(model, IMAGES, "3"))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("images", "given"),
    [
        ({"image": IMAGES}, "an object of type dict; wrap"),
        ((IMAGES, IMAGES), "an object of type tuple; wrap"),
        (IMAGES.numpy(), "an object of type ndarray; wrap"),
        (np.zeros((2, 16, 16, 3), np.uint8), "an object of type ndarray; wrap"),
        ((IMAGES * 255).byte(), r"a tensor \(2, 3, 16, 16\) of uint8; convert"),
        (IMAGES[0], r"a tensor \(3, 16, 16\) of float32; .*images\[None\]"),
        (IMAGES[None], r"a tensor \(1, 2, 3, 16, 16\) of float32"),
        (None, "None"),
    ],
)
@pytest.mark.parametrize("method", EXPLANATIONS)
def test_other_inputs_are_refused_in_one_sentence(method, images, given):
    with pytest.raises(ValueError, match=rf"floating-point tensor \(B, C, H, W\), got {given}"):
        EXPLANATIONS[method](plain(), images)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("model", [None, "resnet18", lambda images: images])
def test_what_is_no_network_is_refused(model):
    with pytest.raises(ValueError, match=r"an instance of nn.Module"):
        unwrapped(model)


class InPlace(nn.Module):
    """A network that shifts its input in place, as one that normalises it may do."""

    def __init__(self):
        super().__init__()
        self.net = plain()

    def forward(self, images):
        images -= 0.5
        images.clamp_(min=-0.2)
        return self.net(images)


class Copies(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner.net((images - 0.5).clamp(min=-0.2))


def test_images_are_never_changed_by_a_network_that_works_in_place():
    torch.manual_seed(0)
    model, maps = InPlace().eval(), torch.rand(2, 1, 4, 4)
    careful = Copies(model)
    for explain in (
        lambda net, images: gradcam(net, images, model.net[3]),
        lambda net, images: gradcam_plus_plus(net, images, model.net[3]),
        input_gradient,
        lambda net, images: deletion(net, images, maps),
        lambda net, images: insertion(net, images, maps),
        lambda net, images: drop_and_increase(net, images, maps)[0],
    ):
        images = IMAGES.clone()
        assert torch.equal(explain(model, images), explain(careful, images))
        assert torch.equal(images, IMAGES)
    images = IMAGES.clone()
    assert diagnose(model, images, "net.3") == diagnose(careful, images, "inner.net.3")
    assert suggest_layers(model, images)
    assert torch.equal(images, IMAGES)


class Alias(nn.Module):
    """A network whose layers have two names each."""

    def __init__(self):
        super().__init__()
        self.body = plain()
        self.backbone = self.body

    def forward(self, images):
        return self.body(images)


def test_every_name_of_a_layer_is_accepted():
    model = Alias()
    expected = gradcam(model, IMAGES, "body.3")
    for layer in ("backbone.3", model.backbone[3], model.body[3]):
        assert torch.equal(gradcam(model, IMAGES, layer), expected)
    assert find(model, "backbone") is model.body
    with pytest.raises(ValueError, match=r"has no layer 'backbone.9'.*backbone"):
        find(model, "backbone.9")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda net: [net[3]], "one layer of the network or its name.*type list"),
        (lambda net: (net[3], net[4]), "type tuple"),
        (lambda net: net[:4], "Sequential is not part.*a slice"),
        (lambda net: None, "got None"),
        (lambda net: 3, "type int"),
        (lambda net: plain()[3], "Conv2d is not part.*another network"),
    ],
)
def test_what_is_no_layer_is_named_as_what_it_is(layer, message):
    model = plain()
    for explain in (gradcam, gradcam_plus_plus, diagnose):
        with pytest.raises(ValueError, match=message):
            explain(model, IMAGES, layer(model))


class NoGrad(nn.Module):
    """A backbone that runs under no_grad, as a frozen one often does."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, images):
        with torch.no_grad():
            features = self.backbone(images)
        return self.head(features.mean(dim=(2, 3)))


def test_a_backbone_under_no_grad_has_no_gradient_and_the_error_says_so():
    with pytest.raises(NoGradientError, match=r"no gradient .* pixels of this NoGrad.*no_grad"):
        input_gradient(NoGrad(), IMAGES)
    torch.manual_seed(0)
    # The graph of Grad-CAM starts at the layer, within no_grad; a frozen backbone is no obstacle.
    frozen = NoGrad()
    frozen.forward = lambda images: frozen.head(frozen.backbone(images).mean(dim=(2, 3)))
    frozen.backbone.requires_grad_(False)
    assert gradcam(frozen, IMAGES, "backbone", relu=False).abs().max() > 0


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant):
        super().__init__()
        self.net, self.reentrant = plain(), reentrant

    def forward(self, images):
        middle = self.net[:3](images)
        return checkpoint(self.net[3:], middle, use_reentrant=self.reentrant)


def test_checkpointing_works_or_is_refused_in_one_sentence():
    torch.manual_seed(0)
    model = Checkpointed(reentrant=False)
    assert torch.equal(gradcam(model, IMAGES, "net.2"), gradcam(model.net, IMAGES, "2"))
    model.reentrant = True
    for explain in (
        lambda: gradcam(model, IMAGES, "net.2"),
        lambda: input_gradient(model, IMAGES),
    ):
        with pytest.raises(ValueError, match=r"can't compute .*use_reentrant=True"):
            explain()


class Counting(nn.Module):
    """Counts the images of each call."""

    def __init__(self, net):
        super().__init__()
        self.net, self.sizes = net, []

    def forward(self, images):
        self.sizes.append(len(images))
        return self.net(images)


def test_images_run_in_batches_and_each_keeps_its_own_target(monkeypatch):
    torch.manual_seed(0)
    model, images = Counting(plain().double().eval()), torch.rand(5, 3, 16, 16).double()
    maps, classes = torch.rand(5, 1, 4, 4).double(), torch.tensor([4, 0, 2, 2, 1])
    calls = [
        lambda t: gradcam(model, images, model.net[3], t),
        lambda t: gradcam_plus_plus(model, images, model.net[3], t),
        lambda t: input_gradient(model, images, t),
        lambda t: deletion(model, images, maps, t, steps=3),
        lambda t: insertion(model, images, maps, t, steps=3, fill=images.flip(0)),
        lambda t: torch.stack(drop_and_increase(model, images, maps, t)),
    ]
    targets = [None, 3, classes, classes.tolist(), Direction(torch.rand(5, 5).double())]
    whole = [call(target) for call in calls for target in targets]
    assert set(model.sizes) == {5}
    monkeypatch.setattr(networks, "PIXELS_PER_BATCH", 2 * 16 * 16)
    model.sizes.clear()
    parts = [call(target) for call in calls for target in targets]
    assert set(model.sizes) == {2, 1}
    for one, other in zip(whole, parts):
        torch.testing.assert_close(one, other, equal_nan=True)
    # Nobody can tell whether a function holds a value per image, so it gets them all.
    model.sizes.clear()
    gradcam(model, images, model.net[3], lambda logits: (logits * torch.rand(5, 5)).sum(dim=1))
    assert model.sizes == [5]


def test_a_mask_per_image_is_cut_with_its_images(monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1)).eval()
    images, masks = torch.rand(3, 3, 8, 8), torch.rand(3, 1, 6, 6) > 0.5
    expected = gradcam(model, images, "0", Region([0, 2, 1], masks))
    monkeypatch.setattr(networks, "PIXELS_PER_BATCH", 1)
    torch.testing.assert_close(gradcam(model, images, "0", Region([0, 2, 1], masks)), expected)


class Aliased(nn.Module):
    """A layer returns its very input, which is changed in place under its other name."""

    def __init__(self):
        super().__init__()
        self.first, self.drop, self.head = nn.Conv2d(3, 4, 3), nn.Dropout(), nn.Linear(4, 5)

    def forward(self, images):
        features = self.first(images)
        same = self.drop(features)
        features.relu_()
        return self.head(same.mean(dim=(2, 3)))


def test_a_layer_whose_output_is_changed_under_another_name_is_refused():
    with pytest.raises(ValueError, match=r"in place.*'drop' \(Dropout\)|'drop' .* in place"):
        gradcam(Aliased().eval(), IMAGES, "drop")


class Hooked(nn.Module):
    """A hook of the user's own keeps a layer's output, and the network reads it from there too."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
        self.layer.register_forward_hook(lambda _, __, output: self.keep(output))

    def keep(self, output):
        self.kept = output

    def forward(self, images):
        features = self.layer(images)
        return self.head((features + self.kept).mean(dim=(2, 3)))


def test_hooks_of_the_users_own_see_the_tensors_of_the_graph():
    torch.manual_seed(0)
    model = Hooked()
    found = activation_and_gradient(model, IMAGES, "layer", 2)[1]
    expected = 2 * model.head.weight[2][None, :, None, None].expand_as(found) / 14**2
    torch.testing.assert_close(found, expected.detach())


class BatchStatistics(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        return self.head(self.norm(self.layer(images)).square().mean(dim=(2, 3)))


def test_images_that_depend_on_each_other_are_explained_one_at_a_time():
    model = BatchStatistics()
    for explain in (
        lambda images: gradcam(model, images, "layer"),
        lambda images: input_gradient(model, images),
        lambda images: class_activation_map(model, images),
        lambda images: deletion(model, images, torch.rand(len(images), 1, 4, 4), steps=1),
    ):
        with pytest.raises(ValueError, match=r"'norm' \(BatchNorm2d\).*one image at a time"):
            explain(IMAGES)
        assert len(explain(IMAGES[:1])) == 1
    instance = nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4), nn.Flatten())
    assert gradcam(instance, IMAGES, "0").shape == (2, 1, 14, 14)  # each image has its own


class Small(nn.Module):
    """Gradients at the features are 1e-2 over the positions: nothing in half precision."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5)
        self.head.weight.data *= 0.01

    def forward(self, images):
        return self.head(self.layer(images).mean(dim=(2, 3)))


def test_small_gradients_do_not_vanish_in_half_precision():
    torch.manual_seed(0)
    model, images = Small(), torch.rand(1, 3, 256, 256)
    for explain in (
        lambda model, images: gradcam(model, images, "layer", 1, relu=False),
        lambda model, images: input_gradient(model, images, 1),
    ):
        expected = explain(model, images)
        found = explain(copy.deepcopy(model).half(), images.half())
        assert (found - expected).abs().max() < 0.02 * expected.abs().max()


class Switching(nn.Module):
    """A network that switches gradients on for its backbone alone."""

    def __init__(self, how):
        super().__init__()
        self.layer, self.head, self.how = nn.Conv2d(3, 4, 3), nn.Linear(4, 5), how

    def forward(self, images):
        if self.how == "decorated":
            return self.all(images)
        with torch.set_grad_enabled(self.how == "on"):
            features = self.layer(images)
        return self.head(features.mean(dim=(2, 3)))

    @torch.enable_grad()
    def all(self, images):
        return self.head(self.layer(images).mean(dim=(2, 3)))


@pytest.mark.parametrize("how", ["on", "decorated"])
def test_networks_that_switch_gradients_on_themselves(how):
    model = Switching(how)
    assert gradcam(model, IMAGES, "layer", relu=False).abs().max() > 0
    assert input_gradient(model, IMAGES).abs().max() > 0
    assert [layer.name for layer in suggest_layers(model, IMAGES)] == ["layer"]
    assert torch.is_grad_enabled()


def test_lazy_layers_are_refused_and_stay_lazy():
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(5))
    for explain in (
        lambda: gradcam(model, IMAGES, "0"),
        lambda: input_gradient(model, IMAGES),
        lambda: suggest_layers(model, IMAGES),
    ):
        with pytest.raises(ValueError, match="run it once first"):
            explain()
    assert model[0].has_uninitialized_params()


@pytest.mark.slow
def test_compiled_networks_and_parts_call_new_hooks():
    torch.manual_seed(0)
    model = plain().eval()
    expected = gradcam(model, IMAGES, "3")
    model.compile(backend="eager")
    model(IMAGES)
    assert torch.equal(gradcam(model, IMAGES, "3"), expected)
    assert suggest_layers(model, IMAGES)
    part = nn.Sequential(torch.compile(plain().eval(), backend="eager"))
    part(IMAGES)
    found = gradcam(part, IMAGES, "0.3")
    assert torch.equal(found, gradcam(part[0]._orig_mod, IMAGES, "3"))


def test_maps_under_the_callers_inference_mode():
    torch.manual_seed(0)
    model = plain().eval()
    expected = suggest_layers(model, IMAGES)
    with torch.inference_mode():
        assert suggest_layers(model, IMAGES) == expected
        assert diagnose(model, IMAGES + 0, "3")


@pytest.mark.usefixtures("unchecked")
def test_counts_are_checked_before_images_are_cut_into_batches(monkeypatch):
    """As many classes as a batch has images would otherwise serve every batch."""
    monkeypatch.setattr(networks, "PIXELS_PER_BATCH", 2 * 16 * 16)
    images, model = torch.rand(4, 3, 16, 16), plain().eval()
    for target in (torch.tensor([1, 2]), [1, 2], Direction(torch.rand(7, 5))):
        with pytest.raises(ValueError, match="for each of 4 images"):
            gradcam(model, images, "3", target)
    segmentation = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match="for each of 4 images"):
        gradcam(segmentation, images, "0", Region(1, torch.rand(2, 1, 14, 14) > 0.5))
