import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from torch import nn

from course_utils.explain.faithfulness import area, deletion, drop_and_increase, insertion
from course_utils.models import VGG


class Brightness(nn.Module):
    """Logit 1 is twice the sum of the top left pixels (2 × 2 of 4 × 4); logit 0 is 0."""

    def forward(self, images):
        score = 2 * images[:, 0, :2, :2].sum(dim=(1, 2))
        return torch.stack([torch.zeros_like(score), score], dim=1)


WHITE = torch.ones(1, 1, 4, 4)
RIGHT = torch.zeros(1, 1, 4, 4)
RIGHT[..., :2, :2] = 1
WRONG = 1 - RIGHT


def p(pixels):
    return torch.sigmoid(torch.tensor(2.0 * pixels)).item()


def test_by_hand():
    """Four steps of four pixels: the right map removes the decisive pixels first."""
    assert deletion(Brightness(), WHITE, RIGHT, 1, steps=4)[0].tolist() == pytest.approx(
        [p(4), p(0), p(0), p(0), p(0)]
    )
    assert deletion(Brightness(), WHITE, WRONG, 1, steps=4)[0].tolist() == pytest.approx(
        [p(4), p(4), p(4), p(4), p(0)]
    )
    assert insertion(Brightness(), WHITE, RIGHT, 1, steps=4)[0].tolist() == pytest.approx(
        [p(0), p(4), p(4), p(4), p(4)]
    )
    assert insertion(Brightness(), WHITE, WRONG, 1, steps=4)[0].tolist() == pytest.approx(
        [p(0), p(0), p(0), p(0), p(4)]
    )
    drop, increase = drop_and_increase(Brightness(), WHITE, 5 * RIGHT, 1)
    assert (drop.item(), increase.item()) == (0, 0)
    drop, increase = drop_and_increase(Brightness(), WHITE, WRONG, 1)
    assert drop.item() == pytest.approx(1 - p(0) / p(4))
    drop, increase = drop_and_increase(
        Brightness(), WHITE, WRONG, 0
    )  # the evidence against class 0 is gone
    assert (drop.item(), increase.item()) == (0, 1)
    drop, _ = drop_and_increase(
        Brightness(), WHITE, torch.zeros_like(WHITE), 1
    )  # a blank map shows nothing
    assert drop.item() == pytest.approx(1 - p(0) / p(4))


@pytest.mark.parametrize("way", [deletion, insertion])
def test_shares_choose_points_of_the_curve(way):
    torch.manual_seed(0)
    model, images, maps = VGG(4, width=0.0625), torch.rand(3, 1, 32, 32), torch.rand(3, 1, 8, 8)
    every = way(model, images, maps, 2, steps=16)
    some = way(model, images, maps, 2, steps=(0.0, 1 / 16, 0.5, 1.0))
    torch.testing.assert_close(some, every[:, [0, 1, 8, 16]])


@pytest.mark.parametrize(
    "shares", [(), (0.5,), (0.0, 0.0, 1.0), (0.0, 1.0, 0.5), (-0.1, 1.0), (0.0, 1.5)]
)
def test_shares_that_do_not_increase_from_0_to_1_are_refused(shares):
    with pytest.raises(ValueError, match=re.escape(f"got {shares}")):
        deletion(Brightness(), WHITE, RIGHT, steps=shares)


def test_the_area_by_hand():
    curves = torch.tensor([[1.0, 0.5, 0.1], [0.6, 0.6, 0.6]])
    assert area(curves).tolist() == pytest.approx([0.525, 0.6])
    assert area(curves, (0.0, 0.1, 1.0)).tolist() == pytest.approx([0.075 + 0.27, 0.6])
    above = area(curves, floor=curves[:, -1])
    assert above.tolist() == pytest.approx([0.425, 0])
    assert area(curves[0]).shape == ()
    with pytest.raises(ValueError, match="got 2 and 3 points"):
        area(curves, (0.0, 1.0))


@given(seed=st.integers(0, 1000), points=st.integers(2, 30))
def test_the_area_is_scipys_trapezoid(seed, points):
    torch.manual_seed(seed)
    curves, shares = torch.rand(2, points).double(), torch.rand(points).double().sort().values
    expected = integrate.trapezoid(curves - 0.25, shares, axis=1)
    torch.testing.assert_close(area(curves, shares.tolist(), floor=0.25), torch.tensor(expected))


def test_a_coarse_step_makes_good_and_better_maps_alike():
    """The right map and one that also highlights as much again differ in fine steps only."""
    wide = RIGHT.clone()
    wide[..., :2, 2:] = 2  # removed first
    torch.manual_seed(0)
    coarse = [deletion(Brightness(), WHITE, m, 1, steps=2) for m in (RIGHT, wide)]
    fine = [deletion(Brightness(), WHITE, m, 1, steps=16) for m in (RIGHT, wide)]
    torch.testing.assert_close(*(area(curve) for curve in coarse))
    assert area(fine[0]).item() < area(fine[1]).item() - 0.1


def test_removed_pixels_get_the_fill():
    grey = torch.full_like(WHITE, 0.5)
    assert deletion(Brightness(), WHITE, RIGHT, 1, steps=1, fill=grey)[0].tolist() == pytest.approx(
        [p(4), p(2)]
    )
    assert insertion(Brightness(), WHITE, RIGHT, 1, steps=1, fill=grey)[
        0
    ].tolist() == pytest.approx([p(2), p(4)])


def test_one_fill_serves_all_images_and_another_size_is_refused():
    torch.manual_seed(0)
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(48, 4)), torch.rand(3, 3, 4, 4)
    maps, one = torch.rand(3, 1, 4, 4), torch.rand(1, 3, 4, 4)
    for way in (deletion, insertion):
        expected = way(model, images, maps, 2, fill=one.expand(3, 3, 4, 4))
        assert torch.equal(way(model, images, maps, 2, fill=one), expected)
        colour = way(model, images, maps, 2, fill=0.5)
        assert torch.equal(colour, way(model, images, maps, 2, fill=torch.full_like(images, 0.5)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (torch.rand(2, 3, 4, 4), r"broadcast to images \(3, 3, 4, 4\), got \(2, 3, 4, 4\)"),
        (torch.rand(3, 3, 8, 8), r"got \(3, 3, 8, 8\)"),
        ("black", "got 'black'"),
        (torch.full((1, 3, 4, 4), torch.nan), "finite fill"),
    ],
)
def test_other_fills_are_refused(fill, message):
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    for way in (deletion, insertion):
        with pytest.raises(ValueError, match=message):
            way(model, torch.rand(3, 3, 4, 4), torch.rand(3, 1, 4, 4), fill=fill)


@pytest.mark.usefixtures("unchecked")
def test_arrays_and_parts_of_steps_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="got ndarray"):
        deletion(Brightness(), WHITE, RIGHT.numpy())
    with pytest.raises(ValueError, match=r"whole number of steps.*got 4\.0"):
        deletion(Brightness(), WHITE, RIGHT, steps=4.0)


def test_what_was_not_above_0_has_no_share_that_could_be_lost():
    drop, rise = drop_and_increase(
        Brightness(), WHITE, WRONG, lambda logits: logits[:, 0] - logits[:, 1]
    )
    assert drop.isnan().all()
    assert rise.item() == 1  # from −8 to 0


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 5, 16]))
def test_each_way_ends_where_the_other_starts(seed, steps):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    images, maps = torch.rand(3, 3, 4, 4), torch.rand(3, 1, 4, 4)
    out, into = (
        deletion(model, images, maps, 2, steps=steps),
        insertion(model, images, maps, 2, steps=steps),
    )
    assert out.shape == into.shape == (3, steps + 1)
    torch.testing.assert_close(out[:, 0], into[:, -1])
    torch.testing.assert_close(out[:, -1], into[:, 0])
    whole = model(images).softmax(dim=1)[:, 2]
    torch.testing.assert_close(out[:, 0], whole)
    # the opposite order removes what this order leaves
    torch.testing.assert_close(deletion(model, images, 1 - maps, 2, steps=1), out[:, [0, -1]])
    assert torch.equal(
        deletion(model, images, maps**3, 2, steps=steps), out
    )  # only the order counts


def test_the_default_class_is_predicted_from_the_whole_image():
    torch.manual_seed(0)
    model, images, maps = (
        nn.Sequential(nn.Flatten(), nn.Linear(48, 4)),
        torch.rand(5, 3, 4, 4),
        torch.rand(5, 1, 4, 4),
    )
    predicted = model(images).argmax(dim=1)
    for way in (deletion, insertion):
        assert torch.equal(way(model, images, maps), way(model, images, maps, predicted))
    for a, b in zip(
        drop_and_increase(model, images, maps), drop_and_increase(model, images, maps, predicted)
    ):
        assert torch.equal(a, b)


def test_pixels_with_equal_values_are_removed_in_random_order():
    """In reading order, a uniform map would remove the upper half first and seem informed."""
    taken = deletion(Brightness(), torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4), 1, steps=2)[
        0, 1
    ].item()
    assert p(0) < taken < p(4)


def test_the_network_stays_as_it_was():
    model = VGG(3, width=0.125).train()
    for method in (deletion, insertion, drop_and_increase):
        method(model, torch.rand(2, 3, 32, 32), torch.rand(2, 1, 4, 4))
        assert model.training
        assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("maps", "options", "message"),
    [
        (
            torch.rand(3, 1, 4, 4),
            {},
            r"2 images, got \(3, 1, 4, 4\)",
        ),
        (torch.rand(2, 3, 4, 4), {}, r"got \(2, 3, 4, 4\)"),
        (-torch.rand(2, 1, 4, 4), {}, "values from -"),
        (torch.rand(2, 1, 4, 4), {"steps": 0}, "got 0"),
        (torch.rand(2, 1, 4, 4), {"target": 7}, "from 0 to 1 .* 2 images, got 7"),
    ],
)
def test_invalid_maps_steps_and_classes_are_refused(maps, options, message):
    for way in (deletion, insertion):
        with pytest.raises(ValueError, match=message):
            way(Brightness(), torch.rand(2, 1, 4, 4), maps, **options)
