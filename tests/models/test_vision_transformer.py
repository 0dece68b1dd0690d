import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from torchvision.models import VisionTransformer as TorchvisionTransformer
from torchvision.models import vit_b_16

from course_utils.core.profiling import parameters as count
from course_utils.explain import gradcam, tokens
from course_utils.models import VisionTransformer
from course_utils.models.vision_transformer import TransformerBlock

SMALL = {"image_size": 32, "patch": 8, "depth": 2, "heads": 4, "width": 1 / 32}  # 24 per token


def small(**options):
    torch.manual_seed(0)
    return VisionTransformer(3, **SMALL | options).double().eval()


def copied(ours):
    """torchvision's network with our weights."""
    size = ours.class_token.numel()
    theirs = TorchvisionTransformer(
        image_size=32,
        patch_size=8,
        num_layers=len(ours.blocks),
        num_heads=SMALL["heads"],
        hidden_dim=size,
        mlp_dim=4 * size,
        num_classes=3,
    ).double()
    theirs.conv_proj.load_state_dict(ours.embed.state_dict())
    theirs.class_token.data.copy_(ours.class_token)
    theirs.encoder.pos_embedding.data.copy_(ours.positions)
    for block, their in zip(ours.blocks, theirs.encoder.layers, strict=True):
        their.ln_1.load_state_dict(block.norm_before_attention.state_dict())
        their.ln_2.load_state_dict(block.norm_before_mlp.state_dict())
        attention = block.attention
        projections = attention.project_query, attention.project_key, attention.project_value
        their.self_attention.in_proj_weight.data = torch.cat([p.weight for p in projections])
        their.self_attention.in_proj_bias.data = torch.cat([p.bias for p in projections])
        their.self_attention.out_proj.load_state_dict(attention.combine.state_dict())
        for i, j in ((0, 0), (2, 3)):
            their.mlp[j].load_state_dict(block.mlp[i].state_dict())
    theirs.encoder.ln.load_state_dict(ours.norm.state_dict())
    theirs.heads.head.load_state_dict(ours.classifiers[0].state_dict())
    return theirs.eval()


def shaken(model):
    """All parameters differ from their initial values, some of which are 0 or 1."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def test_it_is_torchvisions_network():
    model, x = shaken(small()), torch.rand(2, 3, 32, 32).double()
    assert_close(model(x).logits, copied(model)(x), rtol=0, atol=1e-12)


def test_the_sizes_of_the_paper_are_those_of_torchvision():
    with torch.device("meta"):
        ours = VisionTransformer(1000, image_size=224, patch=16)
        assert count(ours) == count(vit_b_16()) == 86_567_656
    assert ours.grid == (14, 14)


def test_the_attention_of_a_block_is_pytorchs():
    torch.manual_seed(0)
    block, x = shaken(TransformerBlock(24, 4).double()), torch.randn(2, 7, 24).double()
    normed, attention = block.norm_before_attention(x), block.attention
    q, k, v = (
        project(normed).unflatten(2, (4, 6)).transpose(1, 2)  # (B, 4, N, 6)
        for project in (attention.project_query, attention.project_key, attention.project_value)
    )
    after, weights = block(x)
    assert_close(weights @ v, F.scaled_dot_product_attention(q, k, v))
    context = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    between = x + attention.combine(context)
    assert_close(after, between + block.mlp(block.norm_before_mlp(between)))


def test_maps_are_the_class_tokens_attention_to_the_patches():
    model, x = shaken(small(depth=3)), torch.rand(2, 1, 32, 48).double()
    output, encoded = model(x), model.encode(x)
    assert len(output.maps) == len(encoded.weights) == 3
    for m, weights in zip(output.maps, encoded.weights):
        assert weights.shape == (2, 4, 25, 25)
        assert_close(weights.sum(dim=-1), torch.ones(2, 4, 25).double())
        for row in range(4):
            for column in range(6):
                patch = 1 + row * 6 + column
                mean = sum(weights[:, head, 0, patch] for head in range(4)) / 4
                assert_close(m[:, 0, row, column], mean)
        assert_close(m.sum(dim=(1, 2, 3)), 1 - weights[:, :, 0, 0].mean(dim=1))


def test_a_token_is_one_patch_and_the_class_token_is_first():
    model, x = small(), torch.zeros(1, 3, 32, 32).double()
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(x)
    x[:, :, 8:16, 24:32] = 1
    model(x)
    differs = (seen[0] != seen[1]).any(dim=2)[0]
    assert differs.nonzero().flatten().tolist() == [1 + 1 * 4 + 3]


def test_without_positions_the_arrangement_of_the_patches_does_not_matter():
    model, x = shaken(small()), torch.rand(1, 3, 32, 32).double()
    swapped = x.clone()
    swapped[..., :8, :8], swapped[..., 24:, 16:24] = x[..., 24:, 16:24], x[..., :8, :8]
    assert not torch.allclose(model(x).logits, model(swapped).logits)
    torch.nn.init.zeros_(model.positions)
    assert_close(model(x).logits, model(swapped).logits)


def test_positions_are_interpolated_for_another_grid():
    model = shaken(small())
    assert model._positions((4, 4)) is model.positions
    finer = model._positions((8, 8))
    assert finer.shape == (65, 24)
    assert torch.equal(finer[0], model.positions[0])
    learned = model.positions[1:].view(4, 4, 24)
    assert_close(finer[1], learned[0, 0])  # a corner
    # Row 3 of 8 lies at (3 + 1/2) / 2 − 1/2 = 1.25 of 4.
    between = 0.75 * learned[1, 1] + 0.25 * learned[2, 1]
    column = 0.75 * learned[1, 2] + 0.25 * learned[2, 2]
    assert_close(finer[1:].view(8, 8, 24)[3, 3], 0.75 * between + 0.25 * column)


def test_grad_cam_reads_the_tokens_of_a_block():
    model, x = shaken(small(depth=3)), torch.rand(2, 3, 32, 32).double()
    maps = gradcam(model, x, "blocks.1", reshape=tokens)
    assert maps.shape == (2, 1, 4, 4)


def test_initialisation():
    torch.manual_seed(0)
    model = VisionTransformer(3, depth=1)
    assert model.positions.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.class_token.abs().max() == 0
    assert model.embed.weight.std().item() == pytest.approx((1 / 192) ** 0.5, rel=0.05)
    weight = model.blocks[0].mlp[0].weight
    assert weight.abs().max().item() == pytest.approx((6 / (5 * 768)) ** 0.5, rel=0.01)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "got depth=0"),
        ({"patch": 0}, "patch=0"),
        ({"patch": 40}, "patch=40 and image_size=32"),
        ({"heads": 5}, "divides the size 24, got 5"),
        ({"width": 0}, "got 0"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
