import numpy as np
import torch

from course_utils.attention import spatial
from course_utils.explain import metrics
from tests.exercises.cases import Case


def gallery():
    regions = torch.zeros(8, 1, 16, 16, dtype=torch.bool)
    regions[..., :4] = True
    background = torch.arange(1.0, 9).view(8, 1, 1, 1)
    left, top = torch.zeros(2, 8, 1, 4, 4).unbind()
    left[..., 0], top[..., 0, :] = 1, 1
    maps = [background + shape + torch.rand(8, 1, 4, 4) / 10 for shape in (top, left)]
    return {"maps": tuple(maps), "regions": regions}


GIVEN = gallery()
FIRST, SECOND = GIVEN["maps"]


def energy(maps):
    return metrics.energy_inside(maps, GIVEN["regions"]).mean()


def alone(l, r, combine):
    a = r.sigmoid()
    return combine(l, a), a


CASES = {
    "pointing": Case(
        wrong=[
            (
                lambda a, region: a.argmax(),
                "either 1 or 0, but your function returns [0-9]+ for",
            ),
            (lambda a, region: a.max(), r"either 1 or 0, but your function returns 0\.\d+ for"),
            (lambda a, region: (a * region).sum() / a.sum(), "is the energy"),
            (lambda a, region: region.flatten()[a.argmin()], "lowest value of the map"),
            (
                lambda a, region: not region.flatten()[a.argmax()],
                "returns 1 where it should return 0",
            ),
            (
                lambda a, region: region.any(),
                r"returns 1 for \d+ of 50 maps .* outside",
            ),
            (lambda a, region: 0, r"returns 0 for \d+ of 50 maps .* inside"),
            # One number as an index selects a row of the region, if there are so many rows.
            (
                lambda a, region: region[a.argmax()],
                r"stops with IndexError|not a tensor of shape \(9\)",
            ),
            (
                lambda a, region: a == a.max(),
                r"^The answer should be one number, not a tensor of shape \(6, 9\)",
            ),
        ],
        right=[
            lambda a, region: a[region].max() == a.max(),
            lambda a, region: region.numpy()[np.unravel_index(a.argmax(), a.shape)],
        ],
    ),
    "sigmoid": Case(
        wrong=[
            (
                lambda l, r: alone(l, r, lambda l, a: (a * l).sum(dim=(2, 3))),
                "the context is 20 times too long",
            ),
            (
                lambda l, r: spatial.attend(r, l, "softmax"),
                "That is softmax",
            ),
            (
                lambda l, r: alone(l, r, lambda l, a: (a * l).sum((2, 3)) / a.sum((2, 3))),
                "divide by their sum",
            ),
            (
                lambda l, r: alone(l, r, lambda l, a: l.mean(dim=(2, 3))),
                "context doesn't use them",
            ),
            (
                lambda l, r: alone(l, r, lambda l, a: a * l),
                r"^The context should have the shape \(2, 6\), not",
            ),
            (
                lambda l, r: alone(l, r, lambda l, a: (a * l).mean((2, 3)))[::-1],
                "context first",
            ),
            (lambda l, r: ((r * l).mean(dim=(2, 3)), r), "weights are wrong"),
            (lambda l, r: (r.sigmoid() * l).mean(dim=(2, 3)), "Return two tensors"),
            (
                lambda l, r: alone(l, r, lambda l, a: (a * l).amax(dim=(2, 3))),
                "the context is wrong",
            ),
        ],
        right=[
            lambda l, r: alone(
                l, r, lambda l, a: torch.einsum("bchw,bkhw->bc", l, a) / l[0, 0].numel()
            ),
            lambda l, r: list(spatial.attend(r, l, "sigmoid")),
        ],
    ),
    "stretched": Case(
        wrong=[
            (energy(SECOND), "the maps as they are"),
            (energy(SECOND - SECOND.min()), "one common range"),
            (energy(FIRST - FIRST.amin(dim=(2, 3), keepdim=True)), "the first map"),
            (
                8 * energy(SECOND - SECOND.amin(dim=(2, 3), keepdim=True)),
                "the sum over the images",
            ),
            (0.25, "is chance"),
            (0.99, r"energy of 0\.99; unstretched"),
            (torch.rand(8), r"^The answer should be one number, not a tensor of shape \(8\)"),
        ],
        right=[
            energy((SECOND - SECOND.amin(dim=(2, 3), keepdim=True)) / 7),
            energy(SECOND - SECOND.amin(dim=(2, 3), keepdim=True)).item() + 1e-6,
        ],
        given=lambda: GIVEN,
    ),
}
