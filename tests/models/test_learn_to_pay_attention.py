from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_utils.attention import alignments
from course_utils.attention.spatial import Compatibility, PayAttention, Project
from course_utils.core.profiling import parameters as count
from course_utils.models import PayAttentionVGG
from tests.references import gradcheck, normal

OPTIONS = {"width": 0.125, "dropout": 0.0}


def softmax_over_positions(scores):
    """Softmax of scores (H, W) in loops, in double precision."""
    exponentials = [[float((s - scores.max()).exp()) for s in row] for row in scores]
    total = sum(map(sum, exponentials))
    return torch.tensor([[e / total for e in row] for row in exponentials], dtype=torch.float64)


def by_formula(layer, l, g):
    """Context and weights of one image, from l (C, H, W) and g (D,), with the paper's formulas."""
    if isinstance(layer.project_local, nn.Conv2d):
        l = torch.einsum("dc,chw->dhw", layer.project_local.weight[:, :, 0, 0], l)
    if isinstance(layer.project_global, nn.Linear):
        g = layer.project_global.weight @ g
    scores = torch.empty(l.shape[1:], dtype=torch.float64)
    for y in range(l.shape[1]):
        for x in range(l.shape[2]):
            if layer.compatibility.endswith("dp"):
                scores[y, x] = sum(float(a * b) for a, b in zip(l[:, y, x], g))
                scores[y, x] /= len(g) ** 0.5 if layer.compatibility == "scaled_dp" else 1
            else:
                u = layer.u.weight.flatten()
                scores[y, x] = sum(float(w * (a + b)) for w, a, b in zip(u, l[:, y, x], g))
    if layer.alignment == "softmax":
        weights = softmax_over_positions(scores)
        return (weights * l).sum(dim=(1, 2)), weights[None]
    weights = 1 / (1 + (-scores).exp())
    return (weights * l).sum(dim=(1, 2)) / weights.numel(), weights[None]


@pytest.mark.parametrize("alignment", ["softmax", "sigmoid"])
@pytest.mark.parametrize("compatibility", get_args(Compatibility))
@pytest.mark.parametrize("project", get_args(Project))
@pytest.mark.parametrize("channels", [3, 5])
@torch.no_grad()
def test_the_layer_equals_the_formula(channels, project, compatibility, alignment):
    torch.manual_seed(0)
    layer = PayAttention(channels, 5, compatibility, project, alignment).double()
    l, g = normal(0, (2, channels, 3, 4), (2, 5))
    context, weights = layer(l, g)
    for n in range(2):
        expected_context, expected_weights = by_formula(layer, l[n], g[n])
        torch.testing.assert_close(context[n], expected_context, rtol=0, atol=1e-12)
        torch.testing.assert_close(weights[n], expected_weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize("compatibility", get_args(Compatibility))
@pytest.mark.parametrize("project", get_args(Project))
def test_gradients_are_exact(compatibility, project):
    torch.manual_seed(1)
    assert gradcheck(
        PayAttention(3, 4, compatibility, project).double(), *normal(1, (2, 3, 2, 3), (2, 4))
    )


def test_parameter_counts_of_the_layer():
    for project in get_args(Project):
        assert count(PayAttention(4, 4, "dp", project)) == 0
        assert count(PayAttention(4, 4, "pc", project)) == 4
    assert count(PayAttention(256, 512, "pc", "up")) == 256 * 512 + 512
    assert count(PayAttention(256, 512, "pc", "down")) == 256 * 512 + 256


def test_parameter_counts_of_the_sources():
    with torch.device("meta"):
        published = PayAttentionVGG(100, project="up", normalise=False)
        assert count(published) == 19_993_764
        behind_the_last_tap = count(published.features[42:]) + count(published.dense)
        assert behind_the_last_tap == 4_984_320
        paper = PayAttentionVGG(100)
        assert count(paper) == 19_970_468
        first_projection = count(paper.attention[0].project_global)
        assert behind_the_last_tap + first_projection == 5_115_392
        assert published.classifiers[0].in_features == 3 * 512


@pytest.mark.parametrize("taps", ["before", "after"])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_equals_the_network_written_out(levels, normalise, taps):
    """Local features of convolutions 7, 10 and 13, and a pool after each of the last five."""
    torch.manual_seed(0)
    model = (
        PayAttentionVGG(5, **OPTIONS, levels=levels, taps=taps, normalise=normalise).double().eval()
    )
    for norm in model.modules():  # as after training: an untrained norm would do nothing
        if isinstance(norm, nn.BatchNorm1d):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    convs = [m for m in model.features if isinstance(m, nn.Conv2d)]
    norms = [m for m in model.features if isinstance(m, nn.BatchNorm2d)]
    assert len(convs) == len(norms) == 15
    x = images = torch.rand(2, 3, 64, 64).double()
    local = []
    for i, (conv, norm) in enumerate(zip(convs, norms), start=1):
        x = F.relu(norm(F.conv2d(x, conv.weight, conv.bias, padding=1)))
        pooled = F.max_pool2d(x, 2) if i in (7, 10, 13, 14, 15) else x
        if i in (7, 10, 13)[3 - levels :]:
            local.append(x if taps == "before" else pooled)
        x = pooled
    g = x.mean(dim=(2, 3)) @ model.dense.weight.T + model.dense.bias
    contexts, maps = zip(*(layer(l, g) for layer, l in zip(model.attention, local)))
    if normalise:
        contexts = [
            F.relu((c - n.running_mean) / (n.running_var + n.eps).sqrt() * n.weight + n.bias)
            for c, n in zip(contexts, model.norms)
        ]
    linear = model.classifiers[0]
    output = model(images)
    torch.testing.assert_close(
        output.logits, torch.cat(list(contexts), 1) @ linear.weight.T + linear.bias
    )
    torch.testing.assert_close(output.maps, maps)


def test_the_plain_vgg_classifies_g():
    torch.manual_seed(0)
    model = PayAttentionVGG(5, **OPTIONS, levels=0, normalise=False).double().eval()
    x = torch.rand(2, 3, 32, 32).double()
    g = model.dense(model.features(x).mean(dim=(2, 3)))
    assert model(x).maps == ()
    torch.testing.assert_close(model(x).logits, model.classifiers[0](g))


def test_the_control_is_attention_with_equal_weights():
    torch.manual_seed(0)
    attended = PayAttentionVGG(5, **OPTIONS).eval()
    for layer in attended.attention:
        nn.init.zeros_(layer.u.weight)
    control = PayAttentionVGG(5, **OPTIONS, alignment=None).eval()
    control.load_state_dict(
        {k: v for k, v in attended.state_dict().items() if not k.startswith("attention")}
    )
    x = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(attended(x).logits, control(x).logits)
    assert control(x).maps == ()


def trained_a_little(**options):
    """A network after three steps of training, in double precision, with gradients."""
    torch.manual_seed(0)
    model = PayAttentionVGG(5, **OPTIONS, **options).double()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    x, labels = torch.rand(16, 1, 32, 32).double(), torch.arange(16) % 5
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(x).logits, labels).backward()
        optimizer.step()
    model.zero_grad()
    F.cross_entropy(model.eval()(x).logits, labels).backward()
    return model, x


def gradient(module):
    return torch.cat([p.grad.flatten() for p in module.parameters()]).norm().item()


@pytest.mark.parametrize("project", get_args(Project))
@pytest.mark.parametrize("alignment", ["softmax", "sparsemax", "entmax"])
def test_with_pc_and_competing_positions_g_has_no_effect(alignment, project):
    model, x = trained_a_little(compatibility="pc", alignment=alignment, project=project)
    assert gradient(model.features[:42]) > 1e-3
    assert gradient(model.features[42:]) < 1e-12
    assert gradient(model.dense) < 1e-12
    before = model(x).logits
    for module in [*model.features[42:], model.dense]:
        for parameter in module.parameters():
            nn.init.normal_(parameter)
    torch.testing.assert_close(model(x).logits, before, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"compatibility": "dp"},
        {"compatibility": "scaled_dp"},
        {"compatibility": "pc", "alignment": "sigmoid"},
        {"levels": 0},
    ],
)
def test_otherwise_g_has_an_effect(options):
    model, x = trained_a_little(**options)
    assert gradient(model.features[42:]) > 1e-6
    assert gradient(model.dense) > 1e-6
    before = model(x).logits
    nn.init.normal_(model.dense.weight)
    assert (model(x).logits - before).abs().max() > 1e-3


@pytest.mark.parametrize("alignment", ["sparsemax", "entmax"])
def test_sparsemax_and_entmax_of_a_grid_are_those_of_the_alignments(alignment):
    l, g = normal(3, (2, 4, 3, 5), (2, 4))
    layer = PayAttention(4, 4, "dp", alignment=alignment).double()
    weights = getattr(alignments, alignment)((l * g[:, :, None, None]).sum(1).flatten(1)).view(
        2, 1, 3, 5
    )
    torch.testing.assert_close(layer(l, g), ((weights * l).sum(dim=(2, 3)), weights))


def test_the_defaults_are_the_papers_network():
    """Jetley et al. 2018, section 3, on their images of 32 pixels: VGG-att3-concat-pc."""
    model = PayAttentionVGG(100).eval()
    kinds = [type(m) for m in model.features if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
    convolutions = [m.out_channels for m in model.features if isinstance(m, nn.Conv2d)]
    assert convolutions == [64, 64, 128, 128, 256, 256, 256, *[512] * 8]
    pools = [i for i, kind in enumerate(kinds) if kind is nn.MaxPool2d]
    assert [kinds[:i].count(nn.Conv2d) for i in pools] == [7, 10, 13, 14, 15]
    taps = []
    for layer in model.attention:
        layer.register_forward_pre_hook(lambda _, inputs: taps.append([x.shape for x in inputs]))
    with torch.no_grad():
        output = model(torch.rand(1, 3, 32, 32))
    g = (1, 512)
    assert taps == [[(1, 256, 32, 32), g], [(1, 512, 16, 16), g], [(1, 512, 8, 8), g]]
    for m in output.maps:
        torch.testing.assert_close(m.sum(), torch.tensor(1.0))  # softmax over the positions
    assert [layer.u.weight.numel() for layer in model.attention] == [
        256,
        512,
        512,
    ]  # pc: u · (l + g)
    assert count(model.attention[0].project_global) == 512 * 256  # g is projected down
    assert [norm.num_features for norm in model.norms] == [256, 512, 512]
    assert [linear.in_features for linear in model.classifiers] == [1280]
    assert (model.dropout, model.classifiers.dropout) == (0.5, 0.5)


def test_dropout_acts_in_training_on_g_and_on_the_descriptors():
    torch.manual_seed(0)
    model, x = (
        PayAttentionVGG(5, width=0.125, compatibility="dp", dropout=0.5),
        torch.rand(4, 1, 32, 32),
    )
    seen = {"dense": [], "classifier": []}
    model.dense.register_forward_pre_hook(lambda _, given: seen["dense"].append(given[0]))
    model.classifiers[0].register_forward_pre_hook(
        lambda _, given: seen["classifier"].append(given[0])
    )
    for _ in range(2):
        model(x)
    model.eval()
    for _ in range(2):
        model(x)
    for first, second, third, fourth in seen.values():
        assert not torch.equal(first == 0, second == 0)
        torch.testing.assert_close(third, fourth, rtol=0, atol=0)


def test_he_initialisation_by_fan_in():
    torch.manual_seed(0)
    layer, other = PayAttention(512, 2048, "pc", "down"), PayAttention(512, 2048, "pc", "up")
    for module, fan in (
        (layer.project_global, 2048),
        (layer.u, 512),
        (other.project_local, 512),
        (other.u, 2048),
    ):
        assert module.weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.15)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"compatibility": "cosine"},
            "'cosine'.* dp, scaled_dp, pc",
        ),
        ({"project": "sideways"}, "'sideways'.* down, up"),
        ({"levels": 4}, "4.* 0, 1, 2, 3"),
        ({"taps": "at"}, "'at'.* before, after"),
        ({"head": "indep"}, "'indep'.* concat, independent"),
        ({"alignment": None, "compatibility": "cosine"}, "'cosine'"),
        ({"levels": 0, "project": "sideways"}, "'sideways'"),
        (
            {"alignment": "local"},
            "'local'.* softmax, sigmoid, sparsemax, entmax",
        ),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PayAttentionVGG(2, **OPTIONS, **options)
