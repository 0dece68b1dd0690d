import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from course_utils.explain.metrics import (
    area_share,
    best_iou,
    bootstrap,
    centre_prior,
    covered,
    edge_map,
    effective_share,
    energy_by_position,
    energy_inside,
    entropy,
    fit_to,
    grid_ceiling,
    iou,
    pointing_game,
    sharpened,
)


def region(size=4, x0=0, y0=0, x1=2, y1=2):
    r = torch.zeros(1, 1, size, size, dtype=torch.bool)
    r[..., y0:y1, x0:x1] = True
    return r


def test_by_hand():
    maps = torch.tensor([[[[4.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]]]])
    assert pointing_game(maps, region()).item() == 1
    assert energy_inside(maps, region()).item() == 0.5
    assert area_share(region()).item() == 0.25
    assert pointing_game(maps, region(x0=2, y0=2, x1=4, y1=4)).item() == 0


@given(st.integers(1, 4), st.integers(1, 4), st.floats(1e-3, 10))
def test_a_uniform_map_scores_chance(width, height, value):
    r = region(4, 0, 0, width, height)
    maps = torch.full((1, 1, 2, 2), value)
    assert pointing_game(maps, r).item() == pytest.approx(area_share(r).item())
    assert energy_inside(maps, r).item() == pytest.approx(area_share(r).item(), rel=1e-5)


@given(st.integers(1, 4), st.integers(1, 4))
def test_the_region_itself_scores_one(width, height):
    r = region(4, 0, 0, width, height)
    assert pointing_game(r.float(), r).item() == 1
    assert energy_inside(r.float(), r).item() == 1


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_pointing_ignores_a_monotone_transform_energy_ignores_a_factor(seed):
    maps = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    r = region(8, 2, 1, 6, 5).expand(3, -1, -1, -1)
    assert torch.equal(pointing_game(maps, r), pointing_game(maps.pow(3) + 1, r))
    torch.testing.assert_close(energy_inside(maps, r), energy_inside(7 * maps, r))


@pytest.mark.parametrize("grid", [(4, 4), (2, 4), (1, 8), (8, 8)])
def test_the_energy_of_a_map_is_the_weighted_mean_of_the_energies_of_its_positions(grid):
    regions = torch.cat([region(8, 0, 0, 3, 5), region(8, 4, 1, 8, 2)])
    maps = torch.rand(2, 1, *grid, generator=torch.Generator().manual_seed(0))
    inside = energy_by_position(regions, grid)
    assert inside.shape == (2, grid[0] * grid[1])
    weights = maps.flatten(1) / maps.sum(dim=(1, 2, 3))[:, None]
    torch.testing.assert_close((weights * inside).sum(dim=1), energy_inside(maps, regions))


@pytest.mark.parametrize("grid", [(3, 4), (4, 16), (0, 4)])
def test_a_grid_must_divide_the_regions(grid):
    with pytest.raises(ValueError, match=rf"8 × 8 pixels, got {grid[0]} × {grid[1]}"):
        energy_by_position(region(8), grid)


def test_an_empty_map_scores_no_energy():
    assert energy_inside(torch.zeros(1, 1, 4, 4), region()).item() == 0


def test_maps_are_enlarged_to_the_region():
    maps = torch.zeros(1, 1, 4, 4)
    maps[..., 0, 3] = 1
    assert pointing_game(maps, region(64, 48, 0, 64, 16)).item() == 1


def test_centre_prior_looks_at_the_centre():
    prior = centre_prior(32)
    assert prior.shape == (1, 1, 32, 32)
    torch.testing.assert_close(prior, prior.flip(2, 3))
    assert pointing_game(prior, region(32, 12, 12, 20, 20)).item() == 1


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (torch.rand(2, 1, 4, 4), r"got \(2, 1, 4, 4\) and \(1, 1, 4, 4\)"),
        (torch.full((1, 1, 4, 4), float("nan")), "values from nan to nan"),
        (-torch.ones(1, 1, 4, 4), "from -1 to -1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_invalid_maps_are_refused(maps, message):
    with pytest.raises(ValueError, match=message):
        pointing_game(maps, region())


def test_overlaps_by_hand():
    """The map is 4, 3, 2, 1 and the region its first and third pixel; threshold 0.5 marks three."""
    maps = torch.tensor([[[[4.0, 3, 2, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]]])
    r = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    r[..., 0, [0, 2]] = True
    assert iou(maps, r).item() == pytest.approx(2 / 3)
    assert iou(maps, r, 0.6).item() == pytest.approx(1 / 3)
    assert iou(maps, r, 1.0).item() == pytest.approx(1 / 2)
    assert iou(maps, r, 0.0).item() == pytest.approx(2 / 16)
    assert covered(maps, r).item() == 1
    assert covered(maps, r, 0.6).item() == 0.5
    assert best_iou(maps, r).item() == pytest.approx(2 / 3)


def test_spread_by_hand():
    maps = torch.zeros(3, 1, 4, 4)
    maps[0, 0, 1, 1] = 7.0  # one position
    maps[1, 0, 0] = 0.5  # four equal positions
    maps[2] = 3.0  # uniform
    assert entropy(maps).tolist() == pytest.approx([0, math.log(4), math.log(16)], abs=1e-6)
    assert effective_share(maps).tolist() == pytest.approx([1 / 16, 4 / 16, 1])
    assert entropy(torch.zeros(1, 1, 4, 4)).isnan().all()


@given(st.integers(1, 4), st.integers(1, 4), st.floats(1e-3, 10))
def test_a_uniform_map_overlaps_by_chance_and_covers_everything(width, height, value):
    r, maps = region(4, 0, 0, width, height), torch.full((1, 1, 2, 2), value)
    for score in (iou, best_iou):
        assert score(maps, r).item() == pytest.approx(area_share(r).item(), rel=1e-5)
    assert covered(maps, r).item() == 1


@given(st.integers(1, 4), st.integers(1, 4))
def test_the_region_itself_overlaps_fully(width, height):
    r = region(4, 0, 0, width, height)
    for score in (iou, best_iou, covered):
        assert score(r.float(), r).item() == 1
    assert effective_share(r.float()).item() == pytest.approx(area_share(r).item())


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.booleans())
def test_the_best_overlap_is_the_best_of_all_thresholds(seed, ties):
    source = torch.Generator().manual_seed(seed)
    maps = (
        torch.stack([torch.randperm(36, generator=source) for _ in range(2)]).view(2, 1, 6, 6) / 36
    )  # all different
    r = torch.rand(2, 1, 6, 6, generator=source) > 0.7
    maps = (maps * 4).round() if ties else maps
    r[..., 0, 0] = True
    for m, own, found in zip(maps, r, best_iou(maps, r)):
        each = [((m >= t) & own).sum() / ((m >= t) | own).sum() for t in m.unique()]
        assert found.item() == pytest.approx(max(each).item())
    assert (best_iou(maps, r) >= area_share(r) - 1e-6).all()
    if not ties:
        torch.testing.assert_close(best_iou(maps.pow(3) + 1, r), best_iou(maps, r))


def test_a_map_of_zeros_marks_nothing():
    blank, r = torch.zeros(1, 1, 4, 4), region()
    assert iou(blank, r).item() == covered(blank, r).item() == 0


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_the_edge_map_is_scipys_sobel_filter(seed):
    images = torch.rand(2, 1, 9, 7, generator=torch.Generator().manual_seed(seed))
    both = [
        [ndimage.sobel(image, axis, mode="nearest") / 8 for axis in (0, 1)]
        for image in images[:, 0].numpy()
    ]
    np.testing.assert_allclose(
        edge_map(images)[:, 0].numpy(), [np.hypot(*pair) for pair in both], atol=1e-6
    )
    torch.testing.assert_close(edge_map(images.expand(-1, 3, -1, -1)), edge_map(images))


def test_the_bootstrap_interval_is_about_the_normal_one():
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    mean, low, high = bootstrap(values)
    assert mean == pytest.approx(values.double().mean().item())
    margin = 1.96 * values.std().item() / 2000**0.5
    assert (mean - low) / margin == pytest.approx(1, abs=0.15)
    assert (high - mean) / margin == pytest.approx(1, abs=0.15)
    assert bootstrap(values) == (mean, low, high)
    _, lower, higher = bootstrap(values, level=0.5)
    assert low < lower < mean < higher < high
    assert bootstrap(torch.ones(5)) == (1, 1, 1)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_thresholds_outside_0_to_1_are_refused(threshold):
    for score in (iou, covered):
        with pytest.raises(ValueError, match=f"from 0 to 1, got {threshold}"):
            score(torch.rand(1, 1, 4, 4), region(), threshold)


def test_too_few_values_or_an_invalid_level_are_refused():
    for values, level in ((torch.rand(1), 0.95), (torch.rand(5), 1.0)):
        with pytest.raises(ValueError, match=f"got {len(values)} values and level {level}"):
            bootstrap(values, level)


@pytest.mark.parametrize("defined", [0, 1])
def test_too_few_defined_values_are_refused(defined):
    values = torch.full((4,), torch.nan)
    values[:defined] = 0.5
    with pytest.raises(ValueError, match=f"got 4 values .{4 - defined} of them NaN. and level"):
        bootstrap(values)


def test_the_bootstrap_leaves_undefined_scores_out():
    maps = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    maps[3] = maps[11] = 0
    for score in (entropy, effective_share):
        values = score(maps)
        assert values.isnan().nonzero().flatten().tolist() == [3, 11]
        assert bootstrap(values) == bootstrap(values[~values.isnan()])
        assert bootstrap(values)[0] == pytest.approx(values.double().nanmean().item())


def test_scores_of_an_empty_region_by_definition():
    maps, nothing = torch.rand(1, 1, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    for score in (pointing_game, energy_inside, iou, best_iou):
        assert score(maps, nothing).item() == 0
    assert area_share(nothing).item() == 0
    assert covered(maps, nothing).isnan().all()  # no pixel could be covered
    assert iou(torch.zeros(1, 1, 4, 4), nothing).isnan().all()  # nothing marked, nothing to find


def test_scores_of_a_map_of_zeros_by_definition():
    blank, r = torch.zeros(1, 1, 2, 2), region()
    assert pointing_game(blank, r).item() == best_iou(blank, r).item() == area_share(r).item()
    assert energy_inside(blank, r).item() == iou(blank, r).item() == covered(blank, r).item() == 0


SCORES = [pointing_game, energy_inside, iou, covered, best_iou]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float16])
def test_regions_of_0_and_1_score_like_booleans(dtype):
    maps = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    r = maps.roll(1, dims=0) > 0.6
    for score in SCORES:
        assert torch.equal(score(maps, r.to(dtype)), score(maps, r))
    assert torch.equal(area_share(r.to(dtype)), area_share(r))
    assert torch.equal(energy_by_position(r.to(dtype), (2, 2)), energy_by_position(r, (2, 2)))
    assert torch.equal(fit_to(maps, r.to(dtype)), fit_to(maps, r))


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (region().to(torch.uint8) * 255, "uint8 values from 0 to 255; .*masks > 127"),
        (region() * 3, "int64 values from 0 to 3; .*masks > 1"),
        (region() * 0.9, "float32 values from 0 to 0.9; .*masks > 0.5"),
    ],
)
def test_regions_with_other_values_are_refused(regions, message):
    maps = torch.rand(1, 1, 4, 4)
    calls = [lambda r, score=score: score(maps, r) for score in [*SCORES, fit_to]]
    for call in [*calls, area_share, lambda r: energy_by_position(r, (2, 2))]:
        with pytest.raises(ValueError, match=message):
            call(regions)


def test_the_ceiling_of_a_grid_is_the_best_of_its_positions_one_by_one():
    generator = torch.Generator().manual_seed(0)
    regions = torch.zeros(6, 1, 24, 24, dtype=torch.bool)
    for r in regions:
        x, y = torch.randint(16, (2,), generator=generator).tolist()
        r[:, y : y + 7, x : x + 5] = True
    pointing, energy = grid_ceiling(regions, (4, 6))
    best_pointing, best_energy = torch.zeros(6), torch.zeros(6)
    for row in range(4):
        for column in range(6):
            maps = torch.zeros(6, 1, 4, 6)
            maps[:, :, row, column] = 1
            best_pointing = best_pointing.maximum(pointing_game(maps, regions))
            best_energy = best_energy.maximum(energy_inside(maps, regions))
    torch.testing.assert_close(pointing, best_pointing)
    torch.testing.assert_close(energy, best_energy)
    assert 0 < energy.min() < energy.max() < 1


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([(2, 2), (4, 4), (8, 8), (4, 8)]))
def test_no_map_has_more_energy_inside_than_the_ceiling_of_its_grid(seed, grid):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(3, 1, *grid, generator=generator) ** 8  # some of them nearly one position
    regions = torch.rand(3, 1, 16, 16, generator=generator) > 0.7
    _, ceiling = grid_ceiling(regions, grid)
    assert (energy_inside(maps, regions) <= ceiling + 1e-5).all()
    assert (energy_by_position(regions, grid).amax(dim=1) - ceiling).abs().max() < 1e-5


def test_a_grid_as_fine_as_the_region_has_no_ceiling_below_one():
    pointing, energy = grid_ceiling(region(), (4, 4))
    assert (pointing.item(), energy.item()) == (1, 1)
    with pytest.raises(ValueError, match="got 0 × 4"):
        grid_ceiling(region(), (0, 4))


@settings(deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0.1, 0.9))
def test_sharpened_maps_have_the_share_and_keep_their_order(seed, share):
    torch.manual_seed(seed)
    maps = 7 * torch.rand(3, 1, 6, 6)
    sharp, power = sharpened(maps, share)
    assert effective_share(sharp).mean().item() == pytest.approx(share, abs=2e-3)
    torch.testing.assert_close(sharp, (maps / maps.amax(dim=(2, 3), keepdim=True)) ** power)
    in_order = sharp.flatten(1).gather(1, maps.flatten(1).argsort(dim=1))
    assert (in_order.diff(dim=1) >= 0).all()


@given(seed=st.integers(0, 100), power=st.floats(0.3, 4))
def test_a_power_changes_the_energy_but_neither_pointing_nor_the_best_overlap(seed, power):
    torch.manual_seed(seed)
    maps, target = torch.rand(1, 1, 8, 8) + 0.1, region(size=8)
    for score in (pointing_game, best_iou):
        assert score(maps**power, target).item() == pytest.approx(score(maps, target).item())
    tight = torch.full((1, 1, 8, 8), 0.5)
    tight[..., :2, :2] = 1.0
    assert energy_inside(tight**4, target).item() > energy_inside(tight, target).item() + 0.1


def test_a_share_out_of_reach_ends_at_the_last_power():
    maps = torch.zeros(1, 1, 4, 4)
    maps[..., :2, :] = 1  # half of the positions, whatever the power
    assert sharpened(maps, 0.9)[1] == pytest.approx(0.01)
    assert sharpened(maps, 0.1)[1] == pytest.approx(100)
    assert torch.equal(sharpened(maps, 0.1)[0], maps)


@pytest.mark.parametrize("share", [0.0, 1.5, -0.5, math.nan])
def test_shares_that_no_map_has_are_refused(share):
    with pytest.raises(ValueError, match=f"got {share}"):
        sharpened(torch.rand(1, 1, 4, 4), share)


def test_blank_maps_cannot_be_sharpened():
    with pytest.raises(ValueError, match="zeros only"):
        sharpened(torch.zeros(2, 1, 4, 4), 0.5)
    one_blank = torch.stack([torch.zeros(1, 4, 4), torch.rand(1, 4, 4)])
    sharp, _ = sharpened(one_blank, 0.5)
    assert sharp[0].sum() == 0
    assert effective_share(sharp[1:]).item() == pytest.approx(0.5, abs=2e-3)
