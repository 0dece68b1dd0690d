import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.metrics import area_share, centre_prior, energy_inside, pointing_game


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
        (torch.full((1, 1, 4, 4), float("nan")), "finite, non-negative"),
        (-torch.ones(1, 1, 4, 4), "got values from -1 to -1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_scored_is_said(maps, message):
    with pytest.raises(ValueError, match=message):
        pointing_game(maps, region())
