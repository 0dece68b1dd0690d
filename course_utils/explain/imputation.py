"""Remove and debias: does a prediction change when pixels are removed without leaving a trace?

`faithfulness` replaces removed pixels by one colour, so a network can see where they were. Here the
removed pixels are filled in from the pixels around them, plus a little noise. Neither their colour
nor the shape of the hole gives much away, so a score depends less on the fill.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from scipy.sparse import csc_array, diags_array, kron
from scipy.sparse.linalg import spsolve
from torch import Tensor, nn

from course_utils.core.tensor_checks import as_masks, check_shape
from course_utils.explain.networks import batches, check_input, running, unwrapped
from course_utils.explain.removal import (
    removal_ranks,
    settled_target,
    target_probability,
    upsampled_maps,
)
from course_utils.explain.targets import Target, as_score


def road(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    maps: Float[Tensor, "B 1 h w"],
    target: Target = None,
    *,
    shares: Sequence[float] = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9),
    most_relevant_first: bool = True,
    noise: float = 0.01,
    seed: int = 0,
) -> Float[Tensor, "B shares"]:
    """Return the probability of a target after a share of the pixels is removed and filled in.

    The removed pixels are filled in by `noisy_linear_imputation`. If the highest-valued pixels are
    removed first, the probability is *low* for a map that highlights what the network needs; if
    the lowest-valued pixels are removed first, it is *high*. The control is the map of another
    image, as in `faithfulness`.

    Source: Rong et al. 2022, "A Consistent and Efficient Evaluation Strategy for Attribution
    Methods".

    Args:
        model: Any network of Python modules. Its mode and its parameters stay as they are.
        images: Input of the network. They run in batches, so the memory stays bounded.
        maps: Non-negative; upsampled to the size of the images. Pixels with equal values are
            removed in random order.
        target: See `faithfulness.deletion`.
        shares: How much of each image is removed, in any order; 0 is the whole image.
        most_relevant_first: Remove the highest-valued pixels. If False, the lowest-valued.
        noise: See `noisy_linear_imputation`.
        seed: Seed of the noise, which is the same for all shares.

    Returns:
        One probability per image and share.

    Raises:
        ValueError: If the maps or the target do not fit the images, there is no share, or a share
            is below 0 or leaves no pixel.
    """
    model = unwrapped(model)
    check_input(model, images)
    rank = removal_ranks(upsampled_maps(maps, images))
    pixels = images.shape[-2] * images.shape[-1]
    counts = _counts(shares, pixels)
    if not most_relevant_first:
        rank = pixels - 1 - rank
    with running(model):
        parts = [
            (which, settled_target(model, images[which], score)[0])
            for which, score in batches(images, as_score(target))
        ]
        columns = []
        for count in counts:
            imputed = noisy_linear_imputation(images, rank < count, noise=noise, seed=seed)
            found = [target_probability(model, imputed[which], score) for which, score in parts]
            columns.append(torch.cat(found))
    return torch.stack(columns, dim=1)


def noisy_linear_imputation(
    images: Float[Tensor, "B C H W"],
    removed: Shaped[Tensor, "B 1 H W"],
    *,
    noise: float = 0.01,
    seed: int = 0,
) -> Float[Tensor, "B C H W"]:
    r"""Return images whose removed pixels are filled in from the pixels around them.

    Each removed pixel is the weighted mean of its eight neighbours,

    .. math::
        x_i = \sum_j w_{ij}\, x_j \Big/ \sum_j w_{ij},

    with weights of 1/6 for the four direct neighbours and 1/12 for the four diagonal ones; at the
    border, only the neighbours inside the image count. Neighbours may be removed as well, so all
    removed pixels are the solution of one linear system. It lies between the lowest and the highest
    of the pixels that stay. Gaussian noise is added afterwards.

    Source: Rong et al. 2022, "A Consistent and Efficient Evaluation Strategy for Attribution
    Methods", where it is called *noisy linear imputation*. Weights, border and noise are those of
    the authors' code, https://github.com/tleemann/road_evaluation, file road/imputations.py.

    Args:
        images: The whole images.
        removed: True (or 1) for the pixels to be filled in.
        noise: Standard deviation of the noise. The default suits images with values from 0 to 1;
            scale it with yours. Noisy values are not clipped.
        seed: Seed of the noise. The noise of an image depends on its position in the batch, but not
            on the pixels that are removed.

    Raises:
        ValueError: If the masks do not fit the images, or remove all pixels of an image, because
            then nothing is left to fill them in from.
    """
    check_shape("masks", removed, len(images), 1, *images.shape[-2:])
    gone = as_masks("masks", removed).flatten(1).cpu()  # (B, HW)
    if gone.all(dim=1).any():
        raise ValueError("expected masks that leave at least one pixel, got an image without any")
    imputed = images.detach().cpu().double().flatten(2).clone()  # (B, C, HW)
    excess = _excess_matrix(*images.shape[-2:])
    source = torch.Generator().manual_seed(seed)
    for pixels, hole in zip(imputed, gone.numpy()):
        noises = torch.randn(pixels.shape, generator=source)[:, hole]
        if hole.any():
            # The excess of a removed pixel is 0: its unknown and its known terms cancel.
            terms = excess[:, hole]  # (HW, removed); the matrix is symmetric
            known = terms[~hole].T @ pixels[:, ~hole].T.numpy()  # (removed, C)
            solution = spsolve(terms[hole], -known).reshape(-1, len(pixels))
            pixels[:, hole] = torch.from_numpy(solution).T + noise * noises
    return imputed.view_as(images).to(images)


def _excess_matrix(height: int, width: int) -> csc_array:
    """Return the symmetric matrix from pixels to their excess over the mean of their neighbours.

    The excess is multiplied by the sum of the neighbours' weights. The weights are those of the
    kernel [1 2 1] in both directions: a direct neighbour counts twice as much as a diagonal one.
    The pixel itself, in the middle of the kernel, cancels.
    """
    down, across = (
        diags_array([1.0, 2.0, 1.0], offsets=[-1, 0, 1], shape=(n, n)) for n in (height, width)
    )
    kernel = kron(down, across)
    return csc_array(diags_array(kernel.sum(axis=1)) - kernel)


def _counts(shares: Sequence[float], pixels: int) -> list[int]:
    """Return how many pixels each share removes."""
    counts = [round(share * pixels) for share in shares]
    if not counts or min(shares) < 0 or max(counts) >= pixels:
        raise ValueError(
            f"expected one or more shares from 0 to less than 1 that leave one of {pixels} pixels, "
            f"got {tuple(shares)}"
        )
    return counts
