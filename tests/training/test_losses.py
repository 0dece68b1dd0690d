import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from course_utils.models import Output
from course_utils.training.losses import dice_loss, heads_loss, maps_loss


def test_heads_loss_by_hand():
    heads = torch.tensor([[[2.0, 0.0], [0.0, 0.0]]])
    expected = (torch.log1p(torch.exp(torch.tensor(-2.0))) + torch.log(torch.tensor(2.0))) / 2
    torch.testing.assert_close(
        heads_loss(Output(heads[:, 0], (), heads), torch.tensor([0])), expected
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_loss_by_hand(gamma):
    torch.manual_seed(0)
    heads, labels = 3 * torch.randn(4, 2, 5).double(), torch.tensor([0, 3, 4, 1])
    p = torch.stack(
        [heads[i, :, label].exp() / heads[i].exp().sum(dim=-1) for i, label in enumerate(labels)]
    )
    expected = (-((1 - p) ** gamma) * p.log()).mean()
    torch.testing.assert_close(heads_loss(Output(heads[:, 0], (), heads), labels, gamma), expected)


def test_focal_loss_equals_torchvisions_for_two_classes():
    logits, labels = torch.randn(50).double(), torch.randint(2, (50,))
    heads = torch.stack([torch.zeros_like(logits), logits], dim=-1)[:, None]
    theirs = sigmoid_focal_loss(logits, labels.double(), alpha=-1, gamma=2.0, reduction="mean")
    torch.testing.assert_close(heads_loss(Output(heads[:, 0], (), heads), labels, 2.0), theirs)


def test_a_probability_of_1_leaves_the_gradient_finite():
    heads = torch.tensor([[[200.0, 0.0]]], requires_grad=True)
    heads_loss(Output(heads[:, 0], (), heads), torch.tensor([0]), 0.5).backward()
    assert heads.grad.isfinite().all()


def test_gradients_of_focal_loss_are_exact():
    heads = torch.randn(3, 2, 4).double().requires_grad_()
    labels = torch.tensor([0, 3, 1])
    assert torch.autograd.gradcheck(
        lambda h: heads_loss(Output(h[:, 0], (), h), labels, 2.0), heads
    )


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_binary_cross_entropy_averages_over_classes(gamma):
    heads, labels = 2 * torch.randn(6, 3, 4).double(), torch.tensor([0, 3, 1, 2, 2, 0])
    yes = F.one_hot(labels, 4).double()[:, None].expand(-1, 3, -1)
    expected = sigmoid_focal_loss(heads, yes, alpha=-1, gamma=gamma, reduction="mean")
    got = heads_loss(Output(heads[:, 0], (), heads), labels, gamma, loss="binary_cross_entropy")
    torch.testing.assert_close(got, expected)


def head(labels, gamma=0.0, **options):
    heads = torch.randn(len(labels), 2, 3, generator=torch.Generator().manual_seed(0))
    return heads_loss(Output(heads[:, 0], (), heads), torch.tensor(labels), gamma, **options)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("loss", ["bce", "BCE", "binary_crossentropy", "", None])
def test_unknown_losses_are_refused(loss):
    with pytest.raises(ValueError, match=f"{loss!r}: .* cross_entropy, binary_cross_entropy"):
        head([0, 1], loss=loss)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("gamma", [-1.0, -0.1, float("nan"), float("inf")])
def test_gammas_out_of_range_are_refused(gamma, loss):
    with pytest.raises(ValueError, match=f"at least 0, got {gamma}"):
        head([0, 1], gamma, loss=loss)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("wrong", [-100, -1, 3, 255])
def test_labels_that_are_no_class_are_refused(wrong, loss):
    low, high = min(0, wrong), max(1, wrong)
    with pytest.raises(ValueError, match=f"from 0 to 2, got labels from {low} to {high}"):
        head([0, 1, wrong], 2.0, loss=loss)


def masks_and_maps(seed=0):
    """Three regions of 8 × 8 pixels and maps on two grids, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    regions = torch.rand(3, 1, 8, 8, generator=generator) > 0.6
    maps = [torch.rand(3, 1, side, side, generator=generator).double() for side in (4, 2)]
    return regions, maps


def dice_by_loops(maps, regions):
    """The Dice loss over a whole batch, position by position."""
    cell = regions.shape[-1] // maps.shape[-1]  # pixels
    both, total = 0.0, 0.0
    for a, region in zip(maps[:, 0], regions[:, 0]):
        for y in range(a.shape[0]):
            for x in range(a.shape[1]):
                pixels = [
                    region[cell * y + dy, cell * x + dx].item()
                    for dy in range(cell)
                    for dx in range(cell)
                ]
                m = sum(pixels) / len(pixels)
                both += a[y, x].item() * m
                total += a[y, x].item() + m
    return 1 - 2 * both / total


def test_the_loss_of_maps_is_the_weighted_sum_of_dice_losses_by_loops():
    regions, maps = masks_and_maps()
    expected = 0.5 * dice_by_loops(maps[0], regions) + 2 * dice_by_loops(maps[1], regions)
    assert maps_loss(maps, regions, (0.5, 2.0)).item() == pytest.approx(expected)


def test_dice_by_hand():
    maps = torch.tensor([[[[1.0, 0.5]]], [[[0.0, 0.0]]]])
    masks = torch.tensor([[[[1.0, 0.0]]], [[[1.0, 0.0]]]])
    assert dice_loss(maps, masks).item() == pytest.approx(1 - 2 * 1 / (1.5 + 2))
    assert dice_loss(masks, masks).item() == 0
    assert dice_loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)).item() == 1


def test_an_image_without_a_region_is_left_out():
    regions, maps = masks_and_maps()
    regions[1] = False
    maps = [m.requires_grad_() for m in maps]
    loss = maps_loss(maps, regions, (1.0, 1.0))
    some = torch.tensor([0, 2])
    torch.testing.assert_close(loss, maps_loss([m[some] for m in maps], regions[some], (1.0, 1.0)))
    loss.backward()
    assert all(m.grad[1].abs().max() == 0 < m.grad[some].abs().min() for m in maps)


def test_without_any_region_the_loss_of_maps_is_zero_and_so_is_its_gradient():
    _, maps = masks_and_maps()
    maps = [m.requires_grad_() for m in maps]
    loss = maps_loss(maps, torch.zeros(3, 1, 8, 8, dtype=torch.bool), (1.0, 1.0))
    loss.backward()
    assert loss.item() == 0
    assert all((m.grad == 0).all() for m in maps)


def test_every_map_needs_a_weight():
    regions, maps = masks_and_maps()
    with pytest.raises(ValueError, match="got 1 for 2 maps"):
        maps_loss(maps, regions, (1.0,))
