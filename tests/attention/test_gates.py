import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from torchvision.ops import SqueezeExcitation as TorchvisionSqueezeExcitation

from course_utils.attention import gates
from tests.attention import cases
from tests.attention.cases import few
from tests.references import gradcheck, normal, numpy

C = 6
KINDS = {
    "conv": lambda: gates.ConvGate(C),
    "squeeze and excitation": lambda: gates.SqueezeExcitation(C, 2),
    "channel": lambda: gates.ChannelAttention(C, 2),
    "spatial": lambda: gates.SpatialAttention(3),
    "cbam": lambda: gates.CBAM(C, 2, 3),
    "streamlined": lambda: gates.Streamlined(C),
    "second order": lambda: gates.SecondOrder(C, 2),
    "eca": lambda: gates.ECA(C, 3),
    "coordinate": lambda: gates.CoordinateAttention(C, 2),
}
every = pytest.mark.parametrize("kind", KINDS)


def made(kind):
    return cases.made(KINDS[kind]).eval()  # a batch norm must not mix the images


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x)))


# The formulas of the weights, for one image (C, H, W), in loops and with parameters as arrays.


def conv_weights(x, W, b):
    a = np.zeros_like(x)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            a[:, i, j] = sigmoid(W[:, :, 0, 0] @ x[:, i, j] + b)
    return a


def excite(z, W_1, W_2):
    return W_2 @ np.maximum(W_1 @ z, 0)


def channel(values):
    return values[:, None, None]


def means(x):
    return np.array([plane.mean() for plane in x])


def maxima(x):
    return np.array([plane.max() for plane in x])


def spatial_weights(x, W, b):
    side = W.shape[-1]
    padded = [np.pad(plane, side // 2) for plane in (x.mean(axis=0), x.max(axis=0))]
    a = np.zeros((1, *x.shape[1:]))
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            window = np.stack([plane[i : i + side, j : j + side] for plane in padded])
            a[0, i, j] = sigmoid((W[0] * window).sum() + b[0])
    return a


def second_order_weights(x, rows, W_r, W, b):
    y = np.tensordot(W_r[:, :, 0, 0], x.reshape(len(x), -1), axes=1)
    covariance = np.atleast_2d(np.cov(y, bias=True))
    return channel(sigmoid(W @ np.array([u @ row for u, row in zip(rows, covariance)]) + b))


def eca_weights(x, w):
    """One window per channel, with zeros beyond the first and the last channel."""
    k = w.shape[-1]
    z = [0.0] * (k // 2) + list(means(x)) + [0.0] * (k // 2)
    return channel(sigmoid([sum(w[0, 0, i] * z[j + i] for i in range(k)) for j in range(len(x))]))


def normalised(y, gamma, beta, mean=0.0, var=1.0):
    return gamma * (y - mean) / np.sqrt(var + 1e-5) + beta


def hard_swish(y):
    return y * np.minimum(np.maximum(y + 3, 0), 6) / 6


def coordinate_weights(x, W, gamma, beta, W_h, b_h, W_w, b_w, **statistics):
    W, W_h, W_w = (each[:, :, 0, 0] for each in (W, W_h, W_w))
    rows = [x[:, i, :].mean(axis=1) for i in range(x.shape[1])]
    columns = [x[:, :, j].mean(axis=1) for j in range(x.shape[2])]

    def weights(z, W_out, b_out):
        return sigmoid(W_out @ hard_swish(normalised(W @ z, gamma, beta, **statistics)) + b_out)

    a = np.zeros_like(x)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            a[:, i, j] = weights(row, W_h, b_h) * weights(column, W_w, b_w)
    return a


FORMULAS = {
    "conv": conv_weights,
    "squeeze and excitation": lambda x, W_1, W_2: channel(sigmoid(excite(means(x), W_1, W_2))),
    "channel": lambda x, W_1, W_2: channel(
        sigmoid(excite(means(x), W_1, W_2) + excite(maxima(x), W_1, W_2))
    ),
    "spatial": spatial_weights,
    "streamlined": lambda x, W: channel(W @ means(x)),
    "second order": second_order_weights,
    "eca": eca_weights,
    "coordinate": coordinate_weights,
}


@pytest.mark.parametrize("kind", FORMULAS)
@few
@given(H=st.integers(1, 5), W=st.integers(1, 5), seed=st.integers(0, 100))
def test_weights_equal_their_formula(kind, H, W, seed):
    gate, (x,) = made(kind), normal(seed, (2, C, H, W))
    parameters = numpy(*gate.parameters())
    expected = np.stack([FORMULAS[kind](image, *parameters) for image in x.numpy()])
    assert_close(gate.weights(x), torch.from_numpy(expected), rtol=0, atol=1e-12)
    assert_close(gate(x), torch.from_numpy(expected) * x, rtol=0, atol=1e-12)


def test_squeeze_and_excitation_equals_torchvisions():
    ours, theirs = gates.SqueezeExcitation(32, 8), TorchvisionSqueezeExcitation(32, 4)
    for linear, conv in zip((ours.excite[0], ours.excite[2]), (theirs.fc1, theirs.fc2)):
        conv.weight.data = linear.weight.data[:, :, None, None]
        torch.nn.init.zeros_(conv.bias)
    x = torch.randn(2, 32, 5, 7)
    assert_close(ours(x), theirs(x))


def test_coordinate_attention_normalises_rows_and_columns_of_a_batch_together():
    """In training, the statistics are those of all H + W vectors of all images."""
    gate, (x,) = made("coordinate").train(), normal(7, (3, C, 4, 5))
    rows_and_columns = [
        each.mT @ gate.squeeze[0].weight[:, :, 0, 0].T for each in (x.mean(3), x.mean(2))
    ]
    hidden = torch.cat(rows_and_columns, dim=1).flatten(0, 1)  # (3 (4 + 5), hidden)
    mean, var = numpy(hidden.mean(dim=0), hidden.var(dim=0, unbiased=False))
    parameters = numpy(*gate.parameters())
    expected = [coordinate_weights(image, *parameters, mean=mean, var=var) for image in x.numpy()]
    assert_close(gate.weights(x), torch.from_numpy(np.stack(expected)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("channels", "kernel"),
    [(1, 1), (7, 1), (8, 3), (64, 3), (127, 3), (128, 5), (512, 5), (1024, 5), (2048, 7)],
)
def test_kernel_of_eca_is_the_odd_number_nearest_to_that_of_the_paper(channels, kernel):
    target = (math.log2(channels) + 1) / 2
    assert min((1, 3, 5, 7, 9), key=lambda k: (round(abs(k - target), 9), -k)) == kernel
    assert gates.ECA(channels).slide.kernel_size == (kernel,)


def test_a_weight_of_eca_depends_on_k_neighbouring_channels_only():
    gate, (x,) = made("eca"), normal(8, (1, C, 2, 2))
    changed = x.clone()
    changed[:, 2] += 1
    differs = (gate.weights(x) != gate.weights(changed)).flatten()
    assert differs.tolist() == [False, True, True, True, False, False]


def test_cbam_is_channels_then_positions():
    cbam, (x,) = made("cbam"), normal(1, (2, C, 4, 5))
    channels, positions = cbam
    once = channels.weights(x) * x
    assert_close(cbam(x), positions.weights(once) * once)
    assert channels.weights(x).shape == (2, C, 1, 1)
    assert positions.weights(x).shape == (2, 1, 4, 5)


@every
def test_gradients_are_exact(kind):
    assert gradcheck(made(kind), *normal(2, (2, C, 3, 4)))


@every
@pytest.mark.parametrize("shape", [(1, C, 1, 1), (1, C, 7, 3), (3, C, 14, 14)])
def test_features_keep_their_shape_and_each_image_is_gated_by_itself(kind, shape):
    gate, (x,) = made(kind), normal(3, shape)
    assert gate(x).shape == shape
    assert_close(gate(x)[:1], gate(x[:1]))
    assert_close(gate(x.contiguous(memory_format=torch.channels_last)), gate(x))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("streamlined", "cbam")])
def test_weights_lie_between_0_and_1(kind):
    weights = made(kind).weights(*normal(4, (2, C, 5, 5)))
    assert 0 < weights.min() < weights.max() < 1


def test_streamlined_weights_can_be_negative_and_above_1():
    weights = made("streamlined").weights(10 * torch.randn(8, C, 5, 5).double())
    assert weights.min() < 0
    assert weights.max() > 1


def test_second_order_gate_depends_on_the_covariance_and_the_first_order_gates_do_not():
    """All channels of both images have the same mean and maximum; only the covariances differ."""
    plane = torch.tensor([[1.0, -1.0], [1.0, -1.0]]).double()
    together, apart = (torch.stack([plane, second])[None] for second in (plane, plane.T))
    gate = gates.SecondOrder(2, 1).double()
    assert not torch.allclose(gate.weights(together), gate.weights(apart))
    for first_order in (
        gates.SqueezeExcitation(2, 1),
        gates.ChannelAttention(2, 1),
        gates.Streamlined(2),
    ):
        assert_close(first_order.double().weights(together), first_order.weights(apart))


@few
@given(seed=st.integers(0, 100))
def test_arrangement_of_positions_matters_only_to_gates_that_see_neighbours_or_rows(seed):
    (x,) = normal(seed, (1, C, 4, 4))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(seed))

    def shuffled(features):
        return features.flatten(2)[:, :, order].view_as(features)

    for kind in [kind for kind in KINDS if kind not in ("spatial", "cbam", "coordinate")]:
        gate = made(kind)
        assert_close(gate(shuffled(x)), shuffled(gate(x)), rtol=0, atol=1e-12)
    for kind in ("spatial", "coordinate"):
        gate = made(kind)
        assert not torch.allclose(gate(shuffled(x)), shuffled(gate(x)))


@few
@given(rows=st.permutations(range(4)), columns=st.permutations(range(5)), seed=cases.seeds)
def test_coordinate_attention_sees_what_is_in_a_row_but_not_where_the_row_is(rows, columns, seed):
    gate, (x,) = made("coordinate"), normal(seed, (1, C, 4, 5))
    expected = gate(x)[:, :, rows][..., columns]
    assert_close(gate(x[:, :, rows][..., columns]), expected, rtol=0, atol=1e-12)


def test_the_weights_of_coordinate_attention_are_an_outer_product():
    weights = made("coordinate").weights(*normal(9, (1, C, 6, 7)))
    ranks = torch.linalg.matrix_rank(weights[0], rtol=1e-9)
    assert ranks.tolist() == [1] * C


def test_flat_gate_equals_its_formula_and_half_of_its_weights_are_one_half():
    torch.manual_seed(0)
    gate, x = gates.FlatGate(200).double(), torch.randn(4, 200).double()
    W, b, w = gate.project.weight, gate.project.bias, gate.scale
    expected = [
        [1 / (1 + math.exp(-s * max(0.0, v))) for s, v in zip(w.tolist(), (W @ row + b).tolist())]
        for row in x
    ]
    assert_close(gate.weights(x), torch.tensor(expected).double())
    assert_close(gate(x), gate.weights(x) * x)
    at_half = (gate.weights(x) == 0.5).double().mean()
    assert 0.4 < at_half < 0.6
    gate.scale.data *= 1000  # w does not change them
    assert (gate.weights(x) == 0.5).double().mean() >= at_half


def test_parameters_are_those_of_the_sources():
    with torch.device("meta"):
        flat = gates.FlatGate(17_920)
        assert sum(p.numel() for p in flat.project.parameters()) == 321_144_320
        # Output channels of the blocks of a ResNet-50.
        blocks = [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3

        def added(kind):
            return sum(p.numel() for channels in blocks for p in kind(channels).parameters())

        assert round(added(gates.Streamlined) / 1e6, 1) == 20.1
        assert round(added(gates.SqueezeExcitation) / 1e6, 1) == 2.5
        assert added(gates.ECA) == 86
        # The paper's abstract says 80. The model that its authors published, eca_resnet50_k3557,
        # has as many; by the paper's own rule, its first stage would have k = 5 instead of 3.
        kernels = {256: 3, 512: 5, 1024: 5, 2048: 7}
        assert added(lambda channels: gates.ECA(channels, kernels[channels])) == 80
        hidden = {256: 8, 512: 16, 1024: 32, 2048: 64}
        assert added(gates.CoordinateAttention) == sum(
            3 * c * hidden[c] + 2 * hidden[c] + 2 * c for c in blocks
        )


@pytest.mark.parametrize("kernel", [0, 4, -1])
def test_window_without_a_middle_is_refused(kernel):
    for build in (gates.SpatialAttention, lambda kernel: gates.ECA(C, kernel)):
        with pytest.raises(ValueError, match=f"odd .* got {kernel}"):
            build(kernel)


def test_eca_without_channels_is_refused():
    with pytest.raises(ValueError, match="got 0"):
        gates.ECA(0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "cbam"])
@pytest.mark.parametrize("shape", [(2, C), (C, 4, 4), (2, C, 4, 4, 4)])
def test_features_of_another_rank_are_refused(kind, shape):
    with pytest.raises(ValueError, match=re.escape(f"(B, C, H, W), got {shape}")):
        made(kind)(torch.rand(shape).double())


@pytest.mark.parametrize(
    "kind",
    [
        gates.SqueezeExcitation,
        gates.ChannelAttention,
        gates.SecondOrder,
        gates.CBAM,
        gates.CoordinateAttention,
    ],
)
def test_reduction_below_1_is_refused(kind):
    with pytest.raises(ValueError, match=r"reduction .* got 0"):
        kind(C, 0)


def test_covariance_of_a_large_map_is_finite_in_half_precision():
    torch.manual_seed(0)
    gate, x = gates.SecondOrder(64, 4), 10 * torch.randn(1, 64, 56, 56)
    with torch.autocast("cpu", torch.float16):
        assert gate.weights(x).isfinite().all()


def test_flat_gate_has_exact_gradients_and_a_small_initial_scale():
    torch.manual_seed(0)
    assert gradcheck(gates.FlatGate(4).double(), *normal(6, (3, 4)))
    assert gates.FlatGate(2000).scale.std().item() == pytest.approx(0.05, rel=0.1)


def test_softmax_weights_of_gates_sum_to_1():
    (x,) = normal(5, (2, C, 4, 3))
    flat = gates.FlatGate(12, "softmax").double()
    assert_close(flat.weights(x.flatten(1)[:, :12]).sum(dim=1), torch.ones(2).double())
    conv = gates.ConvGate(C, "softmax").double()
    assert_close(conv.weights(x).sum(dim=(2, 3)), torch.ones(2, C).double())
    scores = conv.project(x)
    assert_close(conv.weights(x), scores.exp() / scores.exp().sum(dim=(2, 3), keepdim=True))


@pytest.mark.parametrize("gate", [gates.FlatGate, gates.ConvGate])
@pytest.mark.usefixtures("unchecked")
def test_error_of_an_unknown_alignment_lists_the_valid_ones(gate):
    with pytest.raises(ValueError, match=r"alignment 'hard': .* sigmoid, softmax"):
        gate(3, "hard")


def test_observe_returns_the_weights_of_every_gate():
    torch.manual_seed(0)
    first, second = gates.CBAM(C, 2, 3), gates.SqueezeExcitation(C, 2)
    network, x = torch.nn.Sequential(torch.nn.Identity(), first, second), torch.randn(2, C, 4, 4)
    seen = gates.observe(network, x)
    assert list(seen) == ["1.0", "1.1", "2"]
    assert_close(seen["1.0"], first[0].weights(x))
    assert_close(seen["2"], second.weights(first(x)))
    flat = gates.FlatGate(5)
    assert list(gates.observe(flat, torch.randn(2, 5))) == [""]


def test_observe_leaves_the_network_as_it_was():
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(C), gates.SqueezeExcitation(C, 2))
    gates.observe(network, torch.randn(2, C, 4, 4))
    with pytest.raises(RuntimeError):
        gates.observe(network, torch.randn(2, C + 1, 4, 4))
    assert not any(module._forward_pre_hooks for module in network.modules())
    assert all(module.training for module in network.modules())
    assert network[0].num_batches_tracked == 0
