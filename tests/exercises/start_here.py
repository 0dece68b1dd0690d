import numpy as np
import torch

from tests.exercises.cases import Case


def maps_of(energies):
    """Maps with these shares in their left halves, which are the boxes."""
    share = torch.tensor(energies)[:, None, None, None] / 32
    left = share.expand(-1, 1, 8, 4)
    return torch.cat([left, 1 / 32 - left], dim=3)


def eight():
    maps = [
        maps_of([0.9, 0.8, 0.9, 0.7, 0.9, 0.8, 0.2, 0.9]),
        maps_of([0.5, 0.3, 0.9, 0.1, 0.4, 0.6, 0.7, 0.8]),
    ]
    regions = torch.zeros(8, 1, 8, 8, dtype=torch.bool)
    regions[..., :4] = True
    return {"maps": maps, "regions": regions}


SCORES = {"pointing 1": 0.99, "energy 1": 0.93, "energy 2": 0.77, "chance": 0.06}
INSIDE = (1, 2, 3)

CASES = {
    "worst": Case(
        wrong=[
            (0.1, "whole number, but 0.1 isn't one"),
            (8, "from 0 to 7: there is no image 8"),
            (-1, "from 0 to 7"),
            (2, r"image 2 has an energy of 0\.900 .* highest"),
            (6, "Image 6 is the worst one for the first map"),
            (4, "start counting at 1"),
            (5, r"image 5 has an energy of 0\.600 in the box, and another image has less\.$"),
            ("3", "^worst should be one number, not a str"),
            (torch.rand(8), r"^worst should be one number, not a tensor of shape \(8\)"),
        ],
        right=[3, torch.tensor(3), np.int64(3)],
        given=eight,
    ),
    "factor": Case(
        wrong=[
            (0.06 / 0.93, "upside down"),
            (0.93 - 0.06, "the difference"),
            (0.99 / 0.06, "factor for pointing"),
            (0.77 / 0.06, "factor for the second map"),
            (0.93, "the energy itself"),
            (7.0, r"energy would be 0\.420, but the table says 0\.930"),
        ],
        right=[0.93 / 0.06, np.float64(15.5), 15.4],
        given=lambda: {"scores": SCORES},
    ),
    "energy": Case(
        wrong=[
            (lambda maps, regions: (maps * regions).sum(INSIDE), "What share of the whole map"),
            (
                lambda maps, regions: (maps * regions).sum(INSIDE) / regions.sum(INSIDE),
                "mean value of the map in the box",
            ),
            (
                lambda maps, regions: (maps * ~regions).sum(INSIDE) / maps.sum(INSIDE),
                "outside the box",
            ),
            (
                lambda maps, regions: (maps * regions).sum(INSIDE) / maps.sum(),
                "sum of all maps together",
            ),
            (
                lambda maps, regions: (maps * regions).sum() / maps.sum(),
                "one number for the whole batch",
            ),
            (lambda maps, regions: regions.float().mean(INSIDE), "chance"),
            (
                lambda maps, regions: maps.mul_(regions).sum(INSIDE) / maps.sum(INSIDE),
                "changes a tensor",
            ),
            (lambda maps, regions: (maps * regions).mean(INSIDE), "not the shares"),
            (lambda maps, regions: (maps * regions).sum((2, 3)), r"the shape \(3\), not \(3, 1\)"),
        ],
        right=[
            lambda maps, regions: (
                maps.masked_fill(~regions, 0).flatten(1).sum(1) / maps.flatten(1).sum(1)
            ),
            lambda maps, regions: torch.stack(
                [m[box].sum() / m.sum() for m, box in zip(maps, regions)]
            ),
        ],
    ),
}
