import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.attention.spatial import GridAttention, attend


def by_loops(block, l, g_up):
    """The formula of the block, position by position; g_up is upsampled to the size of l."""
    W_l, W_g = block.project_local.weight[:, :, 0, 0], block.project_global.weight[:, :, 0, 0]
    phi, bias = block.score.weight[0, :, 0, 0], block.score.bias[0]
    batch, channels, height, width = l.shape
    scores = torch.zeros(batch, height, width, dtype=l.dtype)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                scores[b, y, x] = (
                    phi @ (W_l @ l[b, :, y, x] + W_g @ g_up[b, :, y, x]).clamp(min=0) + bias
                )
    if block.alignment == "softmax":
        weights = torch.stack([(s - s.max()).exp() / (s - s.max()).exp().sum() for s in scores])
    else:
        weights = 1 / (1 + (-scores).exp())
    context = torch.zeros(batch, channels, dtype=l.dtype)
    for y in range(height):
        for x in range(width):
            context += weights[:, y, x, None] * l[:, :, y, x]
    return context / (1 if block.alignment == "softmax" else height * width), weights[:, None]


@pytest.mark.parametrize("alignment", ["softmax", "sigmoid"])
def test_block_equals_its_formula(alignment):
    torch.manual_seed(0)
    block = GridAttention(3, 5, 4, alignment).double()
    l, g = torch.randn(2, 3, 4, 3).double(), torch.randn(2, 5, 4, 3).double()
    torch.testing.assert_close(block(l, g), by_loops(block, l, g), rtol=0, atol=1e-12)


def test_guiding_features_are_upsampled_bilinearly():
    block = GridAttention(3, 5, 4).double()
    l, g = torch.randn(2, 3, 8, 8).double(), torch.randn(2, 5, 2, 2).double()
    # The block projects before it upsamples, but a 1 × 1 convolution commutes with upsampling.
    up = torch.nn.functional.interpolate(g, size=(8, 8), mode="bilinear")
    torch.testing.assert_close(block(l, g)[1], by_loops(block, l, up)[1], rtol=0, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.integers(0, 1000))
def test_ranges_and_sums_of_the_weights(batch, height, width, seed):
    torch.manual_seed(seed)
    l, g = torch.randn(batch, 3, height, width), torch.randn(batch, 4, 1, 1)
    context, weights = GridAttention(3, 4, 2, "softmax")(l, g)
    assert context.shape == (batch, 3)
    assert weights.shape == (batch, 1, height, width)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(dim=(1, 2, 3)), torch.ones(batch))
    _, weights = GridAttention(3, 4, 2, "sigmoid")(l, g)
    assert weights.min() >= 0
    assert weights.max() <= 1  # in single precision, a sigmoid can be rounded to 0 or 1


@pytest.mark.parametrize("alignment", ["softmax", "sigmoid"])
def test_gradients_are_exact(alignment):
    torch.manual_seed(1)
    block = GridAttention(2, 3, 4, alignment).double()
    l = torch.randn(2, 2, 3, 3).double().requires_grad_()
    g = torch.randn(2, 3, 2, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(block, (l, g))


def test_equal_scores_give_the_average():
    block = GridAttention(3, 4, 2, "softmax")
    torch.nn.init.zeros_(block.score.weight)
    l = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(block(l, torch.randn(2, 4, 1, 1))[0], l.mean(dim=(2, 3)))


def test_he_initialisation():
    torch.manual_seed(0)
    block = GridAttention(256, 512, 256)
    for conv in (block.project_local, block.project_global, block.score):
        assert conv.weight.std().item() == pytest.approx((2 / conv.in_channels) ** 0.5, rel=0.1)
    assert block.project_local.bias is None
    assert block.project_global.bias is None
    assert block.score.bias.item() == 0


@pytest.mark.parametrize("alignment", ["softmax", "sigmoid", "sparsemax", "entmax"])
@settings(max_examples=10)
@given(scale=st.sampled_from([0.25, 1.0, 3.0]), seed=st.integers(0, 1000))
def test_scale_multiplies_the_scores(alignment, scale, seed):
    torch.manual_seed(seed)
    plain, scaled = (GridAttention(3, 4, 2, alignment, s).double() for s in (1.0, scale))
    scaled.load_state_dict(plain.state_dict())
    l, g = torch.randn(2, 3, 4, 4).double(), torch.randn(2, 4, 2, 2).double()
    expected = attend(scale * plain.scores(l, g), l, alignment)
    torch.testing.assert_close(scaled.scores(l, g), scale * plain.scores(l, g))
    torch.testing.assert_close(scaled(l, g), expected)


def test_the_scale_of_the_paper_is_1():
    torch.manual_seed(0)
    default = GridAttention(3, 4, 2)
    torch.manual_seed(0)
    assert torch.equal(default.score.weight, GridAttention(3, 4, 2, scale=7.0).score.weight)
    assert default.scale == 1


@pytest.mark.usefixtures("unchecked")
def test_error_of_an_unknown_alignment_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"'hard': .* softmax, sigmoid, sparsemax, entmax"):
        GridAttention(2, 2, 2, "hard")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["sofmax", "hard", "", None])
def test_attend_refuses_unknown_alignments(name):
    with pytest.raises(ValueError, match=f"{name!r}: .* softmax, sigmoid, sparsemax, entmax"):
        attend(torch.zeros(1, 1, 2, 2), torch.zeros(1, 3, 2, 2), name)
