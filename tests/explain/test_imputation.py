"""Remove and debias: against a dense solution, the grad-cam package and cases worked by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from course_utils.explain.imputation import noisy_linear_imputation, road
from course_utils.models import VGG

WEIGHTS = {0: 1 / 6, 1: 1 / 12}  # of a neighbour, by the number of its diagonal steps


def cases(seed, height=6, width=7, images=2):
    """Random images, and masks that remove a random share but leave a pixel."""
    torch.manual_seed(seed)
    removed = torch.rand(images, 1, height, width) < torch.rand(images, 1, 1, 1)
    corner = torch.randint(height, ()), torch.randint(width, ())
    removed[..., corner[0], corner[1]] = False
    return torch.rand(images, 3, height, width), removed


def dense(image, removed):
    """The same system, one equation after the other, and solved by NumPy."""
    height, width = removed.shape
    unknown = {tuple(at): i for i, at in enumerate(np.argwhere(removed))}
    matrix, right = np.zeros((len(unknown), len(unknown))), np.zeros((len(unknown), len(image)))
    for (y, x), i in unknown.items():
        for v in range(max(y - 1, 0), min(y + 2, height)):
            for u in range(max(x - 1, 0), min(x + 2, width)):
                if (v, u) == (y, x):
                    continue
                weight = WEIGHTS[int(v != y and u != x)]
                matrix[i, i] += weight
                if removed[v, u]:
                    matrix[i, unknown[v, u]] -= weight
                else:
                    right[i] += weight * image[:, v, u]
    filled = image.copy()
    filled[:, removed] = np.linalg.solve(matrix, right).T
    return filled


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 6))
def test_it_is_the_solution_of_the_dense_system(seed, height, width):
    images, removed = cases(seed, height, width)
    found = noisy_linear_imputation(images, removed, noise=0.0)
    for one, image, mask in zip(found, images.double(), removed):
        expected = dense(image.numpy(), mask[0].numpy())
        np.testing.assert_allclose(one.numpy(), expected, atol=1e-5)


@given(st.integers(0, 10_000))
def test_the_grad_cam_package_agrees(seed):
    """It also lets the neighbours outside an image not count; its masks are 1 where pixels stay."""
    imputation = pytest.importorskip("pytorch_grad_cam.metrics.road")
    images, removed = cases(seed)
    found = noisy_linear_imputation(images, removed, noise=0.0)
    imputer = imputation.NoisyLinearImputer(noise=0)
    for one, image, mask in zip(found, images, removed):
        if mask.any():  # it can't solve an empty system
            torch.testing.assert_close(one, imputer(image, (~mask[0]).float()))


def test_one_pixel_by_hand():
    """Direct neighbours count twice: (2 · (2 + 4 + 6 + 8) + 1 + 3 + 7 + 9) / 12 = 5; the corner
    has two direct neighbours and a diagonal one: (2 · (2 + 4) + 50) / 5 = 12.4."""
    image = torch.tensor([[[[1.0, 2, 3], [4, 50, 6], [7, 8, 9]]]])
    for (y, x), expected in (((1, 1), 5), ((0, 0), 12.4)):
        removed = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
        removed[..., y, x] = True
        found = noisy_linear_imputation(image, removed, noise=0.0)
        assert found[0, 0, y, x].item() == pytest.approx(expected)
        assert torch.equal(found[~removed], image[~removed])


def test_an_image_that_rises_evenly_is_restored():
    """The weights are symmetric, so a pixel is the mean of its neighbours: at the upper and lower
    border too, but not at the left and right, where the rise is missing on one side."""
    image = torch.linspace(0, 1, 9).expand(1, 3, 8, 9)
    removed = torch.zeros(1, 1, 8, 9, dtype=torch.int64)
    removed[..., 1:-1] = 1
    found = noisy_linear_imputation(image, removed, noise=0.0)
    torch.testing.assert_close(found, image.contiguous())
    removed[..., 0] = 1
    assert not torch.allclose(noisy_linear_imputation(image, removed, noise=0.0), image)


@given(st.integers(0, 10_000))
def test_known_pixels_stay_and_the_others_lie_between_them(seed):
    images, removed = cases(seed)
    noisy = noisy_linear_imputation(images, removed)
    smooth = noisy_linear_imputation(images, removed, noise=0.0)
    for filled in (noisy, smooth):
        stays = ~removed.expand_as(images)
        assert torch.equal(filled[stays], images[stays])
    for one, image, mask in zip(smooth, images, removed):
        kept = image[:, ~mask[0]]  # (C, kept)
        low, high = kept.amin(dim=1)[:, None, None], kept.amax(dim=1)[:, None, None]
        assert ((one >= low - 1e-6) & (one <= high + 1e-6)).all()


def test_the_noise_has_its_standard_deviation_and_its_seed():
    images, removed = torch.full((2, 3, 40, 40), 0.5), torch.rand(2, 1, 40, 40) < 0.5
    removed[..., 0, 0] = False
    found = [noisy_linear_imputation(images, removed, noise=0.1, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    added = (found[0] - images)[removed.expand_as(images)]
    assert added.std().item() == pytest.approx(0.1, rel=0.05)
    assert added.mean().item() == pytest.approx(0, abs=0.01)
    # the noise of an image does not depend on the images that follow it
    assert torch.equal(
        found[0][:1], noisy_linear_imputation(images[:1], removed[:1], noise=0.1, seed=0)
    )


def test_layout_precision_and_images_stay():
    images, removed = cases(3)
    expected = noisy_linear_imputation(images, removed)
    last = images.to(memory_format=torch.channels_last).requires_grad_()
    before = last.detach().clone()
    found = noisy_linear_imputation(last, removed)
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert torch.equal(last, before)
    assert noisy_linear_imputation(images.double(), removed).dtype == torch.float64
    assert noisy_linear_imputation(images[:0], removed[:0]).shape == (0, 3, 6, 7)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (torch.tensor([False, True]).view(2, 1, 1, 1).expand(2, 1, 4, 4), "at least one pixel"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.bool), r"got \(2, 1, 8, 8\)"),
        (torch.full((2, 1, 4, 4), 255), "from 255 to 255"),
    ],
)
def test_other_masks_are_refused(removed, message):
    with pytest.raises(ValueError, match=message):
        noisy_linear_imputation(torch.rand(2, 3, 4, 4), removed)


class Contrast(nn.Module):
    """Logit 1 is how much brighter the left column is than the right one; logit 0 is 0."""

    def forward(self, images):
        difference = images[:, 0, :, 0].mean(dim=1) - images[:, 0, :, -1].mean(dim=1)
        return torch.stack([torch.zeros_like(difference), difference], dim=1)


LEFT = torch.zeros(1, 1, 4, 4)
LEFT[..., 0] = 1
NEXT = torch.zeros(1, 1, 4, 4)
NEXT[..., 1] = 1


def test_by_hand():
    """Removing the bright column makes the image dark; removing the one beside it does nothing."""
    bright, even = torch.sigmoid(torch.tensor(1.0)).item(), 0.5
    for maps, expected in ((LEFT, [bright, even]), (NEXT, [bright, bright])):
        found = road(Contrast(), LEFT, maps, 1, shares=(0.0, 0.25), noise=0.0)
        assert found[0].tolist() == pytest.approx(expected)
    found = road(Contrast(), LEFT, LEFT, 1, shares=(0.75,), most_relevant_first=False, noise=0.0)
    assert found[0].tolist() == pytest.approx([even])  # only the bright column is left
    found = road(Contrast(), LEFT, LEFT, 1, shares=(0.5,), most_relevant_first=False, noise=0.0)
    # 8 of the 12 dark pixels are gone, and the bright column has filled some of them in
    assert even < found.item() <= bright


@given(st.integers(0, 1000), st.booleans())
def test_it_is_the_probability_of_the_imputed_images(seed, first):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    images, maps = torch.rand(3, 3, 4, 4), torch.rand(3, 1, 4, 4)
    predicted = model(images).argmax(dim=1)
    found = road(model, images, maps, shares=(0.25, 0.75), most_relevant_first=first, seed=seed)
    assert found.shape == (3, 2)
    order = maps.flatten(1).argsort(dim=1, descending=first)
    for column, count in enumerate((4, 12)):
        removed = torch.zeros(3, 16, dtype=torch.bool).scatter(1, order[:, :count], True)
        imputed = noisy_linear_imputation(images, removed.view(3, 1, 4, 4), seed=seed)
        expected = model(imputed).softmax(dim=1)[range(3), predicted]
        torch.testing.assert_close(found[:, column], expected)


def test_the_opposite_order_removes_what_this_order_leaves():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    images, maps = torch.rand(3, 3, 4, 4), torch.rand(3, 1, 4, 4)
    upward = road(model, images, maps, 2, most_relevant_first=False)
    torch.testing.assert_close(upward, road(model, images, 1 - maps, 2))


def test_batches_and_the_mode_of_the_network_make_no_difference(monkeypatch):
    torch.manual_seed(0)
    model = VGG(3, width=0.125).train()
    images, maps = torch.rand(5, 3, 32, 32), torch.rand(5, 1, 4, 4)
    whole = road(model, images, maps, shares=(0.3, 0.6))
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    monkeypatch.setattr("course_utils.explain.networks.PIXELS_PER_BATCH", 2 * 32 * 32)
    torch.testing.assert_close(road(model, images, maps, shares=(0.3, 0.6)), whole)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("maps", "options", "message"),
    [
        (torch.rand(3, 1, 4, 4), {}, r"2 images, got \(3, 1, 4, 4\)"),
        (-torch.rand(2, 1, 4, 4), {}, "values from -"),
        (torch.rand(2, 1, 4, 4), {"shares": (0.5, 1)}, r"got \(0\.5, 1\)"),
        (torch.rand(2, 1, 4, 4), {"shares": (-0.5,)}, r"got \(-0\.5,\)"),
        (torch.rand(2, 1, 4, 4), {"shares": ()}, r"got \(\)"),
        (torch.rand(2, 1, 4, 4), {"target": 7}, "from 0 to 1 .* 2 images, got 7"),
    ],
)
def test_invalid_maps_shares_and_classes_are_refused(maps, options, message):
    with pytest.raises(ValueError, match=message):
        road(Contrast(), torch.rand(2, 1, 4, 4), maps, **options)
