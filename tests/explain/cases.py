"""Networks and helpers that several tests of explanations share."""

import torch
from torch import nn

from course_utils.attention import gates
from course_utils.explain.targets import logits_of
from course_utils.models import VGG, AttnVGG, ResNet


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
    """A network with trained-looking weights, in which no layer works in place.

    The reference packages read a layer's output after the whole forward pass, and would
    see what the next layer had made of it.
    """
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    for layer in model.modules():
        if hasattr(layer, "inplace"):
            layer.inplace = False
        if isinstance(layer, nn.BatchNorm2d):  # as if trained
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2)
        if isinstance(layer, nn.Linear):  # our heads start with small weights
            nn.init.normal_(layer.weight, std=0.3)
    return model


def feature_layers(model, images, n=4):
    """Names of layers that run once and return (B, K, h, w), and whether that is changed in place.

    At most n of them, spread over the depth of the network; all of them if n is None.
    """
    seen, hooks = [], []
    for name, layer in model.named_modules():

        def note(_, __, output, name=name):
            seen.append((name, output, getattr(output, "_version", None)))

        hooks.append(layer.register_forward_hook(note))
    model(images)
    for hook in hooks:
        hook.remove()
    names = [name for name, *_ in seen]
    good = [
        (name, output._version != version)
        for name, output, version in seen
        if torch.is_tensor(output) and output.ndim == 4 and names.count(name) == 1
    ]
    return good if n is None else spread(good, n)


def spread(items, n=4):
    """At most n items of a list at equal distances, with the first and the last."""
    if len(items) <= n:
        return items
    return [items[round(i * (len(items) - 1) / (n - 1))] for i in range(n)]


class LogitsOnly(nn.Module):
    """A network that returns a multiple of the logits alone, as the reference packages expect."""

    def __init__(self, model, factor=1.0):
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, images):
        return self.factor * logits_of(self.model(images))


def state(model):
    """The state of a network that an explanation could change; compare with `assert_unchanged`."""
    return (
        [module.training for module in model.modules()],
        [(p.requires_grad, p.grad) for p in model.parameters()],
        [
            len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
            for m in model.modules()
        ],
        {name: v.clone() for name, v in model.state_dict().items() if torch.is_tensor(v)},
        torch.is_grad_enabled(),
    )


def assert_unchanged(before, after):
    assert before[:3] == after[:3]
    assert before[4] == after[4]
    assert all(torch.equal(value, after[3][name]) for name, value in before[3].items())
