"""Layouts of layers: tokens, channels last, tuples and dictionaries."""

from collections import UserDict, namedtuple
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision.models import convnext_tiny, swin_t
from torchvision.models.vision_transformer import VisionTransformer

from course_utils.attention import gates
from course_utils.explain.diagnosis import diagnose, suggest_layers
from course_utils.explain.feature_maps import channels_last, covers, feature_map, tokens
from course_utils.explain.grad_cam import activation_and_gradient, gradcam, gradcam_plus_plus
from course_utils.models import AttnVGG, ResNet


def small_vit():
    torch.manual_seed(0)
    vit = VisionTransformer(32, 8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32)
    nn.init.normal_(vit.heads.head.weight)
    return vit.eval()


class Transposed(nn.Module):
    """A network of convolutions, and its twin that keeps the channels last in between."""

    def __init__(self, *, last):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.layer = nn.Conv2d(3, 6, 3, padding=1), nn.Identity()
        self.second, self.last = nn.Linear(6, 5), last
        self.second.weight.data.abs_()  # all features count in favour of every class

    def forward(self, images):
        features = self.first(images).sigmoid()
        if self.last == "channels":
            features = self.layer(features.permute(0, 2, 3, 1))
            average = features.mean(dim=(1, 2))
        elif self.last == "tokens":
            h, w = features.shape[2:]
            features = self.layer(features.flatten(2).transpose(1, 2))
            average = features.mean(dim=1)
            assert features.shape[1] == h * w
        else:
            average = self.layer(features).mean(dim=(2, 3))
        return self.second(average.square())


@pytest.mark.parametrize("method", [partial(gradcam, relu=False), gradcam_plus_plus])
@pytest.mark.parametrize("size", [(8, 8), (6, 9)])
def test_the_layout_of_a_layer_does_not_change_its_map(method, size):
    images = torch.rand(2, 3, *size)
    expected = method(Transposed(last=None), images, "layer")
    assert expected.abs().max() > 0
    found = method(Transposed(last="channels"), images, "layer", reshape=channels_last)
    torch.testing.assert_close(found, expected)
    grid = tokens if size == (8, 8) else partial(tokens, grid=size)
    found = method(Transposed(last="tokens"), images, "layer", reshape=grid)
    torch.testing.assert_close(found, expected)


def test_tokens_by_hand():
    """Two rows of three positions after one class token, with a single channel."""
    output = torch.tensor([[[9.0], [1], [2], [3], [4], [5], [6]]])
    grid = torch.tensor([[[[1.0, 2, 3], [4, 5, 6]]]])
    assert torch.equal(tokens(output, grid=(2, 3)), grid)
    assert torch.equal(
        tokens(output[:, 1:5]), torch.tensor([[[[1.0, 2], [3, 4]]]])
    )  # no class token
    assert torch.equal(tokens(output[:, :5]), torch.tensor([[[[1.0, 2], [3, 4]]]]))
    with pytest.raises(ValueError, match=r"square grid, got 7 tokens; .*grid=\(h, w\)"):
        tokens(output)
    with pytest.raises(ValueError, match="a grid of 3 × 3, got 7 tokens"):
        tokens(output, grid=(3, 3))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 5))
def test_tokens_undo_the_flattening_of_a_map(h, w, others):
    maps = torch.rand(2, 3, h, w)
    rows = torch.cat([torch.rand(2, others, 3), maps.flatten(2).transpose(1, 2)], dim=1)
    assert torch.equal(tokens(rows, grid=(h, w)), maps)
    assert torch.equal(channels_last(maps.permute(0, 2, 3, 1)), maps)


def test_a_vision_transformer_has_maps_of_its_tokens():
    vit, images = small_vit(), torch.rand(2, 3, 32, 32)
    with pytest.raises(ValueError, match=r"only the patch embedding.*tokens.*channels_last"):
        suggest_layers(vit, images)
    # In the last block only the class token is read after the attention, so later layers are blank.
    (layer,) = suggest_layers(vit, images, reshape=tokens)
    assert layer == ("encoder.layers.encoder_layer_2.ln_1", "LayerNorm", 16, 4, 4)
    assert gradcam(vit, images, layer.name, reshape=tokens, relu=False).abs().max() > 0
    with pytest.raises(ValueError, match=r"got \(2, 17, 16\); .*reshape=tokens"):
        gradcam(vit, images, layer.name)
    assert not gradcam(vit, images, "encoder.ln", reshape=tokens).any()
    for name, found in ((layer.name, "fine"), ("encoder.ln", "blank")):
        assert all(d.startswith(found) for d in diagnose(vit, images, name, reshape=tokens))
    # An attention layer returns a tuple, with None for the weights.
    inside = "encoder.layers.encoder_layer_1.self_attention"
    assert gradcam(vit, images, inside, reshape=tokens).shape == (2, 1, 4, 4)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 64), (64, 128)])
def test_swin_keeps_its_channels_last(size):
    torch.manual_seed(0)
    swin, images = swin_t().eval(), torch.rand(1, 3, *size)
    nn.init.normal_(swin.head.weight)
    h, w = size[0] // 32, size[1] // 32
    assert all(
        (layer.height * size[1], layer.height > 1) == (layer.width * size[0], True)
        for layer in suggest_layers(swin, images)
    )
    layers = suggest_layers(swin, images, reshape=channels_last)
    assert [(layer.channels, layer.height, layer.width) for layer in layers] == [
        (768, h, w),
        (384, 2 * h, 2 * w),
        (192, 4 * h, 4 * w),
        (96, 8 * h, 8 * w),
    ]
    for explain in (gradcam, diagnose):
        with pytest.raises(ValueError, match="reshape=channels_last"):
            explain(swin, images, "features.7")
    assert gradcam(swin, images, "features.7", reshape=channels_last).shape == (1, 1, h, w)
    with pytest.raises(ValueError, match="proportions"):  # a convolution, read the wrong way
        gradcam(swin, images, "features.0.0", reshape=channels_last)


@pytest.mark.slow
def test_convnext_mixes_both_layouts():
    torch.manual_seed(0)
    model, images = convnext_tiny().eval(), torch.rand(1, 3, 64, 64)
    for layer in suggest_layers(model, images):
        assert gradcam(model, images, layer.name).shape == (1, 1, layer.height, layer.width)
    assert gradcam(model, images, "features.7.2.block.2", reshape=channels_last).shape[2:] == (2, 2)


class Several(nn.Module):
    """A layer that returns its features in some structure."""

    def __init__(self, pack, unpack):
        super().__init__()
        torch.manual_seed(0)
        self.block, self.pack, self.unpack = nn.Conv2d(3, 4, 3), pack, unpack
        self.layer, self.head = Packing(pack), nn.Linear(4, 5)

    def forward(self, images):
        packed = self.layer(self.block(images))
        return self.head(self.unpack(packed).mean(dim=(2, 3)))


class Packing(nn.Module):
    def __init__(self, pack):
        super().__init__()
        self.pack = pack

    def forward(self, features):
        return self.pack(features)


@pytest.mark.parametrize(
    ("pack", "unpack"),
    [
        (lambda f: (f, None), lambda p: p[0]),
        (lambda f: (f.mean(dim=(2, 3)), f), lambda p: p[1]),
        (lambda f: {"features": f, "step": 3}, lambda p: p["features"]),
        (lambda f: [f, [f]], lambda p: p[0] / 2 + p[1][0] / 2),
        (lambda f: (f, f.argmax(dim=1, keepdim=True)), lambda p: p[0]),
    ],
)
def test_layers_that_return_tuples_or_dictionaries(pack, unpack):
    images = torch.rand(2, 3, 8, 8)
    model = Several(pack, unpack)
    expected = gradcam(model, images, "block", relu=False)
    torch.testing.assert_close(gradcam(model, images, "layer", relu=False), expected)
    assert expected.abs().max() > 0


def test_of_several_feature_maps_the_caller_chooses():
    model = Several(lambda f: {"low": f, "high": 2 * f}, lambda p: p["high"])
    images = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"low: \(2, 4, 6, 6\), high: \(2, 4, 6, 6\).*reshape"):
        gradcam(model, images, "layer")
    _, gradient = activation_and_gradient(model, images, "layer", reshape=lambda o: o["high"])
    assert gradient.abs().max() > 0
    _, gradient = activation_and_gradient(model, images, "layer", reshape=lambda o: o["low"])
    assert not gradient.any()
    assert diagnose(model, images, "layer", reshape=lambda o: o["low"])[0].startswith("blank")


def test_a_network_that_shrinks_one_side_more_is_the_callers_own_word():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=(4, 1), padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    images = torch.rand(1, 3, 16, 16)
    with pytest.raises(ValueError, match=r"'0' \(Conv2d\).*\(16, 16\), got \(1, 8, 4, 16\)"):
        gradcam(model, images, "0")
    assert suggest_layers(model, images) == []
    assert gradcam(model, images, "0", reshape=lambda output: output).shape == (1, 1, 4, 16)


@pytest.mark.parametrize(
    ("reshape", "message"),
    [
        (lambda output: output[0], r"got \(8, 6, 6\)"),
        (lambda output: None, "got NoneType"),
        (lambda output: output[:1], r"2 images, got \(1, 8, 6, 6\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_function_that_returns_no_maps_is_refused(reshape, message):
    with pytest.raises(ValueError, match=message):
        feature_map(torch.rand(2, 8, 6, 6), torch.rand(2, 3, 8, 8), reshape)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((1, 512, 7, 7), (224, 224), True),
        ((1, 7, 7, 768), (224, 224), False),
        ((1, 7, 14, 768), (224, 448), False),
        ((1, 768, 7, 14), (224, 448), True),
        ((1, 16, 49, 64), (224, 224), False),
        ((1, 64, 1, 21), (40, 200), True),  # convolutions without padding
        ((1, 64, 3, 10), (33, 47), True),
        ((1, 14, 14, 384), (224, 225), False),
        ((1, 384, 14, 14), (224, 225), True),
    ],
)
def test_positions_have_the_proportions_of_the_images(shape, size, expected):
    assert covers(torch.zeros(shape), torch.zeros(1, 3, *size)) == expected


@pytest.mark.parametrize(
    "build", [lambda: AttnVGG(5, width=0.0625), lambda: ResNet(5, gate=gates.CBAM)]
)
def test_attention_maps_of_a_tuple_have_a_map_too_but_are_not_suggested(build):
    model, images = build().eval(), torch.rand(1, 3, 32, 32)
    names = [layer.name for layer in suggest_layers(model, images)]
    assert names
    assert not any("attention" in name for name in names)


@pytest.mark.parametrize(
    ("grid", "others", "size"),
    [
        ((14, 16), 1, (224, 256)),
        ((6, 8), 1, (96, 128)),
        ((2, 8), 0, (32, 128)),
        ((4, 9), 0, (64, 144)),
    ],
)
def test_a_grid_that_only_looks_square_is_refused(grid, others, size):
    """As many tokens as a square grid has, but the images are not square."""
    n = grid[0] * grid[1] + others
    output, images = torch.rand(1, n, 5), torch.zeros(1, 3, *size)
    with pytest.raises(ValueError, match=r"no square grid.*grid=\(h, w\)"):
        feature_map(output, images, tokens)
    assert feature_map(output, images, partial(tokens, grid=grid)).shape == (1, 5, *grid)
    with pytest.raises(ValueError, match="proportions"):
        feature_map(output, images, partial(tokens, grid=grid[::-1]))
    with pytest.raises(ValueError, match="proportions"):
        feature_map(output, images, partial(tokens, grid=(grid[0] * grid[1], 1)))


class Attention(nn.Module):
    """Attention between positions, with its weights as the output of a layer."""

    def __init__(self):
        super().__init__()
        self.first, self.drop, self.head = nn.Conv2d(3, 8, 4, 4), nn.Dropout(), nn.Linear(8, 5)

    def forward(self, images):
        values = self.first(images).flatten(2).transpose(1, 2)  # (B, N, 8)
        scores = torch.stack([values @ values.transpose(1, 2)] * 4, dim=1)
        weights = self.drop(scores.softmax(dim=-1))  # (B, 4, N, N)
        return self.head((weights.mean(dim=1) @ values).mean(dim=1))


def test_attention_weights_are_no_features():
    model, images = Attention(), torch.rand(2, 3, 16, 16)
    for explain in (gradcam, diagnose):
        with pytest.raises(ValueError, match=r"'drop'.*\(2, 4, 16, 16\).*attention weights"):
            explain(model, images, "drop")
    assert [layer.name for layer in suggest_layers(model, images)] == ["first"]


@dataclass
class Features:
    values: torch.Tensor
    step: int = 0


class Dictionary(UserDict):
    """A mapping that is no dict."""


@pytest.mark.parametrize(
    ("pack", "unpack"),
    [
        (lambda f: Features(f, 2), lambda p: p.values),
        (lambda f: Dictionary(values=f), lambda p: p["values"]),
        (lambda f: namedtuple("Pair", "values rest")(f, None), lambda p: p.values),
        (lambda f: SimpleNamespace(values=f), lambda p: p.values),
        (lambda f: {"deep": [Features(f)]}, lambda p: p["deep"][0].values),
    ],
)
def test_layers_that_return_objects(pack, unpack):
    images = torch.rand(2, 3, 8, 8)
    model = Several(pack, unpack)
    expected = gradcam(model, images, "block", relu=False)
    torch.testing.assert_close(gradcam(model, images, "layer", relu=False), expected)
    by_hand = gradcam(model, images, "layer", relu=False, reshape=unpack)
    torch.testing.assert_close(by_hand, expected)
