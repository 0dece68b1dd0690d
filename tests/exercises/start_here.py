import numpy as np
import torch

from tests.exercises.cases import Case


def ten():
    """Ten maps; the highest points of those with even indices are in their boxes."""
    maps, regions = torch.rand(10, 1, 4, 4), torch.zeros(10, 1, 16, 16, dtype=torch.bool)
    maps[::2, :, 1, 1] = 3
    maps[1::2, :, 3, 3] = 3
    regions[..., 4:8, 4:8] = True
    return {"maps": maps, "regions": regions}


def blobs():
    """Thirty maps with a blob each, and a box around its middle."""
    middle = torch.randint(3, 13, (30, 2))
    steps = torch.arange(16)
    distance = (steps[:, None] - middle[:, :1, None]) ** 2 + (steps - middle[:, 1:, None]) ** 2
    lengths = (1 + torch.exp(-distance / 18) + torch.rand(30, 16, 16) / 100)[:, None]
    return {"lengths": lengths, "regions": (distance <= 8)[:, None]}


def hottest(maps):
    flat = maps.flatten(1)
    return torch.nn.functional.one_hot(flat.argmax(1), flat.shape[1]).float().view_as(maps)


INSIDE = (1, 2, 3)

CASES = {
    "energy": Case(
        wrong=[
            (lambda maps, regions: (maps * regions).sum(INSIDE), "What share of the whole map"),
            (
                lambda maps, regions: (maps * regions).sum(INSIDE) / regions.sum(INSIDE),
                "mean value of the map",
            ),
            (
                lambda maps, regions: (maps * ~regions).sum(INSIDE) / maps.sum(INSIDE),
                "outside the box",
            ),
            (
                lambda maps, regions: (maps * regions).sum(INSIDE) / maps.sum(),
                "sum over all maps",
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
            (lambda maps, regions: (maps * regions).mean(INSIDE), "aren't the shares"),
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
    "flattering": Case(
        wrong=[
            (torch.arange(10) % 2 == 0, "That's a mask"),
            (4, "four indices in a list"),
            ([0, 2, 4], "you chose 3"),
            ([0, 2, 4, 10], "from 0 to 9, so there is no image 10"),
            ([0, 2, 4, -2], "no image -2"),
            ([0.5, 2, 4, 6], r"no image 0\.5"),
            ([0, 2, 2, 4], "same image twice"),
            ([1, 3, 5, 7], "In all four images, .* outside"),
            ([0, 2, 3, 5], r"In 2 of your images.* outside the box: \[3, 5\]"),
        ],
        right=[[0, 2, 4, 6], (8, 6, 2, 0), torch.tensor([0, 2, 4, 8]), np.array([0, 2, 6, 8])],
        given=ten,
    ),
    "sharpened": Case(
        wrong=[
            (lambda maps: 7 * maps, "is still "),
            (lambda maps: maps / maps.sum(INSIDE, keepdim=True), "is still "),
            (lambda maps: maps + 1, "flatter"),
            (lambda maps: maps**2, "right direction"),
            (lambda maps: -maps, "negative values"),
            (lambda maps: 1 / maps**40, "highest point has moved"),
            (lambda maps: maps * torch.arange(1.0, 17) ** 9, "Did you use the boxes"),
            (lambda maps: maps.flatten(1) ** 16, r"shape \(30, 1, 16, 16\), not \(30, 256\)"),
            (lambda maps: maps.pow_(16), "changes a tensor"),
        ],
        right=[
            lambda maps: maps**64,
            hottest,
            lambda maps: (50 * maps.flatten(1)).softmax(dim=1).view_as(maps),
            lambda maps: (maps / maps.amax(INSIDE, keepdim=True)) ** 80,
        ],
        given=blobs,
    ),
}
